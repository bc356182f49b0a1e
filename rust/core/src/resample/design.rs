//! Kernel design: from two sample rates to a bank of filter coefficients.
//!
//! The prototype is a Kaiser-windowed sinc at `L` times the input rate (L/M is the reduced ratio
//! of the rates). Its order follows Kaiser's formula `(A - 7.95) / (2.285 Δω)` and his `β`
//! (J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", 1974;
//! A. V. Oppenheim and R. W. Schafer, "Discrete-Time Signal Processing", section 7.6).

use std::collections::HashMap;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::Error;

/// Output samples that are computed side by side, one in each lane.
pub(super) const LANES: usize = 16;

/// Stop-band attenuation in dB that the filter is designed for. Kaiser's formula is a fit; the
/// surplus over the promised 100 dB is what the fit needs to keep the promise for every ratio
/// (`examples/measure.rs` prints it).
const ATTENUATION_DB: f64 = 102.0;
/// Where the stop-band begins, in units of the Nyquist frequency of the lower rate.
const STOP_EDGE: f64 = 1.10;
/// The -6 dB point in the same units, midway between the edges of the pass-band (0.90) and the
/// stop-band. At exactly 1 the sinc's zeros fall on the input's instants: interpolation by a whole
/// factor returns the input's own samples among the new ones, which saves their rounding.
const CUTOFF: f64 = 1.0;

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
    rows: Vec<[f32; LANES]>,
    /// Distinct blocks, L / gcd(L, 16).
    blocks: u64,
}

impl FilterBank {
    /// The bank for a pair of rates, from a process-wide cache: calls begin and end all the time,
    /// the pairs are always the same few.
    pub(super) fn shared(in_rate: u32, out_rate: u32) -> Result<Arc<Self>, Error> {
        type Banks = Mutex<HashMap<(u32, u32), Arc<FilterBank>>>;
        static BANKS: OnceLock<Banks> = OnceLock::new();
        let divisor = gcd(in_rate, out_rate);
        let (up, down) = (out_rate / divisor, in_rate / divisor);
        if up > super::MAX_PHASES {
            return Err(Error::Ratio {
                in_rate,
                out_rate,
                phases: up,
            });
        }
        let banks = BANKS.get_or_init(Mutex::default);
        // A bank is inserted whole or not at all, so a poisoned map is still a valid one.
        let mut banks = banks.lock().unwrap_or_else(PoisonError::into_inner);
        // An outside caller chooses the rates: forget banks that nobody uses before the cache
        // could grow without bound.
        if banks.len() >= 64 {
            banks.retain(|_, bank| Arc::strong_count(bank) > 1);
        }
        let bank = banks
            .entry((up, down))
            .or_insert_with(|| Arc::new(Self::design(u64::from(up), u64::from(down))));
        Ok(Arc::clone(bank))
    }

    fn design(up: u64, down: u64) -> Self {
        let (l, m) = (up as f64, down as f64);
        // Frequencies in radians per sample of the prototype, which runs at L times the input
        // rate; the lower of the two Nyquist frequencies lies at π / max(L, M) there.
        let nyquist = PI / l.max(m);
        let width = 2.0 * (STOP_EDGE - CUTOFF) * nyquist;
        let order = (ATTENUATION_DB - 7.95) / (2.285 * width);
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
        let prototype = kaiser_sinc(half, CUTOFF * nyquist, l, 0.1102 * (attenuation - 8.7));

        let window = taps + ((LANES as u64 - 1) * down / up) as usize + 1;
        let blocks = up / u64::from(gcd(up as u32, LANES as u32));
        let mut rows = vec![[0.0; LANES]; blocks as usize * window];
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
                    rows[newest_row - age][lane] = tap as f32;
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

    /// Rows of the block with this running number.
    pub(super) fn block(&self, number: u64) -> &[[f32; LANES]] {
        let start = (number % self.blocks) as usize * self.window;
        &self.rows[start..start + self.window]
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
    fn banks_are_shared_by_ratio() {
        let a = FilterBank::shared(48_000, 16_000).unwrap();
        let b = FilterBank::shared(24_000, 8_000).unwrap();
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn each_lane_of_each_block_is_one_phase_of_the_prototype() {
        for (i, o) in [(48_000, 16_000), (24_000, 48_000), (44_100, 48_000)] {
            let bank = FilterBank::shared(i, o).unwrap();
            for number in 0..bank.period() {
                for lane in 0..LANES {
                    let sum: f64 = bank.block(number).iter().map(|r| f64::from(r[lane])).sum();
                    // Each phase passes DC; the rest is the stop-band ripple.
                    assert!((sum - 1.0).abs() < 2e-5, "{i}-{o} {number}/{lane}: {sum}");
                }
            }
        }
    }
}
