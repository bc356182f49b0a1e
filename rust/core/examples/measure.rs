//! Measures the resampler for the usual pairs of rates: pass-band, stop-band, delay, cost.
//!
//! ```text
//! cargo run --release -p voice-audio --example measure
//! ```
//!
//! The response is read from the impulse response: unit impulses at every input phase give the
//! prototype filter sample by sample. Frequencies are in units of the Nyquist frequency of the
//! lower rate. `pass` is the largest deviation from 0 dB in the pass-band that the preset states,
//! `stop` the largest gain from its stop-band's edge up to the Nyquist frequency of the prototype.
//! Cost is the least of many rounds, in microseconds for a 20 ms frame of `i16`, for each kernel
//! that this machine can run, all of them in every round.

use std::f64::consts::PI;
use std::hint::black_box;
use std::time::Instant;

use voice_audio::{Error, Kernel, Quality, Resampler, ResamplerOptions};

const PAIRS: [(u32, u32); 10] = [
    (48_000, 16_000),
    (24_000, 48_000),
    (48_000, 24_000),
    (8_000, 16_000),
    (16_000, 48_000),
    (44_100, 16_000),
    (44_100, 48_000),
    (48_000, 44_100),
    (16_000, 24_000),
    (24_000, 16_000),
];

/// Returns the preset's stated end of the pass-band and start of the stop-band.
const PRESETS: [(Quality, f64, f64); 2] =
    [(Quality::Voice, 0.90, 1.10), (Quality::Music, 0.95, 1.00)];

/// Returns the prototype filter at `L` times the input rate.
///
/// Output `n` of an impulse at input `k` is its value at `n M - k L`.
fn prototype(mut resampler: Resampler) -> (Vec<f64>, f64) {
    let (in_rate, out_rate) = (resampler.in_rate(), resampler.out_rate());
    let divisor = gcd(in_rate, out_rate);
    let (up, down) = ((out_rate / divisor) as usize, (in_rate / divisor) as usize);
    let reach = resampler.memory() + 1;
    let mut taps = vec![0.0; (reach + 1) * up];
    for k in 0..down {
        resampler.reset();
        let mut input = vec![0.0f32; k + reach + down];
        input[k] = 1.0;
        let mut output: Vec<f32> = Vec::new();
        resampler.push(&input, &mut output);
        for (n, &y) in output.iter().enumerate() {
            if let Some(tap) = (n * down).checked_sub(k * up).and_then(|t| taps.get_mut(t)) {
                *tap = f64::from(y);
            }
        }
    }
    (taps, up as f64)
}

/// Returns the gain in dB at `f` cycles per sample of the prototype.
fn gain_db(taps: &[f64], up: f64, f: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, tap) in taps.iter().enumerate() {
        let (sin, cos) = (2.0 * PI * f * n as f64).sin_cos();
        re += tap * cos;
        im += tap * sin;
    }
    20.0 * (re.hypot(im) / up).max(1e-12).log10()
}

/// Returns each resampler's least time for a 20 ms frame, in microseconds.
fn cost_us(resamplers: &mut [Resampler]) -> Vec<f64> {
    let in_rate = resamplers[0].in_rate();
    let frame: Vec<i16> = (0..in_rate / 50)
        .map(|i| (i * 7919 % 65_521) as i16)
        .collect();
    let mut output: Vec<i16> = Vec::new();
    let mut best = vec![f64::INFINITY; resamplers.len()];
    for _ in 0..200 {
        for (best, resampler) in best.iter_mut().zip(&mut *resamplers) {
            let start = Instant::now();
            for _ in 0..20 {
                output.clear();
                resampler.push(black_box(&frame), &mut output);
                black_box(&output);
            }
            *best = best.min(start.elapsed().as_secs_f64() * 1e6 / 20.0);
        }
    }
    best
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn main() -> Result<(), Error> {
    for (quality, pass_edge, stop_edge) in PRESETS {
        println!("{quality:?}: pass-band to {pass_edge:.2}, stop-band from {stop_edge:.2}");
        print!(
            "{:>13} {:>9} {:>8} {:>9}",
            "rates", "pass dB", "stop dB", "delay ms"
        );
        for kernel in Kernel::available() {
            print!(" {:>10}", format!("{kernel} us"));
        }
        println!();
        for (in_rate, out_rate) in PAIRS {
            let resampler = |kernel| {
                let options = ResamplerOptions::default()
                    .with_quality(quality)
                    .with_kernel(kernel);
                Resampler::with_options(in_rate, out_rate, options)
            };
            let (taps, up) = prototype(resampler(None)?);
            // Nyquist of the lower rate, in cycles per sample of the prototype.
            let nyquist = 0.5 * f64::from(in_rate.min(out_rate)) / (f64::from(in_rate) * up);
            let pass = (0..=95)
                .map(|i| f64::from(i) / 95.0 * pass_edge)
                .map(|f| gain_db(&taps, up, nyquist * f).abs())
                .fold(0.0, f64::max);
            let top = 0.5 / nyquist;
            let stop = (0..600)
                .map(|i| {
                    // Dense near the edge, where the ripples are highest.
                    let x = f64::from(i) / 599.0;
                    gain_db(&taps, up, nyquist * (stop_edge + (top - stop_edge) * x * x))
                })
                .fold(f64::NEG_INFINITY, f64::max);
            let delay = resampler(None)?.delay() as f64 * 1e3 / f64::from(out_rate);
            print!(
                "{:>13} {pass:>9.5} {stop:>8.1} {delay:>9.3}",
                format!("{in_rate}-{out_rate}")
            );
            let mut each = Kernel::available()
                .map(|kernel| resampler(Some(kernel)))
                .collect::<Result<Vec<_>, _>>()?;
            for cost in cost_us(&mut each) {
                print!(" {cost:>10.2}");
            }
            println!();
        }
        println!();
    }
    Ok(())
}
