//! The render (far-end) signal: the reference for echo suppression.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bands::{Bands, FilterBank, ZEROS};
use super::render::{RenderHistory, Rows};
use super::{HOPS_PER_SECOND, check_time, delays};
use crate::{Error, check_rate};

/// Lateness in seconds, after the previous frame, from which a frame begins a new run.
///
/// Then there was silence between the frames. The jitter of handing over is less.
const RUN_GAP_S: f64 = 0.060;

/// Record of what is played to a call, for the streams that may capture its echo.
///
/// One reference is shared by the [`InputStream`](crate::InputStream)s of the call.
///
/// Push each frame with the time at which it is handed to the transport. Frames of a run follow
/// each other without gaps, as they do in the transport, whatever their times say; a frame that
/// comes 60 ms late begins a new run, after silence. Push nothing while nothing is played.
///
/// The reference keeps no samples, only the power in 32 bands every 10 ms, for as long as an echo
/// may be delayed.
///
/// Allocates: in [`new`](Self::new) only.
///
/// ```
/// use voice_audio::EchoReference;
/// let mut reference = EchoReference::new(48_000, 1_000)?;
/// for k in 0..10 {
///     // 20 ms, and when they were handed over.
///     reference.push(&[0; 960], 5.0 + 0.02 * f64::from(k))?;
/// }
/// # Ok::<(), voice_audio::Error>(())
/// ```
pub struct EchoReference {
    sample_rate: u32,
    max_delay_ms: u32,
    /// Unique for every reference, and renewed when it restarts on another clock.
    pub(super) generation: u64,
    bank: FilterBank,
    /// Powers of each hop of the clock.
    rows: Rows<Bands>,
    pub(super) newest: i64,
    run: Option<Run>,
    /// Time of the newest frame that was not silent.
    sounded_at: f64,
    /// Part of the newest row that comes from an earlier run.
    previous_run: Bands,
}

/// Frames that follow each other without a gap.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Time of the first sample.
    start: f64,
    samples: u64,
    /// Samples up to the end of the newest row.
    row_end: u64,
}

impl EchoReference {
    /// Makes a reference with frames of `sample_rate` Hz, for echoes within `max_delay_ms`.
    ///
    /// # Errors
    /// [`Error::Rate`]; [`Error::Option`] if the delay is not within 100 to 2000 ms.
    pub fn new(sample_rate: u32, max_delay_ms: u32) -> Result<Self, Error> {
        check_rate(sample_rate)?;
        if !(100..=2_000).contains(&max_delay_ms) {
            return Err(Error::Option {
                name: "max_delay_ms",
                value: f64::from(max_delay_ms),
                accepted: "100 to 2000 ms",
            });
        }
        Ok(Self {
            sample_rate,
            max_delay_ms,
            generation: new_generation(),
            bank: FilterBank::new(sample_rate),
            rows: Rows::new(delays(max_delay_ms) + RenderHistory::AHEAD_ROWS, ZEROS),
            newest: i64::MIN / 4,
            run: None,
            sounded_at: f64::NEG_INFINITY,
            previous_run: ZEROS,
        })
    }

    /// Returns the rate of the frames in Hz.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Returns the longest echo delay that is searched, in milliseconds.
    #[must_use]
    pub fn max_delay_ms(&self) -> u32 {
        self.max_delay_ms
    }

    /// Takes mono samples that are handed to the transport; any number of them.
    ///
    /// `at` is the time at which the first of them is handed over, in seconds on a monotonic clock,
    /// the same clock as the arrivals of the streams.
    ///
    /// # Errors
    /// [`Error::Option`] if `at` is not a finite number of seconds; then nothing changes.
    pub fn push(&mut self, frame: &[i16], at: f64) -> Result<(), Error> {
        check_time(at)?;
        if frame.is_empty() {
            return Ok(());
        }
        if frame.iter().any(|&x| x != 0) {
            self.sounded_at = at;
        }
        let known = self.run;
        let mut run = match known {
            Some(run) if !self.ends(run, at) => run,
            _ => self.begin(at),
        };
        let mut left = frame;
        while !left.is_empty() {
            let room = (run.row_end - run.samples).min(left.len() as u64) as usize;
            let (now, later) = left.split_at(room);
            self.bank.push(now);
            run.samples += room as u64;
            left = later;
            self.write_row();
            if run.samples == run.row_end {
                self.bank.take();
                self.advance_to(self.newest + 1);
                run.row_end = self.row_end(run.start).max(run.samples + 1);
            }
        }
        self.run = Some(run);
        Ok(())
    }

    /// Returns true if, at `at`, sound is being played or its echo may still be on its way.
    #[must_use]
    pub fn echo_possible(&self, at: f64) -> bool {
        at - self.sounded_at <= f64::from(self.max_delay_ms) / 1000.0
    }

    /// Lists every value that a step computes from its own last value.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        self.bank.state()
    }

    /// Returns the powers of a row.
    pub(super) fn power(&self, row: i64) -> &Bands {
        self.rows.at(row)
    }

    /// Returns true if a frame at `at` does not continue `run`.
    fn ends(&mut self, run: Run, at: f64) -> bool {
        let due = run.start + run.samples as f64 / f64::from(self.sample_rate);
        if at < due - f64::from(self.max_delay_ms) / 1000.0 {
            // No transport buffers this much: the time is on another clock.
            self.generation = new_generation();
            self.newest = i64::MIN / 4;
            return true;
        }
        at > due + RUN_GAP_S
    }

    fn begin(&mut self, at: f64) -> Run {
        let row = (at * f64::from(HOPS_PER_SECOND)).floor() as i64;
        self.bank.reset();
        if row > self.newest {
            self.advance_to(row);
        } else {
            self.previous_run = *self.rows.at(self.newest);
        }
        Run {
            start: at,
            samples: 0,
            row_end: self.row_end(at).max(1),
        }
    }

    /// Returns the number of samples of a run from its start to the end of the newest row.
    fn row_end(&self, start: f64) -> u64 {
        let seconds = (self.newest + 1) as f64 / f64::from(HOPS_PER_SECOND) - start;
        (seconds * f64::from(self.sample_rate)).round() as u64
    }

    /// Makes `row` the newest row, with silence up to it.
    fn advance_to(&mut self, row: i64) {
        let first = (self.newest + 1).max(row - self.rows.len() + 1);
        for row in first..=row {
            *self.rows.at_mut(row) = ZEROS;
        }
        self.newest = row;
        self.previous_run = ZEROS;
    }

    /// Writes the powers since the beginning of the newest row into it.
    ///
    /// An incomplete row counts as one that ends in silence.
    fn write_row(&mut self) {
        let filled = self.bank.filled();
        let powers = self.bank.powers();
        let mut row = self.previous_run;
        for (power, now) in row.iter_mut().zip(powers.bands) {
            *power += filled * now;
        }
        *self.rows.at_mut(self.newest) = row;
    }
}

fn new_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl fmt::Debug for EchoReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoReference")
            .field("sample_rate", &self.sample_rate)
            .field("max_delay_ms", &self.max_delay_ms)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}
