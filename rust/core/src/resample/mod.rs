//! Streaming sample-rate conversion by a rational ratio.

mod cache;
mod design;
#[allow(unsafe_code, reason = "instruction sets that are chosen at run time")]
mod kernel;

use std::fmt;
use std::sync::Arc;

use crate::pcm::{self, Sample};
use crate::{Error, check_rate};
use cache::shared_bank;
use design::{FilterBank, LANES, Row};
use kernel::{Pass, Runner};

pub use design::Quality;
pub use kernel::Kernel;

/// Greatest number of filter phases of a pair of rates: `out_rate / gcd(in_rate, out_rate)`.
///
/// This is the upsampling factor of the reduced ratio. Each phase is a filter that is designed and
/// kept in memory. With this bound the largest bank (95984 to 8088 Hz) has 62 MB and takes 0.3 s;
/// 214 MB and 2 s with [`Quality::Music`]; without it, rates without a common divisor would need up
/// to 96,000 phases. [`Resampler`] lists the supported pairs.
pub const MAX_PHASES: u32 = 1024;

/// Number of inputs processed in one pass.
///
/// Longer pushes are cut, which bounds the working memory and keeps it in the cache; the result
/// does not depend on it.
const PASS: usize = 4096;

/// Options of a [`Resampler`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ResamplerOptions {
    /// Pass-band, stop-band and delay.
    pub quality: Quality,
    /// Instruction set of the computation; None for the fastest one of this machine.
    ///
    /// Name one in tests, in benchmarks, and for output that is the same bit for bit on every
    /// machine: [`Kernel::Scalar`] runs everywhere.
    pub kernel: Option<Kernel>,
}

impl ResamplerOptions {
    /// Sets [`quality`](Self::quality).
    #[must_use]
    pub fn with_quality(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// Sets [`kernel`](Self::kernel).
    #[must_use]
    pub fn with_kernel(mut self, kernel: impl Into<Option<Kernel>>) -> Self {
        self.kernel = kernel.into();
        self
    }
}

/// Streaming resampler between two rates from 8 to 96 kHz, mono or stereo to mono.
///
/// The filter is a polyphase windowed sinc, by default flat to 0.90 of the lower Nyquist frequency
/// (within 0.001 dB) and at least 100 dB down from 1.10 of it; see [`Quality`] for the other
/// preset. All state carries over from push to push, so a stream may be cut anywhere and the output
/// is the same, bit for bit. After `n` inputs exactly `ceil(n * out_rate / in_rate)` outputs exist:
/// a 20 ms frame in is a 20 ms frame out, and nothing is held back beyond the constant
/// [`delay`](Self::delay).
///
/// Arithmetic is `f32`, the taps are added in one fixed order, integers are rounded once at the end
/// and saturate. There is no dither, and silence stays exactly zero. Equal rates copy the input.
///
/// [`Error::Ratio`] refuses pairs of rates with `out_rate / gcd(in_rate, out_rate)` above
/// [`MAX_PHASES`]. These always work: multiples of 100 Hz on both sides; multiples of 50 Hz, to at
/// most 51.2 kHz; multiples of 16, 24 or 48 Hz to 16, 24 or 48 kHz. Of the rates in use (8, 11.025,
/// 12, 16, 22.05, 24, 32, 44.1, 48, 88.2 and 96 kHz) two pairs are refused: 11.025 kHz to 32 and to
/// 96 kHz. The order matters: 16 to 8.008 kHz needs 1001 phases, 8.008 to 16 kHz needs 2000.
///
/// The filters of a pair are designed once and shared: the process keeps up to 64 banks and 32 MiB,
/// and evicts unused ones first. Designing a new pair does not block threads that ask for another
/// one; for common rates it takes 0.01 ms (24 to 48 kHz) to 5 ms (44.1 to 16 kHz).
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
/// assert_eq!(out.len(), 320 + resampler.delay());
/// # Ok::<(), voice_audio::Error>(())
/// ```
pub struct Resampler {
    in_rate: u32,
    out_rate: u32,
    runner: Runner,
    /// None for equal rates.
    bank: Option<Arc<FilterBank>>,
    /// Inputs at unit scale that the next outputs depend on, then those of the current pass.
    history: Vec<f32>,
    /// Running number of `history[0]`. Negative at the start: the stream begins with silence.
    first: i64,
    /// Number of inputs since the start or the last reset.
    consumed: u64,
    /// Number of outputs since the start or the last reset.
    produced: u64,
    /// Outputs of the current pass, in whole blocks.
    sums: Vec<Row>,
}

impl Resampler {
    /// Makes a resampler between two rates in Hz, with default options.
    ///
    /// # Errors
    /// [`Error::Rate`] if a rate is not within 8 to 96 kHz; [`Error::Ratio`] if the pair needs more
    /// than [`MAX_PHASES`] filter phases (rates that share no large divisor, such as 44101 and
    /// 48000): see [`Resampler`].
    pub fn new(in_rate: u32, out_rate: u32) -> Result<Self, Error> {
        Self::with_options(in_rate, out_rate, ResamplerOptions::default())
    }

    /// Makes a resampler between two rates in Hz.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Kernel`] if this machine cannot run the kernel.
    pub fn with_options(
        in_rate: u32,
        out_rate: u32,
        options: ResamplerOptions,
    ) -> Result<Self, Error> {
        check_rate(in_rate)?;
        check_rate(out_rate)?;
        let bank = if in_rate == out_rate {
            None
        } else {
            Some(shared_bank(in_rate, out_rate, options.quality)?)
        };
        let mut resampler = Self {
            in_rate,
            out_rate,
            runner: Runner::new(options.kernel)?,
            bank,
            history: Vec::new(),
            first: 0,
            consumed: 0,
            produced: 0,
            sums: Vec::new(),
        };
        resampler.reset();
        Ok(resampler)
    }

    /// Returns the input rate in Hz.
    #[must_use]
    pub fn in_rate(&self) -> u32 {
        self.in_rate
    }

    /// Returns the output rate in Hz.
    #[must_use]
    pub fn out_rate(&self) -> u32 {
        self.out_rate
    }

    /// Returns the instruction set of the computation.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.runner.kernel()
    }

    /// Returns the delay from input to output, in output samples.
    ///
    /// It is constant from the first sample to the last; 0 for equal rates. The design of the filter
    /// rounds it up to a whole number for every pair of rates.
    #[must_use]
    pub fn delay(&self) -> usize {
        self.bank.as_ref().map_or(0, |bank| bank.delay)
    }

    /// Returns the number of silent inputs after which the output is exactly zero again.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bank.as_ref().map_or(0, |bank| bank.taps - 1)
    }

    /// Returns the number of samples that the next push of `n` inputs will append.
    #[must_use]
    pub fn output_len(&self, n: usize) -> usize {
        match &self.bank {
            None => n,
            Some(bank) => (bank.outputs_for(self.consumed + n as u64) - self.produced) as usize,
        }
    }

    /// Resamples `input`, of any length, and appends the result to `out`.
    ///
    /// In float input, NaN counts as 0, and values are limited to ±[`pcm::FLOAT_LIMIT`].
    pub fn push<I: Sample, O: Sample>(&mut self, input: &[I], out: &mut Vec<O>) {
        if self.bank.is_none() {
            self.consumed += input.len() as u64;
            return pcm::convert(input, out);
        }
        out.reserve(self.output_len(input.len()));
        for pass in input.chunks(PASS) {
            self.runner.widen(pass, &mut self.history);
            self.take(pass.len(), out);
        }
    }

    /// Resamples the mean of the two channels of interleaved stereo (L, R, L, R, ...).
    ///
    /// The mean is computed at full precision. Otherwise the same as [`push`](Self::push).
    ///
    /// # Errors
    /// [`Error::Channels`] if the number of samples is odd; then nothing changes.
    pub fn push_interleaved<I: Sample, O: Sample>(
        &mut self,
        input: &[I],
        out: &mut Vec<O>,
    ) -> Result<(), Error> {
        let pairs = pcm::pairs(input)?;
        if self.bank.is_none() {
            self.consumed += pairs.len() as u64;
            return pcm::downmix_interleaved(input, out);
        }
        out.reserve(self.output_len(pairs.len()));
        for pass in pairs.chunks(PASS) {
            self.runner.widen_interleaved(pass, &mut self.history);
            self.take(pass.len(), out);
        }
        Ok(())
    }

    /// Resamples the mean of the two channels of planar stereo.
    ///
    /// Otherwise the same as [`push_interleaved`](Self::push_interleaved).
    ///
    /// # Errors
    /// [`Error::Planes`] if the channels differ in length; then nothing changes.
    pub fn push_planar<I: Sample, O: Sample>(
        &mut self,
        left: &[I],
        right: &[I],
        out: &mut Vec<O>,
    ) -> Result<(), Error> {
        pcm::check_planes(left, right)?;
        if self.bank.is_none() {
            self.consumed += left.len() as u64;
            return pcm::downmix_planar(left, right, out);
        }
        out.reserve(self.output_len(left.len()));
        for (left, right) in left.chunks(PASS).zip(right.chunks(PASS)) {
            self.runner.widen_planar(left, right, &mut self.history);
            self.take(left.len(), out);
        }
        Ok(())
    }

    /// Appends the tail, [`delay`](Self::delay) samples, and resets.
    ///
    /// With the tail, the output without its first `delay` samples lasts exactly as long as the
    /// input: `ceil(n * out_rate / in_rate)` samples for `n` inputs. If nothing was pushed there is
    /// no tail. The resampler can be used again at once, as after [`reset`](Self::reset).
    pub fn flush<O: Sample>(&mut self, out: &mut Vec<O>) {
        if let Some(bank) = &self.bank
            && self.consumed > 0
        {
            // `run` reads silence after the end of the history.
            self.run(self.produced + bank.delay as u64, out);
        }
        self.reset();
    }

    /// Forgets everything pushed so far. Keeps the allocated memory.
    pub fn reset(&mut self) {
        self.consumed = 0;
        self.produced = 0;
        self.history.clear();
        if let Some(bank) = &self.bank {
            self.first = 1 - bank.taps as i64;
            self.history.resize(bank.taps - 1, 0.0);
        }
    }

    /// Counts `n` inputs at the end of the history, and computes the outputs that they complete.
    fn take<O: Sample>(&mut self, n: usize, out: &mut Vec<O>) {
        self.consumed += n as u64;
        if let Some(bank) = &self.bank {
            self.run(bank.outputs_for(self.consumed), out);
        }
    }

    /// Computes the outputs up to number `end`, then drops the inputs that are no longer needed.
    ///
    /// It works in whole blocks: lanes that were output before, and lanes whose inputs are missing,
    /// are computed from the available inputs and thrown away.
    fn run<O: Sample>(&mut self, end: u64, out: &mut Vec<O>) {
        let Some(bank) = &self.bank else { return };
        if end == self.produced {
            return;
        }
        let lanes = LANES as u64;
        let (head, tail) = (self.produced / lanes, end.div_ceil(lanes));
        let window_at = |block: u64| -> usize {
            let start = bank.newest_input(block * lanes) as i64 + 1 - bank.taps as i64;
            // The history begins at or before the window of the block that `produced` lies in.
            usize::try_from(start - self.first).expect("the window lies inside the history")
        };
        let keep = window_at(end / lanes);
        let inputs = window_at(head)..window_at(tail - 1) + bank.window;

        let pushed = self.history.len();
        self.history.resize(pushed.max(inputs.end), 0.0);
        self.sums.resize((tail - head) as usize, Row([0.0; LANES]));
        let pass = Pass {
            bank,
            head,
            inputs: &self.history[inputs],
        };
        self.runner.convolve(&pass, &mut self.sums);

        let skip = (self.produced - head * lanes) as usize;
        let take = (end - self.produced) as usize;
        let sums = &kernel::lanes(&self.sums)[skip..skip + take];
        self.runner.narrow(sums, out);
        self.produced = end;

        let keep = keep.min(pushed);
        self.history.copy_within(keep..pushed, 0);
        self.history.truncate(pushed - keep);
        self.first += keep as i64;
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resampler")
            .field("in_rate", &self.in_rate)
            .field("out_rate", &self.out_rate)
            .field("delay", &self.delay())
            .field("kernel", &self.kernel())
            .field("consumed", &self.consumed)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}
