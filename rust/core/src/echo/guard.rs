//! What is done about an echo, in one participant's way in.

use std::f32::consts::PI;
use std::fmt;

use super::background::Background;
use super::bands::{Bands, FilterBank, Powers, decibels, flush};
use super::coupling::{Coupling, Verdict};
use super::delay::{DelaySearch, LEAD, PEAK, STEP};
use super::far::{FarEnd, Movement};
use super::{EchoReference, HOPS_PER_SECOND, delays};
use crate::pcm::Sample;
use crate::{FRAMES_PER_SECOND, ms_to_samples};

/// Length of the fade into an echo and out of it, in milliseconds.
const FADE_MS: u32 = 5;
/// Hops of the near end that are remembered, for the coupling at a new delay.
const HISTORY: usize = 64;
/// Hops after the last sound of the far end, beyond the longest delay, in which it may ring.
const RINGING_HOPS: i64 = 50;

/// Excess in dB from which a hop is not echo alone.
const EXCESS_DB: f32 = 10.0;
/// Somebody speaks when the excess, summed with a time constant of 60 ms, reaches this; and then
/// for 200 ms after the last such hop, so that soft sounds between loud ones stay.
const SPEECH_DB: f32 = 40.0;
const SPEECH_KEEP: f32 = 0.85;
const SPEECH_HOPS: u32 = 20;

/// Correlation, and hops of evidence, from which what is more than expected may be echo.
const STILL_ECHO: f32 = 0.6;
const STILL_ECHO_HOPS: f32 = 20.0;
/// The same with less evidence: what the coupling knows then is an onset, whose edges are too low when
/// the echo falls again, or is ducked. So near to a perfect copy is nobody who speaks over it.
const SURE_ECHO: f32 = 0.95;

/// Least power of the background that is put in the place of an echo, -66 dBFS: 4 dB above what the
/// background is at least, so that what is left of an echo in it is not written.
const LEAST_NOISE: f32 = 2.5e-7;

/// A piece that comes so much later than its samples say, in seconds, comes after a pause.
const PAUSE: f64 = 0.5;

/// When the samples of the near end arrive, by the clock of the reference.
///
/// They are one stream: sample by sample at their rate, whatever the jitter with which they come. A
/// piece can be late, but hardly early, so the earliest of the last one to two seconds tells the
/// time. It follows sound cards that are fast or slow, and audio that was lost.
#[derive(Debug)]
struct Clock {
    rate: f64,
    samples: u64,
    /// When the stream began, by the earliest piece: of this second and of the one before.
    earliest: f64,
    earlier: f64,
    /// `samples` where this second began.
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

    /// The next sample arrives at `at`.
    fn arrive(&mut self, at: f64) {
        let start = at - self.samples as f64 / self.rate;
        if start > self.start() + PAUSE {
            (self.earliest, self.earlier) = (f64::INFINITY, f64::INFINITY);
        }
        if (self.samples - self.second) as f64 >= self.rate {
            self.earlier = self.earliest;
            self.earliest = f64::INFINITY;
            self.second = self.samples;
        }
        self.earliest = self.earliest.min(start);
    }

    /// When the stream began; infinity before the first arrival.
    fn start(&self) -> f64 {
        self.earliest.min(self.earlier)
    }

    /// Time of the next sample, in hops.
    fn hops(&self) -> f64 {
        (self.start() + self.samples as f64 / self.rate) * f64::from(HOPS_PER_SECOND)
    }
}

/// Keeps the echo of a reference out of a stream.
pub(crate) struct EchoGuard {
    sample_rate: u32,
    clock: Clock,
    far: FarEnd,
    bank: FilterBank,
    search: DelaySearch,
    background: Background,
    /// None while no delay is known.
    coupling: Option<Coupling>,
    awake: Option<Awake>,
    /// Powers of the near end, with the rows of its hops, in a ring.
    history: Box<[(i64, Bands)]>,
    hops: usize,
    /// Excess of late, and hops for which somebody still speaks.
    excess: f32,
    speech: u32,
    /// The newest hop was echo, or would have been if there was any.
    echo_expected: bool,
    /// The newest block was echo.
    echo: bool,
    /// Gains of a fade, from 1 to 0, and how far it has gone.
    fade: Box<[f32]>,
    faded: usize,
    random: u32,
}

/// While something is played, or rings.
#[derive(Debug, Clone)]
struct Awake {
    /// Samples since then, and up to the end of the hop that is being filled.
    samples: u64,
    hop_end: u64,
    /// Hops since then.
    hops: i64,
    /// Row of the far end in which the first hop began.
    first_row: i64,
    /// The hop before.
    previous: Option<Powers>,
    movement: Movement,
}

impl EchoGuard {
    pub(crate) fn new(sample_rate: u32, reference: &EchoReference) -> Self {
        let search = DelaySearch::new(delays(reference.max_delay_ms()));
        let fade = ms_to_samples(FADE_MS, sample_rate);
        let gain = |i| 0.5 + 0.5 * (PI * i as f32 / fade as f32).cos();
        Self {
            sample_rate,
            clock: Clock::new(sample_rate),
            far: FarEnd::new(search.rows()),
            bank: FilterBank::new(sample_rate),
            search,
            background: Background::new(),
            coupling: None,
            awake: None,
            history: vec![(0, [0.0; _]); HISTORY].into(),
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

    /// The newest block was judged to be echo.
    pub(crate) fn echo(&self) -> bool {
        self.echo
    }

    pub(crate) fn delay_ms(&self) -> Option<f64> {
        let coupling = self.coupling.as_ref()?;
        Some(coupling.delay as f64 * 1000.0 / f64::from(HOPS_PER_SECOND))
    }

    pub(crate) fn level_db(&self) -> Option<f32> {
        self.coupling.as_ref().map(Coupling::level)
    }

    /// Lists every number that a step makes from its own last value.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let mut state = vec![("excess", self.excess)];
        state.extend(self.bank.state());
        state.extend(self.search.state());
        state.extend(self.far.state());
        state.extend(self.background.state());
        state.extend(self.coupling.iter().flat_map(Coupling::state));
        let movement = self.awake.iter().flat_map(|awake| awake.movement.state());
        state.extend(movement.map(|x| ("near movement", x)));
        state
    }

    #[cfg(test)]
    pub(crate) fn is_asleep(&self) -> bool {
        self.awake.is_none()
    }

    /// What comes next arrives at `at`, and this is what was played up to then.
    pub(crate) fn arrive(&mut self, reference: &EchoReference, at: f64) {
        self.far.follow(reference);
        self.clock.arrive(at);
    }

    /// Takes the next samples; silences those that are echo.
    pub(crate) fn guard(&mut self, wire: &mut [i16]) {
        if !self.wakes() {
            self.clock.samples += wire.len() as u64;
            return self.write(wire, false);
        }
        for block in wire.chunks_mut(self.sample_rate.div_ceil(FRAMES_PER_SECOND) as usize) {
            let passes = self.listen(block);
            self.write(block, !passes);
        }
    }

    /// Goes past samples that are left alone.
    pub(crate) fn skip(&mut self, samples: usize) {
        self.clock.samples += samples as u64;
        self.awake = None;
        (self.echo, self.faded) = (false, 0);
    }

    /// True while there can be an echo.
    fn wakes(&mut self) -> bool {
        let now = self.clock.hops();
        let heard = now - self.far.active() as f64;
        if heard > (self.search.rows() as i64 + RINGING_HOPS) as f64 {
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
                movement: Movement::settled(&Powers::SILENCE.bands),
            });
        }
        true
    }

    /// Samples up to the end of a hop.
    fn hop_end(&self, hop: i64) -> u64 {
        (hop as u64 + 1) * u64::from(self.sample_rate) / u64::from(HOPS_PER_SECOND)
    }

    /// Listens to a block; true if it must not be silenced.
    fn listen(&mut self, mut block: &[i16]) -> bool {
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
                self.look_ahead()
            };
        }
        passes
    }

    /// What is known of a hop that has not ended; true if the block must not be silenced.
    fn look_ahead(&self) -> bool {
        let Some(coupling) = &self.coupling else {
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
        let verdict = coupling.judge(&in_db(&near.bands), &self.background);
        self.passes(verdict)
    }

    /// Ends a hop; true if the block must not be silenced.
    fn end_hop(&mut self) -> bool {
        let powers = self.bank.take();
        let next_end = self.hop_end(self.awake.as_ref().map_or(0, |awake| awake.hops + 1));
        let now = self.clock.hops();
        let Some(awake) = &mut self.awake else {
            return true;
        };
        // The grid follows the clock, but not every breath of it.
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
                awake.movement = Movement::settled(&powers.bands);
                powers
            }
        };
        let movement = awake.movement.next(&near.bands);
        self.far.describe(row);
        if awake.hops % STEP == 0 {
            self.search.step(&movement, &self.far, row);
        }
        self.background.step(&near, !self.echo_expected);
        self.echo_expected = false;
        let near_db = in_db(&near.bands);
        self.history[self.hops % HISTORY] = (row, near.bands);
        self.hops += 1;

        self.follow_delay();
        let Some(coupling) = &mut self.coupling else {
            return true;
        };
        coupling.step(&self.far, row);
        let verdict = coupling.judge(&near_db, &self.background);
        let correlation = self.search.correlation_at(coupling.delay);
        let evidence = self.search.evidence();
        let sure = correlation > SURE_ECHO && evidence <= STILL_ECHO_HOPS;
        let more = verdict.excess > EXCESS_DB;
        self.excess = flush(SPEECH_KEEP * self.excess + verdict.excess);
        self.speech = if more && !sure && self.excess > SPEECH_DB {
            SPEECH_HOPS
        } else {
            self.speech.saturating_sub(1)
        };
        if !more && self.speech == 0 {
            coupling.learn(&near_db, &self.background);
            self.echo_expected = verdict.audible;
            if verdict.audible {
                coupling.weigh(&near.bands, &self.far, row);
            }
        } else if sure || (correlation > STILL_ECHO && evidence > STILL_ECHO_HOPS) {
            coupling.raise(&near_db, &self.background, verdict);
        }
        if !coupling.audible(&self.background) {
            self.coupling = None;
            self.search.forget();
            return true;
        }
        self.passes(verdict)
    }

    fn passes(&self, verdict: Verdict) -> bool {
        self.speech > 0 || verdict.excess > EXCESS_DB || !verdict.audible
    }

    /// Takes the delay that the search has found, if there is one.
    ///
    /// Within a peak of the known one, that just moves; another one has to correlate better.
    fn follow_delay(&mut self) {
        let Some(delay) = self.search.certain() else {
            return;
        };
        match &mut self.coupling {
            Some(known) if known.delay.abs_diff(delay) <= PEAK => known.delay = delay,
            Some(known)
                if self.search.correlation_at(known.delay) + LEAD
                    > self.search.best_correlation() => {}
            _ => self.couple(delay),
        }
    }

    /// Begins with a delay: what is remembered of the near end was an echo already.
    fn couple(&mut self, delay: usize) {
        let mut coupling = Coupling::new(delay);
        let remembered = self.hops.min(HISTORY);
        // First how loud it gets, then what that says.
        for learns in [false, true] {
            coupling.quiet();
            for hop in self.hops - remembered..self.hops {
                let (row, near) = &self.history[hop % HISTORY];
                coupling.step(&self.far, *row);
                if learns {
                    coupling.learn(&in_db(near), &self.background);
                    coupling.weigh(near, &self.far, *row);
                }
            }
        }
        self.coupling = Some(coupling);
        (self.excess, self.speech) = (0.0, 0);
    }

    /// Puts the background in the place of an echo, with a fade at its ends.
    ///
    /// The background, and not silence: a detector of speech that goes by energy would take the
    /// noise of the room for speech when it came back.
    fn write(&mut self, block: &mut [i16], echo: bool) {
        self.echo = echo;
        if !echo && self.faded == 0 {
            return;
        }
        let noise = match self.background.total() {
            power if power < LEAST_NOISE => 0.0,
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

    /// A number from -1 to 1, by a xorshift generator (G. Marsaglia, J. Stat. Software 8 (14),
    /// 2003).
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

impl fmt::Debug for EchoGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoGuard")
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

    /// Pieces of 20 ms, each so late; when the stream began, by its clock.
    fn start(clock: &mut Clock, begin: f64, late: impl Fn(u64) -> f64, pieces: u64) -> f64 {
        for k in 0..pieces {
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
        // Nothing for 0.4 s, then everything at once.
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
