//! Echo suppression on the capture path of one participant.

use std::f32::consts::PI;
use std::fmt;

use super::bands::{Bands, FilterBank, Powers, decibels, flush};
use super::delay_estimator::{EchoDelayEstimator, PEAK_HOPS, PEAK_MARGIN, STEP};
use super::noise_floor::NoiseFloor;
use super::path_model::{Comparison, EchoPathModel};
use super::render::{Modulation, RenderHistory};
use super::{EchoReference, HOPS_PER_SECOND, delays};
use crate::pcm::Sample;
use crate::{FRAMES_PER_SECOND, ms_to_samples};

/// Length of the fade at both ends of a suppressed stretch, in milliseconds.
const FADE_MS: u32 = 5;
/// Hops of near-end history, from which the path model at a new delay learns.
const HISTORY_HOPS: usize = 64;
/// Hops for which an echo may reverberate after the last render sound plus the longest delay.
const RINGING_HOPS: i64 = 50;

/// Excess in dB above which a hop is more than echo.
const EXCESS_DB: f32 = 10.0;
/// Smoothed excess of speech (time constant 60 ms), and its hangover of 200 ms.
///
/// The hangover keeps soft sounds between loud ones.
const SPEECH_DB: f32 = 40.0;
const EXCESS_SMOOTHING: f32 = 0.85;
const SPEECH_HOPS: u32 = 20;

/// Correlation, and hops of evidence, above which a louder hop than expected may still be echo.
const STILL_ECHO: f32 = 0.6;
const STILL_ECHO_HOPS: f32 = 20.0;
/// Correlation above which a hop with little evidence is echo, whatever its excess.
///
/// With little evidence the path model has seen an onset only; its edges are too low when the echo
/// falls again, or is ducked. Double talk never correlates this closely.
const SURE_ECHO: f32 = 0.95;

/// Least power of comfort noise: -66 dBFS; below, silence replaces an echo.
///
/// It is 4 dB above the least noise floor, so that echo residue in the floor is not written.
const MIN_NOISE_POWER: f32 = 2.5e-7;

/// Lateness of a chunk, in seconds, from which it comes after a pause and restarts the clock.
const PAUSE_S: f64 = 0.5;

/// Maps near-end samples to time on the reference's clock.
///
/// The samples are one stream at a constant rate, whatever the jitter of their arrival. A chunk may
/// be late but hardly early, so the earliest chunk of the last one to two seconds tells the time.
/// This follows sound cards that are fast or slow, and audio that was lost.
#[derive(Debug)]
struct Clock {
    rate: f64,
    samples: u64,
    /// Start of the stream by the earliest chunk of this second, and of the second before.
    earliest: f64,
    earlier: f64,
    /// Value of `samples` at which this second began.
    second: u64,
}

impl Clock {
    fn new(sample_rate: u32) -> Self {
        Self {
            rate: f64::from(sample_rate),
            samples: 0,
            earliest: f64::INFINITY,
            earlier: f64::INFINITY,
            second: 0,
        }
    }

    /// Records that the next sample arrives at `at` seconds.
    fn arrive(&mut self, at: f64) {
        let start = at - self.samples as f64 / self.rate;
        if start > self.start() + PAUSE_S {
            (self.earliest, self.earlier) = (f64::INFINITY, f64::INFINITY);
        }
        if (self.samples - self.second) as f64 >= self.rate {
            self.earlier = self.earliest;
            self.earliest = f64::INFINITY;
            self.second = self.samples;
        }
        self.earliest = self.earliest.min(start);
    }

    /// Returns the start of the stream in seconds; infinity before the first arrival.
    fn start(&self) -> f64 {
        self.earliest.min(self.earlier)
    }

    /// Returns the time of the next sample, in hops.
    fn hops(&self) -> f64 {
        (self.start() + self.samples as f64 / self.rate) * f64::from(HOPS_PER_SECOND)
    }
}

/// Suppressor of one reference's echo in one stream.
pub(crate) struct EchoSuppressor {
    sample_rate: u32,
    clock: Clock,
    render: RenderHistory,
    bank: FilterBank,
    estimator: EchoDelayEstimator,
    noise_floor: NoiseFloor,
    /// Echo path; None while no delay is known.
    path: Option<EchoPathModel>,
    awake: Option<Awake>,
    /// Ring of near-end powers, each with the row of its hop.
    history: Box<[(i64, Bands)]>,
    hops: usize,
    /// Smoothed excess, and remaining hops of speech.
    excess: f32,
    speech: u32,
    /// True if the newest hop contains no speech and an audible echo was expected in it.
    echo_expected: bool,
    /// True if the newest block was echo.
    echo: bool,
    /// Gains of a fade, from 1 to 0, and the current index into them.
    fade: Box<[f32]>,
    faded: usize,
    random: u32,
}

/// Analysis state while something is played or reverberates.
#[derive(Debug, Clone)]
struct Awake {
    /// Samples since the start of the analysis, and up to the end of the current hop.
    samples: u64,
    hop_end: u64,
    /// Complete hops since the start of the analysis.
    hops: i64,
    /// Render row in which the first hop began.
    first_row: i64,
    /// Powers of the previous hop.
    previous: Option<Powers>,
    modulation: Modulation,
}

impl EchoSuppressor {
    pub(crate) fn new(sample_rate: u32, reference: &EchoReference) -> Self {
        let estimator = EchoDelayEstimator::new(delays(reference.max_delay_ms()));
        let fade = ms_to_samples(FADE_MS, sample_rate);
        let gain = |i| 0.5 + 0.5 * (PI * i as f32 / fade as f32).cos();
        Self {
            sample_rate,
            clock: Clock::new(sample_rate),
            render: RenderHistory::new(estimator.rows()),
            bank: FilterBank::new(sample_rate),
            estimator,
            noise_floor: NoiseFloor::new(),
            path: None,
            awake: None,
            history: vec![(0, [0.0; _]); HISTORY_HOPS].into(),
            hops: 0,
            excess: 0.0,
            speech: 0,
            echo_expected: false,
            echo: false,
            fade: (0..=fade).map(gain).collect(),
            faded: 0,
            random: 0x9e37_79b9,
        }
    }

    /// Returns true if the newest block was echo.
    pub(crate) fn echo(&self) -> bool {
        self.echo
    }

    pub(crate) fn delay_ms(&self) -> Option<f64> {
        let path = self.path.as_ref()?;
        Some(path.delay as f64 * 1000.0 / f64::from(HOPS_PER_SECOND))
    }

    pub(crate) fn level_db(&self) -> Option<f32> {
        self.path.as_ref().map(EchoPathModel::level)
    }

    /// Lists every value that a step computes from its own last value.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let mut state = vec![("excess", self.excess)];
        state.extend(self.bank.state());
        state.extend(self.estimator.state());
        state.extend(self.render.state());
        state.extend(self.noise_floor.state());
        state.extend(self.path.iter().flat_map(EchoPathModel::state));
        let modulation = self.awake.iter().flat_map(|awake| awake.modulation.state());
        state.extend(modulation.map(|x| ("near modulation", x)));
        state
    }

    #[cfg(test)]
    pub(crate) fn is_asleep(&self) -> bool {
        self.awake.is_none()
    }

    /// Records that the next samples arrive at `at`, and copies the playback up to then.
    pub(crate) fn arrive(&mut self, reference: &EchoReference, at: f64) {
        self.render.follow(reference);
        self.clock.arrive(at);
    }

    /// Takes the next samples and replaces those that are echo, in place.
    pub(crate) fn suppress(&mut self, wire: &mut [i16]) {
        if !self.wake() {
            self.clock.samples += wire.len() as u64;
            return self.write(wire, false);
        }
        for block in wire.chunks_mut(self.sample_rate.div_ceil(FRAMES_PER_SECOND) as usize) {
            let passes = self.analyse(block);
            self.write(block, !passes);
        }
    }

    /// Advances the clock by samples that pass without analysis.
    pub(crate) fn skip(&mut self, samples: usize) {
        self.clock.samples += samples as u64;
        self.awake = None;
        (self.echo, self.faded) = (false, 0);
    }

    /// Starts or stops the analysis; returns true while an echo is possible.
    fn wake(&mut self) -> bool {
        let now = self.clock.hops();
        let heard = now - self.render.active() as f64;
        if heard > (self.estimator.rows() as i64 + RINGING_HOPS) as f64 {
            self.awake = None;
            self.speech = 0;
            return false;
        }
        if self.awake.is_none() {
            self.bank.reset();
            self.awake = Some(Awake {
                samples: 0,
                hop_end: self.hop_end(0),
                hops: 0,
                first_row: now.round() as i64,
                previous: None,
                modulation: Modulation::steady(&Powers::SILENCE.bands),
            });
        }
        true
    }

    /// Returns the number of samples up to the end of a hop.
    fn hop_end(&self, hop: i64) -> u64 {
        (hop as u64 + 1) * u64::from(self.sample_rate) / u64::from(HOPS_PER_SECOND)
    }

    /// Analyses a block; returns true if it must not be suppressed.
    fn analyse(&mut self, mut block: &[i16]) -> bool {
        let mut passes = false;
        while !block.is_empty() {
            let Some(awake) = &mut self.awake else {
                return true;
            };
            let room = (awake.hop_end - awake.samples).min(block.len() as u64) as usize;
            let (now, later) = block.split_at(room);
            self.bank.push(now);
            awake.samples += room as u64;
            self.clock.samples += room as u64;
            block = later;
            passes |= if awake.samples == awake.hop_end {
                self.end_hop()
            } else {
                self.assess_partial_hop()
            };
        }
        passes
    }

    /// Assesses the current, incomplete hop; returns true if the block must not be suppressed.
    fn assess_partial_hop(&self) -> bool {
        let Some(path) = &self.path else {
            return true;
        };
        let (now, filled) = (self.bank.powers(), self.bank.filled());
        let previous = self.awake.as_ref().and_then(|awake| awake.previous);
        let near = match previous {
            Some(previous) => {
                let whole = 1.0 / (1.0 + filled);
                now.mixed(filled * whole, &previous, whole)
            }
            None => now,
        };
        let comparison = path.compare(&in_db(&near.bands), &self.noise_floor);
        self.passes(comparison)
    }

    /// Ends a hop and updates the models; returns true if the block must not be suppressed.
    fn end_hop(&mut self) -> bool {
        let powers = self.bank.take();
        let next_end = self.hop_end(self.awake.as_ref().map_or(0, |awake| awake.hops + 1));
        let now = self.clock.hops();
        let Some(awake) = &mut self.awake else {
            return true;
        };
        // Re-align the hop grid only after 0.75 hop of drift.
        let first_row = now - 1.0 - awake.hops as f64;
        if (first_row - awake.first_row as f64).abs() > 0.75 {
            awake.first_row = first_row.round() as i64;
        }
        let row = awake.first_row + awake.hops;
        awake.hops += 1;
        awake.hop_end = next_end;
        let near = match awake.previous.replace(powers) {
            Some(previous) => powers.mixed(0.5, &previous, 0.5),
            None => {
                awake.modulation = Modulation::steady(&powers.bands);
                powers
            }
        };
        let modulation = awake.modulation.next(&near.bands);
        self.render.modulate_to(row);
        if awake.hops % STEP == 0 {
            self.estimator.step(&modulation, &self.render, row);
        }
        self.noise_floor.step(&near, !self.echo_expected);
        self.echo_expected = false;
        let near_db = in_db(&near.bands);
        self.history[self.hops % HISTORY_HOPS] = (row, near.bands);
        self.hops += 1;

        self.follow_delay();
        let Some(path) = &mut self.path else {
            return true;
        };
        path.step(&self.render, row);
        let comparison = path.compare(&near_db, &self.noise_floor);
        let correlation = self.estimator.correlation_at(path.delay);
        let evidence = self.estimator.evidence();
        let sure = correlation > SURE_ECHO && evidence <= STILL_ECHO_HOPS;
        let more = comparison.excess > EXCESS_DB;
        self.excess = flush(EXCESS_SMOOTHING * self.excess + comparison.excess);
        self.speech = if more && !sure && self.excess > SPEECH_DB {
            SPEECH_HOPS
        } else {
            self.speech.saturating_sub(1)
        };
        if !more && self.speech == 0 {
            path.learn(&near_db, &self.noise_floor);
            self.echo_expected = comparison.audible;
            if comparison.audible {
                path.measure_level(&near.bands, &self.render, row);
            }
        } else if sure || (correlation > STILL_ECHO && evidence > STILL_ECHO_HOPS) {
            path.raise(&near_db, &self.noise_floor, comparison);
        }
        if !path.audible(&self.noise_floor) {
            self.path = None;
            self.estimator.reset();
            return true;
        }
        self.passes(comparison)
    }

    fn passes(&self, comparison: Comparison) -> bool {
        self.speech > 0 || comparison.excess > EXCESS_DB || !comparison.audible
    }

    /// Adopts the confirmed delay, if there is one.
    ///
    /// A delay within the same peak just moves the path model; another one has to correlate better
    /// by [`PEAK_MARGIN`] and starts a new model.
    fn follow_delay(&mut self) {
        let Some(delay) = self.estimator.confirmed_delay() else {
            return;
        };
        match &mut self.path {
            Some(known) if known.delay.abs_diff(delay) <= PEAK_HOPS => known.delay = delay,
            Some(known)
                if self.estimator.correlation_at(known.delay) + PEAK_MARGIN
                    > self.estimator.best_correlation() => {}
            _ => self.start_path(delay),
        }
    }

    /// Starts a path model at `delay`, trained on the near-end history, which was echo already.
    fn start_path(&mut self, delay: usize) {
        let mut path = EchoPathModel::new(delay);
        let remembered = self.hops.min(HISTORY_HOPS);
        // First pass: the loudest render level. Second pass: learn relative to it.
        for learns in [false, true] {
            path.clear_ringing();
            for hop in self.hops - remembered..self.hops {
                let (row, near) = &self.history[hop % HISTORY_HOPS];
                path.step(&self.render, *row);
                if learns {
                    path.learn(&in_db(near), &self.noise_floor);
                    path.measure_level(near, &self.render, *row);
                }
            }
        }
        self.path = Some(path);
        (self.excess, self.speech) = (0.0, 0);
    }

    /// Replaces an echo by comfort noise at the level of the noise floor, with fades at both ends.
    ///
    /// Silence would not do: an energy-based speech detector would take the noise of the room for
    /// speech when it came back.
    fn write(&mut self, block: &mut [i16], echo: bool) {
        self.echo = echo;
        if !echo && self.faded == 0 {
            return;
        }
        let noise = match self.noise_floor.total() {
            power if power < MIN_NOISE_POWER => 0.0,
            // Uniform numbers up to 1 have a power of 1/3.
            power => (3.0 * power).sqrt(),
        };
        let last = self.fade.len() - 1;
        for y in block {
            self.faded = if echo {
                (self.faded + 1).min(last)
            } else if self.faded == 0 {
                return;
            } else {
                self.faded - 1
            };
            let gain = self.fade[self.faded];
            let sample = gain * y.to_unit() + (1.0 - gain) * noise * self.random();
            *y = i16::from_unit(sample);
        }
    }

    /// Returns a random number from -1 to 1.
    ///
    /// A xorshift generator (G. Marsaglia, J. Stat. Software 8 (14), 2003).
    fn random(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random as i32 as f32 * (1.0 / 2_147_483_648.0)
    }
}

fn in_db(power: &Bands) -> Bands {
    let mut db = *power;
    for x in &mut db {
        *x = decibels(*x);
    }
    db
}

impl fmt::Debug for EchoSuppressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoSuppressor")
            .field("echo", &self.echo)
            .field("delay_ms", &self.delay_ms())
            .field("level_db", &self.level_db())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds chunks of 20 ms with the given lateness; returns the start of the stream.
    fn start(clock: &mut Clock, begin: f64, late: impl Fn(u64) -> f64, chunks: u64) -> f64 {
        for k in 0..chunks {
            clock.arrive(begin + clock.samples as f64 / clock.rate + late(k));
            clock.samples += 320;
        }
        clock.start()
    }

    #[test]
    fn jitter_is_evened_out() {
        let mut clock = Clock::new(16_000);
        let jitter = |k: u64| 0.04 * ((k * 7_919) % 101) as f64 / 101.0;
        for _ in 0..20 {
            let start = start(&mut clock, 5.0, jitter, 70);
            assert!((4.999..5.003).contains(&start), "{start}");
        }
    }

    #[test]
    fn a_stall_moves_nothing_and_what_was_lost_does() {
        let mut clock = Clock::new(16_000);
        start(&mut clock, 5.0, |_| 0.0, 100);
        // A stall of 0.4 s, then everything at once.
        let stalled = start(&mut clock, 5.0, |k| 0.02 * (20 - k) as f64, 20);
        assert_eq!(stalled, 5.0);
        // 0.3 s were lost.
        let lost = start(&mut clock, 5.3, |_| 0.0, 160);
        assert!((lost - 5.3).abs() < 1e-9, "{lost}");
    }

    #[test]
    fn a_pause_is_followed_at_once() {
        let mut clock = Clock::new(16_000);
        start(&mut clock, 5.0, |_| 0.0, 100);
        assert_eq!(start(&mut clock, 7.5, |_| 0.0, 1), 7.5);
    }
}
