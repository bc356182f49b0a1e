//! Measures the resampler for the usual pairs of rates: pass-band, stop-band, delay, cost.
//!
//! ```text
//! cargo run --release -p voice-audio --example measure
//! ```
//!
//! The response is read from the impulse response: unit impulses at every input phase give the
//! prototype filter sample by sample. Frequencies are in units of the Nyquist frequency of the
//! lower rate. `pass` is the largest deviation from 0 dB up to 0.90, `stop` the largest gain from
//! 1.10 up to the Nyquist frequency of the prototype. Cost is the least of many rounds, in
//! microseconds for a 20 ms frame of `i16`.

use std::f64::consts::PI;
use std::hint::black_box;
use std::time::Instant;

use voice_audio::{Error, Resampler};

const PAIRS: [(u32, u32); 9] = [
    (48_000, 16_000),
    (24_000, 48_000),
    (48_000, 24_000),
    (8_000, 16_000),
    (16_000, 48_000),
    (44_100, 16_000),
    (44_100, 48_000),
    (16_000, 24_000),
    (24_000, 16_000),
];

/// The prototype at `L` times the input rate: output `n` of an impulse at input `k` is its value
/// at `n M - k L`.
fn prototype(in_rate: u32, out_rate: u32) -> Result<(Vec<f64>, f64), Error> {
    let mut resampler = Resampler::new(in_rate, out_rate)?;
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
    Ok((taps, up as f64))
}

/// Gain in dB at `f` cycles per sample of the prototype.
fn gain_db(taps: &[f64], up: f64, f: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, tap) in taps.iter().enumerate() {
        let (sin, cos) = (2.0 * PI * f * n as f64).sin_cos();
        re += tap * cos;
        im += tap * sin;
    }
    20.0 * (re.hypot(im) / up).max(1e-12).log10()
}

fn cost_us(in_rate: u32, out_rate: u32) -> Result<f64, Error> {
    let mut resampler = Resampler::new(in_rate, out_rate)?;
    let frame: Vec<i16> = (0..in_rate / 50)
        .map(|i| (i * 7919 % 65_521) as i16)
        .collect();
    let mut output: Vec<i16> = Vec::new();
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..20 {
            output.clear();
            resampler.push(black_box(&frame), &mut output);
            black_box(&output);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / 20.0);
    }
    Ok(best)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn main() -> Result<(), Error> {
    println!(
        "{:>13} {:>9} {:>8} {:>9} {:>8}",
        "rates", "pass dB", "stop dB", "delay ms", "us/20 ms"
    );
    for (in_rate, out_rate) in PAIRS {
        let (taps, up) = prototype(in_rate, out_rate)?;
        // Nyquist of the lower rate, in cycles per sample of the prototype.
        let nyquist = 0.5 * f64::from(in_rate.min(out_rate)) / (f64::from(in_rate) * up);
        let pass = (0..=90)
            .map(|i| gain_db(&taps, up, nyquist * f64::from(i) / 100.0).abs())
            .fold(0.0, f64::max);
        let top = 0.5 / nyquist;
        let stop = (0..600)
            .map(|i| {
                // Dense near the edge, where the ripples are highest.
                let x = f64::from(i) / 599.0;
                gain_db(&taps, up, nyquist * (1.10 + (top - 1.10) * x * x))
            })
            .fold(f64::NEG_INFINITY, f64::max);
        let delay = Resampler::new(in_rate, out_rate)?.delay() * 1e3 / f64::from(out_rate);
        let cost = cost_us(in_rate, out_rate)?;
        println!(
            "{:>13} {pass:>9.5} {stop:>8.1} {delay:>9.3} {cost:>8.2}",
            format!("{in_rate}-{out_rate}")
        );
    }
    Ok(())
}
