//! Kernels for AVX2 with FMA, and for AVX-512.

use std::arch::x86_64::*;

use super::super::design::{LANES, Row};
use super::{Block, Pass, deal};
use crate::pcm::Sample;

#[target_feature(enable = "avx2,fma")]
pub(super) fn widen<I: Sample>(input: &[I], out: &mut Vec<f32>) {
    super::widen(input, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn widen_interleaved<I: Sample>(pairs: &[[I; 2]], out: &mut Vec<f32>) {
    super::widen_interleaved(pairs, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn widen_planar<I: Sample>(left: &[I], right: &[I], out: &mut Vec<f32>) {
    super::widen_planar(left, right, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn narrow<O: Sample>(sums: &[f32], out: &mut Vec<O>) {
    super::narrow(sums, out);
}

/// Computes blocks of one register.
///
/// Ten chains and one row: eleven loads for ten multiplications, and more than the eight chains
/// that two units with a latency of four cycles need.
#[target_feature(enable = "avx2,fma,avx512f")]
pub(super) fn convolve_avx512(pass: &Pass<'_>, sums: &mut [Row]) {
    deal(
        pass,
        sums,
        |blocks| group_avx512::<10>(blocks),
        |blocks| mixed_avx512::<4>(blocks),
    );
}

#[inline]
#[target_feature(enable = "avx512f")]
fn group_avx512<const N: usize>(blocks: [Block<'_>; N]) -> [Row; N] {
    let rows = blocks[0].rows;
    let inputs = blocks.map(|block| {
        assert!(block.inputs.len() >= rows.len());
        block.inputs.as_ptr()
    });
    let mut sums = [_mm512_setzero_ps(); N];
    for (t, row) in rows.iter().enumerate() {
        // SAFETY: a `Row` is sixteen floats, aligned to 64 bytes.
        let row = unsafe { _mm512_load_ps(row.0.as_ptr()) };
        for i in 0..N {
            // SAFETY: `t` is below `rows.len()`, and the assertion holds for each input.
            let x = unsafe { _mm512_set1_ps(*inputs[i].add(t)) };
            sums[i] = _mm512_fmadd_ps(row, x, sums[i]);
        }
    }
    sums.map(|sum| row_avx512(sum))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn mixed_avx512<const N: usize>(blocks: [Block<'_>; N]) -> [Row; N] {
    let window = blocks[0].rows.len();
    for block in &blocks {
        assert!(block.rows.len() >= window && block.inputs.len() >= window);
    }
    let mut sums = [_mm512_setzero_ps(); N];
    for t in 0..window {
        for i in 0..N {
            // SAFETY: `t` is below `window`, which the assertions hold against the row and the
            // input; a `Row` is sixteen floats, aligned to 64 bytes.
            let (row, x) = unsafe {
                (
                    _mm512_load_ps(blocks[i].rows.get_unchecked(t).0.as_ptr()),
                    _mm512_set1_ps(*blocks[i].inputs.get_unchecked(t)),
                )
            };
            sums[i] = _mm512_fmadd_ps(row, x, sums[i]);
        }
    }
    sums.map(|sum| row_avx512(sum))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn row_avx512(sum: __m512) -> Row {
    let mut row = Row([0.0; LANES]);
    // SAFETY: a `Row` is sixteen floats, aligned to 64 bytes.
    unsafe { _mm512_store_ps(row.0.as_mut_ptr(), sum) };
    row
}

/// Computes blocks of two registers: ten chains and a row fill thirteen of sixteen.
#[target_feature(enable = "avx2,fma")]
pub(super) fn convolve_avx2(pass: &Pass<'_>, sums: &mut [Row]) {
    deal(
        pass,
        sums,
        |blocks| group_avx2::<5>(blocks),
        |blocks| mixed_avx2::<4>(blocks),
    );
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn group_avx2<const N: usize>(blocks: [Block<'_>; N]) -> [Row; N] {
    let rows = blocks[0].rows;
    let inputs = blocks.map(|block| {
        assert!(block.inputs.len() >= rows.len());
        block.inputs.as_ptr()
    });
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for (t, row) in rows.iter().enumerate() {
        // SAFETY: a `Row` is sixteen floats, aligned to 64 bytes.
        let (low, high) = unsafe {
            (
                _mm256_load_ps(row.0.as_ptr()),
                _mm256_load_ps(row.0.as_ptr().add(8)),
            )
        };
        for i in 0..N {
            // SAFETY: `t` is below `rows.len()`, and the assertion holds for each input.
            let x = unsafe { _mm256_broadcast_ss(&*inputs[i].add(t)) };
            sums[i][0] = _mm256_fmadd_ps(low, x, sums[i][0]);
            sums[i][1] = _mm256_fmadd_ps(high, x, sums[i][1]);
        }
    }
    sums.map(|sum| row_avx2(sum))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn mixed_avx2<const N: usize>(blocks: [Block<'_>; N]) -> [Row; N] {
    let window = blocks[0].rows.len();
    for block in &blocks {
        assert!(block.rows.len() >= window && block.inputs.len() >= window);
    }
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for t in 0..window {
        for i in 0..N {
            // SAFETY: `t` is below `window`, which the assertions hold against the row and the
            // input; a `Row` is sixteen floats, aligned to 64 bytes.
            let (low, high, x) = unsafe {
                let row = blocks[i].rows.get_unchecked(t).0.as_ptr();
                (
                    _mm256_load_ps(row),
                    _mm256_load_ps(row.add(8)),
                    _mm256_broadcast_ss(blocks[i].inputs.get_unchecked(t)),
                )
            };
            sums[i][0] = _mm256_fmadd_ps(low, x, sums[i][0]);
            sums[i][1] = _mm256_fmadd_ps(high, x, sums[i][1]);
        }
    }
    sums.map(|sum| row_avx2(sum))
}

#[inline]
#[target_feature(enable = "avx2")]
fn row_avx2([low, high]: [__m256; 2]) -> Row {
    let mut row = Row([0.0; LANES]);
    // SAFETY: a `Row` is sixteen floats, aligned to 64 bytes.
    unsafe {
        _mm256_store_ps(row.0.as_mut_ptr(), low);
        _mm256_store_ps(row.0.as_mut_ptr().add(8), high);
    }
    row
}
