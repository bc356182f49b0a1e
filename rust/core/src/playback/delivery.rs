//! Learns the delivery of a service: how late a chunk comes after those before it are played.
//!
//! The lateness of a chunk is the time since an earlier one of its turn, less the audio that came
//! from that one on: positive, and a player that had started with the earlier chunk would have run
//! dry. The largest lateness over all pairs of chunks says how much more than its newest chunk a
//! player must hold to be safe. It is found in one pass, as the sum of steps that never falls below
//! zero (J. Bentley, "Programming pearls: algorithm design techniques", CACM 27, 1984).

use std::collections::VecDeque;

/// Turns that are remembered, besides the newest: as many healthy ones undo a bad one.
const TURNS: usize = 4;
/// Steps between chunks that prove something: of chunks of 40 ms, 0.7 s of speech. With fewer, half
/// of the range seen is no safe distance to the largest lateness that was not; with these,
/// `tests/delivery.rs` finds no service that keeps up and for which it is not.
const ENOUGH_STEPS: u32 = 16;
/// Seconds before its time that a frame has to be there.
const HAND_OVER_S: f64 = 0.005;
/// Length of a frame in seconds: a part of one cannot be played yet.
const FRAME_S: f64 = 0.020;
/// A turn of this length in seconds, its longest gap left out, tells the rate of the service.
const RATED_S: f64 = 0.5;
/// The share of the time by which a service that is slower than real time falls behind.
const SLOW: f64 = 0.05;

/// Observations of one turn, in seconds.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// Steps from one short chunk to the next chunk.
    steps: u32,
    /// Largest lateness of a chunk behind any earlier one.
    latest: f64,
    /// Range of the lateness behind the chunk before, of short chunks.
    least_step: f64,
    largest_step: f64,
    /// Largest part of a frame that was left over when a chunk came.
    remainder: f64,
    /// The same as `latest`, but a gap that no prefill covers counts as a pause of the speech.
    coverable: f64,
    /// The turn ran dry, or its service was slower than real time.
    trouble: bool,
}

/// The turn that is being delivered; times in seconds.
#[derive(Debug)]
struct Current {
    turn: u64,
    began: f64,
    newest: f64,
    /// Audio of the newest chunk.
    chunk: f64,
    /// Audio of all chunks.
    audio: f64,
    /// Lateness of the newest chunk behind the worst earlier one, and its coverable part.
    lateness: f64,
    coverable: f64,
    longest_gap: f64,
    record: Record,
}

/// Knowledge of the delivery of a service.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Chunks of this many seconds and more are no matter: a turn starts with one of them anyway.
    short: f64,
    /// The largest prefill in seconds.
    most: f64,
    past: VecDeque<Record>,
    current: Option<Current>,
    head_start: Option<f64>,
    least: Option<f64>,
}

impl Delivery {
    /// Nothing is known yet. Prefills are `prefill_s` seconds to `most_s` when nothing is.
    pub(super) fn new(prefill_s: f64, most_s: f64) -> Self {
        Self {
            short: prefill_s,
            most: most_s,
            past: VecDeque::with_capacity(TURNS),
            current: None,
            head_start: None,
            least: None,
        }
    }

    /// Seconds of audio, besides the newest chunk, with which a turn is safe to start; negative if
    /// less than that chunk would do. None while too little was seen.
    pub(super) fn head_start(&self) -> Option<f64> {
        self.head_start
    }

    /// Seconds of audio, besides the newest chunk, without which turns have run dry, or will
    /// because the service is slower than real time. None if there was no such trouble.
    pub(super) fn least(&self) -> Option<f64> {
        self.least
    }

    /// The newest turn has run dry.
    pub(super) fn ran_dry(&mut self) {
        if let Some(current) = &mut self.current {
            current.record.trouble = true;
        }
    }

    /// Takes a chunk of `chunk` seconds that has come at `at`.
    pub(super) fn note(&mut self, turn: u64, chunk: f64, at: f64) {
        match &mut self.current {
            Some(current) if current.turn == turn => current.note(chunk, at, self.short, self.most),
            _ => {
                self.close();
                self.current = Some(Current::new(turn, chunk, at));
            }
        }
        self.judge();
    }

    /// Forgets the times of the newest turn: a chunk has come at an unknown one.
    pub(super) fn lose_track(&mut self) {
        self.close();
    }

    fn close(&mut self) {
        if let Some(current) = self.current.take().filter(|turn| turn.lateness.is_finite()) {
            if self.past.len() == TURNS {
                self.past.pop_front();
            }
            self.past.push_back(current.record);
        }
    }

    fn judge(&mut self) {
        let current = self.current.as_ref().map(|turn| turn.record);
        let troubles = current.iter().chain(&self.past).filter(|r| r.trouble);
        let least = troubles.map(|record| record.coverable + record.remainder + HAND_OVER_S);
        self.least = least.reduce(f64::max);
        let all = (current.iter().chain(&self.past).copied()).fold(Record::NOTHING, Record::merge);
        self.head_start = None;
        if all.steps < ENOUGH_STEPS {
            return;
        }
        // What scatters may scatter more: the largest lateness seen is not the largest there is.
        let margin = (all.largest_step - all.least_step) / 2.0;
        self.head_start = Some(all.latest + margin + all.remainder + HAND_OVER_S);
    }
}

impl Record {
    const NOTHING: Self = Self {
        steps: 0,
        latest: f64::NEG_INFINITY,
        least_step: f64::INFINITY,
        largest_step: f64::NEG_INFINITY,
        remainder: 0.0,
        coverable: f64::NEG_INFINITY,
        trouble: false,
    };

    fn merge(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            latest: self.latest.max(other.latest),
            least_step: self.least_step.min(other.least_step),
            largest_step: self.largest_step.max(other.largest_step),
            remainder: self.remainder.max(other.remainder),
            coverable: self.coverable.max(other.coverable),
            trouble: self.trouble || other.trouble,
        }
    }
}

impl Current {
    fn new(turn: u64, chunk: f64, at: f64) -> Self {
        Self {
            turn,
            began: at,
            newest: at,
            chunk,
            audio: chunk,
            lateness: f64::NEG_INFINITY,
            coverable: f64::NEG_INFINITY,
            longest_gap: 0.0,
            record: Record::NOTHING,
        }
    }

    fn note(&mut self, chunk: f64, at: f64, short: f64, most: f64) {
        // A clock that goes back tells nothing: as if it had stood still.
        let at = at.max(self.newest);
        let step = at - self.newest - self.chunk;
        let record = &mut self.record;
        self.lateness = step + self.lateness.max(0.0);
        record.latest = record.latest.max(self.lateness);
        self.coverable = if step < most {
            step + self.coverable.max(0.0)
        } else {
            0.0
        };
        record.coverable = record.coverable.max(self.coverable);
        if self.chunk < short {
            record.steps += 1;
            record.least_step = record.least_step.min(step);
            record.largest_step = record.largest_step.max(step);
            // Half a sample at 96 kHz: audio that is a whole number of frames leaves none over.
            let frames = (self.audio + 5e-6) / FRAME_S;
            let left = (frames.fract() * FRAME_S - 5e-6).max(0.0);
            record.remainder = record.remainder.max(left);
        }
        self.longest_gap = self.longest_gap.max(step);
        // One gap is a pause of the service, not its rate.
        let elapsed = at - self.began - self.longest_gap;
        let behind = elapsed - self.audio;
        record.trouble |= elapsed >= RATED_S && behind > SLOW * elapsed;
        self.newest = at;
        self.chunk = chunk;
        self.audio += chunk;
    }
}
