//! Kernel design: from two sample rates to a bank of filter coefficients.
//!
//! The prototype is a Kaiser-windowed sinc at `L` times the input rate (L/M is the reduced ratio
//! of the rates). Its order follows Kaiser's formula `(A - 7.95) / (2.285 Δω)` and his `β`
//! (J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", 1974;
//! A. V. Oppenheim and R. W. Schafer, "Discrete-Time Signal Processing", section 7.6).

use std::f64::consts::PI;

use crate::Error;

/// Output samples that are computed side by side, one in each lane.
pub(super) const LANES: usize = 16;

/// One coefficient or one output for each lane: a cache line, and aligned to it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(64))]
pub(super) struct Row(pub(super) [f32; LANES]);

/// Quality of a [`Resampler`](crate::Resampler): its pass-band, and its delay.
///
/// Both attenuate their stop-band by at least 100 dB and are flat to 0.001 dB in their pass-band.
/// Frequencies are in units of the Nyquist frequency of the lower rate. `examples/measure.rs` prints
/// what each pair of rates reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Quality {
    /// Pass-band to 0.90, stop-band from 1.10: 2.06 ms from 48 to 16 kHz, 1.375 ms from 24 to
    /// 48 kHz. What lies between 0.90 and 1.10 is mirrored around 1, weakened: above 7.2 kHz at
    /// 16 kHz, where speech has next to nothing.
    #[default]
    Voice,
    /// Pass-band to 0.95, stop-band from 1.00, so nothing is mirrored at all: 8.3 ms from 48 to
    /// 16 kHz, 5.5 ms from 24 to 48 kHz, and four times the work.
    Music,
}

impl Quality {
    /// Edges of the filter: the end of the pass-band and the beginning of the stop-band.
    ///
    /// With the -6 dB point, midway between them, at exactly 1 the sinc's zeros fall on the input's
    /// instants: interpolation by a whole factor returns the input's own samples among the new ones,
    /// which saves their rounding.
    fn edges(self) -> (f64, f64) {
        match self {
            Self::Voice => (0.90, 1.10),
            Self::Music => (0.95, 1.00),
        }
    }

    /// Stop-band attenuation in dB that the filter is designed for. Kaiser's formula is a fit; the
    /// surplus over the promised 100 dB is what the fit needs to keep the promise for every ratio.
    fn attenuation_db(self) -> f64 {
        102.0
    }
}

/// Coefficients for one pair of rates, shared by every resampler of that pair.
///
/// Layout: sixteen consecutive outputs sit in the lanes and the input is broadcast, so the inner
/// loop has neither horizontal sums nor unaligned coefficient loads, and each output adds its taps
/// in one fixed order, from the oldest input to the newest. Blocks of sixteen outputs repeat after
/// `blocks` of them; block `b` has `window` rows, row `t` holding what input `t` of the block's
/// window contributes to each lane (zero where a lane does not see that input).
pub(super) struct FilterBank {
    /// Upsampling factor L.
    pub(super) up: u64,
    /// Downsampling factor M.
    pub(super) down: u64,
    /// Inputs that one output sees.
    pub(super) taps: usize,
    /// Inputs that one block of outputs sees.
    pub(super) window: usize,
    /// Constant delay in output samples. The design rounds it up to a whole number.
    pub(super) delay: usize,
    /// `rows[b * window + t][lane]`
    rows: Vec<Row>,
    /// Distinct blocks, L / gcd(L, 16).
    blocks: u64,
}

impl FilterBank {
    /// Designs the bank for a pair of factors, as [`factors`] gives them.
    pub(super) fn design(up: u32, down: u32, quality: Quality) -> Self {
        let (up, down) = (u64::from(up), u64::from(down));
        let (pass, stop) = quality.edges();
        let cutoff = 0.5 * (pass + stop);
        let (l, m) = (up as f64, down as f64);
        // Frequencies in radians per sample of the prototype, which runs at L times the input
        // rate; the lower of the two Nyquist frequencies lies at π / max(L, M) there.
        let nyquist = PI / l.max(m);
        let width = (stop - pass) * nyquist;
        let order = (quality.attenuation_db() - 7.95) / (2.285 * width);
        // Half the order is the delay. It is rounded up to a whole number of output samples: at
        // most 1/30 more taps, and users can align signals without fractions.
        let delay = (order / (2.0 * m)).ceil() as usize;
        let half = delay * down as usize;
        let length = 2 * half + 1;
        let taps = length.div_ceil(up as usize);
        // What the rounding has gained goes into the window, where it lowers the images of the upper
        // speech band: in 16 bits they add to the noise of rounding.
        let reach = half as f64 + 1.0;
        let attenuation = 7.95 + 2.285 * width * 2.0 * reach;
        let prototype = kaiser_sinc(half, cutoff * nyquist, l, 0.1102 * (attenuation - 8.7));

        let lanes = LANES as u64;
        let blocks = up / u64::from(gcd(up as u32, LANES as u32));
        // The newest inputs of a block's first and last lanes are this far apart at most.
        let spread = (0..blocks)
            .map(|block| {
                let first = block * lanes;
                (first + lanes - 1) * down / up - first * down / up
            })
            .max();
        let window = taps + spread.unwrap_or(0) as usize;
        let mut rows = vec![Row([0.0; LANES]); blocks as usize * window];
        for (block, rows) in rows.chunks_exact_mut(window).enumerate() {
            let first = (block * LANES) as u64;
            let start = first * down / up;
            for (lane, output) in (first..).take(LANES).enumerate() {
                let position = output * down;
                let (newest, phase) = (position / up, (position % up) as usize);
                // The taps of this phase, from the newest input back. The block's window starts
                // `taps - 1` inputs before the newest input of its first lane.
                let newest_row = (newest - start) as usize + taps - 1;
                for (age, &tap) in prototype[phase..].iter().step_by(up as usize).enumerate() {
                    rows[newest_row - age].0[lane] = tap as f32;
                }
            }
        }
        Self {
            up,
            down,
            taps,
            window,
            delay,
            rows,
            blocks,
        }
    }

    /// A bank of zeros that is as large as stated.
    #[cfg(test)]
    pub(super) fn of_size(bytes: usize) -> Self {
        Self {
            up: 1,
            down: 1,
            taps: 1,
            window: 1,
            delay: 0,
            rows: vec![Row([0.0; LANES]); bytes / size_of::<Row>()],
            blocks: 1,
        }
    }

    /// Rows of the block with this running number.
    pub(super) fn block(&self, number: u64) -> &[Row] {
        let start = (number % self.blocks) as usize * self.window;
        &self.rows[start..start + self.window]
    }

    /// Memory of the coefficients.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
    }

    /// Blocks between two that use the same rows.
    pub(super) fn period(&self) -> u64 {
        self.blocks
    }

    /// Index of the newest input that output `n` sees.
    pub(super) fn newest_input(&self, n: u64) -> u64 {
        n * self.down / self.up
    }

    /// Outputs that `n` inputs make: every output whose newest input has arrived.
    pub(super) fn outputs_for(&self, n: u64) -> u64 {
        (n * self.up).div_ceil(self.down)
    }
}

/// Kaiser-windowed sinc of `2 * half + 1` taps with its -6 dB point at `cutoff` radians per
/// sample and a DC gain of `gain`; the window falls to its end value just beyond the taps.
fn kaiser_sinc(half: usize, cutoff: f64, gain: f64, beta: f64) -> Vec<f64> {
    let reach = half as f64 + 1.0;
    let mut taps: Vec<f64> = (0..=2 * half)
        .map(|i| {
            let t = i as f64 - half as f64;
            let sinc = if t == 0.0 {
                cutoff / PI
            } else {
                (cutoff * t).sin() / (PI * t)
            };
            sinc * bessel_i0(beta * (1.0 - (t / reach).powi(2)).sqrt())
        })
        .collect();
    let scale = gain / taps.iter().sum::<f64>();
    taps.iter_mut().for_each(|tap| *tap *= scale);
    taps
}

/// Modified Bessel function of the first kind and order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

/// Returns the up- and downsampling factor of a pair of rates, without common divisor.
pub(super) fn factors(in_rate: u32, out_rate: u32) -> Result<(u32, u32), Error> {
    let divisor = gcd(in_rate, out_rate);
    let (up, down) = (out_rate / divisor, in_rate / divisor);
    if up > super::MAX_PHASES {
        return Err(Error::Ratio {
            in_rate,
            out_rate,
            phases: up,
        });
    }
    Ok((up, down))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bessel_matches_published_values() {
        // Abramowitz and Stegun, table 9.8 (I0(1), I0(5), I0(10)).
        for (x, want) in [
            (1.0, 1.266_065_877_752_008),
            (5.0, 27.239_871_823_604_44),
            (10.0, 2_815.716_628_466_254),
        ] {
            assert!((bessel_i0(x) / want - 1.0).abs() < 1e-14, "I0({x})");
        }
    }

    #[test]
    fn the_documented_pairs_are_accepted() {
        let rates = crate::MIN_RATE..=crate::MAX_RATE;
        let multiples = |hz: u32| rates.clone().filter(move |rate| rate % hz == 0);
        let accepted = |i, o| factors(i, o).is_ok();
        for i in multiples(100) {
            assert!(multiples(100).all(|o| accepted(i, o)), "{i}");
        }
        for i in multiples(50) {
            assert!(multiples(50).all(|o| o > 51_200 || accepted(i, o)), "{i}");
        }
        assert!(multiples(16).all(|i| accepted(i, 16_000)));
        assert!(multiples(24).all(|i| accepted(i, 24_000)));
        assert!(multiples(48).all(|i| accepted(i, 48_000)));
        let usual = [
            8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000,
        ];
        let refused: Vec<_> = usual
            .iter()
            .flat_map(|&i| usual.map(|o| (i, o)))
            .filter(|&(i, o)| !accepted(i, o))
            .collect();
        assert_eq!(refused, [(11_025, 32_000), (11_025, 96_000)]);
    }

    #[test]
    fn each_lane_of_each_block_is_one_phase_of_the_prototype() {
        for quality in [Quality::Voice, Quality::Music] {
            for (i, o) in [(48_000, 16_000), (24_000, 48_000), (44_100, 48_000)] {
                let (up, down) = factors(i, o).unwrap();
                let bank = FilterBank::design(up, down, quality);
                for number in 0..bank.period() {
                    for lane in 0..LANES {
                        let lane_sum = bank.block(number).iter().map(|r| f64::from(r.0[lane]));
                        let sum: f64 = lane_sum.sum();
                        // Each phase passes DC; the rest is the stop-band ripple.
                        assert!((sum - 1.0).abs() < 2e-5, "{i}-{o} {number}/{lane}: {sum}");
                    }
                }
            }
        }
    }
}
