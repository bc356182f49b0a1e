//! Streaming sample-rate conversion by a rational ratio.

mod design;
mod dot;

use std::fmt;
use std::sync::Arc;

use crate::pcm::{self, Sample};
use crate::{Error, check_rate};
use design::{FilterBank, LANES};

/// Most filter phases (the upsampling factor of the reduced ratio) that a pair of rates may need.
pub const MAX_PHASES: u32 = 1024;

/// Inputs that are worked on in one pass. Longer pushes are cut, which bounds the working memory
/// and keeps it in the cache; the result does not depend on it.
const PASS: usize = 4096;

/// A streaming resampler: mono, any rational ratio of rates from 8 to 96 kHz.
///
/// A polyphase windowed sinc. Flat to 0.90 of the lower Nyquist frequency (within 0.001 dB), at
/// least 100 dB down from 1.10 of it. All state carries over from push to push, so a stream may be
/// cut anywhere and the output is the same, bit for bit. After `n` inputs exactly
/// `ceil(n * out_rate / in_rate)` outputs exist: a 20 ms frame in is a 20 ms frame out, and nothing
/// is held back beyond the constant [`delay`](Self::delay).
///
/// Arithmetic is `f32`, the taps are added in one fixed order, integers are rounded once at the end
/// and saturate. There is no dither, and silence stays exactly zero. Equal rates copy the input.
///
/// Allocates: in [`new`](Self::new), then only while the longest push so far grows.
///
/// ```
/// use voice_audio::Resampler;
/// let mut resampler = Resampler::new(48_000, 16_000)?;
/// let mut out: Vec<i16> = Vec::new();
/// resampler.push(&[0i16; 960], &mut out); // 20 ms in,
/// assert_eq!(out.len(), 320);             // 20 ms out
/// resampler.flush(&mut out);
/// assert_eq!(out.len(), 320 + resampler.delay() as usize);
/// # Ok::<(), voice_audio::Error>(())
/// ```
pub struct Resampler {
    in_rate: u32,
    out_rate: u32,
    /// None for equal rates.
    bank: Option<Arc<FilterBank>>,
    /// Inputs at unit scale that the next outputs still see, then those of the current pass.
    history: Vec<f32>,
    /// Running number of `history[0]`. Negative at the start: the stream begins with silence.
    first: i64,
    /// Inputs since the start or the last reset.
    consumed: u64,
    /// Outputs since the start or the last reset.
    produced: u64,
    /// Outputs of the current pass, in whole blocks.
    blocks: Vec<[f32; LANES]>,
}

impl Resampler {
    /// A resampler between two rates in Hz.
    ///
    /// # Errors
    /// [`Error::Rate`] if a rate is not within 8 to 96 kHz; [`Error::Ratio`] if the pair needs more
    /// than [`MAX_PHASES`] filter phases (rates that share no large divisor, such as 44101 and
    /// 48000).
    pub fn new(in_rate: u32, out_rate: u32) -> Result<Self, Error> {
        check_rate(in_rate)?;
        check_rate(out_rate)?;
        let bank = match in_rate == out_rate {
            true => None,
            false => Some(FilterBank::shared(in_rate, out_rate)?),
        };
        let mut resampler = Self {
            in_rate,
            out_rate,
            bank,
            history: Vec::new(),
            first: 0,
            consumed: 0,
            produced: 0,
            blocks: Vec::new(),
        };
        resampler.reset();
        Ok(resampler)
    }

    /// Input rate in Hz.
    pub fn in_rate(&self) -> u32 {
        self.in_rate
    }

    /// Output rate in Hz.
    pub fn out_rate(&self) -> u32 {
        self.out_rate
    }

    /// Delay in output samples: an input at time `t` is heard at `t` plus this. Constant from the
    /// first sample to the last, and a whole number for every pair of rates; 0 for equal rates.
    pub fn delay(&self) -> f64 {
        self.bank.as_ref().map_or(0.0, |bank| bank.delay as f64)
    }

    /// Inputs of silence after which the output is exactly zero again.
    pub fn memory(&self) -> usize {
        self.bank.as_ref().map_or(0, |bank| bank.taps - 1)
    }

    /// Samples that the next push of `n` inputs will append.
    pub fn output_len(&self, n: usize) -> usize {
        match &self.bank {
            None => n,
            Some(bank) => (bank.outputs_for(self.consumed + n as u64) - self.produced) as usize,
        }
    }

    /// Resamples `input` and appends the result to `out`. Any length, empty too.
    ///
    /// Float input: NaN counts as 0, and values are limited to ±[`pcm::FLOAT_LIMIT`].
    pub fn push<I: Sample, O: Sample>(&mut self, input: &[I], out: &mut Vec<O>) {
        let Some(bank) = self.bank.clone() else {
            self.consumed += input.len() as u64;
            return pcm::convert(input, out);
        };
        out.reserve(self.output_len(input.len()));
        for pass in input.chunks(PASS) {
            self.history.extend(pass.iter().map(|x| x.to_unit()));
            self.consumed += pass.len() as u64;
            self.run(&bank, bank.outputs_for(self.consumed), out);
        }
    }

    /// Appends the tail, [`delay`](Self::delay) samples, and starts anew.
    ///
    /// With the tail, the output without its first `delay` samples lasts exactly as long as the
    /// input: `ceil(n * out_rate / in_rate)` samples for `n` inputs. If nothing was pushed there is
    /// no tail. The resampler can be used again at once, as after [`reset`](Self::reset).
    pub fn flush<O: Sample>(&mut self, out: &mut Vec<O>) {
        if let Some(bank) = self.bank.clone()
            && self.consumed > 0
        {
            // `run` reads silence behind the end of the history.
            self.run(&bank, self.produced + bank.delay as u64, out);
        }
        self.reset();
    }

    /// Forgets everything pushed so far. Keeps the memory.
    pub fn reset(&mut self) {
        self.consumed = 0;
        self.produced = 0;
        self.history.clear();
        if let Some(bank) = &self.bank {
            self.first = 1 - bank.taps as i64;
            self.history.resize(bank.taps - 1, 0.0);
        }
    }

    /// Computes the outputs up to number `end`, then drops the inputs that none will see again.
    ///
    /// Works in whole blocks: lanes that were output before, and lanes whose inputs are not there
    /// yet, are computed on what there is and thrown away.
    fn run<O: Sample>(&mut self, bank: &FilterBank, end: u64, out: &mut Vec<O>) {
        let lanes = LANES as u64;
        if end == self.produced {
            return;
        }
        let (head, tail) = (self.produced / lanes, end.div_ceil(lanes));
        let count = (tail - head) as usize;
        let window_at = |first: i64, block: u64| -> usize {
            let start = bank.newest_input(block * lanes) as i64 + 1 - bank.taps as i64;
            // The history begins at or before the window of the block that `produced` lies in.
            usize::try_from(start - first).expect("the window lies inside the history")
        };
        let inputs = self.history.len();
        let needed = window_at(self.first, tail - 1) + bank.window;
        self.history.resize(inputs.max(needed), 0.0);

        self.blocks.clear();
        self.blocks.resize(count, [0.0; LANES]);
        let step = bank.period() as usize;
        for offset in 0..step.min(count) {
            let rows = bank.block(head + offset as u64);
            let window = |index: usize| {
                let start = window_at(self.first, head + index as u64);
                &self.history[start..start + bank.window]
            };
            let mut index = offset;
            while index + step < count {
                let sums = dot::group(rows, [window(index), window(index + step)]);
                [self.blocks[index], self.blocks[index + step]] = sums;
                index += dot::GROUP * step;
            }
            if index < count {
                self.blocks[index] = dot::block(rows, window(index));
            }
        }
        let skip = (self.produced - head * lanes) as usize;
        let take = (end - self.produced) as usize;
        let sums = self.blocks.as_flattened()[skip..skip + take].iter();
        out.extend(sums.map(|&sum| O::from_unit(sum)));
        self.produced = end;

        let keep = window_at(self.first, end / lanes).min(inputs);
        self.history.truncate(inputs);
        self.history.copy_within(keep.., 0);
        self.history.truncate(inputs - keep);
        self.first += keep as i64;
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resampler")
            .field("in_rate", &self.in_rate)
            .field("out_rate", &self.out_rate)
            .field("delay", &self.delay())
            .field("consumed", &self.consumed)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}
