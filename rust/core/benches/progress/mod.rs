//! Prints to stderr how far a benchmark is, and the time that is left; the tables go to stdout.

use std::time::{Duration, Instant};

/// Least time between two lines: what is shorter prints none.
const QUIET: Duration = Duration::from_secs(10);

/// Progress of a run whose amount of work is known.
pub struct Progress {
    total: f64,
    done: f64,
    began: Instant,
    printed: Instant,
}

impl Progress {
    /// Starts a run with that much work, in any unit.
    pub fn new(total: f64) -> Self {
        let now = Instant::now();
        Self {
            total,
            done: 0.0,
            began: now,
            printed: now,
        }
    }

    /// Adds work that is done, and prints a line if the last one is 10 s ago.
    pub fn advance(&mut self, work: f64, name: &str) {
        self.done += work;
        if self.printed.elapsed() < QUIET || self.done <= 0.0 {
            return;
        }
        self.printed = Instant::now();
        let share = self.done / self.total;
        let left = self.began.elapsed().as_secs_f64() * (1.0 - share).max(0.0) / share;
        eprintln!("{:3.0} %, {left:.0} s left: {name}", 100.0 * share);
    }
}
