//! The network of Silero VAD, version 6, at 16 kHz.
//!
//! Magnitude spectra, four convolutions over time, a long short-term memory, one output:
//!
//! | layer | in | out | kernel |
//! |---|---|---|---|
//! | spectra | 576 samples, 64 more mirrored | 129 × 4 frames | 256 samples, Hann, every 128 |
//! | conv 1 | 129 × 4 | 128 × 4 | 3, ReLU |
//! | conv 2 | 128 × 4 | 64 × 2 | 3, every second, ReLU |
//! | conv 3 | 64 × 2 | 64 × 1 | 3, every second, ReLU |
//! | conv 4 | 64 × 1 | 128 × 1 | 3, ReLU |
//! | LSTM | 128, and its state | 128 | |
//! | output | ReLU of 128 | 1 | sigmoid |
//!
//! Trained and published by the Silero Team (<https://github.com/snakers4/silero-vad>, MIT licence:
//! `silero/LICENSE`). `scripts/silero_weights.py` makes `silero/weights.bin` from the wheel of
//! silero-vad 6.2.3 and says how it is laid out. The weights are rounded to 16 bits, each output
//! channel with its own scale, which moves a probability by 2e-5 on average (0.008 at most in 75
//! min of speech and noise) and halves the memory that a step has to read; they are used where they
//! lie in the binary.
#![allow(
    clippy::needless_range_loop,
    reason = "taps, frames and lanes index several arrays"
)]

use std::sync::OnceLock;

use super::spectrum::{self, BINS, FRAMES, Spectra, WINDOW};
use crate::simd::{self, Codes, LANES, Lanes, Level, Simd, on};

/// Number of units of the LSTM, and of its input features.
const UNITS: usize = 128;
const BLOCKS: usize = UNITS / LANES;

#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!("silero/weights.bin"));

static NETWORK: Network = Network::new();

struct Network {
    conv1: Layer<BINS, 3>,
    conv2: Layer<128, 3>,
    conv3: Layer<64, 2>,
    conv4: Layer<64, 1>,
    /// Four gates instead of taps; scales and biases `[gate][unit]`.
    lstm: Layer<{ 2 * UNITS }, 4>,
    /// Weights of the output, then its bias.
    output: &'static [Floats],
}

/// Sixteen `f32`, little-endian.
type Floats = [u8; 4 * LANES];

struct Layer<const INPUTS: usize, const TAPS: usize> {
    /// One entry for every 16 output channels.
    codes: &'static [[[Codes; TAPS]; INPUTS]],
    scale: &'static [Floats],
    bias: &'static [Floats],
}

impl Network {
    const fn new() -> Self {
        let (conv1, rest) = Layer::split(&BYTES.0, 8, 8);
        let (conv2, rest) = Layer::split(rest, 4, 4);
        let (conv3, rest) = Layer::split(rest, 4, 4);
        let (conv4, rest) = Layer::split(rest, 8, 8);
        let (lstm, rest) = Layer::split(rest, BLOCKS, 4 * BLOCKS);
        let output = rest.as_chunks().0;
        assert!(output.len() == BLOCKS + 1);
        Self {
            conv1,
            conv2,
            conv3,
            conv4,
            lstm,
            output,
        }
    }
}

impl<const INPUTS: usize, const TAPS: usize> Layer<INPUTS, TAPS> {
    /// The layer at the beginning of `bytes`, and what follows it.
    const fn split(bytes: &'static [u8], blocks: usize, scales: usize) -> (Self, &'static [u8]) {
        let (codes, rest) = bytes.split_at(blocks * INPUTS * TAPS * size_of::<Codes>());
        let (scale, rest) = rest.split_at(scales * size_of::<Floats>());
        let (bias, rest) = rest.split_at(scales * size_of::<Floats>());
        let layer = Self {
            codes: codes.as_chunks().0.as_chunks().0.as_chunks().0,
            scale: scale.as_chunks().0,
            bias: bias.as_chunks().0,
        };
        (layer, rest)
    }
}

#[inline(always)]
fn floats(bytes: &Floats) -> Lanes {
    let (floats, _) = bytes.as_chunks();
    let mut lanes = Lanes::ZERO;
    for (x, bytes) in lanes.0.iter_mut().zip(floats) {
        *x = f32::from_le_bytes(*bytes);
    }
    lanes
}

/// Recurrent state of the network: hidden and cell state of the LSTM.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    hidden: [Lanes; BLOCKS],
    cell: [Lanes; BLOCKS],
}

impl State {
    /// Initial state, as in training.
    pub(super) const ZERO: Self = Self {
        hidden: [Lanes::ZERO; BLOCKS],
        cell: [Lanes::ZERO; BLOCKS],
    };

    /// Lists every value of the state.
    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = f32> {
        self.hidden.iter().chain(&self.cell).flat_map(|x| x.0)
    }
}

/// Output of the convolutions for one window.
type Features = [Lanes; BLOCKS];

/// Returns the probability of speech in a window, and steps the state.
///
/// The window, at unit scale, has 512 new samples after the last 64 of the previous window.
pub(super) fn infer(level: Level, window: &[f32; WINDOW], state: &mut State) -> f32 {
    let mut spectra = [[0.0; FRAMES]; BINS];
    on!(level.for_plain_code(), _simd => spectrum::magnitudes(window, &mut spectra));
    on!(level, simd => {
        let mut features = [Lanes::ZERO; BLOCKS];
        encode(simd, &spectra, &mut features);
        recur(simd, &features, state)
    })
}

/// Does the same as [`infer`] for a window of zeros, with less than half the work.
pub(super) fn infer_silence(level: Level, state: &mut State) -> f32 {
    on!(level, simd => recur(simd, silence_features(), state))
}

/// Computes the cached tables now, and not on the frame path.
pub(super) fn prepare() {
    spectrum::prepare();
    silence_features();
}

/// Returns the features of a window of zeros, computed once by the scalar reference.
fn silence_features() -> &'static Features {
    static SILENCE: OnceLock<Features> = OnceLock::new();
    SILENCE.get_or_init(|| {
        let mut features = [Lanes::ZERO; BLOCKS];
        encode(simd::Scalar, &[[0.0; FRAMES]; BINS], &mut features);
        features
    })
}

/// Computes the convolutions, with as many blocks of channels at once as fill the registers.
#[inline(always)]
fn encode<S: Simd>(simd: S, spectra: &Spectra, features: &mut Features) {
    let mut first = [[Lanes::ZERO; 8]; 4];
    let mut second = [[Lanes::ZERO; 4]; 2];
    let mut third = [[Lanes::ZERO; 4]; 1];
    let features = std::array::from_mut(features);
    let net = &NETWORK;

    let input = |k: usize| spectra[k];
    if S::WIDE {
        conv::<4, _, _, _, _, _, _>(simd, &net.conv1, (1, -1), input, &mut first)
    } else {
        conv::<1, _, _, _, _, _, _>(simd, &net.conv1, (1, -1), input, &mut first)
    }
    let input = |k: usize| channel(&first, k);
    if S::WIDE {
        conv::<4, _, _, _, _, _, _>(simd, &net.conv2, (2, -1), input, &mut second)
    } else {
        conv::<2, _, _, _, _, _, _>(simd, &net.conv2, (2, -1), input, &mut second)
    }
    let input = |k: usize| channel(&second, k);
    conv::<4, _, _, _, _, _, _>(simd, &net.conv3, (2, 0), input, &mut third);
    let input = |k: usize| channel(&third, k);
    if S::WIDE {
        conv::<8, _, _, _, _, _, _>(simd, &net.conv4, (1, 0), input, features)
    } else {
        conv::<4, _, _, _, _, _, _>(simd, &net.conv4, (1, 0), input, features)
    }
}

/// Returns channel `k` of every frame.
#[inline(always)]
fn channel<const N: usize, const T: usize>(frames: &[[Lanes; N]; T], k: usize) -> [f32; T] {
    let mut channel = [0.0; T];
    for (x, frame) in channel.iter_mut().zip(frames) {
        *x = frame[k / LANES].0[k % LANES];
    }
    channel
}

/// Computes a convolution over time and its ReLU, `AT_ONCE` blocks of channels at once.
///
/// Output frame `t` depends on the input frames from `stride * t + first` on; those outside of the
/// input are zero.
#[inline(always)]
fn conv<
    const AT_ONCE: usize,
    S: Simd,
    const INPUTS: usize,
    const TAPS: usize,
    const IN: usize,
    const OUT: usize,
    const BLOCKS: usize,
>(
    simd: S,
    layer: &Layer<INPUTS, TAPS>,
    (stride, first): (usize, isize),
    input: impl Fn(usize) -> [f32; IN],
    output: &mut [[Lanes; BLOCKS]; OUT],
) {
    for block in (0..BLOCKS).step_by(AT_ONCE) {
        let codes: &[_; AT_ONCE] = layer.codes[block..].first_chunk().expect("all blocks");
        // Loops, not `map`: a closure in there may stay a call, without the instruction set.
        let zero = simd.splat(0.0);
        let mut sums = [[zero; OUT]; AT_ONCE];
        for k in 0..INPUTS {
            let mut x = [zero; IN];
            for (x, value) in x.iter_mut().zip(input(k)) {
                *x = simd.splat(value);
            }
            for b in 0..AT_ONCE {
                let mut w = [zero; TAPS];
                for (w, codes) in w.iter_mut().zip(&codes[b][k]) {
                    *w = simd.decode(codes);
                }
                for t in 0..OUT {
                    for tap in 0..TAPS {
                        let frame = (stride * t + tap).wrapping_add_signed(first);
                        if frame < IN {
                            sums[b][t] = simd.mul_add(w[tap], x[frame], sums[b][t]);
                        }
                    }
                }
            }
        }
        for b in 0..AT_ONCE {
            let scale = floats(&layer.scale[block + b]);
            let bias = floats(&layer.bias[block + b]);
            for t in 0..OUT {
                let y = &mut output[t][block + b];
                simd.store(
                    simd.mul_add(sums[b][t], simd.load(&scale), simd.load(&bias)),
                    y,
                );
                y.0.iter_mut().for_each(|y| *y = y.max(0.0));
            }
        }
    }
}

/// Computes the LSTM and the output layer; returns the probability.
#[inline(always)]
fn recur<S: Simd>(simd: S, features: &Features, state: &mut State) -> f32 {
    if S::WIDE {
        lstm::<2, S>(simd, features, state)
    } else {
        lstm::<1, S>(simd, features, state)
    }
    let mut sums = [0.0; LANES];
    for (hidden, weight) in state.hidden.iter().zip(NETWORK.output) {
        let weight = floats(weight);
        for lane in 0..LANES {
            sums[lane] += hidden.0[lane].max(0.0) * weight.0[lane];
        }
    }
    let bias = floats(&NETWORK.output[BLOCKS]).0[0];
    sigmoid([sums.iter().sum::<f32>() + bias])[0]
}

/// Steps the long short-term memory, `AT_ONCE` blocks of units at once.
#[inline(always)]
fn lstm<const AT_ONCE: usize, S: Simd>(simd: S, features: &Features, state: &mut State) {
    let layer = &NETWORK.lstm;
    let mut input = [Lanes::ZERO; 2 * BLOCKS];
    input[..BLOCKS].copy_from_slice(features);
    input[BLOCKS..].copy_from_slice(&state.hidden);
    for block in (0..BLOCKS).step_by(AT_ONCE) {
        let codes: &[_; AT_ONCE] = layer.codes[block..].first_chunk().expect("all blocks");
        let mut sums = [[simd.splat(0.0); 4]; AT_ONCE];
        for k in 0..2 * UNITS {
            let x = simd.splat(input[k / LANES].0[k % LANES]);
            for b in 0..AT_ONCE {
                for gate in 0..4 {
                    let w = simd.decode(&codes[b][k][gate]);
                    sums[b][gate] = simd.mul_add(w, x, sums[b][gate]);
                }
            }
        }
        for b in 0..AT_ONCE {
            let mut gates = [Lanes::ZERO; 4];
            for (gate, y) in gates.iter_mut().enumerate() {
                let scale = floats(&layer.scale[gate * BLOCKS + block + b]);
                let bias = floats(&layer.bias[gate * BLOCKS + block + b]);
                let sum = sums[b][gate];
                simd.store(simd.mul_add(sum, simd.load(&scale), simd.load(&bias)), y);
            }
            let [Lanes(i), Lanes(f), Lanes(g), Lanes(o)] = gates;
            let (i, f, g, o) = (sigmoid(i), sigmoid(f), tanh(g), sigmoid(o));
            let cell = &mut state.cell[block + b].0;
            for lane in 0..LANES {
                cell[lane] = f[lane] * cell[lane] + i[lane] * g[lane];
            }
            let hidden = tanh(*cell);
            for lane in 0..LANES {
                state.hidden[block + b].0[lane] = o[lane] * hidden[lane];
            }
        }
    }
}

#[inline(always)]
fn sigmoid<const N: usize>(mut x: [f32; N]) -> [f32; N] {
    for x in &mut x {
        *x = 1.0 / (1.0 + exp(-*x));
    }
    x
}

#[inline(always)]
fn tanh<const N: usize>(mut x: [f32; N]) -> [f32; N] {
    for x in &mut x {
        *x = 1.0 - 2.0 / (1.0 + exp(2.0 * *x));
    }
    x
}

/// Returns `e^x`, limited to the exponents of `f32`.
///
/// The error is 3e-7 of the value near 0, and 1e-7 more for each unit of `x`. The method is
/// `2^n * e^f` with a whole `n` and `f` within ±0.35; the polynomial is the Taylor series of `e^f`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    use std::f32::consts::{LN_2, LOG2_E};
    /// 1.5 * 2^23: adding it rounds to whole numbers, which are then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let t = (x * LOG2_E).clamp(-126.0, 126.0);
    let rounded = t + ROUND;
    let f = (t - (rounded - ROUND)) * LN_2;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    let series = 1.0 / 720.0 + f * (1.0 / 5040.0);
    let series = 1.0 / 120.0 + f * series;
    let series = 1.0 / 24.0 + f * series;
    let series = 1.0 / 6.0 + f * series;
    let series = 0.5 + f * series;
    (1.0 + f * (1.0 + f * series)) * power
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes the same sound as `signal` in `scripts/silero_weights.py`.
    ///
    /// A buzz whose pitch and filter change in syllables, over noise, with silence at the end.
    pub(in crate::vad) fn signal() -> Vec<f32> {
        let (mut seed, mut low, mut band) = (1u32, 0i32, 0i32);
        (0..48_000)
            .map(|i| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let period = 90 + (i / 400) % 45;
                let centre = 200 + 37 * ((i / 1_600) % 13);
                let pulse = if i % period == 0 { 24_000 } else { 0 };
                low += (centre * band) >> 10;
                band += (centre * (pulse - low - (band >> 3))) >> 10;
                let loud = if (i / 2_000) % 4 == 3 { 1 } else { 16 };
                let sample = ((band * loud) >> 4) + (seed >> 24) as i32 - 128;
                if i < 40_000 {
                    sample.clamp(-32_768, 32_767) as f32 / 32_768.0
                } else {
                    0.0
                }
            })
            .collect()
    }

    /// Returns the network's probabilities from the initial state on, one per 512 samples.
    pub(in crate::vad) fn probabilities(level: Level, signal: &[f32]) -> Vec<f32> {
        let padded = [&[0.0; 64], signal].concat();
        let mut state = State::ZERO;
        let windows = (0..signal.len() / 512).map(|k| padded[512 * k..][..WINDOW].try_into());
        windows
            .map(|window| infer(level, &window.unwrap(), &mut state))
            .collect()
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn it_is_silero_on_onnxruntime() {
        let want: Vec<f32> = include_bytes!("silero/reference.bin")
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        assert!(want.iter().any(|&p| p > 0.5) && want.iter().any(|&p| p < 0.01));
        for level in Level::all() {
            let got = probabilities(*level, &signal());
            let off = largest_difference(&got, &want);
            // The 16 bits of the weights; 7e-6 on average.
            assert!(off < 2e-4, "{level:?}: {off}");
        }
    }

    #[test]
    fn every_level_is_the_reference() {
        let want = probabilities(Level::all()[0], &signal());
        for level in &Level::all()[1..] {
            let off = largest_difference(&probabilities(*level, &signal()), &want);
            assert!(off < 1e-5, "{level:?}: {off}");
        }
    }

    #[test]
    fn silence_is_a_window_of_zeros() {
        for level in Level::all() {
            let (mut a, mut b) = (State::ZERO, State::ZERO);
            for _ in 0..100 {
                infer(*level, &[0.0; WINDOW], &mut a);
                infer_silence(*level, &mut b);
            }
            let (a, b) = ([a.hidden, a.cell], [b.hidden, b.cell]);
            for (a, b) in a.as_flattened().iter().zip(b.as_flattened()) {
                // Of values up to 20.
                assert!(largest_difference(&a.0, &b.0) < 1e-3, "{level:?}");
            }
        }
    }

    #[test]
    fn functions_are_close_to_the_library() {
        for i in -4_000..4_000 {
            let x = i as f32 * 0.01;
            let e = exp(x);
            let off = (e / x.exp() - 1.0).abs();
            assert!(off < 3e-7 + 1e-7 * x.abs(), "exp({x}) = {e}");
            assert!((tanh([x])[0] - x.tanh()).abs() < 3e-7, "tanh({x})");
        }
        assert_eq!(sigmoid([-1e9, 1e9]), [sigmoid([-1e3])[0], 1.0]);
        assert!(sigmoid([-1e9])[0] < 1e-30);
    }
}
