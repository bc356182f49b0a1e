//! Model of the echo path: predicts the level of the echo in each band.
//!
//! Whatever exceeds the prediction is more than echo.

use super::bands::{BANDS, Bands, ZEROS, decibels, flush};
use super::noise_floor::{MIN_BAND_POWER, NoiseFloor};
use super::render::RenderHistory;

/// Window around the delay in which the echo may come, in hops before and after it.
///
/// Clocks, buffers and the hop grid move the echo by this much. Later sound is ringing.
const EARLY_WINDOW_HOPS: i64 = 3;
const LATE_WINDOW_HOPS: i64 = 2;
/// Early window at the onset of a talk spurt: the first 0.5 s after a pause of 0.2 s.
///
/// It is wider than [`EARLY_WINDOW_HOPS`] because jitter buffers adapt in pauses.
const EARLY_WINDOW_ONSET_HOPS: i64 = 6;
const ONSET_HOPS: u32 = 50;
const PAUSE_HOPS: u32 = 20;
/// Decay of reverberation per hop, as a power ratio: -1.3 dB, a reverberation time of 0.46 s.
const RINGING: f32 = 0.741;
/// Share of the total power that distortion and filter skirts leak into every band: -30 dB.
const LEAKAGE: f32 = 1e-3;
/// Rates at which an edge follows the level per hop: up 1/4 of the distance, down 1/667.
///
/// The model tracks the upper edge of the measured levels, because the echo suppressor of a client
/// lets through a varying part of the echo.
const ATTACK: f32 = 0.25;
const RELEASE: f32 = 0.0015;
/// Faster release, for an echo that is gone or will not be as loud again.
///
/// It applies when, for 0.5 s, more than three in four bands with an audible expected echo have
/// been [`FAR_BELOW_DB`] under their edges or at the noise floor.
const FAR_BELOW_DB: f32 = 15.0;
const BELOW_HOPS: u32 = 50;
const RELEASE_FAST: f32 = 0.02;
/// Rates of a rise while the level exceeds the model but the delay correlates like an echo.
///
/// In a hop with the spectral shape of the echo; in any other hop; and added to both while the
/// model is new (about one second, by [`RAISE_NEW_SMOOTHING`]).
const RAISE_FITTING: f32 = 0.15;
const RAISE: f32 = 0.01;
const RAISE_NEW: f32 = 0.2;
const RAISE_NEW_SMOOTHING: f32 = 0.99;
/// Deviation of the bands from their mean distance below which a hop has the shape of the echo.
///
/// Half of the hops of an echo whose level has changed are below it, and a tenth of the hops with
/// another voice.
const FITTING_DB: f32 = 5.0;
/// Range below the loudest recent level within which a band teaches the model and has a shape.
const RANGE_DB: f32 = 25.0;
/// Decay of the loudest level per hop: 2 dB per second.
const LOUDEST_DECAY_DB: f32 = 0.02;
/// Margins over the expected echo: of every band, and added for a band not yet learned.
const MARGIN_DB: f32 = 5.0;
const UNLEARNED_MARGIN_DB: f32 = 8.0;
/// Number of hops after which a band is learned.
const LEARNED_HOPS: f32 = 10.0;
/// Range of a band of background noise above its floor, in windows of 20 ms.
const NOISE_DB: f32 = 5.0;
/// Least number of bands in which an echo has to be audible, and that a shape needs.
const AUDIBLE_BANDS: u32 = 4;
/// Smoothing factor of the energies of echo and render signal per hop: a memory of two seconds.
const LEVEL_SMOOTHING: f32 = 0.995;

/// Echo path at one delay: the level of the echo relative to the render signal, per band.
#[derive(Debug, Clone)]
pub(super) struct EchoPathModel {
    /// Delay in hops.
    pub(super) delay: usize,
    /// Upper edge of echo over render level in each band, in dB; None before the first.
    edges: [Option<f32>; BANDS],
    /// Hops from which each band has learned, up to [`LEARNED_HOPS`].
    learned_hops: Bands,
    /// Mean of the edges.
    mean_edge: f32,
    /// Render power that may come back in this hop; the same in dB; and its decaying maximum.
    played: Bands,
    played_db: Bands,
    loudest_db: Bands,
    /// Hops since the last sound, up to a pause, and remaining hops of the onset.
    silent: u32,
    onset: u32,
    /// Consecutive hops far below the edges.
    far_below: u32,
    /// Remaining part of [`RAISE_NEW`].
    raise_new: f32,
    /// Smoothed energies of the echo, and of the render signal that caused it.
    echo: f32,
    source: f32,
}

/// Result of comparing the near end with the expected echo.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Comparison {
    /// Excess over the expected echo in dB, summed over the bands.
    pub(super) excess: f32,
    /// True if the expected echo exceeds the noise floor in some band.
    pub(super) audible: bool,
    /// Mean distance from the edges in dB, if the near end has the spectral shape of the echo.
    pub(super) fit: Option<f32>,
}

impl EchoPathModel {
    pub(super) fn new(delay: usize) -> Self {
        Self {
            delay,
            edges: [None; BANDS],
            learned_hops: ZEROS,
            mean_edge: 0.0,
            played: ZEROS,
            played_db: [f32::MIN; BANDS],
            loudest_db: [f32::MIN; BANDS],
            silent: PAUSE_HOPS,
            onset: 0,
            far_below: 0,
            raise_new: RAISE_NEW,
            echo: 0.0,
            source: 0.0,
        }
    }

    /// Lists every value that a step computes from its own last value.
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

    /// Forgets the reverberation of earlier hops.
    pub(super) fn clear_ringing(&mut self) {
        self.played = ZEROS;
    }

    /// Advances to the hop that began with `row`.
    pub(super) fn step(&mut self, render: &RenderHistory, row: i64) {
        let row = row - self.delay as i64;
        if render.is_silent(row + EARLY_WINDOW_ONSET_HOPS) {
            self.silent = (self.silent + 1).min(PAUSE_HOPS);
        } else {
            if self.silent == PAUSE_HOPS {
                self.onset = ONSET_HOPS;
            }
            self.silent = 0;
        }
        let early = match self.onset {
            0 => EARLY_WINDOW_HOPS,
            _ => EARLY_WINDOW_ONSET_HOPS,
        };
        self.onset = self.onset.saturating_sub(1);
        let mut most = ZEROS;
        for row in row - LATE_WINDOW_HOPS..=row + early {
            for (most, power) in most.iter_mut().zip(render.window(row)) {
                *most = most.max(power);
            }
        }
        let leakage = LEAKAGE * most.iter().sum::<f32>();
        for (b, most) in most.into_iter().enumerate() {
            self.played[b] = flush((most + leakage).max(RINGING * self.played[b]));
            self.played_db[b] = decibels(self.played[b]);
            self.loudest_db[b] = self.played_db[b].max(self.loudest_db[b] - LOUDEST_DECAY_DB);
        }
    }

    /// Compares the near end, in dB per band, with the expected echo of this hop.
    pub(super) fn compare(&self, near: &Bands, noise_floor: &NoiseFloor) -> Comparison {
        let mut comparison = Comparison::default();
        let (mut n, mut sum, mut square) = (0, 0.0, 0.0);
        for (b, &floor) in noise_floor.db().iter().enumerate() {
            let echo = self.played_db[b] + self.edges[b].unwrap_or(self.mean_edge);
            let margin = UNLEARNED_MARGIN_DB * (1.0 - self.learned_hops[b] / LEARNED_HOPS);
            let bar = (echo + margin).max(floor + NOISE_DB) + MARGIN_DB;
            comparison.excess += (near[b] - bar).max(0.0);
            comparison.audible |= echo + NOISE_DB > floor;
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
            comparison.fit = (deviation < FITTING_DB * FITTING_DB).then_some(mean);
        }
        comparison
    }

    /// Learns from a hop that is an echo and does not exceed the model.
    pub(super) fn learn(&mut self, near: &Bands, noise_floor: &NoiseFloor) {
        let down = if self.far_below < BELOW_HOPS {
            RELEASE
        } else {
            RELEASE_FAST
        };
        let (mut audible, mut far_below) = (0, 0);
        self.update(near, noise_floor, |distance, expected, heard| {
            if expected {
                audible += 1;
                far_below += u32::from(!heard || distance < -FAR_BELOW_DB);
            }
            if distance > 0.0 {
                if heard { ATTACK } else { 0.0 }
            } else {
                down
            }
        });
        if audible >= AUDIBLE_BANDS {
            self.far_below = if 4 * far_below > 3 * audible {
                self.far_below + 1
            } else {
                0
            };
        }
    }

    /// Learns from a hop that exceeds the model while the delay still correlates like an echo.
    pub(super) fn raise(&mut self, near: &Bands, noise_floor: &NoiseFloor, comparison: Comparison) {
        let fitting = comparison.fit.is_some_and(|mean| mean > 0.0);
        let rate = self.raise_new + if fitting { RAISE_FITTING } else { RAISE };
        self.update(near, noise_floor, |distance, _, heard| {
            if distance > 0.0 && heard { rate } else { 0.0 }
        });
    }

    /// Moves each edge by a share of its distance from the measured level.
    ///
    /// `rate` returns that share for the distance in dB, whether the expected echo exceeds the
    /// noise floor in the band, and whether the near end does.
    fn update(
        &mut self,
        near: &Bands,
        noise_floor: &NoiseFloor,
        mut rate: impl FnMut(f32, bool, bool) -> f32,
    ) {
        let least_db = decibels(MIN_BAND_POWER);
        self.raise_new = flush(RAISE_NEW_SMOOTHING * self.raise_new);
        let (mut n, mut sum) = (0, 0.0);
        for (b, &floor) in noise_floor.db().iter().enumerate() {
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
                    self.learned_hops[b] = (self.learned_hops[b] + 1.0).min(LEARNED_HOPS);
                }
                n += 1;
                sum += edge;
            }
        }
        if n > 0 {
            self.mean_edge = sum / n as f32;
        }
    }

    /// Updates the energies of echo and render signal with the near end's power.
    pub(super) fn measure_level(&mut self, near: &Bands, render: &RenderHistory, row: i64) {
        let played = render.window(row - self.delay as i64);
        self.echo = flush(LEVEL_SMOOTHING * self.echo + near.iter().sum::<f32>());
        self.source = flush(LEVEL_SMOOTHING * self.source + played.iter().sum::<f32>());
    }

    /// Returns the level of the echo relative to the render signal, in dB.
    pub(super) fn level(&self) -> f32 {
        decibels((self.echo + 1e-12) / (self.source + 1e-12))
    }

    /// Returns true if the recent render signal would be audible as an echo over the noise floor.
    pub(super) fn audible(&self, noise_floor: &NoiseFloor) -> bool {
        let audible = (0..BANDS).filter(|&b| {
            let echo = self.edges[b].map(|edge| self.loudest_db[b] + edge);
            echo.is_some_and(|db| db > noise_floor.db()[b] + NOISE_DB)
        });
        audible.count() >= AUDIBLE_BANDS as usize
    }
}
