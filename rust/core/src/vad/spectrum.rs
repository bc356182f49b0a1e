//! The magnitude spectra that the network sees: a short-time Fourier transform of four frames.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Samples of a transform.
const SIZE: usize = 256;
/// Samples from frame to frame.
const STEP: usize = 128;
/// Frames of a window, which are worked on together.
pub(super) const FRAMES: usize = 4;
/// Bins of a real transform, zero and Nyquist included.
pub(super) const BINS: usize = SIZE / 2 + 1;
/// Points of the complex transform that the real one is made of.
const HALF: usize = SIZE / 2;
/// Samples of a window.
pub(super) const WINDOW: usize = SIZE + (FRAMES - 1) * STEP - REFLECTED;
/// Samples that the network mirrors behind the window.
const REFLECTED: usize = 64;

/// The same value of each of the four frames.
type Four = [f32; FRAMES];

/// Magnitudes `[bin][frame]`.
pub(super) type Spectra = [Four; BINS];

#[derive(Clone, Copy)]
struct Complex {
    re: Four,
    im: Four,
}

struct Tables {
    /// Periodic Hann window.
    hann: [f32; SIZE],
    /// `exp(-2πi k / SIZE)` as (re, im).
    turn: [(f32, f32); SIZE],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let angle = |i: usize| 2.0 * PI * i as f64 / SIZE as f64;
    Tables {
        hann: std::array::from_fn(|i| (0.5 - 0.5 * angle(i).cos()) as f32),
        turn: std::array::from_fn(|i| (angle(i).cos() as f32, -angle(i).sin() as f32)),
    }
});

/// Four values at once; LLVM makes them one register.
macro_rules! four {
    (|$i:ident| $value:expr) => {{
        let mut four = [0.0; FRAMES];
        for $i in 0..FRAMES {
            four[$i] = $value;
        }
        four
    }};
}

impl Complex {
    const ZERO: Self = Self {
        re: [0.0; FRAMES],
        im: [0.0; FRAMES],
    };

    #[inline(always)]
    fn plus(self, o: Self) -> Self {
        Self {
            re: four!(|i| self.re[i] + o.re[i]),
            im: four!(|i| self.im[i] + o.im[i]),
        }
    }

    #[inline(always)]
    fn minus(self, o: Self) -> Self {
        Self {
            re: four!(|i| self.re[i] - o.re[i]),
            im: four!(|i| self.im[i] - o.im[i]),
        }
    }

    #[inline(always)]
    fn times(self, (re, im): (f32, f32)) -> Self {
        Self {
            re: four!(|i| self.re[i] * re - self.im[i] * im),
            im: four!(|i| self.re[i] * im + self.im[i] * re),
        }
    }

    /// Times -i.
    #[inline(always)]
    fn turned(self) -> Self {
        Self {
            re: self.im,
            im: four!(|i| -self.re[i]),
        }
    }

    #[inline(always)]
    fn conjugate(self) -> Self {
        Self {
            re: self.re,
            im: four!(|i| -self.im[i]),
        }
    }
}

/// Magnitudes of the four frames of `window`.
///
/// A real transform of 256 points is a complex one of 128 whose points are the even samples and,
/// as imaginary parts, the odd ones (Press et al., Numerical Recipes, section 12.3). The complex
/// one is 4 × 4 × 8 in Stockham's order, which needs no bit reversal.
#[inline(always)]
pub(super) fn magnitudes(window: &[f32; WINDOW], out: &mut Spectra) {
    let Tables { hann, turn } = &*TABLES;
    let mut padded = [0.0; WINDOW + REFLECTED];
    padded[..WINDOW].copy_from_slice(window);
    for i in 0..REFLECTED {
        padded[WINDOW + i] = window[WINDOW - 2 - i];
    }
    let mut a = [Complex::ZERO; HALF];
    let mut b = [Complex::ZERO; HALF];
    for (n, z) in a.iter_mut().enumerate() {
        let at = |i: usize| four!(|f| padded[f * STEP + i] * hann[i]);
        *z = Complex {
            re: at(2 * n),
            im: at(2 * n + 1),
        };
    }
    pass::<4>(&a, &mut b, 1, turn);
    pass::<4>(&b, &mut a, 4, turn);
    pass::<4>(&a, &mut b, 16, turn);
    pass::<2>(&b, &mut a, 64, turn);
    for k in 0..BINS {
        let (z, mirror) = (a[k % HALF], a[(HALF - k) % HALF].conjugate());
        let even = z.plus(mirror);
        let odd = z.minus(mirror).turned().times(turn[k]);
        let sum = even.plus(odd);
        out[k] = four!(|f| 0.5 * (sum.re[f] * sum.re[f] + sum.im[f] * sum.im[f]).sqrt());
    }
}

/// One pass of Stockham's transform: butterflies of `RADIX` points, `stride` of them side by side.
#[inline(always)]
fn pass<const RADIX: usize>(
    from: &[Complex; HALF],
    to: &mut [Complex; HALF],
    stride: usize,
    turn: &[(f32, f32); SIZE],
) {
    let groups = HALF / RADIX / stride;
    for p in 0..groups {
        // exp(-2πi p j / (HALF / stride)), in a table of SIZE steps.
        let twiddle = |j: usize| turn[2 * p * j * stride];
        for q in 0..stride {
            let input = |j: usize| from[q + stride * (p + groups * j)];
            let at = |j: usize| q + stride * (RADIX * p + j);
            if RADIX == 2 {
                let (x, y) = (input(0), input(1));
                to[at(0)] = x.plus(y);
                to[at(1)] = x.minus(y).times(twiddle(1));
            } else {
                let (even, odd) = (input(0).plus(input(2)), input(1).plus(input(3)));
                let (low, high) = (input(0).minus(input(2)), input(1).minus(input(3)).turned());
                to[at(0)] = even.plus(odd);
                to[at(1)] = low.plus(high).times(twiddle(1));
                to[at(2)] = even.minus(odd).times(twiddle(2));
                to[at(3)] = low.minus(high).times(twiddle(3));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_definition() {
        let window: [f32; WINDOW] =
            std::array::from_fn(|i| ((i * i % 977) as f32 * 0.37).sin() * 0.5);
        let padded = |i: usize| match i < WINDOW {
            true => f64::from(window[i]),
            false => f64::from(window[2 * WINDOW - 2 - i]),
        };
        let mut got = [[0.0; FRAMES]; BINS];
        magnitudes(&window, &mut got);
        for (k, bin) in got.iter().enumerate() {
            for (f, &magnitude) in bin.iter().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..SIZE {
                    let hann = 0.5 - 0.5 * (2.0 * PI * n as f64 / SIZE as f64).cos();
                    let x = padded(f * STEP + n) * hann;
                    let angle = 2.0 * PI * (k * n) as f64 / SIZE as f64;
                    re += x * angle.cos();
                    im -= x * angle.sin();
                }
                let want = re.hypot(im);
                assert!(
                    (f64::from(magnitude) - want).abs() < 2e-5,
                    "bin {k}, frame {f}: {magnitude} for {want}"
                );
            }
        }
    }
}
