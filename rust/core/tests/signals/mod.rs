//! Test signals.
#![allow(dead_code, reason = "each test file uses some of them")]

use std::f64::consts::PI;

pub fn silence(rate: u32, seconds: f64) -> Vec<i16> {
    vec![0; (f64::from(rate) * seconds) as usize]
}

pub fn tone(rate: u32, hz: f64, seconds: f64) -> Vec<i16> {
    (0..(f64::from(rate) * seconds) as usize)
        .map(|i| (16_000.0 * (2.0 * PI * hz * i as f64 / f64::from(rate)).sin()) as i16)
        .collect()
}

/// Makes voiced sound in syllables, four a second.
///
/// Harmonics of a gliding pitch under formants that move from vowel to vowel (about those of /a/,
/// /i/, /u/: Peterson and Barney 1952).
pub fn voice(rate: u32, seconds: f64) -> Vec<i16> {
    const VOWELS: [[f64; 3]; 3] = [
        [730.0, 1090.0, 2440.0],
        [270.0, 2290.0, 3010.0],
        [300.0, 870.0, 2240.0],
    ];
    const BANDWIDTHS: [f64; 3] = [80.0, 100.0, 140.0];
    let n = (f64::from(rate) * seconds) as usize;
    let mut phase = 0.0;
    let raw: Vec<f64> = (0..n)
        .map(|i| {
            let t = i as f64 / f64::from(rate);
            let pitch =
                130.0 + 20.0 * (2.0 * PI * 0.7 * t).sin() + 3.0 * (2.0 * PI * 5.0 * t).sin();
            phase += 2.0 * PI * pitch / f64::from(rate);
            let syllable = t * 4.0;
            let (from, to) = (syllable as usize % 3, (syllable as usize + 1) % 3);
            let mix = (syllable.fract() * 2.0 - 1.0).clamp(0.0, 1.0);
            let loudness = (PI * syllable.fract()).sin().powf(0.5);
            let harmonics = (3600.0 / pitch) as usize;
            let sum: f64 = (1..=harmonics)
                .map(|h| {
                    let f = h as f64 * pitch;
                    let gain: f64 = (0..3)
                        .map(|k| {
                            let formant = VOWELS[from][k] * (1.0 - mix) + VOWELS[to][k] * mix;
                            1.0 / (1.0 + ((f - formant) / BANDWIDTHS[k]).powi(2))
                        })
                        .sum();
                    gain * (h as f64 * phase).sin() / (h as f64).sqrt()
                })
                .sum();
            sum * loudness
        })
        .collect();
    let peak = raw.iter().fold(0.0f64, |p, x| p.max(x.abs()));
    raw.iter().map(|x| (x / peak * 16_000.0) as i16).collect()
}
