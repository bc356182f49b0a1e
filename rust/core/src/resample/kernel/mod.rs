//! Inner loop for each instruction set: blocks of sixteen outputs from broadcast inputs.
//!
//! `scalar` is the reference, which every machine can run. The other files hold the same loop for
//! one instruction set each. All of them add an output's taps in the same order, one at a time, so
//! within one kernel an output has the same bits in whichever block and push it is computed. A
//! lane's coefficients are zero outside of its own taps, and adding a zero changes no sum.
//!
//! The vector kernels fuse each multiplication with its addition; that is the only difference to
//! the reference, and all of them give the same bits.

#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::fmt;

use super::design::{FilterBank, LANES, Row};
use crate::Error;
use crate::pcm::{Sample, mean};

/// Instruction set of a [`Resampler`](crate::Resampler).
///
/// Chosen at run time; there is no need to compile for one machine. `Scalar` rounds each product,
/// the others fuse it with the sum: their outputs are the same bit for bit, and differ from
/// `Scalar` by at most one unit of an `i16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// Plain Rust: the reference.
    Scalar,
    /// x86-64 with AVX2 and FMA: 8 lanes.
    Avx2,
    /// x86-64 with AVX-512F: 16 lanes.
    Avx512,
    /// aarch64, where it is always present: 4 lanes.
    Neon,
}

impl Kernel {
    /// Returns the fastest kernel that this machine can run.
    #[must_use]
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Lists the kernels that this machine can run, from the slowest to the fastest.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon]
            .into_iter()
            .filter(|kernel| kernel.runs_here())
    }

    /// Returns true if this machine can run the kernel.
    #[must_use]
    pub fn runs_here(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            // A processor with AVX-512 has the older sets too; its file uses both.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Self::Avx2.runs_here() && is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[allow(unreachable_patterns, reason = "depends on the target")]
            _ => false,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Neon => "NEON",
        })
    }
}

/// Proof that this machine can run a kernel: only [`Runner::new`] makes one.
///
/// The safety of the calls into code with special instructions rests on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runner(Kernel);

impl Runner {
    /// Checks the kernel asked for, or chooses the best one.
    pub(super) fn new(kernel: Option<Kernel>) -> Result<Self, Error> {
        match kernel {
            None => Ok(Self(Kernel::best())),
            Some(kernel) if kernel.runs_here() => Ok(Self(kernel)),
            Some(kernel) => Err(Error::Kernel { kernel }),
        }
    }

    pub(super) fn kernel(self) -> Kernel {
        self.0
    }

    /// Appends the samples at unit scale.
    pub(super) fn widen<I: Sample>(self, input: &[I], out: &mut Vec<f32>) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Runner` has checked its instruction set.
            Kernel::Avx2 | Kernel::Avx512 => unsafe { x86_64::widen(input, out) },
            _ => widen(input, out),
        }
    }

    /// Appends the mean of two channels at unit scale; `pairs` are (left, right).
    pub(super) fn widen_interleaved<I: Sample>(self, pairs: &[[I; 2]], out: &mut Vec<f32>) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Runner` has checked its instruction set.
            Kernel::Avx2 | Kernel::Avx512 => unsafe { x86_64::widen_interleaved(pairs, out) },
            _ => widen_interleaved(pairs, out),
        }
    }

    /// Appends the mean of two channels of equal length at unit scale.
    pub(super) fn widen_planar<I: Sample>(self, left: &[I], right: &[I], out: &mut Vec<f32>) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Runner` has checked its instruction set.
            Kernel::Avx2 | Kernel::Avx512 => unsafe { x86_64::widen_planar(left, right, out) },
            _ => widen_planar(left, right, out),
        }
    }

    /// Appends the sums as samples.
    pub(super) fn narrow<O: Sample>(self, sums: &[f32], out: &mut Vec<O>) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Runner` has checked its instruction set.
            Kernel::Avx2 | Kernel::Avx512 => unsafe { x86_64::narrow(sums, out) },
            _ => narrow(sums, out),
        }
    }

    /// Computes the blocks of a pass into `sums`, one for each of its elements.
    pub(super) fn convolve(self, pass: &Pass<'_>, sums: &mut [Row]) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Runner` has checked its instruction set.
            Kernel::Avx512 => unsafe { x86_64::convolve_avx512(pass, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Runner` has checked its instruction set.
            Kernel::Avx2 => unsafe { x86_64::convolve_avx2(pass, sums) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a `Runner` has checked its instruction set.
            Kernel::Neon => unsafe { neon::convolve(pass, sums) },
            _ => scalar::convolve(pass, sums),
        }
    }
}

/// Input of a kernel: consecutive blocks of one filter bank.
pub(super) struct Pass<'a> {
    pub(super) bank: &'a FilterBank,
    /// Running number of the first block.
    pub(super) head: u64,
    /// Inputs, from the first one that block `head` uses to the last one that any block uses.
    pub(super) inputs: &'a [f32],
}

impl<'a> Pass<'a> {
    /// Returns coefficients and inputs of block `head + index`, both as long as the bank's window.
    #[inline(always)]
    fn block(&self, index: usize) -> Block<'a> {
        let bank = self.bank;
        let number = self.head + index as u64;
        let lanes = LANES as u64;
        let start = bank.newest_input(number * lanes) - bank.newest_input(self.head * lanes);
        Block {
            rows: bank.block(number),
            inputs: &self.inputs[start as usize..][..bank.window],
        }
    }
}

/// One block: `Σ rows[t][lane] * inputs[t]`.
#[derive(Clone, Copy)]
struct Block<'a> {
    rows: &'a [Row],
    inputs: &'a [f32],
}

/// Distributes the blocks of a pass over the two loops of a kernel.
///
/// `group` computes blocks that share their rows, so that one load of a row serves all of them;
/// `mixed` computes the remaining blocks. Both compute several blocks at once because a sum is a
/// chain of additions, and only several chains fill the pipeline.
#[inline(always)]
fn deal<const GROUP: usize, const MIXED: usize>(
    pass: &Pass<'_>,
    sums: &mut [Row],
    group: impl Fn([Block<'_>; GROUP]) -> [Row; GROUP],
    mixed: impl Fn([Block<'_>; MIXED]) -> [Row; MIXED],
) {
    let period = pass.bank.period() as usize;
    let mut rest = [0; MIXED];
    let mut waiting = 0;
    for offset in 0..period.min(sums.len()) {
        let mut index = offset;
        while index + (GROUP - 1) * period < sums.len() {
            let computed = group(std::array::from_fn(|i| pass.block(index + i * period)));
            for (i, row) in computed.into_iter().enumerate() {
                sums[index + i * period] = row;
            }
            index += GROUP * period;
        }
        while index < sums.len() {
            rest[waiting] = index;
            waiting += 1;
            index += period;
            if waiting == MIXED {
                let computed = mixed(rest.map(|index| pass.block(index)));
                for (index, row) in rest.into_iter().zip(computed) {
                    sums[index] = row;
                }
                waiting = 0;
            }
        }
    }
    if waiting > 0 {
        // The empty places repeat the first one.
        let first = rest[0];
        rest[waiting..].fill(first);
        let computed = mixed(rest.map(|index| pass.block(index)));
        for (index, row) in rest[..waiting].iter().zip(computed) {
            sums[*index] = row;
        }
    }
}

/// Returns the lanes of all rows as one slice.
pub(super) fn lanes(rows: &[Row]) -> &[f32] {
    // SAFETY: a `Row` is sixteen floats and nothing else: its size, 64 bytes, is its alignment.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len() * LANES) }
}

const _: () = assert!(size_of::<Row>() == LANES * size_of::<f32>());

#[inline(always)]
fn widen<I: Sample>(input: &[I], out: &mut Vec<f32>) {
    out.extend(input.iter().map(|x| x.to_unit()));
}

#[inline(always)]
fn widen_interleaved<I: Sample>(pairs: &[[I; 2]], out: &mut Vec<f32>) {
    out.extend(pairs.iter().map(|&[l, r]| mean(l, r)));
}

#[inline(always)]
fn widen_planar<I: Sample>(left: &[I], right: &[I], out: &mut Vec<f32>) {
    out.extend(left.iter().zip(right).map(|(&l, &r)| mean(l, r)));
}

#[inline(always)]
fn narrow<O: Sample>(sums: &[f32], out: &mut Vec<O>) {
    out.extend(sums.iter().map(|&sum| O::from_unit(sum)));
}
