//! Magnitude spectra for the network: a short-time Fourier transform of four frames.
#![allow(
    clippy::needless_range_loop,
    reason = "frames and lanes index several arrays"
)]

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Number of samples of a transform.
const SIZE: usize = 256;
/// Number of samples from frame to frame.
const STEP: usize = 128;
/// Number of frames of a window, processed together.
pub(super) const FRAMES: usize = 4;
/// Number of bins of a real transform, zero and Nyquist included.
pub(super) const BINS: usize = SIZE / 2 + 1;
/// Number of points of the complex transform that computes the real one.
const HALF: usize = SIZE / 2;
/// Number of samples of a window.
pub(super) const WINDOW: usize = SIZE + (FRAMES - 1) * STEP - REFLECTED;
/// Number of samples that the network mirrors after the window.
const REFLECTED: usize = 64;

/// Magnitudes `[bin][frame]`.
pub(super) type Spectra = [[f32; FRAMES]; BINS];

/// Four neighbouring points of all four frames: `[point][frame]`, one register of AVX-512.
const ROW: usize = 4 * FRAMES;
/// Number of rows of a complex transform.
const ROWS: usize = HALF / 4;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Complex {
    re: [f32; ROW],
    im: [f32; ROW],
}

struct Tables {
    /// Periodic Hann window.
    hann: [f32; SIZE],
    /// `exp(-2πi k / SIZE)`.
    turn: [(f32, f32); SIZE],
    /// The same factors for the points of each row of the first pass: 1, 2 and 3 times the angle.
    first: [[Complex; 3]; ROWS / 4],
    /// The same factors for the bins of each row of the result.
    last: [Complex; ROWS],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let angle = |i: usize| 2.0 * PI * i as f64 / SIZE as f64;
    let row = |index: &dyn Fn(usize) -> usize| Complex {
        re: std::array::from_fn(|lane| angle(index(lane / FRAMES)).cos() as f32),
        im: std::array::from_fn(|lane| -angle(index(lane / FRAMES)).sin() as f32),
    };
    Tables {
        hann: std::array::from_fn(|i| (0.5 - 0.5 * angle(i).cos()) as f32),
        turn: std::array::from_fn(|i| (angle(i).cos() as f32, -angle(i).sin() as f32)),
        first: std::array::from_fn(|r| {
            std::array::from_fn(|j| row(&|point| 2 * (4 * r + point) * (j + 1)))
        }),
        last: std::array::from_fn(|r| row(&|point| 4 * r + point)),
    }
});

/// Computes the tables, unless that has been done.
pub(super) fn prepare() {
    LazyLock::force(&TABLES);
}

/// Makes a row lane by lane, in a loop that LLVM turns into one instruction.
///
/// A closure in `from_fn` may stay a call.
macro_rules! row {
    (|$lane:ident| $value:expr) => {{
        let mut row = [0.0; ROW];
        for $lane in 0..ROW {
            row[$lane] = $value;
        }
        row
    }};
}

impl Complex {
    const ZERO: Self = Self {
        re: [0.0; ROW],
        im: [0.0; ROW],
    };

    #[inline(always)]
    fn plus(self, o: Self) -> Self {
        Self {
            re: row!(|i| self.re[i] + o.re[i]),
            im: row!(|i| self.im[i] + o.im[i]),
        }
    }

    #[inline(always)]
    fn minus(self, o: Self) -> Self {
        Self {
            re: row!(|i| self.re[i] - o.re[i]),
            im: row!(|i| self.im[i] - o.im[i]),
        }
    }

    #[inline(always)]
    fn times(self, o: &Self) -> Self {
        Self {
            re: row!(|i| self.re[i] * o.re[i] - self.im[i] * o.im[i]),
            im: row!(|i| self.re[i] * o.im[i] + self.im[i] * o.re[i]),
        }
    }

    #[inline(always)]
    fn times_scalar(self, (re, im): (f32, f32)) -> Self {
        Self {
            re: row!(|i| self.re[i] * re - self.im[i] * im),
            im: row!(|i| self.re[i] * im + self.im[i] * re),
        }
    }

    /// Returns the product with -i.
    #[inline(always)]
    fn turned(self) -> Self {
        Self {
            re: self.im,
            im: row!(|i| -self.re[i]),
        }
    }
}

/// Computes the magnitudes of the four frames of `window`.
///
/// A real transform of 256 points is a complex one of 128 whose points are the even samples and,
/// as imaginary parts, the odd ones (Press et al., Numerical Recipes, section 12.3). The complex
/// one is 4 × 4 × 4 × 2 in Stockham's order, which needs no bit reversal.
#[inline(always)]
pub(super) fn magnitudes(window: &[f32; WINDOW], out: &mut Spectra) {
    let tables = &*TABLES;
    let mut padded = [0.0; WINDOW + REFLECTED];
    padded[..WINDOW].copy_from_slice(window);
    for i in 0..REFLECTED {
        padded[WINDOW + i] = window[WINDOW - 2 - i];
    }
    let mut a = [Complex::ZERO; ROWS];
    let mut b = [Complex::ZERO; ROWS];
    for (r, row) in a.iter_mut().enumerate() {
        for point in 0..4 {
            let n = 2 * (4 * r + point);
            for frame in 0..FRAMES {
                let lane = point * FRAMES + frame;
                row.re[lane] = padded[frame * STEP + n] * tables.hann[n];
                row.im[lane] = padded[frame * STEP + n + 1] * tables.hann[n + 1];
            }
        }
    }
    // The four results of the first pass go to neighbouring points.
    for (r, turn) in tables.first.iter().enumerate() {
        let y = butterfly([a[r], a[r + 8], a[r + 16], a[r + 24]]);
        let y = [
            y[0],
            y[1].times(&turn[0]),
            y[2].times(&turn[1]),
            y[3].times(&turn[2]),
        ];
        for (point, row) in b[4 * r..4 * r + 4].iter_mut().enumerate() {
            let from = point * FRAMES;
            for (j, y) in y.iter().enumerate() {
                let to = j * FRAMES;
                row.re[to..to + FRAMES].copy_from_slice(&y.re[from..from + FRAMES]);
                row.im[to..to + FRAMES].copy_from_slice(&y.im[from..from + FRAMES]);
            }
        }
    }
    pass(&b, &mut a, 1, &tables.turn);
    pass(&a, &mut b, 4, &tables.turn);
    for q in 0..ROWS / 2 {
        let (x, y) = (b[q], b[q + ROWS / 2]);
        a[q] = x.plus(y);
        a[q + ROWS / 2] = x.minus(y);
    }
    let (bins, _) = out.as_chunks_mut::<4>();
    for (r, (bins, turn)) in bins.iter_mut().zip(&tables.last).enumerate() {
        // The conjugates of the points that mirror those of the row.
        let mut mirror = Complex::ZERO;
        for point in 0..4 {
            let n = (HALF - 4 * r - point) % HALF;
            let (from, to) = (n % 4 * FRAMES, point * FRAMES);
            for frame in 0..FRAMES {
                mirror.re[to + frame] = a[n / 4].re[from + frame];
                mirror.im[to + frame] = -a[n / 4].im[from + frame];
            }
        }
        let even = a[r].plus(mirror);
        let odd = a[r].minus(mirror).turned().times(turn);
        let sum = even.plus(odd);
        let magnitude = row!(|i| 0.5 * (sum.re[i] * sum.re[i] + sum.im[i] * sum.im[i]).sqrt());
        *bins
            .as_flattened_mut()
            .first_chunk_mut()
            .expect("four bins") = magnitude;
    }
    for frame in 0..FRAMES {
        out[HALF][frame] = (a[0].re[frame] - a[0].im[frame]).abs();
    }
}

/// Computes one radix-4 pass over transforms whose points are `stride` rows apart.
#[inline(always)]
fn pass(
    from: &[Complex; ROWS],
    to: &mut [Complex; ROWS],
    stride: usize,
    turn: &[(f32, f32); SIZE],
) {
    let groups = ROWS / 4 / stride;
    for p in 0..groups {
        // exp(-2πi p j / (4 groups)).
        let turn = |j: usize| turn[SIZE / 4 / groups * p * j];
        for q in 0..stride {
            let input = |j: usize| from[q + stride * (p + groups * j)];
            let y = butterfly([input(0), input(1), input(2), input(3)]);
            let at = |j: usize| q + stride * (4 * p + j);
            to[at(0)] = y[0];
            to[at(1)] = y[1].times_scalar(turn(1));
            to[at(2)] = y[2].times_scalar(turn(2));
            to[at(3)] = y[3].times_scalar(turn(3));
        }
    }
}

/// Computes a transform of four points.
#[inline(always)]
fn butterfly([a, b, c, d]: [Complex; 4]) -> [Complex; 4] {
    let (even, odd) = (a.plus(c), b.plus(d));
    let (low, high) = (a.minus(c), b.minus(d).turned());
    [
        even.plus(odd),
        low.plus(high),
        even.minus(odd),
        low.minus(high),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_definition() {
        let window: [f32; WINDOW] =
            std::array::from_fn(|i| ((i * i % 977) as f32 * 0.37).sin() * 0.5);
        let padded = |i: usize| {
            if i < WINDOW {
                f64::from(window[i])
            } else {
                f64::from(window[2 * WINDOW - 2 - i])
            }
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
