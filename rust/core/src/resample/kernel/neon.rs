//! NEON kernel.

use std::arch::aarch64::*;

use super::super::design::{LANES, Row};
use super::{Block, Pass, deal};

/// Computes blocks of four registers: twenty chains and a row fill twenty-five of thirty-two.
#[target_feature(enable = "neon")]
pub(super) fn convolve(pass: &Pass<'_>, sums: &mut [Row]) {
    deal(
        pass,
        sums,
        |blocks| group::<5>(blocks),
        |blocks| mixed::<4>(blocks),
    );
}

#[inline]
#[target_feature(enable = "neon")]
fn group<const N: usize>(blocks: [Block<'_>; N]) -> [Row; N] {
    let rows = blocks[0].rows;
    let inputs = blocks.map(|block| {
        assert!(block.inputs.len() >= rows.len());
        block.inputs.as_ptr()
    });
    let mut sums = [[vdupq_n_f32(0.0); 4]; N];
    for (t, row) in rows.iter().enumerate() {
        let row = load(row);
        for i in 0..N {
            // SAFETY: `t` is below `rows.len()`, and the assertion holds for each input.
            let x = unsafe { vld1q_dup_f32(inputs[i].add(t)) };
            for k in 0..4 {
                sums[i][k] = vfmaq_f32(sums[i][k], row[k], x);
            }
        }
    }
    sums.map(|sum| store(sum))
}

#[inline]
#[target_feature(enable = "neon")]
fn mixed<const N: usize>(blocks: [Block<'_>; N]) -> [Row; N] {
    let window = blocks[0].rows.len();
    for block in &blocks {
        assert!(block.rows.len() >= window && block.inputs.len() >= window);
    }
    let mut sums = [[vdupq_n_f32(0.0); 4]; N];
    for t in 0..window {
        for i in 0..N {
            let row = load(&blocks[i].rows[t]);
            let x = vdupq_n_f32(blocks[i].inputs[t]);
            for k in 0..4 {
                sums[i][k] = vfmaq_f32(sums[i][k], row[k], x);
            }
        }
    }
    sums.map(|sum| store(sum))
}

#[inline]
#[target_feature(enable = "neon")]
fn load(row: &Row) -> [float32x4_t; 4] {
    let address = row.0.as_ptr();
    // SAFETY: a `Row` is sixteen floats: four times four.
    unsafe {
        [
            vld1q_f32(address),
            vld1q_f32(address.add(4)),
            vld1q_f32(address.add(8)),
            vld1q_f32(address.add(12)),
        ]
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(sum: [float32x4_t; 4]) -> Row {
    let mut row = Row([0.0; LANES]);
    for (quarter, sum) in row.0.as_chunks_mut::<4>().0.iter_mut().zip(sum) {
        // SAFETY: a quarter of a `Row` is four floats.
        unsafe { vst1q_f32(quarter.as_mut_ptr(), sum) };
    }
    row
}
