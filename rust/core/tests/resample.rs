//! Tests of the resampler: response, delay, length, and independence of chunking.

use std::f64::consts::PI;

use voice_audio::pcm::Sample;
use voice_audio::{Error, Kernel, Quality, Resampler, ResamplerOptions};

/// Rate pairs that a voice agent meets.
const PAIRS: [(u32, u32); 10] = [
    (48_000, 16_000),
    (24_000, 48_000),
    (48_000, 24_000),
    (8_000, 16_000),
    (16_000, 48_000),
    (44_100, 16_000),
    (44_100, 48_000),
    (16_000, 24_000),
    (24_000, 16_000),
    (96_000, 8_000),
];

fn resample<I: Sample, O: Sample>(rates: (u32, u32), input: &[I]) -> Vec<O> {
    run(Resampler::new(rates.0, rates.1).unwrap(), input)
}

fn with(rates: (u32, u32), quality: Quality, kernel: Kernel) -> Resampler {
    let options = ResamplerOptions::default()
        .with_quality(quality)
        .with_kernel(kernel);
    Resampler::with_options(rates.0, rates.1, options).unwrap()
}

/// Resamples all of the input and flushes the tail.
fn run<I: Sample, O: Sample>(mut resampler: Resampler, input: &[I]) -> Vec<O> {
    let mut out = Vec::new();
    resampler.push(input, &mut out);
    resampler.flush(&mut out);
    out
}

/// Makes white noise at full scale by a linear congruential generator (Knuth's MMIX).
fn noise(n: usize) -> Vec<i16> {
    let mut state = 7u64;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 48) as i16
        })
        .collect()
}

fn tone(rate: u32, hz: f64, amplitude: f64, n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| amplitude * (2.0 * PI * hz * i as f64 / f64::from(rate)).sin())
        .collect()
}

fn to_f32(signal: &[f64]) -> Vec<f32> {
    signal.iter().map(|&x| x as f32).collect()
}

fn to_i16(signal: &[f64]) -> Vec<i16> {
    signal
        .iter()
        .map(|x| (x * 32768.0).round() as i16)
        .collect()
}

/// Fits a sine at `hz` by least squares; returns its amplitude and the RMS of the residue.
fn fit(signal: &[f64], rate: u32, hz: f64) -> (f64, f64) {
    let (mut ss, mut cc, mut sc, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let w = 2.0 * PI * hz / f64::from(rate);
    for (i, y) in signal.iter().enumerate() {
        let (s, c) = (w * i as f64).sin_cos();
        ss += s * s;
        cc += c * c;
        sc += s * c;
        sy += s * y;
        cy += c * y;
    }
    let det = ss * cc - sc * sc;
    let (a, b) = ((sy * cc - cy * sc) / det, (cy * ss - sy * sc) / det);
    let residual: f64 = signal
        .iter()
        .enumerate()
        .map(|(i, y)| {
            let (s, c) = (w * i as f64).sin_cos();
            (y - a * s - b * c).powi(2)
        })
        .sum();
    (a.hypot(b), (residual / signal.len() as f64).sqrt())
}

/// Converts a one-second tone and returns its steady part, at unit scale.
fn steady<T: Sample>(rates: (u32, u32), input: &[T]) -> Vec<f64> {
    let out: Vec<T> = resample(rates, input);
    let edge = rates.1 as usize / 10;
    out[edge..out.len() - edge]
        .iter()
        .map(|y| f64::from(y.to_unit()))
        .collect()
}

fn lower_nyquist(rates: (u32, u32)) -> f64 {
    f64::from(rates.0.min(rates.1)) / 2.0
}

#[test]
fn any_chunking_gives_the_same_bits() {
    for rates in PAIRS
        .into_iter()
        .chain([(11_025, 16_000), (22_050, 48_000)])
    {
        let input = noise(6_151);
        for kernel in Kernel::available() {
            let whole: Vec<f32> = run(with(rates, Quality::Voice, kernel), &input);
            for chunk in [1, 7, 160, 320, 480, 509, 960, 4_099] {
                let mut resampler = with(rates, Quality::Voice, kernel);
                let mut out: Vec<f32> = Vec::new();
                input
                    .chunks(chunk)
                    .for_each(|c| resampler.push(c, &mut out));
                resampler.flush(&mut out);
                let same = out
                    .iter()
                    .map(|y| y.to_bits())
                    .eq(whole.iter().map(|y| y.to_bits()));
                assert!(same, "{rates:?} in chunks of {chunk}, {kernel}");
            }
        }
    }
}

/// Makes signals that are hard on rounding.
///
/// Noise, alternating extremes, silence with single pulses, the smallest values, and a sweep.
fn adversarial(n: usize) -> Vec<Vec<i16>> {
    let alternating = |k: usize| (0..n).map(move |i| [i16::MAX, i16::MIN][i / k % 2]);
    vec![
        noise(n),
        noise(n).iter().map(|x| x.signum()).collect(),
        alternating(1).collect(),
        alternating(3).collect(),
        alternating(97).collect(),
        (0..n)
            .map(|i| if i % 701 == 0 { i16::MIN } else { 0 })
            .collect(),
        (0..n)
            .map(|i| (32767.0 * (1e-5 * (i * i) as f64).sin()) as i16)
            .collect(),
        vec![i16::MIN; n],
    ]
}

#[test]
fn vector_kernels_equal_the_scalar_one_within_one_unit_and_each_other_bit_for_bit() {
    for rates in PAIRS
        .into_iter()
        .chain([(48_000, 44_100), (22_050, 48_000), (8_000, 8_184)])
    {
        for quality in [Quality::Voice, Quality::Music] {
            for input in adversarial(5_003) {
                let scalar: Vec<i16> = run(with(rates, quality, Kernel::Scalar), &input);
                let mut fused: Option<Vec<f32>> = None;
                for kernel in Kernel::available().filter(|&k| k != Kernel::Scalar) {
                    let out: Vec<i16> = run(with(rates, quality, kernel), &input);
                    let error = |(a, b): (&i16, &i16)| a.abs_diff(*b);
                    let worst = out.iter().zip(&scalar).map(error).max();
                    assert_eq!(out.len(), scalar.len());
                    assert!(worst <= Some(1), "{rates:?}, {kernel}: {worst:?}");
                    let exact: Vec<f32> = run(with(rates, quality, kernel), &input);
                    let first = fused.get_or_insert_with(|| exact.clone());
                    assert!(*first == exact, "{rates:?}, {kernel}");
                }
            }
        }
    }
}

#[test]
fn the_best_kernel_is_used_and_one_that_is_not_there_is_refused() {
    assert_eq!(Kernel::available().next(), Some(Kernel::Scalar));
    assert_eq!(
        Resampler::new(48_000, 16_000).unwrap().kernel(),
        Kernel::best()
    );
    assert_eq!(Kernel::available().last(), Some(Kernel::best()));
    for kernel in [Kernel::Scalar, Kernel::Avx2, Kernel::Avx512, Kernel::Neon] {
        let options = ResamplerOptions::default().with_kernel(kernel);
        match Resampler::with_options(48_000, 16_000, options) {
            Ok(resampler) => assert!(kernel.runs_here() && resampler.kernel() == kernel),
            Err(error) => {
                assert_eq!(error, Error::Kernel { kernel });
                assert!(!kernel.runs_here() && error.to_string().contains("this machine"));
            }
        }
    }
}

#[test]
fn stereo_is_the_mean_of_its_sides_in_every_layout() {
    let (left, right) = (noise(4_001), noise(8_002)[4_001..].to_vec());
    let interleaved: Vec<i16> = left
        .iter()
        .zip(&right)
        .flat_map(|(&l, &r)| [l, r])
        .collect();
    let mean: Vec<f32> = left
        .iter()
        .zip(&right)
        .map(|(&l, &r)| (f32::from(l) + f32::from(r)) / 65536.0)
        .collect();
    for rates in [(48_000, 16_000), (44_100, 48_000), (16_000, 16_000)] {
        for kernel in Kernel::available() {
            let new = || with(rates, Quality::Voice, kernel);
            let want: Vec<i16> = run(new(), &mean);
            let (mut a, mut out_a) = (new(), Vec::<i16>::new());
            let (mut b, mut out_b) = (new(), Vec::<i16>::new());
            for k in (0..4_001).step_by(1_009) {
                let end = 4_001.min(k + 1_009);
                a.push_interleaved(&interleaved[2 * k..2 * end], &mut out_a)
                    .unwrap();
                b.push_planar(&left[k..end], &right[k..end], &mut out_b)
                    .unwrap();
            }
            a.flush(&mut out_a);
            b.flush(&mut out_b);
            assert!(out_a == want && out_b == want, "{rates:?}, {kernel}");
        }
    }
    let mut out = vec![1i16];
    let mut resampler = Resampler::new(48_000, 16_000).unwrap();
    assert!(resampler.push_interleaved(&left, &mut out).is_err());
    assert!(resampler.push_planar(&left, &right[1..], &mut out).is_err());
    resampler.flush(&mut out);
    assert_eq!(out, [1]);
}

#[test]
fn the_music_preset_is_flat_to_0_95_and_mirrors_nothing() {
    for rates in PAIRS {
        for part in [0.3, 0.95] {
            let hz = lower_nyquist(rates) * part;
            let input = to_f32(&tone(rates.0, hz, 0.9, rates.0 as usize / 2));
            let out: Vec<f32> = run(with(rates, Quality::Music, Kernel::best()), &input);
            let edge = out.len() / 4;
            let steady: Vec<f64> = out[edge..3 * edge].iter().map(|&y| f64::from(y)).collect();
            let (level, rest) = fit(&steady, rates.1, hz);
            let gain_db = 20.0 * (level / 0.9).log10();
            assert!(gain_db.abs() < 0.001, "{rates:?} at {part}: {gain_db} dB");
            let db = 20.0 * (rest / (level / 2f64.sqrt())).log10();
            assert!(db < -100.0, "{rates:?} at {part}: images at {db} dB");
        }
        if rates.0 < rates.1 {
            continue;
        }
        for part in [1.001, 1.03, 1.1, 1.3] {
            let hz = lower_nyquist(rates) * part;
            if hz >= f64::from(rates.0) * 0.495 {
                continue;
            }
            let input = to_f32(&tone(rates.0, hz, 0.9, rates.0 as usize / 2));
            let out: Vec<f32> = run(with(rates, Quality::Music, Kernel::best()), &input);
            let edge = out.len() / 4;
            let power: f64 = out[edge..3 * edge]
                .iter()
                .map(|&y| f64::from(y).powi(2))
                .sum();
            let db = 20.0 * ((power / (2 * edge) as f64).sqrt() / (0.9 / 2f64.sqrt())).log10();
            assert!(db < -100.0, "{rates:?} at {part}: aliases at {db} dB");
        }
    }
}

#[test]
fn a_long_push_equals_frames() {
    let input = noise(48_000 * 3);
    let whole: Vec<i16> = resample((48_000, 16_000), &input);
    let mut resampler = Resampler::new(48_000, 16_000).unwrap();
    let mut out: Vec<i16> = Vec::new();
    input.chunks(960).for_each(|c| resampler.push(c, &mut out));
    resampler.flush(&mut out);
    assert!(out == whole);
}

#[test]
fn twenty_milliseconds_in_are_twenty_milliseconds_out() {
    for (i, o) in PAIRS {
        let mut resampler = Resampler::new(i, o).unwrap();
        let frame = vec![0i16; i as usize / 50];
        for _ in 0..10 {
            let mut out: Vec<i16> = Vec::new();
            assert_eq!(resampler.output_len(frame.len()), o as usize / 50);
            resampler.push(&frame, &mut out);
            assert_eq!(out.len(), o as usize / 50, "{i}-{o}");
        }
    }
}

#[test]
fn the_output_with_its_tail_lasts_as_long_as_the_input_after_the_delay() {
    for (i, o) in PAIRS {
        for n in [0, 1, 2, 319, 960, 44_107] {
            let out: Vec<i16> = resample((i, o), &vec![0i16; n]);
            let delay = Resampler::new(i, o).unwrap().delay();
            let exact = (n as u64 * u64::from(o)).div_ceil(u64::from(i)) as usize;
            let want = if n == 0 { 0 } else { exact + delay };
            assert_eq!(out.len(), want, "{i}-{o}, {n} samples");
        }
    }
}

#[test]
fn the_delay_is_what_it_says_for_every_frequency() {
    for rates in PAIRS {
        let delay = Resampler::new(rates.0, rates.1).unwrap().delay() as f64;
        for part in [0.05, 0.4, 0.8] {
            let hz = lower_nyquist(rates) * part;
            let n = rates.0 as usize / 2;
            let input = to_f32(&tone(rates.0, hz, 0.5, n));
            let out: Vec<f32> = resample(rates, &input);
            // The same sine, sampled at the output's instants less the delay.
            let worst = (out.len() / 4..out.len() * 3 / 4)
                .map(|k| {
                    let t = (k as f64 - delay) / f64::from(rates.1);
                    (f64::from(out[k]) - 0.5 * (2.0 * PI * hz * t).sin()).abs()
                })
                .fold(0.0, f64::max);
            assert!(worst < 1e-4, "{rates:?} at {hz} Hz: {worst}");
        }
    }
}

#[test]
fn the_delay_stays_within_its_bound() {
    for (rates, quality, ms) in [
        ((48_000, 16_000), Quality::Voice, 2.1),
        ((24_000, 48_000), Quality::Voice, 1.4),
        ((48_000, 16_000), Quality::Music, 8.3),
        ((24_000, 48_000), Quality::Music, 5.5),
    ] {
        let resampler = with(rates, quality, Kernel::best());
        assert!(
            resampler.delay() as f64 * 1e3 / f64::from(rates.1) <= ms,
            "{rates:?}"
        );
    }
}

#[test]
fn tones_in_the_pass_band_keep_their_level_and_their_purity() {
    // At -1 dBFS two independent roundings to 16 bits leave 94.1 dB. Converting down keeps less of
    // the first one's noise, and a whole factor up returns every other sample unrounded; the bounds
    // of the two main pairs are the design's.
    for rates in PAIRS {
        let least = match rates {
            (48_000, 16_000) => 96.5,
            (24_000, 48_000) => 95.0,
            _ => 93.9,
        };
        for part in [0.0237, 0.1251, 0.3737, 0.5013, 0.7111, 0.8493] {
            let hz = (lower_nyquist(rates) * part).round() + 0.37;
            let amplitude = 10f64.powf(-1.0 / 20.0);
            let input = to_i16(&tone(rates.0, hz, amplitude, rates.0 as usize));
            let (level, rest) = fit(&steady(rates, &input), rates.1, hz);
            let gain_db = 20.0 * (level / amplitude).log10();
            assert!(gain_db.abs() < 0.002, "{rates:?} at {hz} Hz: {gain_db} dB");
            let sinad = 20.0 * (level / 2f64.sqrt() / rest).log10();
            assert!(sinad > least, "{rates:?} at {hz} Hz: {sinad} dB");
        }
    }
}

#[test]
fn tones_above_the_new_nyquist_frequency_vanish() {
    for rates in PAIRS.into_iter().filter(|(i, o)| i > o) {
        let top = f64::from(rates.0) / 2.0;
        for part in [1.1, 1.13, 1.21, 1.37] {
            let hz = lower_nyquist(rates) * part;
            if hz >= top * 0.99 {
                continue;
            }
            let input = to_f32(&tone(rates.0, hz, 0.9, rates.0 as usize));
            let out = steady(rates, &input);
            let rms = (out.iter().map(|y| y * y).sum::<f64>() / out.len() as f64).sqrt();
            let db = 20.0 * (rms / (0.9 / 2f64.sqrt())).log10();
            assert!(db < -100.0, "{rates:?} at {hz} Hz: {db} dB");
        }
    }
}

#[test]
fn images_above_the_old_nyquist_frequency_vanish() {
    for rates in PAIRS.into_iter().filter(|(i, o)| i < o) {
        for part in [0.07, 0.41, 0.77, 0.89] {
            let hz = lower_nyquist(rates) * part;
            let input = to_f32(&tone(rates.0, hz, 0.9, rates.0 as usize));
            let (level, rest) = fit(&steady(rates, &input), rates.1, hz);
            let db = 20.0 * (rest / (level / 2f64.sqrt())).log10();
            assert!(db < -100.0, "{rates:?} at {hz} Hz: {db} dB");
        }
    }
}

#[test]
fn silence_is_exactly_silent_also_behind_a_sound() {
    for rates in PAIRS {
        let mut resampler = Resampler::new(rates.0, rates.1).unwrap();
        let mut out: Vec<f32> = Vec::new();
        resampler.push(&noise(3_000), &mut out);
        resampler.push(&vec![0i16; resampler.memory()], &mut out);
        out.clear();
        resampler.push(&[0i16; 2_000], &mut out);
        assert!(out.iter().all(|&y| y == 0.0), "{rates:?}");
    }
}

#[test]
fn overload_saturates_and_never_wraps() {
    for rates in PAIRS {
        // A clipped sine of full scale overshoots in any linear-phase filter.
        let hz = lower_nyquist(rates) / 10.0;
        let input = to_i16(
            &tone(rates.0, hz, 4.0, rates.0 as usize / 4)
                .iter()
                .map(|x| x.clamp(-1.0, 0.99997))
                .collect::<Vec<_>>(),
        );
        let exact: Vec<f32> = resample(rates, &input);
        let out: Vec<i16> = resample(rates, &input);
        assert!(
            exact.iter().any(|y| y.abs() > 1.01),
            "{rates:?} does not overload"
        );
        for (y, &x) in out.iter().zip(&exact) {
            let want = (x * 32768.0).round_ties_even().clamp(-32768.0, 32767.0);
            assert_eq!(f32::from(*y), want);
        }
    }
}

#[test]
fn equal_rates_copy() {
    let input = noise(1_000);
    let mut resampler = Resampler::new(48_000, 48_000).unwrap();
    let mut out: Vec<i16> = Vec::new();
    resampler.push(&input, &mut out);
    assert_eq!((resampler.delay(), resampler.output_len(5)), (0, 5));
    resampler.flush(&mut out);
    assert_eq!(out, input);
}

#[test]
fn flush_and_reset_leave_it_as_new() {
    let input = noise(997);
    let whole: Vec<i16> = resample((44_100, 16_000), &input);
    let mut resampler = Resampler::new(44_100, 16_000).unwrap();
    let mut scratch: Vec<i16> = Vec::new();
    for round in 0..4 {
        resampler.push(&noise(123), &mut scratch);
        match round % 2 {
            0 => resampler.reset(),
            _ => resampler.flush(&mut scratch),
        }
        let mut out: Vec<i16> = Vec::new();
        resampler.push(&input, &mut out);
        resampler.flush(&mut out);
        assert_eq!(out, whole);
    }
}

#[test]
fn wild_floats_are_limited_and_leave_no_trace() {
    for wild in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut resampler = Resampler::new(48_000, 16_000).unwrap();
        let mut out: Vec<f32> = Vec::new();
        resampler.push(&[wild; 100], &mut out);
        resampler.push(&[0.0f32; 600], &mut out);
        assert!(out.iter().all(|y| y.is_finite()));
        assert!(out[out.len() - 50..].iter().all(|&y| y == 0.0));
    }
}

#[test]
fn rates_that_cannot_be_served_are_refused_by_name() {
    assert!(matches!(
        Resampler::new(7_999, 16_000),
        Err(Error::Rate { rate: 7_999 })
    ));
    assert!(matches!(
        Resampler::new(16_000, 96_001),
        Err(Error::Rate { rate: 96_001 })
    ));
    assert!(matches!(Resampler::new(0, 0), Err(Error::Rate { rate: 0 })));
    let error = Resampler::new(44_101, 48_000).unwrap_err();
    assert!(matches!(error, Error::Ratio { phases: 48_000, .. }));
    assert!(error.to_string().contains("44101 to 48000 Hz"));
    // 1023 phases are served, if slowly designed.
    assert!(Resampler::new(8_000, 8_184).is_ok());
}
