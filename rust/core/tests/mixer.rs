//! The mixer: alignment without a clock, exactness, and books that balance.

mod property;

use proptest::prelude::*;
use voice_audio::{Error, Mixer, MixerOptions};

const FRAME: usize = 320;

fn mixer() -> Mixer {
    Mixer::new(16_000, MixerOptions::default()).unwrap()
}

fn pop_all(mixer: &mut Mixer) -> Vec<i16> {
    let mut frame = [0; FRAME];
    let mut out = Vec::new();
    while mixer.pop(&mut frame) {
        out.extend(frame);
    }
    out
}

#[test]
fn one_stream_passes_through_at_once_and_bit_exactly() {
    let mut mixer = mixer();
    let pcm: Vec<i16> = (0..10 * FRAME as i32).map(|i| (i * 7919) as i16).collect();
    for (i, frame) in pcm.chunks(FRAME).enumerate() {
        mixer.push(1, frame);
        assert_eq!(pop_all(&mut mixer), frame, "frame {i}");
    }
}

#[test]
fn frames_wait_for_every_active_stream() {
    let mut mixer = mixer();
    mixer.push(1, &[100; FRAME]);
    mixer.push(2, &[10; FRAME - 1]);
    assert!(pop_all(&mut mixer).is_empty());
    mixer.push(2, &[10; 1]);
    assert_eq!(pop_all(&mut mixer), [110; FRAME]);
}

#[test]
fn a_stream_that_lags_by_more_than_the_skew_is_left_until_it_speaks_again() {
    let mut mixer = mixer();
    mixer.push(1, &[100; FRAME]);
    mixer.push(2, &[10; FRAME]);
    assert_eq!(pop_all(&mut mixer).len(), FRAME);
    // 60 ms of lead: still waiting.
    for _ in 0..3 {
        mixer.push(1, &[100; FRAME]);
        assert!(pop_all(&mut mixer).is_empty());
    }
    mixer.push(1, &[100; FRAME]);
    assert_eq!(pop_all(&mut mixer), [100; 4 * FRAME]);
    assert_eq!((mixer.active_streams(), mixer.stats().lags), (1, 1));
    // Now without any delay.
    mixer.push(1, &[100; FRAME]);
    assert_eq!(pop_all(&mut mixer), [100; FRAME]);
    // Back again.
    mixer.push(2, &[10; FRAME]);
    mixer.push(1, &[100; FRAME]);
    assert_eq!(pop_all(&mut mixer), [110; FRAME]);
    assert_eq!(mixer.active_streams(), 2);
}

#[test]
fn a_late_burst_is_mixed_late_and_does_not_push_the_others_out() {
    let mut mixer = mixer();
    let mut frames = 0;
    // Stream 2 stalls for 200 ms, then sends all of it at once and goes on.
    for tick in 0..100 {
        mixer.push(1, &[100; FRAME]);
        match tick {
            20..30 => {}
            30 => drop(mixer.push(2, &[10; 11 * FRAME])),
            _ => drop(mixer.push(2, &[10; FRAME])),
        }
        frames += pop_all(&mut mixer).len() / FRAME;
        assert!(frames <= tick + 1, "the timeline runs ahead of the clock");
        assert!(tick + 1 - frames <= 4, "the timeline falls behind");
    }
    assert_eq!(mixer.active_streams(), 2);
    let stats = mixer.stats();
    assert_eq!((stats.dropped, stats.lags), (0, 1));
}

#[test]
fn two_loud_voices_do_not_wrap_or_clip_hard() {
    let mut mixer = mixer();
    mixer.push(1, &[30_000; FRAME]);
    mixer.push(2, &[30_000; FRAME]);
    let out = pop_all(&mut mixer);
    assert!(out.iter().all(|&y| y > 30_000), "{}", out[0]);
}

#[test]
fn full_queues_refuse_and_removed_streams_are_counted() {
    let mut mixer = mixer();
    mixer.push(2, &[1; 10]);
    assert_eq!(mixer.push(1, &vec![1; 40_000]), 32_000);
    assert_eq!(mixer.stats().dropped, 8_000);
    assert_eq!(mixer.remove(2), 10);
    assert_eq!(mixer.remove(2), 0);
    assert_eq!(mixer.stats().dropped, 8_010);
    assert_eq!(mixer.streams(), 1);
    assert_eq!(pop_all(&mut mixer).len(), 32_000);
}

#[test]
fn options_out_of_range_are_refused() {
    let options = MixerOptions {
        max_skew_ms: 60,
        capacity_ms: 99,
    };
    assert!(matches!(
        Mixer::new(16_000, options),
        Err(Error::Option {
            name: "capacity_ms",
            ..
        })
    ));
    assert!(matches!(
        Mixer::new(22_055, MixerOptions::default()),
        Err(Error::FrameRate { rate: 22_055 })
    ));
}

fn tone(level: f32) -> Vec<i16> {
    // A whole number of periods in a frame: each frame has the same mean square.
    let sample = |i: usize| level * 32767.0 * (i as f32 * std::f32::consts::TAU / 32.0).sin();
    (0..FRAME).map(|i| sample(i).round() as i16).collect()
}

/// Mixes `frames` frames of tones of these levels from streams 1, 2, ...
fn speak(mixer: &mut Mixer, frames: usize, levels: &[f32]) {
    for _ in 0..frames {
        for (stream, &level) in levels.iter().enumerate() {
            mixer.push(stream as u64 + 1, &tone(level));
        }
        assert_eq!(pop_all(mixer).len(), FRAME);
    }
}

#[test]
fn levels_rise_and_fall_by_the_documented_formula() {
    let mut mixer = mixer();
    assert_eq!(mixer.level(1), None);
    mixer.push(1, &[0; FRAME]);
    assert_eq!(mixer.level(1), Some(f32::NEG_INFINITY));
    pop_all(&mut mixer);
    let power = 0.5f64 * 0.5 * 0.5;
    let mut want = 0.0f64;
    for (frames, level, power, ms) in [(12, 0.5, power, 20.0f64), (25, 0.0, 0.0, 200.0)] {
        for _ in 0..frames {
            speak(&mut mixer, 1, &[level]);
            want += (1.0 - (-20.0 / ms).exp()) * (power - want);
            let error = f64::from(mixer.level(1).unwrap()) - 10.0 * want.log10();
            assert!(error.abs() < 0.01, "{error} dB");
        }
        if level > 0.0 {
            // A sine at half scale: 3 + 6 dB below full scale.
            assert!((mixer.level(1).unwrap() + 9.03).abs() < 0.01);
        }
    }
    // Silence ends as silence, not in ever smaller numbers.
    speak(&mut mixer, 300, &[0.0]);
    assert_eq!(mixer.level(1), Some(f32::NEG_INFINITY));
}

#[test]
fn the_loudest_speaks_until_another_is_clearly_louder_or_it_falls_silent() {
    let mut mixer = mixer();
    assert_eq!(mixer.loudest(), None);
    speak(&mut mixer, 5, &[0.0, 0.001]);
    assert_eq!((mixer.loudest(), mixer.speaking().count()), (None, 0));
    // At once: 20 ms of attack.
    speak(&mut mixer, 1, &[0.2, 0.001]);
    assert_eq!(mixer.loudest(), Some(1));
    // 1.9 dB louder is not clearly louder, 6 dB is.
    speak(&mut mixer, 50, &[0.2, 0.25]);
    assert_eq!((mixer.loudest(), mixer.speaking().count()), (Some(1), 2));
    speak(&mut mixer, 10, &[0.2, 0.4]);
    assert_eq!(mixer.loudest(), Some(2));
    // A gap between syllables changes nothing, a pause does.
    speak(&mut mixer, 5, &[0.0, 0.0]);
    assert_eq!(mixer.loudest(), Some(2));
    speak(&mut mixer, 100, &[0.0, 0.0]);
    assert_eq!((mixer.loudest(), mixer.speaking().count()), (None, 0));
    speak(&mut mixer, 5, &[0.2, 0.0]);
    mixer.remove(1);
    assert_eq!(mixer.loudest(), None);
    assert_eq!(mixer.level(1), None);
}

#[test]
fn a_stream_that_was_left_behind_does_not_stay_the_loudest() {
    let mut mixer = mixer();
    speak(&mut mixer, 10, &[0.01, 0.5]);
    assert_eq!(mixer.loudest(), Some(2));
    for _ in 0..100 {
        mixer.push(1, &tone(0.01));
        pop_all(&mut mixer);
    }
    assert_eq!(mixer.loudest(), Some(1));
    assert_eq!(mixer.speaking().collect::<Vec<_>>(), [1]);
}

proptest! {
    #![proptest_config(property::property(200))]

    #[test]
    fn the_books_balance_and_nothing_starves(
        ops in prop::collection::vec((0u64..4, 0usize..2_000, prop::bool::weighted(0.03)), 1..200)
    ) {
        let mut mixer = mixer();
        for (stream, n, remove) in ops {
            if remove {
                mixer.remove(stream);
            } else {
                prop_assert!(mixer.push(stream, &vec![1; n]) <= n);
            }
            let out = pop_all(&mut mixer);
            // Each stream pushes ones: the sum is the number of streams in the frame.
            prop_assert!(out.iter().all(|&y| (1..=4).contains(&y)));
        }
        for stream in 0..4 {
            mixer.remove(stream);
        }
        let stats = mixer.stats();
        prop_assert_eq!(stats.pushed, stats.mixed + stats.dropped);
    }

    #[test]
    fn who_is_loudest_speaks_and_nobody_else_is_clearly_louder(
        ops in prop::collection::vec((0u64..4, 0usize..700, -70i32..6, prop::bool::weighted(0.02)), 1..300)
    ) {
        let mut mixer = mixer();
        let mut frame = [0; FRAME];
        for (stream, n, db, remove) in ops {
            if remove {
                mixer.remove(stream);
            } else {
                let level = (32_767.0 * 10f32.powf(db as f32 / 20.0)).min(32_767.0) as i16;
                mixer.push(stream, &vec![level; n]);
            }
            while mixer.pop(&mut frame) {
                let levels: Vec<f32> = (0..4).filter_map(|stream| mixer.level(stream)).collect();
                prop_assert!(levels.iter().all(|&db| db <= 0.0));
                let most = levels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                match mixer.loudest() {
                    Some(stream) => {
                        prop_assert!(mixer.speaking().any(|s| s == stream));
                        prop_assert!(mixer.level(stream).unwrap() >= most - 3.02);
                    }
                    None => prop_assert!(most <= -49.99 && mixer.speaking().count() == 0),
                }
            }
        }
    }
}
