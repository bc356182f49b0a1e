//! Estimation of the echo delay, by correlating render and near-end modulations.

use super::bands::{BANDS, Bands, ZEROS, flush};
use super::render::RenderHistory;
use crate::simd::{Level, on};

/// Hops per estimation step: adjacent windows of 20 ms. One step per hop finds no echo earlier.
pub(super) const STEP: i64 = 2;
/// Smoothing factor of the correlation sums per step: a memory of one second of playback.
///
/// No step is made, and so nothing is forgotten, while nothing is played.
const CORRELATION_SMOOTHING: f32 = 0.98;
/// Number of delays processed together.
const BLOCK: usize = 16;
/// Half width of a correlation peak in hops: delays this close belong to the same peak.
pub(super) const PEAK_HOPS: usize = 5;
/// Margin in correlation over the delays outside of the peak, and over the current delay.
pub(super) const PEAK_MARGIN: f32 = 0.1;
/// Consecutive steps for which a delay has to be the best before it is confirmed.
const CONFIRM_STEPS: u32 = 2;

/// Least correlation of an echo with little evidence: 0.9 with the modulation of 100 ms.
///
/// The threshold falls by 0.02 with each further hop of evidence, down to 0.6. Two unrelated voices
/// correlate by chance at the best of a hundred delays, the less the longer they are heard. In 8 h
/// of two people who speak at the same time, who began 2880 times, no pair reached the threshold.
/// With a threshold that begins at 0.8, 1 of 870 reached it soon after the beginning; with one that
/// ends at 0.5, 3 of 870 did later on.
const MIN_CORRELATION: f32 = 0.9;
const MIN_CORRELATION_HOPS: f32 = 10.0;
const MIN_CORRELATION_SLOPE: f32 = 0.02;
const LEAST_MIN_CORRELATION: f32 = 0.6;

/// Correlation of the near end with the render signal at each delay, and its peak.
pub(super) struct EchoDelayEstimator {
    level: Level,
    delays: usize,
    /// `[block][band][delay]`: sums of render times near, and of the squares of the render signal.
    sums: Box<[[Sums; BANDS]]>,
    /// Sums of the squares of the near end, and of the render signal at delay 0.
    near: Bands,
    render: Bands,
    /// Correlation at each delay.
    correlations: Box<[f32]>,
    /// Smoothed sums of the power in all bands, and of its square.
    power: f32,
    square: f32,
    best: Peak,
    /// Consecutive steps for which the best delay has been convincing.
    run: u32,
    /// Block of the sums that was flushed last.
    flushed_block: usize,
}

#[derive(Debug, Clone, Copy)]
struct Sums {
    cross: [f32; BLOCK],
    square: [f32; BLOCK],
}

impl Sums {
    const ZEROS: Self = Self {
        cross: [0.0; BLOCK],
        square: [0.0; BLOCK],
    };
}

/// Correlation peak at the best delay.
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    delay: usize,
    correlation: f32,
    /// Largest correlation outside of this peak.
    second: f32,
}

impl EchoDelayEstimator {
    /// Makes an estimator for delays of 0 to `delays - 1` hops.
    pub(super) fn new(delays: usize) -> Self {
        let blocks = delays.div_ceil(BLOCK);
        Self {
            level: Level::detect().for_plain_code(),
            delays,
            sums: vec![[Sums::ZEROS; BANDS]; blocks].into(),
            near: ZEROS,
            render: ZEROS,
            correlations: vec![0.0; blocks * BLOCK].into(),
            power: 0.0,
            square: 0.0,
            best: Peak::default(),
            run: 0,
            flushed_block: 0,
        }
    }

    /// Forgets all correlations.
    pub(super) fn reset(&mut self) {
        self.sums.fill([Sums::ZEROS; BANDS]);
        (self.near, self.render) = (ZEROS, ZEROS);
        self.correlations.fill(0.0);
        (self.power, self.square) = (0.0, 0.0);
        (self.best, self.run) = (Peak::default(), 0);
    }

    /// Lists every sum and correlation.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let mut state = vec![("power", self.power), ("square", self.square)];
        for sums in self.sums.as_flattened() {
            state.extend(sums.cross.map(|x| ("cross", x)));
            state.extend(sums.square.map(|x| ("render square", x)));
        }
        state.extend(self.near.map(|x| ("near sum", x)));
        state.extend(self.render.map(|x| ("render sum", x)));
        state.extend(self.correlations.iter().map(|&x| ("correlation", x)));
        state
    }

    /// Returns the number of render rows that a step reads.
    pub(super) fn rows(&self) -> usize {
        self.correlations.len()
    }

    /// Takes the near-end modulation of the hop that began with `row`.
    pub(super) fn step(&mut self, near: &Bands, render: &RenderHistory, row: i64) {
        let mut power = 0.0;
        let mut total = 0.0;
        let mut weights = ZEROS;
        for b in 0..BANDS {
            let square = near[b] * near[b];
            let x = render.modulations(b, row, 1)[0];
            power += square;
            self.near[b] = flush(CORRELATION_SMOOTHING * self.near[b] + square);
            self.render[b] = flush(CORRELATION_SMOOTHING * self.render[b] + x * x);
            total += self.near[b];
            // Half-way between weighting bands by their level and weighting them equally: a
            // loudspeaker reproduces some bands louder than others.
            weights[b] = (self.near[b] / (self.render[b] + 1e-12)).sqrt().sqrt();
        }
        self.power = flush(CORRELATION_SMOOTHING * self.power + power);
        self.square = flush(CORRELATION_SMOOTHING * self.square + power * power);
        on!(self.level, _simd => self.correlate(near, &weights, total, render, row));
        self.flush_block();
        let before = self.best.delay;
        self.best = self.find();
        self.run = if !self.is_convincing(self.best) {
            0
        } else if self.best.delay.abs_diff(before) <= 1 {
            self.run + 1
        } else {
            1
        };
    }

    /// Flushes the sums of one block to zero if negligible; all blocks in turn, one per step.
    ///
    /// The sums decay by 2 % per step, and need 2600 steps to become subnormal.
    fn flush_block(&mut self) {
        self.flushed_block = (self.flushed_block + 1) % self.sums.len();
        for sums in &mut self.sums[self.flushed_block] {
            for i in 0..BLOCK {
                sums.cross[i] = flush(sums.cross[i]);
                sums.square[i] = flush(sums.square[i]);
            }
        }
    }

    #[inline(always)]
    fn correlate(
        &mut self,
        near: &Bands,
        weights: &Bands,
        total: f32,
        render: &RenderHistory,
        row: i64,
    ) {
        let blocks = self.correlations.chunks_exact_mut(BLOCK);
        for (k, (sums, out)) in self.sums.iter_mut().zip(blocks).enumerate() {
            let mut cross = [0.0; BLOCK];
            let mut square = [0.0; BLOCK];
            for (b, sums) in sums.iter_mut().enumerate() {
                let x: &[f32; BLOCK] = render
                    .modulations(b, row - (k * BLOCK) as i64, BLOCK)
                    .first_chunk()
                    .expect("as many as asked for");
                let (y, weight) = (near[b], weights[b]);
                for i in 0..BLOCK {
                    sums.cross[i] = CORRELATION_SMOOTHING * sums.cross[i] + x[i] * y;
                    sums.square[i] = CORRELATION_SMOOTHING * sums.square[i] + x[i] * x[i];
                    cross[i] += weight * sums.cross[i];
                    square[i] += weight * weight * sums.square[i];
                }
            }
            for i in 0..BLOCK {
                out[i] = cross[i] / ((square[i] + 1e-12) * (total + 1e-12)).sqrt();
            }
        }
    }

    fn find(&self) -> Peak {
        let correlations = &self.correlations[..self.delays];
        let mut best = Peak {
            correlation: f32::MIN,
            ..Peak::default()
        };
        for (delay, &correlation) in correlations.iter().enumerate() {
            if correlation > best.correlation {
                (best.delay, best.correlation) = (delay, correlation);
            }
        }
        let below = &correlations[..best.delay.saturating_sub(PEAK_HOPS)];
        let above = &correlations[(best.delay + PEAK_HOPS + 1).min(self.delays)..];
        best.second = below.iter().chain(above).copied().fold(0.0, f32::max);
        best
    }

    /// Returns true if the peak proves that the near end is an echo.
    fn is_convincing(&self, best: Peak) -> bool {
        let min_correlation = (MIN_CORRELATION
            - MIN_CORRELATION_SLOPE * (self.evidence() - MIN_CORRELATION_HOPS))
            .max(LEAST_MIN_CORRELATION);
        best.correlation > min_correlation && best.correlation > best.second + PEAK_MARGIN
    }

    /// Returns the evidence: the effective number of hops in which the near end was modulated.
    ///
    /// For power spread evenly over n hops, the square of its sum over the sum of its squares is n.
    pub(super) fn evidence(&self) -> f32 {
        STEP as f32 * self.power * self.power / (self.square + 1e-20)
    }

    /// Returns the delay that has been convincing for [`CONFIRM_STEPS`] steps, in hops.
    pub(super) fn confirmed_delay(&self) -> Option<usize> {
        (self.run >= CONFIRM_STEPS).then_some(self.best.delay)
    }

    /// Returns the largest correlation.
    pub(super) fn best_correlation(&self) -> f32 {
        self.best.correlation
    }

    /// Returns the largest correlation at a delay and its two neighbours.
    pub(super) fn correlation_at(&self, delay: usize) -> f32 {
        let around = &self.correlations[delay.saturating_sub(1)..(delay + 2).min(self.delays)];
        around.iter().copied().fold(f32::MIN, f32::max)
    }
}
