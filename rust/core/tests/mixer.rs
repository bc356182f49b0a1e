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
}
