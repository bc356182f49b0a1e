//! The search for the delay.

use super::bands::{BANDS, Bands, NOTHING, flush};
use super::far::FarEnd;
use crate::simd::{Level, on};

/// Hops of a step: windows of 20 ms side by side. A step with every hop finds nothing earlier.
pub(super) const STEP: i64 = 2;
/// What is kept of the past in a step: a memory of one second. It stands still while nothing is
/// played.
const KEEP: f32 = 0.98;
/// Delays that are worked on together.
const BLOCK: usize = 16;
/// Delays within so many hops belong to one peak.
pub(super) const PEAK: usize = 5;
/// By how much a delay must exceed those outside of its peak, and the one that is known.
pub(super) const LEAD: f32 = 0.1;
/// Steps in a row that a delay has to be the best.
const PATIENCE: u32 = 2;

/// The bar for a correlation, by the evidence: 0.9 with the movement of 100 ms, less by 0.02 with each
/// hop more, down to 0.6.
///
/// Two voices that have nothing to do with each other are alike by chance at the best of a hundred
/// delays, the less so the longer they are heard. In 8 h of two people who speak at the same time, who
/// began 2880 times, none were alike enough. With a bar that begins at 0.8, 1 of 870 were soon after
/// the beginning; with one that ends at 0.5, 3 of 870 were later on.
const BAR: f32 = 0.9;
const BAR_HOPS: f32 = 10.0;
const BAR_SLOPE: f32 = 0.02;
const LEAST_BAR: f32 = 0.6;

/// For each delay: how much the near end moves as the far end did so long ago.
pub(super) struct DelaySearch {
    level: Level,
    delays: usize,
    /// `[block][band][delay]`: sums of far times near, and of the squares of the far end.
    sums: Box<[[Sums; BANDS]]>,
    /// Sums of the squares of the near end, and of the far end as it is now.
    near: Bands,
    far: Bands,
    /// For each delay.
    correlations: Box<[f32]>,
    /// Sums of the power in all bands, and of its square.
    power: f32,
    square: f32,
    best: Best,
    /// Steps in a row that the best delay has been good enough.
    run: u32,
    /// Block of the sums that was flushed last.
    settled: usize,
}

#[derive(Debug, Clone, Copy)]
struct Sums {
    cross: [f32; BLOCK],
    square: [f32; BLOCK],
}

impl Sums {
    const NOTHING: Self = Self {
        cross: [0.0; BLOCK],
        square: [0.0; BLOCK],
    };
}

/// The best delay.
#[derive(Debug, Clone, Copy, Default)]
struct Best {
    delay: usize,
    correlation: f32,
    /// The largest correlation outside of its peak.
    second: f32,
}

impl DelaySearch {
    /// For delays below `delays` hops.
    pub(super) fn new(delays: usize) -> Self {
        let blocks = delays.div_ceil(BLOCK);
        Self {
            level: Level::detect().for_plain_code(),
            delays,
            sums: vec![[Sums::NOTHING; BANDS]; blocks].into(),
            near: NOTHING,
            far: NOTHING,
            correlations: vec![0.0; blocks * BLOCK].into(),
            power: 0.0,
            square: 0.0,
            best: Best::default(),
            run: 0,
            settled: 0,
        }
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        self.sums.fill([Sums::NOTHING; BANDS]);
        (self.near, self.far) = (NOTHING, NOTHING);
        self.correlations.fill(0.0);
        (self.power, self.square) = (0.0, 0.0);
        (self.best, self.run) = (Best::default(), 0);
    }

    /// Lists the sums of the search.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let mut state = vec![("power", self.power), ("square", self.square)];
        for sums in self.sums.as_flattened() {
            state.extend(sums.cross.map(|x| ("cross", x)));
            state.extend(sums.square.map(|x| ("far square", x)));
        }
        state.extend(self.near.map(|x| ("near sum", x)));
        state.extend(self.far.map(|x| ("far sum", x)));
        state.extend(self.correlations.iter().map(|&x| ("correlation", x)));
        state
    }

    /// Rows of the far end that a step looks at.
    pub(super) fn rows(&self) -> usize {
        self.correlations.len()
    }

    /// Takes the movement of the near end in the hop that began with `row`.
    pub(super) fn step(&mut self, near: &Bands, far: &FarEnd, row: i64) {
        let mut power = 0.0;
        let mut total = 0.0;
        let mut weights = NOTHING;
        for b in 0..BANDS {
            let square = near[b] * near[b];
            let x = far.movements(b, row, 1)[0];
            power += square;
            self.near[b] = flush(KEEP * self.near[b] + square);
            self.far[b] = flush(KEEP * self.far[b] + x * x);
            total += self.near[b];
            // Half-way between bands as loud as they are and bands of equal weight: a loudspeaker
            // gives some of them more than others.
            weights[b] = (self.near[b] / (self.far[b] + 1e-12)).sqrt().sqrt();
        }
        self.power = flush(KEEP * self.power + power);
        self.square = flush(KEEP * self.square + power * power);
        on!(self.level, _simd => self.correlate(near, &weights, total, far, row));
        self.settle();
        let before = self.best.delay;
        self.best = self.find();
        self.run = if !self.convinces(self.best) {
            0
        } else if self.best.delay.abs_diff(before) <= 1 {
            self.run + 1
        } else {
            1
        };
    }

    /// Flushes the sums of one block; of all blocks in as many steps.
    ///
    /// The sums fall by 2 % in a step, and need 2600 steps to become subnormal.
    fn settle(&mut self) {
        self.settled = (self.settled + 1) % self.sums.len();
        for sums in &mut self.sums[self.settled] {
            for i in 0..BLOCK {
                sums.cross[i] = flush(sums.cross[i]);
                sums.square[i] = flush(sums.square[i]);
            }
        }
    }

    #[inline(always)]
    fn correlate(&mut self, near: &Bands, weights: &Bands, total: f32, far: &FarEnd, row: i64) {
        let blocks = self.correlations.chunks_exact_mut(BLOCK);
        for (k, (sums, out)) in self.sums.iter_mut().zip(blocks).enumerate() {
            let mut cross = [0.0; BLOCK];
            let mut square = [0.0; BLOCK];
            for (b, sums) in sums.iter_mut().enumerate() {
                let x: &[f32; BLOCK] = far
                    .movements(b, row - (k * BLOCK) as i64, BLOCK)
                    .first_chunk()
                    .expect("as many as asked for");
                let (y, weight) = (near[b], weights[b]);
                for i in 0..BLOCK {
                    sums.cross[i] = KEEP * sums.cross[i] + x[i] * y;
                    sums.square[i] = KEEP * sums.square[i] + x[i] * x[i];
                    cross[i] += weight * sums.cross[i];
                    square[i] += weight * weight * sums.square[i];
                }
            }
            for i in 0..BLOCK {
                out[i] = cross[i] / ((square[i] + 1e-12) * (total + 1e-12)).sqrt();
            }
        }
    }

    fn find(&self) -> Best {
        let correlations = &self.correlations[..self.delays];
        let mut best = Best {
            correlation: f32::MIN,
            ..Best::default()
        };
        for (delay, &correlation) in correlations.iter().enumerate() {
            if correlation > best.correlation {
                (best.delay, best.correlation) = (delay, correlation);
            }
        }
        let below = &correlations[..best.delay.saturating_sub(PEAK)];
        let above = &correlations[(best.delay + PEAK + 1).min(self.delays)..];
        best.second = below.iter().chain(above).copied().fold(0.0, f32::max);
        best
    }

    /// Beyond doubt, the near end is an echo.
    fn convinces(&self, best: Best) -> bool {
        let bar = (BAR - BAR_SLOPE * (self.evidence() - BAR_HOPS)).max(LEAST_BAR);
        best.correlation > bar && best.correlation > best.second + LEAD
    }

    /// In how many hops, as it were, the near end has moved: of power that is spread over n hops, n
    /// is the square of its sum over the sum of its squares.
    pub(super) fn evidence(&self) -> f32 {
        STEP as f32 * self.power * self.power / (self.square + 1e-20)
    }

    /// The delay that has been the best for some steps, beyond doubt.
    pub(super) fn certain(&self) -> Option<usize> {
        (self.run >= PATIENCE).then_some(self.best.delay)
    }

    /// Largest correlation.
    pub(super) fn best_correlation(&self) -> f32 {
        self.best.correlation
    }

    /// Correlation at a delay or at its neighbours.
    pub(super) fn correlation_at(&self, delay: usize) -> f32 {
        let around = &self.correlations[delay.saturating_sub(1)..(delay + 2).min(self.delays)];
        around.iter().copied().fold(f32::MIN, f32::max)
    }
}
