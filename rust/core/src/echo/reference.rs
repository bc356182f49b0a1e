//! What is played.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bands::{Bands, FilterBank, NOTHING};
use super::far::{FarEnd, Rows};
use super::{HOPS_PER_SECOND, check_time, delays};
use crate::{Error, check_rate};

/// A frame that comes later than this after the end of the one before, in seconds, begins a new run:
/// there was silence between them. Handing over jitters by less.
const LATE: f64 = 0.060;

/// What is played to the participants of a call, for the [`InputStream`](crate::InputStream)s that
/// may hear it come back.
///
/// Frames are pushed as they are handed to the transport, with the time. Frames of a run of speech
/// follow each other whatever the times say, as they do in the transport; a frame that comes 60 ms
/// late begins a new run, and what lies between is silence. While nothing is played nothing is
/// pushed.
///
/// Of the sound only the power in each of 32 bands and 10 ms is kept, for as long as an echo may
/// take.
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
    /// Differs for every reference, and for one that begins anew.
    pub(super) stamp: u64,
    bank: FilterBank,
    /// Power in each hop of the clock.
    rows: Rows<Bands>,
    pub(super) newest: i64,
    run: Option<Run>,
    /// Time of the newest frame that was not silent.
    sounded_at: f64,
    /// What an earlier run has given to the newest row.
    before: Bands,
}

/// Frames that follow each other.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Time of the first sample.
    start: f64,
    samples: u64,
    /// Samples up to the end of the newest row.
    row_end: u64,
}

impl EchoReference {
    /// A reference for echoes that come within `max_delay_ms` milliseconds. Frames will be of
    /// `sample_rate` Hz.
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
            stamp: new_stamp(),
            bank: FilterBank::new(sample_rate),
            rows: Rows::new(delays(max_delay_ms) + FarEnd::AHEAD, NOTHING),
            newest: i64::MIN / 4,
            run: None,
            sounded_at: f64::NEG_INFINITY,
            before: NOTHING,
        })
    }

    /// Rate of the frames in Hz.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The longest delay of an echo that is found, in milliseconds.
    #[must_use]
    pub fn max_delay_ms(&self) -> u32 {
        self.max_delay_ms
    }

    /// Takes mono samples of any number that are handed to the transport. `at` is when that was
    /// with the first of them, in seconds on any clock that only goes forward; the streams'
    /// arrivals are on the same clock.
    ///
    /// # Errors
    /// [`Error::Option`] if `at` is not a finite number of seconds. Nothing is changed then.
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
            self.write();
            if run.samples == run.row_end {
                self.bank.take();
                self.go_to(self.newest + 1);
                run.row_end = self.row_end(run.start).max(run.samples + 1);
            }
        }
        self.run = Some(run);
        Ok(())
    }

    /// True at `at` if sound is being played, or its echo may still be on its way.
    #[must_use]
    pub fn echo_possible(&self, at: f64) -> bool {
        at - self.sounded_at <= f64::from(self.max_delay_ms) / 1000.0
    }

    /// Lists every number that a step makes from its own last value.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        self.bank.state()
    }

    /// Power in a row.
    pub(super) fn power(&self, row: i64) -> &Bands {
        self.rows.at(row)
    }

    /// A frame at `at` does not follow what was played.
    fn ends(&mut self, run: Run, at: f64) -> bool {
        let due = run.start + run.samples as f64 / f64::from(self.sample_rate);
        if at < due - f64::from(self.max_delay_ms) / 1000.0 {
            // So far ahead is no transport: it is another clock.
            self.stamp = new_stamp();
            self.newest = i64::MIN / 4;
            return true;
        }
        at > due + LATE
    }

    fn begin(&mut self, at: f64) -> Run {
        let row = (at * f64::from(HOPS_PER_SECOND)).floor() as i64;
        self.bank.reset();
        if row > self.newest {
            self.go_to(row);
        } else {
            self.before = *self.rows.at(self.newest);
        }
        Run {
            start: at,
            samples: 0,
            row_end: self.row_end(at).max(1),
        }
    }

    /// Samples of a run from its start to the end of the newest row.
    fn row_end(&self, start: f64) -> u64 {
        let seconds = (self.newest + 1) as f64 / f64::from(HOPS_PER_SECOND) - start;
        (seconds * f64::from(self.sample_rate)).round() as u64
    }

    /// Silence up to a new newest row.
    fn go_to(&mut self, row: i64) {
        let first = (self.newest + 1).max(row - self.rows.len() + 1);
        for row in first..=row {
            *self.rows.at_mut(row) = NOTHING;
        }
        self.newest = row;
        self.before = NOTHING;
    }

    /// Brings what was heard since the beginning of the newest row into it. A row that is not full
    /// counts as one that ends in silence.
    fn write(&mut self) {
        let filled = self.bank.filled();
        let powers = self.bank.powers();
        let mut row = self.before;
        for (power, now) in row.iter_mut().zip(powers.bands) {
            *power += filled * now;
        }
        *self.rows.at_mut(self.newest) = row;
    }
}

fn new_stamp() -> u64 {
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
