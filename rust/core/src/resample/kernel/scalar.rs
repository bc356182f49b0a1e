//! Scalar reference kernel. Compilers vectorise its inner loop for the target's baseline.

use super::super::design::{LANES, Row};
use super::{Block, Pass, deal};

pub(super) fn convolve(pass: &Pass<'_>, sums: &mut [Row]) {
    deal(pass, sums, group, |[block]| [single(block)]);
}

#[inline(always)]
fn group([first, second]: [Block<'_>; 2]) -> [Row; 2] {
    let mut sums = [Row([0.0; LANES]); 2];
    for ((row, &x), &y) in first.rows.iter().zip(first.inputs).zip(second.inputs) {
        for lane in 0..LANES {
            sums[0].0[lane] += row.0[lane] * x;
            sums[1].0[lane] += row.0[lane] * y;
        }
    }
    sums
}

#[inline(always)]
fn single(block: Block<'_>) -> Row {
    let mut sum = Row([0.0; LANES]);
    for (row, &x) in block.rows.iter().zip(block.inputs) {
        for lane in 0..LANES {
            sum.0[lane] += row.0[lane] * x;
        }
    }
    sum
}
