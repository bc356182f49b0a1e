//! Powers of a sound in 32 bands, by a bank of band-pass filters.

use std::f64::consts::PI;

use crate::pcm::Sample;
use crate::simd::{LANES, Lanes, Level, Simd, on};

/// Number of bands of the analysis.
///
/// Below 1 kHz they are narrow enough to follow single harmonics, by which voices differ. With half
/// as many, an echo is found as soon, but 1 of 870 unrelated voices is taken for an echo, instead
/// of 0 of 2880.
pub(super) const BANDS: usize = 32;
/// Edges of the lowest and of the highest band in Hz.
///
/// Small loudspeakers reproduce nothing below, and narrow-band calls carry nothing above.
const LOWEST_HZ: f64 = 200.0;
const HIGHEST_HZ: f64 = 4_000.0;
/// Least rate of the analysis in Hz, to which the input is decimated by a whole number.
const MIN_RATE_HZ: u32 = 16_000;
/// Number of cascaded biquads per band filter. With one, a voice leaks into too many bands.
const SECTIONS: usize = 2;
/// Number of groups of [`LANES`] bands, each filtered with one vector.
const PARTS: usize = BANDS / LANES;
/// Number of decimated samples that are filtered in one pass.
const PASS_SAMPLES: usize = 256;
/// Magnitude below which a state becomes zero.
///
/// It is far below any level that is compared (a power of 1e-15 is -150 dBFS), and so far above the
/// least normal number, 1.2e-38, that the product of two states is still normal. Arithmetic with
/// subnormal numbers takes many times as long on x86, and a state that decays by a factor never
/// leaves their range: the least of them rounds to itself.
const NEGLIGIBLE: f32 = 1e-15;

/// Flushes a negligible number to zero, before it becomes subnormal.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    if x.abs() < NEGLIGIBLE { 0.0 } else { x }
}

/// A value for each band.
pub(super) type Bands = [f32; BANDS];

pub(super) const ZEROS: Bands = [0.0; BANDS];

/// Mean power in a stretch of sound, at unit scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Powers {
    pub(super) bands: Bands,
    /// Power over all frequencies.
    pub(super) total: f32,
}

impl Powers {
    pub(super) const SILENCE: Self = Self {
        bands: ZEROS,
        total: 0.0,
    };

    /// Returns the weighted sum of `self` and `other`.
    pub(super) fn mixed(&self, weight: f32, other: &Self, other_weight: f32) -> Self {
        let mix = |x: f32, y: f32| weight * x + other_weight * y;
        let mut mixed = *self;
        for (x, &y) in mixed.bands.iter_mut().zip(&other.bands) {
            *x = mix(*x, y);
        }
        mixed.total = mix(self.total, other.total);
        mixed
    }
}

/// Band-pass filters whose outputs are squared and summed.
pub(super) struct FilterBank {
    level: Level,
    /// Boxed: the filters need the alignment of a cache line, which not every owner can give.
    filters: Box<[Filters; PARTS]>,
    /// Decimated samples per hop of 10 ms.
    hop: f32,
    /// Input samples per decimated sample.
    decimation: usize,
    /// Sum and number of the input samples of an incomplete decimated sample.
    sum: f32,
    summed: usize,
    /// Sum of the squares of the decimated samples, and their number.
    total: f32,
    count: u32,
}

/// Filters of 16 bands.
#[derive(Clone)]
struct Filters {
    gain: Lanes,
    /// Feedback coefficients from the output to the two states.
    feedback: [Lanes; 2],
    state: [[Lanes; 2]; SECTIONS],
    energy: Lanes,
}

impl FilterBank {
    pub(super) fn new(sample_rate: u32) -> Self {
        let decimation = (sample_rate / MIN_RATE_HZ).max(1);
        let rate = f64::from(sample_rate) / f64::from(decimation);
        Self {
            level: Level::detect(),
            filters: Box::new(std::array::from_fn(|part| Filters::new(part * LANES, rate))),
            hop: rate as f32 / super::HOPS_PER_SECOND as f32,
            decimation: decimation as usize,
            sum: 0.0,
            summed: 0,
            total: 0.0,
            count: 0,
        }
    }

    /// Takes samples at the input rate.
    ///
    /// Decimation averages neighbours. Frequencies between half of the lower rate and all of it are
    /// not removed, only attenuated, by 10 dB where they alias into the bands; speech has little
    /// energy there.
    pub(super) fn push(&mut self, samples: &[i16]) {
        let sum = |group: &[i16]| group.iter().map(|x| x.to_unit()).sum::<f32>();
        let scale = 1.0 / self.decimation as f32;
        let mut samples = samples;
        if self.summed > 0 {
            let missing = self.decimation - self.summed;
            let (now, later) = samples.split_at(missing.min(samples.len()));
            samples = later;
            self.sum += sum(now);
            self.summed += now.len();
            if self.summed == self.decimation {
                self.run(&[self.sum * scale]);
                (self.sum, self.summed) = (0.0, 0);
            }
        }
        let mut pass = [0.0; PASS_SAMPLES];
        for samples in samples.chunks(PASS_SAMPLES * self.decimation) {
            let groups = samples.chunks_exact(self.decimation);
            let rest = groups.remainder();
            let mut n = 0;
            for (y, group) in pass.iter_mut().zip(groups) {
                *y = sum(group) * scale;
                n += 1;
            }
            self.run(&pass[..n]);
            self.sum += sum(rest);
            self.summed += rest.len();
        }
    }

    /// Filters decimated samples.
    fn run(&mut self, samples: &[f32]) {
        let (rows, rest) = samples.as_chunks::<8>();
        let mut squares = [0.0; 8];
        for row in rows {
            for (square, x) in squares.iter_mut().zip(row) {
                *square += x * x;
            }
        }
        let rest = rest.iter().map(|x| x * x);
        self.total += squares.into_iter().chain(rest).sum::<f32>();
        self.count += samples.len() as u32;
        for filters in self.filters.iter_mut() {
            on!(self.level, simd => filters.run(simd, samples));
        }
    }

    /// Returns the fraction of a hop since the last [`take`](Self::take): 0 to slightly over 1.
    pub(super) fn filled(&self) -> f32 {
        self.count as f32 / self.hop
    }

    /// Returns the powers since the last [`take`](Self::take).
    pub(super) fn powers(&self) -> Powers {
        let scale = 1.0 / self.count.max(1) as f32;
        let mut bands = ZEROS;
        for (bands, filters) in bands.chunks_exact_mut(LANES).zip(self.filters.iter()) {
            for (power, energy) in bands.iter_mut().zip(&filters.energy.0) {
                *power = energy * scale;
            }
        }
        Powers {
            bands,
            total: self.total * scale,
        }
    }

    /// Returns the powers since the last call, and begins a new hop.
    pub(super) fn take(&mut self) -> Powers {
        let powers = self.powers();
        for filters in self.filters.iter_mut() {
            filters.energy = Lanes::ZERO;
            filters.flush_state();
        }
        (self.total, self.count) = (0.0, 0);
        powers
    }

    /// Lists the states of the filters and their energies.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let mut state = vec![("total", self.total)];
        for filters in self.filters.iter() {
            let lanes = filters.state.as_flattened().iter().flat_map(|s| s.0);
            state.extend(lanes.map(|x| ("filter", x)));
            state.extend(filters.energy.0.map(|x| ("energy", x)));
        }
        state
    }

    /// Resets every state and sum.
    pub(super) fn reset(&mut self) {
        for filters in self.filters.iter_mut() {
            filters.energy = Lanes::ZERO;
            filters.state = [[Lanes::ZERO; 2]; SECTIONS];
        }
        (self.sum, self.summed) = (0.0, 0);
        (self.total, self.count) = (0.0, 0);
    }
}

impl Filters {
    /// Makes the filters of the 16 bands from number `first` on.
    ///
    /// They are band-pass filters with a gain of 1 in the middle (R. Bristow-Johnson, "Cookbook
    /// formulae for audio equalizer biquad filter coefficients", BPF), whose edges are spaced
    /// evenly on the mel scale, `2595 log10(1 + f / 700)`.
    fn new(first: usize, rate: f64) -> Self {
        let mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
        let hz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
        let (low, high) = (mel(LOWEST_HZ), mel(HIGHEST_HZ));
        let edge = |b: usize| hz(low + (high - low) * b as f64 / BANDS as f64);
        let mut filters = Self {
            gain: Lanes::ZERO,
            feedback: [Lanes::ZERO; 2],
            state: [[Lanes::ZERO; 2]; SECTIONS],
            energy: Lanes::ZERO,
        };
        for i in 0..LANES {
            let (low, high) = (edge(first + i), edge(first + i + 1));
            let centre = (low * high).sqrt();
            let w = 2.0 * PI * centre / rate;
            let alpha = w.sin() / (2.0 * centre / (high - low));
            filters.gain.0[i] = (alpha / (1.0 + alpha)) as f32;
            filters.feedback[0].0[i] = (2.0 * w.cos() / (1.0 + alpha)) as f32;
            filters.feedback[1].0[i] = (-2.0 / (1.0 + alpha)) as f32;
        }
        filters
    }

    /// Filters `samples` and adds the squares of the outputs to the energies.
    ///
    /// The second transposed direct form, `y = b0 x + s0`, `s0' = s1 - a1 y`, `s1' = b2 x - a2 y`
    /// with `b1 = 0` and `b2 = -b0`, whose last term is `s0 - (1 + a2) y`.
    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, samples: &[f32]) {
        let gain = simd.load(&self.gain);
        let feedback = self.feedback.each_ref().map(|x| simd.load(x));
        let mut state = self
            .state
            .each_ref()
            .map(|s| s.each_ref().map(|x| simd.load(x)));
        let mut energy = simd.load(&self.energy);
        for &x in samples {
            let mut y = simd.splat(x);
            for state in &mut state {
                y = simd.mul_add(gain, y, state[0]);
                let next = simd.mul_add(feedback[0], y, state[1]);
                state[1] = simd.mul_add(feedback[1], y, state[0]);
                state[0] = next;
            }
            energy = simd.mul_add(y, y, energy);
        }
        for (lanes, &state) in self.state.iter_mut().flatten().zip(state.iter().flatten()) {
            simd.store(state, lanes);
        }
        simd.store(energy, &mut self.energy);
    }

    /// Flushes states that have decayed to a negligible magnitude.
    fn flush_state(&mut self) {
        for x in self
            .state
            .iter_mut()
            .flatten()
            .flat_map(|lanes| &mut lanes.0)
        {
            *x = flush(*x);
        }
    }
}

/// Returns `10 log10(x)` within 0.01 dB, for positive normal numbers; less than -370 for 0.
///
/// The form lets compilers vectorise it.
#[inline(always)]
pub(super) fn decibels(x: f32) -> f32 {
    // x = m * 2^e with m from sqrt(1/2) to sqrt(2), and log2(m) = 2 / ln(2) * artanh(t) with
    // t = (m - 1) / (m + 1), of which three terms of the series are enough.
    const ROOT_HALF: u32 = 0x3f35_04f3;
    const DB_PER_OCTAVE: f32 = 3.010_3;
    let bits = x.to_bits().wrapping_sub(ROOT_HALF);
    let exponent = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) + ROOT_HALF);
    let t = (m - 1.0) / (m + 1.0);
    let t2 = t * t;
    let log2 = t * (2.885_39 + t2 * (0.961_797 + t2 * 0.577_078));
    DB_PER_OCTAVE * (exponent + log2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, n: usize) -> Vec<i16> {
        (0..n)
            .map(|i| (16_384.0 * (2.0 * PI * hz * i as f64 / f64::from(rate)).sin()) as i16)
            .collect()
    }

    #[test]
    fn a_tone_is_heard_in_its_band_at_every_rate() {
        for rate in [8_000, 11_025, 16_000, 24_000, 44_100, 48_000, 96_000] {
            let mut bank = FilterBank::new(rate);
            bank.push(&tone(1_000.0, rate, rate as usize / 5));
            bank.take();
            bank.push(&tone(1_000.0, rate, rate as usize / 5));
            let powers = bank.take();
            // Half of full scale: a power of 1/8.
            let total = decibels(powers.total * 8.0);
            assert!(total.abs() < 0.5, "{rate}: {total} dB");
            let loudest = powers.bands.iter().copied().fold(0.0, f32::max);
            let db = decibels(loudest * 8.0);
            assert!(db > -3.0 && db < 0.5, "{rate}: {db} dB");
            let far = decibels(powers.bands[2].max(powers.bands[28]) * 8.0);
            assert!(far < -30.0, "{rate}: {far} dB");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same() {
        let sound: Vec<i16> = (0..4_000)
            .map(|i| (i * i * 31 % 60_000 - 30_000) as i16)
            .collect();
        let powers = |level| {
            let mut bank = FilterBank::new(16_000);
            bank.level = level;
            bank.push(&sound);
            bank.take()
        };
        let want = powers(Level::all()[0]);
        for &level in Level::all() {
            for (got, want) in powers(level).bands.iter().zip(want.bands) {
                assert!((got / want - 1.0).abs() < 1e-3, "{level:?}");
            }
        }
    }

    #[test]
    fn silence_becomes_exact_silence() {
        let mut bank = FilterBank::new(16_000);
        bank.push(&tone(300.0, 16_000, 1_600));
        for _ in 0..200 {
            bank.push(&[0; 160]);
            bank.take();
        }
        assert_eq!(bank.take(), Powers::SILENCE);
        assert!(
            bank.filters
                .iter()
                .all(|f| f.state == [[Lanes::ZERO; 2]; SECTIONS])
        );
    }

    #[test]
    fn decibels_are_those_of_the_standard_library() {
        for k in -1_000..1_000 {
            let x = 1.07f32.powi(k);
            let want = 10.0 * x.log10();
            assert!((decibels(x) - want).abs() < 0.01, "{x}");
        }
        assert!(decibels(0.0) < -370.0);
    }
}
