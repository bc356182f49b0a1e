//! What an echo sounds like, and what is more than that.

use super::background::{Background, LEAST};
use super::bands::{BANDS, Bands, NOTHING, decibels, flush};
use super::far::FarEnd;

/// So many hops earlier and later than its delay an echo may come: clocks, buffers and the grid of
/// the hops move it by as much. What is later still is ringing.
const EARLY: i64 = 3;
const LATE: i64 = 2;
/// At the beginning of a run of speech, for half a second after a pause of 0.2 s, it may come this
/// much earlier: jitter buffers adapt in pauses.
const EARLY_AT_FIRST: i64 = 6;
const FIRST_HOPS: u32 = 50;
const PAUSE_HOPS: u32 = 20;
/// What is left of a ringing echo after a hop, as a factor of power: 1.3 dB less, a reverberation
/// time of 0.46 s.
const RINGING: f32 = 0.741;
/// What distortion, and the skirts of the filters, give to each band of the power in all: -30 dB.
const SPILL: f32 = 1e-3;
/// The coupling follows the upper edge of what is measured: up by a quarter of the distance in a
/// hop, down by a six-hundredth. The echo suppressor of a client lets through now more, now less.
const UP: f32 = 0.25;
const DOWN: f32 = 0.0015;
/// Unless three of four bands in which it could be heard have been far below for half a second, or
/// not heard at all: then it is gone, or will not be so loud again.
const FAR_BELOW_DB: f32 = 15.0;
const BELOW_HOPS: u32 = 50;
const DOWN_FAST: f32 = 0.02;
/// Up, while it is more than was expected and known to be an echo: in a hop that has the shape of
/// one, in any other, and additionally while the coupling is new (for about a second).
const RAISE_FITTING: f32 = 0.15;
const RAISE: f32 = 0.01;
const RAISE_NEW: f32 = 0.2;
const NEW_KEEP: f32 = 0.99;
/// A hop has the shape of the echo if the bands deviate by less than this from their mean distance.
/// Half of the hops of an echo whose level has changed do, a tenth of those with another voice.
const FITTING_DB: f32 = 5.0;
/// What is farther below the loudest says nothing about the coupling, nor of the shape.
const RANGE_DB: f32 = 25.0;
/// The loudest is forgotten at 2 dB per second.
const FORGET_DB: f32 = 0.02;
/// By how much a band must exceed the echo to count, and by how much more while it is not known.
const MARGIN_DB: f32 = 5.0;
const DOUBT_DB: f32 = 8.0;
/// Hops after which a band is known.
const KNOWN_HOPS: f32 = 10.0;
/// How far a band of the background may be above its mean, in 20 ms.
const NOISE_DB: f32 = 5.0;
/// An echo that can be heard in fewer bands is none, and has no shape.
const AUDIBLE_BANDS: u32 = 4;
/// What is kept of the energies of echo and far end in a hop: a memory of two seconds.
const KEEP: f32 = 0.995;

/// A delay, and what comes back after it.
#[derive(Debug, Clone)]
pub(super) struct Coupling {
    /// In hops.
    pub(super) delay: usize,
    /// Upper edge of echo to far end in each band, in dB. None where nothing is known.
    edges: [Option<f32>; BANDS],
    /// Hops of knowledge about each band, up to [`KNOWN_HOPS`].
    known: Bands,
    /// Mean of the edges.
    mean_edge: f32,
    /// Power of what may come back now, as it was played; in dB; and the loudest of late.
    played: Bands,
    played_db: Bands,
    loudest_db: Bands,
    /// Hops since the last sound, up to a pause, and hops that are left of the beginning of a run.
    silent: u32,
    first: u32,
    /// Hops in a row far below the edges.
    below: u32,
    /// What is left of [`RAISE_NEW`].
    raise_new: f32,
    /// Energies of the echo, and of what was played for it.
    echo: f32,
    source: f32,
}

/// What the near end is beside the echo that is expected.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Verdict {
    /// What exceeds it, in dB, summed over the bands.
    pub(super) excess: f32,
    /// An echo could be heard over the background.
    pub(super) audible: bool,
    /// Mean distance from the edges if the near end has the shape of the echo.
    pub(super) fit: Option<f32>,
}

impl Coupling {
    pub(super) fn new(delay: usize) -> Self {
        Self {
            delay,
            edges: [None; BANDS],
            known: NOTHING,
            mean_edge: 0.0,
            played: NOTHING,
            played_db: [f32::MIN; BANDS],
            loudest_db: [f32::MIN; BANDS],
            silent: PAUSE_HOPS,
            first: 0,
            below: 0,
            raise_new: RAISE_NEW,
            echo: 0.0,
            source: 0.0,
        }
    }

    /// Lists every number that a step makes from its own last value.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let mut state = vec![
            ("raise", self.raise_new),
            ("echo", self.echo),
            ("source", self.source),
            ("edge", self.mean_edge),
        ];
        state.extend(self.played.map(|x| ("played", x)));
        state.extend(self.played_db.map(|x| ("played, dB", x)));
        state.extend(self.loudest_db.map(|x| ("loudest, dB", x)));
        state.extend(self.edges.iter().flatten().map(|&x| ("edge", x)));
        state
    }

    /// Forgets what is ringing.
    pub(super) fn quiet(&mut self) {
        self.played = NOTHING;
    }

    /// Goes on to the hop that began with `row`.
    pub(super) fn step(&mut self, far: &FarEnd, row: i64) {
        let row = row - self.delay as i64;
        if far.is_silent(row + EARLY_AT_FIRST) {
            self.silent = (self.silent + 1).min(PAUSE_HOPS);
        } else {
            if self.silent == PAUSE_HOPS {
                self.first = FIRST_HOPS;
            }
            self.silent = 0;
        }
        let early = match self.first {
            0 => EARLY,
            _ => EARLY_AT_FIRST,
        };
        self.first = self.first.saturating_sub(1);
        let mut most = NOTHING;
        for row in row - LATE..=row + early {
            for (most, power) in most.iter_mut().zip(far.window(row)) {
                *most = most.max(power);
            }
        }
        let spill = SPILL * most.iter().sum::<f32>();
        for (b, most) in most.into_iter().enumerate() {
            self.played[b] = flush((most + spill).max(RINGING * self.played[b]));
            self.played_db[b] = decibels(self.played[b]);
            self.loudest_db[b] = self.played_db[b].max(self.loudest_db[b] - FORGET_DB);
        }
    }

    /// What the near end, in dB, is beside the echo of this hop.
    pub(super) fn judge(&self, near: &Bands, background: &Background) -> Verdict {
        let mut verdict = Verdict::default();
        let (mut n, mut sum, mut square) = (0, 0.0, 0.0);
        for (b, &floor) in background.db().iter().enumerate() {
            let echo = self.played_db[b] + self.edges[b].unwrap_or(self.mean_edge);
            let doubt = DOUBT_DB * (1.0 - self.known[b] / KNOWN_HOPS);
            let bar = (echo + doubt).max(floor + NOISE_DB) + MARGIN_DB;
            verdict.excess += (near[b] - bar).max(0.0);
            verdict.audible |= echo + NOISE_DB > floor;
            let strong = self.played_db[b] > self.loudest_db[b] - RANGE_DB;
            if self.edges[b].is_some() && strong && echo > floor + NOISE_DB {
                let distance = (near[b].max(floor) - echo).clamp(-30.0, 30.0);
                n += 1;
                sum += distance;
                square += distance * distance;
            }
        }
        if n >= AUDIBLE_BANDS {
            let mean = sum / n as f32;
            let deviation = square / n as f32 - mean * mean;
            verdict.fit = (deviation < FITTING_DB * FITTING_DB).then_some(mean);
        }
        verdict
    }

    /// Learns from a hop that is an echo, and not more than was expected.
    pub(super) fn learn(&mut self, near: &Bands, background: &Background) {
        let down = if self.below < BELOW_HOPS {
            DOWN
        } else {
            DOWN_FAST
        };
        let (mut audible, mut below) = (0, 0);
        self.update(near, background, |distance, expected, heard| {
            if expected {
                audible += 1;
                below += u32::from(!heard || distance < -FAR_BELOW_DB);
            }
            if distance > 0.0 {
                if heard { UP } else { 0.0 }
            } else {
                down
            }
        });
        if audible >= AUDIBLE_BANDS {
            self.below = if 4 * below > 3 * audible {
                self.below + 1
            } else {
                0
            };
        }
    }

    /// Learns from a hop that is more than was expected, in a stretch that is an echo all the same.
    pub(super) fn raise(&mut self, near: &Bands, background: &Background, verdict: Verdict) {
        let fitting = verdict.fit.is_some_and(|mean| mean > 0.0);
        let rate = self.raise_new + if fitting { RAISE_FITTING } else { RAISE };
        self.update(near, background, |distance, _, heard| {
            if distance > 0.0 && heard { rate } else { 0.0 }
        });
    }

    /// Moves the edges by the part of their distance that `rate` gives for it, for whether the echo
    /// can be heard in that band, and for whether the near end is.
    fn update(
        &mut self,
        near: &Bands,
        background: &Background,
        mut rate: impl FnMut(f32, bool, bool) -> f32,
    ) {
        let least_db = decibels(LEAST);
        self.raise_new = flush(NEW_KEEP * self.raise_new);
        let (mut n, mut sum) = (0, 0.0);
        for (b, &floor) in background.db().iter().enumerate() {
            let weak = self.played_db[b] < (self.loudest_db[b] - RANGE_DB).max(least_db);
            let heard = near[b] > floor + NOISE_DB;
            let ratio = near[b].max(floor) - self.played_db[b];
            self.edges[b] = match self.edges[b] {
                edge if weak => edge,
                None if heard => Some(ratio),
                None => None,
                Some(edge) => {
                    let distance = ratio - edge;
                    let expected = self.played_db[b] + edge > floor + NOISE_DB;
                    let rate = rate(distance, expected, heard);
                    Some(edge + rate * distance.clamp(-40.0, 20.0))
                }
            };
            if let Some(edge) = self.edges[b] {
                if !weak {
                    self.known[b] = (self.known[b] + 1.0).min(KNOWN_HOPS);
                }
                n += 1;
                sum += edge;
            }
        }
        if n > 0 {
            self.mean_edge = sum / n as f32;
        }
    }

    /// Takes note of how loud an echo is, from the near end's power.
    pub(super) fn weigh(&mut self, near: &Bands, far: &FarEnd, row: i64) {
        let played = far.window(row - self.delay as i64);
        self.echo = flush(KEEP * self.echo + near.iter().sum::<f32>());
        self.source = flush(KEEP * self.source + played.iter().sum::<f32>());
    }

    /// Echo relative to what is played, in dB.
    pub(super) fn level(&self) -> f32 {
        decibels((self.echo + 1e-12) / (self.source + 1e-12))
    }

    /// What was played of late could be heard as an echo over the background.
    pub(super) fn audible(&self, background: &Background) -> bool {
        let audible = (0..BANDS).filter(|&b| {
            let echo = self.edges[b].map(|edge| self.loudest_db[b] + edge);
            echo.is_some_and(|db| db > background.db()[b] + NOISE_DB)
        });
        audible.count() >= AUDIBLE_BANDS as usize
    }
}
