//! The inner loop: blocks of sixteen outputs from broadcast inputs.

use super::design::LANES;

/// Blocks that are computed together, so that one load of a row of coefficients serves them all.
pub(super) const GROUP: usize = 2;

/// One block: `Σ rows[t][lane] * input[t]`, added in the order of `t`.
///
/// The order is the contract. A lane's coefficients are zero outside of its own taps, and adding a
/// zero changes no sum, so an output has the same bits in whichever block and push it is computed.
#[inline]
pub(super) fn block(rows: &[[f32; LANES]], input: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (row, &x) in rows.iter().zip(input) {
        for lane in 0..LANES {
            sums[lane] += row[lane] * x;
        }
    }
    sums
}

/// `GROUP` blocks that share their rows; the same arithmetic as [`block`], bit for bit.
#[inline]
pub(super) fn group(rows: &[[f32; LANES]], inputs: [&[f32]; GROUP]) -> [[f32; LANES]; GROUP] {
    let mut sums = [[0.0; LANES]; GROUP];
    let [first, second] = inputs;
    for ((row, &x), &y) in rows.iter().zip(first).zip(second) {
        for lane in 0..LANES {
            sums[0][lane] += row[lane] * x;
            sums[1][lane] += row[lane] * y;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_equals_its_blocks() {
        let rows: Vec<[f32; LANES]> = (0..37)
            .map(|t| std::array::from_fn(|lane| ((t * 16 + lane) as f32 * 0.37).sin()))
            .collect();
        let input: Vec<f32> = (0..90).map(|i| (i as f32 * 1.3).cos()).collect();
        let sums = group(&rows, [&input[3..40], &input[50..87]]);
        assert_eq!(sums[0], block(&rows, &input[3..40]));
        assert_eq!(sums[1], block(&rows, &input[50..87]));
    }
}
