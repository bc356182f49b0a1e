//! Tests of the playback store: scenarios, and invariants that hold in any order of calls.

mod property;

use proptest::prelude::*;
use voice_audio::{
    Error, NextFrame, Playback, PlaybackOptions, PlaybackState, PushOutcome, TurnProgress,
};

/// Number of samples in a frame at 24 kHz.
const FRAME: usize = 480;

/// Returns options with 24 kHz on both sides, where the resampler copies every sample.
fn copying() -> PlaybackOptions {
    PlaybackOptions {
        output_rate: 24_000,
        ..PlaybackOptions::default()
    }
}

fn pop(playback: &mut Playback) -> Vec<i16> {
    let mut frame = vec![0; playback.frame_len()];
    playback.pop_frame(&mut frame);
    frame
}

fn drain(playback: &mut Playback) -> Vec<i16> {
    let mut out = Vec::new();
    while playback.audible() {
        out.extend(pop(playback));
        assert!(out.len() < 10_000_000, "never falls silent");
    }
    out
}

fn largest_step(signal: &[i16]) -> i32 {
    let signal: Vec<i16> = [&[0], signal, &[0]].concat();
    signal
        .windows(2)
        .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
        .max()
        .unwrap_or(0)
}

/// Returns the largest step of a raised cosine of 5 ms on a constant level, and some rounding.
fn fade_step(level: i16, rate: u32) -> i32 {
    let steps = f64::from(rate) * 0.005;
    (f64::from(level) * std::f64::consts::FRAC_PI_2 / steps).ceil() as i32 + 2
}

/// Pushes samples and checks that all are accepted.
fn push(playback: &mut Playback, pcm: &[i16], turn: u64) {
    let all = PushOutcome {
        accepted: pcm.len(),
        dropped: 0,
    };
    assert_eq!(playback.push(pcm, turn), all);
}

#[test]
fn a_turn_waits_for_its_prefill_or_its_end() {
    let mut playback = Playback::new(copying()).unwrap();
    assert_eq!(playback.state(), PlaybackState::Idle);
    push(&mut playback, &[1000; 1439], 1); // one sample short of 60 ms
    assert_eq!(playback.state(), PlaybackState::Buffering);
    assert!(!playback.audible());
    assert!(pop(&mut playback).iter().all(|&y| y == 0));
    push(&mut playback, &[1000; 1], 1);
    assert_eq!(playback.state(), PlaybackState::Playing);
    assert!(playback.audible());

    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[30_000; 10], 1);
    assert!(!playback.audible());
    playback.end_turn(1);
    assert_eq!(drain(&mut playback).iter().filter(|&&y| y != 0).count(), 10);
    assert_eq!(playback.state(), PlaybackState::Idle);
}

/// Pushes samples at a time and checks that all are accepted.
fn push_at(playback: &mut Playback, pcm: &[i16], turn: u64, at: f64) {
    assert_eq!(playback.push_at(pcm, turn, at).unwrap().accepted, pcm.len());
}

/// Plays a turn of 40 ms chunks that arrive 10 ms apart, to its end.
fn play_turn(playback: &mut Playback, turn: u64, from: f64) {
    for k in 0..25 {
        let at = from + 0.01 * f64::from(k);
        push_at(playback, &[1000; 2 * FRAME], turn, at);
    }
    playback.end_turn(turn);
    drain(playback);
}

#[test]
fn a_turn_starts_on_its_first_chunk_once_the_service_was_seen_to_keep_ahead() {
    let mut playback = Playback::new(copying()).unwrap();
    let begin = |playback: &mut Playback, turn, at| {
        push_at(playback, &[1000; 2 * FRAME], turn, at);
        playback.audible()
    };
    assert!(!begin(&mut playback, 1, 1.0), "nothing is known yet");
    assert_eq!(playback.stats().prefill_ms, 60);
    play_turn(&mut playback, 2, 2.0);
    assert!(begin(&mut playback, 3, 3.0));
    assert_eq!(playback.stats().prefill_ms, 20);
    // Less than a frame cannot be played.
    push_at(&mut playback, &[1000; FRAME - 1], 4, 4.0);
    playback.flush_turn(3);
    drain(&mut playback);
    assert_eq!(playback.state(), PlaybackState::Buffering);
    push_at(&mut playback, &[1000; 1], 4, 4.0);
    assert_eq!(playback.state(), PlaybackState::Playing);
    drain(&mut playback);
    pop(&mut playback);
    // The turn has run dry: the next start is careful, and so are those of the next four turns.
    push_at(&mut playback, &[1000; FRAME], 4, 4.3);
    assert_eq!(playback.stats().underruns, 1);
    assert!(playback.stats().prefill_ms >= 120);
    playback.flush();
    for turn in 5..=8 {
        assert!(!begin(&mut playback, turn, turn as f64), "{turn}");
        play_turn(&mut playback, turn, turn as f64 + 0.01);
    }
    assert!(begin(&mut playback, 9, 9.0));
}

#[test]
fn chunks_without_times_teach_nothing_and_bad_times_change_nothing() {
    let mut playback = Playback::new(copying()).unwrap();
    for turn in 1..=5 {
        push(&mut playback, &[1000; 50 * FRAME], turn);
        playback.end_turn(turn);
        drain(&mut playback);
    }
    push(&mut playback, &[1000; 2 * FRAME], 6);
    assert_eq!(playback.state(), PlaybackState::Buffering);
    let before = playback.stats();
    for at in [f64::NAN, f64::INFINITY, 1e300] {
        let refused = playback.push_at(&[1; 10], 6, at);
        assert!(matches!(refused, Err(Error::Option { name: "at", .. })));
    }
    assert_eq!(playback.stats(), before);
    // A clock that goes back or stands still is no proof of a service that is late.
    for at in [5.0, 3.0, 3.0, -1.0] {
        assert_eq!(playback.push_at(&[1; 10], 6, at).unwrap().accepted, 10);
    }
}

#[test]
fn a_fixed_prefill_stays_whatever_is_seen() {
    let options = PlaybackOptions {
        max_prefill_ms: 0,
        ..copying()
    };
    let mut playback = Playback::new(options).unwrap();
    for turn in 1..=5 {
        play_turn(&mut playback, turn, turn as f64);
    }
    push_at(&mut playback, &[1000; 3 * FRAME - 1], 6, 9.0);
    assert_eq!(playback.state(), PlaybackState::Buffering);
}

#[test]
fn a_turn_can_be_begun_with_less_than_its_prefill() {
    let mut playback = Playback::new(copying()).unwrap();
    playback.begin();
    push(&mut playback, &[1000; 300], 1);
    assert_eq!(playback.state(), PlaybackState::Buffering);
    playback.begin();
    assert_eq!(playback.state(), PlaybackState::Playing);
    assert_eq!(drain(&mut playback).len(), FRAME);
    assert_eq!(playback.turn_stats(1).unwrap().played, 300);
    pop(&mut playback);
    // It has run dry: later audio waits for a prefill again.
    push(&mut playback, &[1000; 300], 1);
    assert_eq!(playback.state(), PlaybackState::Buffering);
    assert_eq!(playback.stats().prefill_ms, 120);
}

/// Pops a frame at a time in seconds.
fn pop_at(playback: &mut Playback, at: f64) -> Vec<i16> {
    let mut frame = vec![0; playback.frame_len()];
    playback.pop_frame_at(&mut frame, at).unwrap();
    frame
}

/// Pops frames from a time on until `condition` holds; returns when the last one was popped.
fn pop_until(playback: &mut Playback, from: f64, condition: fn(&Playback) -> bool) -> f64 {
    (0..1000)
        .map(|k| from + 0.02 * f64::from(k))
        .find(|&at| {
            pop_at(playback, at);
            condition(playback)
        })
        .expect("within 20 s")
}

#[test]
fn a_turn_that_is_short_of_its_prefill_starts_after_300_ms_without_news() {
    for samples in [1, FRAME / 2, FRAME, 33 * 24, 1439] {
        let mut playback = Playback::new(copying()).unwrap();
        push_at(&mut playback, &vec![1000; samples], 1, 10.0);
        assert_eq!(playback.starts_at(), Some(10.3));
        pop_at(&mut playback, 10.299);
        assert_eq!(playback.state(), PlaybackState::Buffering);
        assert!(!playback.audible());
        pop_at(&mut playback, 10.3);
        assert!(playback.turn_stats(1).unwrap().played > 0, "{samples}");
        assert_eq!(playback.starts_at(), None);
        drain(&mut playback);
        assert_eq!(playback.stats().queued, 0);
        assert!(!playback.turn_stats(1).unwrap().ended);
    }
}

#[test]
fn news_begins_the_wait_anew() {
    let mut playback = Playback::new(copying()).unwrap();
    for k in 0..4 {
        let at = 10.0 + 0.25 * f64::from(k);
        push_at(&mut playback, &[1000; 300], 1, at);
        pop_at(&mut playback, at + 0.24);
        assert_eq!(playback.state(), PlaybackState::Buffering);
    }
    pop_at(&mut playback, 11.05);
    assert_eq!(playback.state(), PlaybackState::Playing);
}

#[test]
fn what_comes_after_an_underrun_does_not_wait_for_ever() {
    let mut playback = Playback::new(copying()).unwrap();
    push_at(&mut playback, &[1000; 4 * FRAME], 1, 10.0);
    let dry = pop_until(&mut playback, 10.0, |p| p.stats().underruns == 1);
    // The prefill has doubled: 100 ms are less than that.
    push_at(&mut playback, &[1000; 5 * FRAME], 1, dry + 0.1);
    assert_eq!(playback.state(), PlaybackState::Buffering);
    assert_eq!(playback.starts_at(), Some(dry + 0.1 + 0.3));
    let played = pop_until(&mut playback, dry + 0.1, |p| p.stats().queued == 0);
    assert!(played <= dry + 0.1 + 0.3 + 0.1 + 0.04, "{}", played - dry);
}

#[test]
fn time_that_passes_while_paused_or_behind_another_turn_counts() {
    let mut playback = Playback::new(copying()).unwrap();
    push_at(&mut playback, &[1000; 300], 1, 10.0);
    playback.pause();
    pop_at(&mut playback, 12.0);
    assert_eq!(playback.state(), PlaybackState::Paused);
    assert_eq!(playback.starts_at(), None, "it is held");
    playback.resume();
    assert_eq!(playback.starts_at(), Some(10.3));
    playback.pass_time(12.01).unwrap();
    assert_eq!(playback.state(), PlaybackState::Playing);
    drain(&mut playback);

    // 1 s of another turn is in front of it.
    push_at(&mut playback, &[1000; 50 * FRAME], 2, 20.0);
    push_at(&mut playback, &[1000; 300], 3, 20.0);
    let played = pop_until(&mut playback, 20.0, |p| p.stats().queued == 0);
    assert!(played <= 21.04, "{played}");
}

#[test]
fn without_times_patience_counts_in_frames() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[1000; 300], 1);
    let silent = (0..100).take_while(|_| pop(&mut playback).iter().all(|&y| y == 0));
    assert_eq!(silent.count(), 15, "from the first pop on");
    assert_eq!(playback.stats().played, 300);
}

#[test]
fn clocks_that_disagree_make_nothing_wait_for_ever() {
    for (pushed, popped) in [(1e9, 5.0), (5.0, 1e9), (-1e9, 0.0), (5.0, -1e9)] {
        let mut playback = Playback::new(copying()).unwrap();
        push_at(&mut playback, &[1000; 300], 1, pushed);
        let played = pop_until(&mut playback, popped, |p| p.stats().queued == 0);
        assert!(played <= popped + 0.32, "{pushed}, {popped}");
    }
    let mut playback = Playback::new(copying()).unwrap();
    let mut frame = vec![0; FRAME];
    for at in [f64::NAN, f64::INFINITY, 1e300] {
        for refused in [
            playback.pop_frame_at(&mut frame, at),
            playback.pass_time(at),
        ] {
            assert!(matches!(refused, Err(Error::Option { name: "at", .. })));
        }
    }
    assert_eq!(playback.stats().frames, 0);
}

#[test]
fn what_is_cleared_is_gone_at_once_and_silently() {
    for pops in 0..6 {
        for duck in [0.0, -20.0] {
            let mut playback = Playback::new(PlaybackOptions::default()).unwrap();
            push(&mut playback, &[20_000; 4 * FRAME], 1);
            push(&mut playback, &[20_000; 4 * FRAME], 2);
            playback.duck(duck).unwrap();
            (0..pops).for_each(|_| drop(pop(&mut playback)));
            let queued = playback.stats().queued as usize;
            assert_eq!(playback.clear(), queued);
            let stats = playback.stats();
            assert_eq!(
                (stats.queued, stats.pushed),
                (0, stats.played + stats.dropped)
            );
            assert!(!playback.audible());
            assert!(pop(&mut playback).iter().all(|&y| y == 0), "{pops}");
            let mut progress = Vec::new();
            playback.take_progress(&mut progress);
            assert_eq!(progress.contains(&TurnProgress::Finished(1)), pops > 0);
            assert_eq!(
                playback.push(&[1; 5], 2).dropped,
                5,
                "a cut turn stays silent"
            );
            // The next turn is heard as the first one of a new store would be.
            let mut fresh = Playback::new(PlaybackOptions::default()).unwrap();
            fresh.duck(duck).unwrap();
            for store in [&mut playback, &mut fresh] {
                push(store, &signs(3, 10 * FRAME), 3);
            }
            for _ in 0..12 {
                assert_eq!(pop(&mut playback), pop(&mut fresh), "{pops}");
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Push {
        n: usize,
        next_turn: bool,
        timed: bool,
    },
    EndTurn,
    Pause,
    Resume,
    FlushTurn,
}

/// Acts with the milliseconds before each of them.
fn acts() -> impl Strategy<Value = Vec<(u32, Act)>> {
    let act = prop_oneof![
        12 => (1usize..12_000, prop::bool::weighted(0.1), prop::bool::weighted(0.8))
            .prop_map(|(n, next_turn, timed)| Act::Push { n, next_turn, timed }),
        12 => (1usize..1500, prop::bool::weighted(0.1), Just(true))
            .prop_map(|(n, next_turn, timed)| Act::Push { n, next_turn, timed }),
        1 => Just(Act::EndTurn),
        1 => Just(Act::Pause),
        2 => Just(Act::Resume),
        1 => Just(Act::FlushTurn),
    ];
    prop::collection::vec((prop_oneof![Just(0), 1u32..60, 1u32..900], act), 1..40)
}

proptest! {
    #![proptest_config(property::property(300))]

    #[test]
    fn whatever_the_arrivals_nothing_waits_beyond_its_time(acts in acts(), phase in 0u32..20) {
        let mut playback = Playback::new(copying()).unwrap();
        let (mut turn, mut news, mut now_ms, mut pop_ms) = (1, f64::NEG_INFINITY, 10_000, 10_000 + phase);
        let bound = 0.3 + 0.02 + 1e-6;
        let check = |playback: &mut Playback, at: f64, news: f64| {
            pop_at(playback, at);
            let waits = playback.state() == PlaybackState::Buffering && playback.stats().queued > 0;
            assert!(!waits || at - news < bound, "{} s without news", at - news);
        };
        for (gap_ms, act) in acts {
            now_ms += gap_ms;
            while pop_ms <= now_ms {
                check(&mut playback, f64::from(pop_ms) / 1000.0, news);
                pop_ms += 20;
            }
            let now = f64::from(now_ms) / 1000.0;
            match act {
                Act::Push { n, next_turn, timed } => {
                    turn += u64::from(next_turn);
                    let outcome = match timed {
                        true => playback.push_at(&vec![1000; n], turn, now).unwrap(),
                        false => playback.push(&vec![1000; n], turn),
                    };
                    // Without a time it is news at the next pop.
                    if outcome.accepted > 0 {
                        news = if timed { now } else { now + 0.02 };
                    }
                }
                Act::EndTurn => playback.end_turn(turn),
                Act::Pause => playback.pause(),
                Act::Resume => playback.resume(),
                Act::FlushTurn => drop(playback.flush_turn(turn)),
            }
        }
        // All of it is played in its own length, once it is let go and nothing comes any more.
        playback.resume();
        let end = f64::from(now_ms) / 1000.0 + bound + playback.level_ms() / 1000.0 + 0.04;
        while f64::from(pop_ms) / 1000.0 <= end {
            check(&mut playback, f64::from(pop_ms) / 1000.0, news);
            pop_ms += 20;
        }
        let stats = playback.stats();
        prop_assert_eq!((stats.queued, stats.pushed), (0, stats.played + stats.dropped));
    }
}

#[test]
fn the_next_frame_is_foretold() {
    let mut playback = Playback::new(copying()).unwrap();
    assert_eq!(playback.next_frame(), NextFrame::Silent);
    push(&mut playback, &[1000; 3 * FRAME + 10], 1);
    for _ in 0..3 {
        assert_eq!(playback.next_frame(), NextFrame::Sound);
        pop(&mut playback);
    }
    // Ten samples of an open turn: the next push decides.
    assert_eq!(playback.next_frame(), NextFrame::Starved);
    let mut refilled = Playback::new(copying()).unwrap();
    push(&mut refilled, &[1000; 3 * FRAME + 10], 1);
    (0..3).for_each(|_| drop(pop(&mut refilled)));
    push(&mut refilled, &[1000; FRAME], 1);
    assert_eq!(refilled.next_frame(), NextFrame::Sound);
    refilled.pause();
    assert_eq!(refilled.next_frame(), NextFrame::Sound, "the fade");
    pop(&mut refilled);
    assert_eq!(refilled.next_frame(), NextFrame::Silent);
    pop(&mut playback);
    assert_eq!(playback.stats().underruns, 1);
    assert_eq!(
        playback.next_frame(),
        NextFrame::Silent,
        "it has been faded out"
    );
    playback.end_turn(1);
    push(&mut playback, &[1000; 10], 2);
    playback.end_turn(2);
    assert_eq!(
        playback.next_frame(),
        NextFrame::Sound,
        "short, but all there is"
    );
}

#[test]
fn progress_is_told_once_and_in_order() {
    use TurnProgress::{Finished, Started};
    let mut playback = Playback::new(copying()).unwrap();
    let take = |playback: &mut Playback| {
        let mut progress = Vec::new();
        playback.take_progress(&mut progress);
        progress
    };
    push(&mut playback, &[1000; 100], 1);
    push(&mut playback, &[1000; 100], 2);
    push(&mut playback, &[1000; 5 * FRAME], 3);
    assert_eq!(take(&mut playback), []);
    pop(&mut playback);
    let first = [Started(1), Finished(1), Started(2), Finished(2), Started(3)];
    assert_eq!(take(&mut playback), first);
    pop(&mut playback);
    assert_eq!(take(&mut playback), []);
    // Cut before they were heard: 4 never, 3 in mid-speech.
    push(&mut playback, &[1000; FRAME], 4);
    playback.flush();
    assert_eq!(take(&mut playback), [], "a fade of 3 is to come");
    drain(&mut playback);
    assert_eq!(take(&mut playback), [Finished(3)]);
    // All has been played when the end becomes known.
    push(&mut playback, &[1000; 3 * FRAME], 5);
    (0..4).for_each(|_| drop(pop(&mut playback)));
    assert_eq!(take(&mut playback), [Started(5)]);
    playback.end_turn(5);
    assert_eq!(take(&mut playback), [Finished(5)]);
}

#[test]
fn both_edges_of_a_turn_are_faded_and_its_middle_is_exact() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[20_000; 5 * FRAME], 1);
    playback.end_turn(1);
    let out = drain(&mut playback);
    assert_eq!(out.len(), 5 * FRAME);
    assert!(largest_step(&out) <= fade_step(20_000, 24_000));
    assert!(out[120..5 * FRAME - 120].iter().all(|&y| y == 20_000));
    assert_eq!(playback.played_ms(1), 100.0);
}

#[test]
fn an_open_turn_that_runs_dry_is_faded_while_it_lasts_and_buffers_longer_each_time() {
    let mut playback = Playback::new(copying()).unwrap();
    let mut out = Vec::new();
    for (underruns, prefill) in [60, 120, 240, 240].into_iter().enumerate() {
        push(&mut playback, &vec![20_000; 24 * prefill - 1], 1);
        assert_eq!(playback.stats().prefill_ms as usize, prefill);
        assert_eq!(playback.stats().underruns as usize, underruns);
        assert_eq!(playback.state(), PlaybackState::Buffering);
        push(&mut playback, &[20_000; 1], 1);
        assert_eq!(playback.state(), PlaybackState::Playing);
        out.extend(drain(&mut playback));
        out.extend(pop(&mut playback));
        assert_eq!(playback.state(), PlaybackState::Buffering);
        assert_eq!(playback.active_turn(), Some(1));
    }
    assert!(largest_step(&out) <= fade_step(20_000, 24_000));
    assert_eq!(playback.turn_stats(1).unwrap().underruns, 4);

    // Clean turns bring it back, step by step.
    for (turn, prefill) in [(2, 240), (3, 120), (4, 60), (5, 60)] {
        push(&mut playback, &[1; 480], turn);
        playback.end_turn(turn);
        assert_eq!(playback.stats().prefill_ms, prefill, "turn {turn}");
        drain(&mut playback);
    }
}

#[test]
fn a_turn_that_is_refilled_in_time_is_played_as_if_it_had_all_been_there() {
    // Refilled when exactly `left` samples are there, frames of 20 ms: from none to a whole frame.
    for left in [0, 1, 60, 119, 120, 121, 300, FRAME] {
        let pcm = signs(1, 10 * FRAME);
        let (mut playback, mut whole) = (
            Playback::new(copying()).unwrap(),
            Playback::new(copying()).unwrap(),
        );
        push(&mut whole, &pcm, 1);
        push(&mut playback, &pcm[..4 * FRAME + left], 1);
        for frame in 0..10 {
            if frame == 4 {
                push(&mut playback, &pcm[4 * FRAME + left..], 1);
            }
            assert_eq!(pop(&mut playback), pop(&mut whole), "{left}, {frame}");
        }
        let stats = playback.stats();
        assert_eq!((stats.underruns, stats.concealed), (0, 0));
    }
}

#[test]
fn a_sound_whose_end_was_not_foreseen_is_continued_and_faded_out() {
    for (end, name) in [
        (Op::Pop, "underrun"),
        (Op::EndTurn, "late end"),
        (Op::Flush, "flush"),
        (Op::Pause, "pause"),
    ] {
        let mut playback = Playback::new(copying()).unwrap();
        let tone = |i: usize| 16_000.0 * (i as f64 * 0.116).sin();
        let pcm: Vec<i16> = (0..3 * FRAME).map(|i| tone(i) as i16).collect();
        push(&mut playback, &pcm, 1);
        let mut out: Vec<i16> = (0..3).flat_map(|_| pop(&mut playback)).collect();
        assert_eq!(out[120..], pcm[120..], "{name}");
        match end {
            Op::EndTurn => playback.end_turn(1),
            Op::Flush => assert_eq!(playback.flush(), 0),
            Op::Pause => playback.pause(),
            _ => {}
        }
        assert!(playback.audible());
        let tail = pop(&mut playback);
        // The tone goes on under the fade, the less sure the longer.
        for (i, &y) in tail[..36].iter().enumerate() {
            let fade = 0.5 + 0.5 * (std::f64::consts::PI * (i + 1) as f64 / 121.0).cos();
            let want = tone(3 * FRAME + i) * fade;
            assert!(
                (f64::from(y) - want).abs() < 300.0,
                "{name}, {i}: {y}, {want}"
            );
        }
        assert!(tail[120..].iter().all(|&y| y == 0));
        out.extend(tail);
        assert!(
            largest_step(&out) <= 1_900,
            "{name}: the tone's own is 1856"
        );
        let stats = playback.stats();
        assert_eq!((stats.concealed, stats.played), (120, 3 * FRAME as u64));
        assert_eq!(stats.underruns, u64::from(name == "underrun"));
        assert!(!playback.audible());
    }
}

#[test]
fn a_concealment_goes_on_to_its_end_when_data_come_too_late() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[20_000; 4 * FRAME - 60], 1);
    let mut out: Vec<i16> = (0..4).flat_map(|_| pop(&mut playback)).collect();
    assert_eq!(playback.stats().concealed, 60, "half of it is in the frame");
    push(&mut playback, &[-20_000; 20 * FRAME], 1);
    out.extend(pop(&mut playback));
    assert_eq!(playback.stats().concealed, 120);
    assert!(out[4 * FRAME + 59] > 0 && out[4 * FRAME + 60] < 0);
    out.extend((0..17).flat_map(|_| pop(&mut playback)));
    playback.end_turn(1);
    out.extend(drain(&mut playback));
    assert!(largest_step(&out) <= fade_step(20_000, 24_000));
    assert_eq!(playback.stats().played, 24 * FRAME as u64 - 60);
}

#[test]
fn pause_and_resume_lose_no_sample() {
    let mut playback = Playback::new(copying()).unwrap();
    // Signs that carry the identity of each sample through any gain.
    let pcm = signs(1, 20 * FRAME);
    push(&mut playback, &pcm, 1);
    playback.end_turn(1);
    let mut out = Vec::new();
    for round in 0..40 {
        match round % 5 {
            1 => playback.pause(),
            3 => playback.resume(),
            _ => {}
        }
        out.extend(pop(&mut playback));
    }
    playback.resume();
    out.extend(drain(&mut playback));
    let heard: Vec<bool> = out.iter().filter(|&&y| y != 0).map(|&y| y > 0).collect();
    let pushed: Vec<bool> = pcm.iter().map(|&x| x > 0).collect();
    assert!(heard == pushed);
}

#[test]
fn pause_falls_silent_within_its_fade_and_holds() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[20_000; 20 * FRAME], 1);
    pop(&mut playback);
    playback.pause();
    assert_eq!(playback.state(), PlaybackState::Paused);
    let frame = pop(&mut playback);
    assert!(frame[..120].iter().all(|&y| y > 0) && frame[120..].iter().all(|&y| y == 0));
    assert!(!playback.audible());
    assert_eq!(playback.stats().played as usize, FRAME + 120);
    playback.resume();
    assert_eq!(playback.state(), PlaybackState::Playing);
    let frame = pop(&mut playback);
    assert!(frame[0] > 0 && frame[0] < 10 && frame[121] == 20_000);
}

#[test]
fn a_paused_turn_that_is_dry_is_no_underrun() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[20_000; 3 * FRAME], 1);
    for _ in 0..3 {
        pop(&mut playback);
    }
    playback.pause();
    for _ in 0..10 {
        pop(&mut playback);
    }
    push(&mut playback, &[20_000; FRAME], 1);
    playback.resume();
    playback.end_turn(1);
    drain(&mut playback);
    assert_eq!(playback.stats().underruns, 0);
}

#[test]
fn after_a_hole_the_next_frame_is_faded_in_and_nothing_is_skipped() {
    let mut playback = Playback::new(PlaybackOptions::default()).unwrap();
    let mut smooth = Playback::new(PlaybackOptions::default()).unwrap();
    for store in [&mut playback, &mut smooth] {
        push(store, &[10_000; 4800], 1);
        pop(store);
        pop(store);
    }
    playback.fade_in();
    let (faded, plain) = (pop(&mut playback), pop(&mut smooth));
    assert!(faded[0].abs() < 20);
    let steps = faded.windows(2).map(|w| i32::from(w[1]) - i32::from(w[0]));
    assert!(steps.map(i32::abs).max().unwrap() <= fade_step(10_000, 48_000));
    assert_eq!(faded[240..], plain[240..]);
    assert_eq!(pop(&mut playback), pop(&mut smooth), "one frame only");
    assert_eq!(playback.stats(), smooth.stats());
}

#[test]
fn flush_keeps_the_fade_and_drops_the_rest() {
    let mut playback = Playback::new(PlaybackOptions::default()).unwrap();
    push(&mut playback, &[20_000; 100 * FRAME], 7);
    push(&mut playback, &[20_000; 10 * FRAME], 8);
    let mut out = Vec::new();
    for _ in 0..3 {
        out.extend(pop(&mut playback));
    }
    assert_eq!(playback.flush(), 107 * FRAME - 120);
    let tail = drain(&mut playback);
    assert_eq!(tail.len(), 960, "silent within one frame");
    out.extend(tail);
    assert!(largest_step(&out) <= fade_step(20_000, 48_000));
    assert_eq!(playback.state(), PlaybackState::Idle);
    assert_eq!(playback.active_turn(), None);
    // A cut turn never speaks again; a new one does.
    for turn in [6, 7, 8] {
        let refused = PushOutcome {
            accepted: 0,
            dropped: 100,
        };
        assert_eq!(playback.push(&[1; 100], turn), refused);
    }
    push(&mut playback, &[20_000; 10 * FRAME], 9);
    assert_eq!(playback.active_turn(), Some(9));
    assert!(playback.turn_stats(7).unwrap().cut);
    assert!(!playback.turn_stats(9).unwrap().cut);
}

#[test]
fn flush_turn_leaves_the_other_turns() {
    let mut playback = Playback::new(copying()).unwrap();
    for turn in 1..=3 {
        push(&mut playback, &signs(turn, 5 * FRAME), turn);
    }
    playback.end_turn(3);
    assert_eq!(playback.flush_turn(2), 5 * FRAME);
    assert_eq!(playback.flush_turn(2), 0);
    let out = drain(&mut playback);
    let heard: Vec<bool> = out.iter().filter(|&&y| y != 0).map(|&y| y > 0).collect();
    let want = [signs(1, 5 * FRAME), signs(3, 5 * FRAME)].concat();
    assert!(heard == want.iter().map(|&x| x > 0).collect::<Vec<_>>());

    // A turn may be cut before its first sample has come.
    playback.flush_turn(10);
    assert_eq!(playback.push(&[1; 5], 10).dropped, 5);
    push(&mut playback, &[1; 5], 11);
}

#[test]
fn flush_turn_of_a_newer_turn_leaves_the_open_one_open() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &signs(1, 5 * FRAME), 1);
    let mut out = pop(&mut playback);
    assert_eq!(playback.flush_turn(3), 0);

    let open = playback.turn_stats(1).unwrap();
    assert_eq!((open.ended, open.cut, open.dropped), (false, false, 0));
    let flushed = playback.turn_stats(3).unwrap();
    assert_eq!((flushed.cut, flushed.finished), (true, true));
    assert_eq!(playback.active_turn(), Some(1));

    // The open turn is refilled, runs dry without being over, and goes on.
    push(&mut playback, &signs_from(1, 5 * FRAME, FRAME), 1);
    out.extend(drain(&mut playback));
    assert_eq!(playback.state(), PlaybackState::Buffering);
    assert_eq!(playback.turn_stats(1).unwrap().underruns, 1);
    push(&mut playback, &signs_from(1, 6 * FRAME, 9 * FRAME), 1);
    assert_eq!(playback.push(&[1; 5], 3).dropped, 5, "it was flushed");
    assert_eq!(
        playback.push(&[1; 5], 2).dropped,
        5,
        "older than the newest"
    );
    playback.end_turn(1);
    out.extend(drain(&mut playback));
    let stats = playback.turn_stats(1).unwrap();
    assert_eq!((stats.played, stats.finished), (15 * FRAME as u64, true));
    assert!(out.len() >= 15 * FRAME && playback.state() == PlaybackState::Idle);

    // The next turn ends all before it, and finds nothing of them.
    push(&mut playback, &signs(4, 5 * FRAME), 4);
    assert_eq!(playback.active_turn(), Some(4));
}

#[test]
fn flush_turn_of_any_number_of_newer_turns_is_a_bounded_number() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[1; 5 * FRAME], 1);
    for turn in 2..5000 {
        assert_eq!(playback.flush_turn(turn), 0);
    }
    assert!(
        (2..5000)
            .filter_map(|turn| playback.turn_stats(turn))
            .count()
            < 1024
    );
    push(&mut playback, &[1; 5 * FRAME], 1);
    for turn in 2..5000 {
        assert_eq!(playback.push(&[1], turn).accepted, 0);
    }
    playback.end_turn(1);
    drain(&mut playback);
    push(&mut playback, &[1; 5], 5000);
}

#[test]
fn a_full_store_refuses_the_newest_and_counts_them() {
    let options = PlaybackOptions {
        capacity_ms: 100,
        ..copying()
    };
    let mut playback = Playback::new(options).unwrap();
    let outcome = playback.push(&[1; 3000], 1);
    assert_eq!((outcome.accepted, outcome.dropped), (2400, 600));
    assert_eq!(playback.level_ms(), 100.0);
    let stats = playback.stats();
    assert_eq!(
        (stats.pushed, stats.dropped, stats.overflowed),
        (3000, 600, 600)
    );
    pop(&mut playback);
    assert_eq!(playback.push(&[1; 3000], 1).accepted, FRAME);
}

#[test]
fn duck_ramps_and_is_undone() {
    let mut playback = Playback::new(copying()).unwrap();
    push(&mut playback, &[20_000; 20 * FRAME], 1);
    let mut out = pop(&mut playback);
    playback.duck(-20.0).unwrap();
    out.extend(pop(&mut playback));
    out.extend(pop(&mut playback));
    assert_eq!(out[3 * FRAME - 1], 2_000);
    playback.duck(0.0).unwrap();
    out.extend(pop(&mut playback));
    assert_eq!(out[4 * FRAME - 1], 20_000);
    assert!(
        largest_step(&out[..4 * FRAME - 1]) <= 20_000,
        "ends in mid-speech"
    );
    let inner = out
        .windows(2)
        .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
        .max();
    assert!(inner.unwrap() <= fade_step(20_000, 24_000));
    for db in [0.1, f32::NAN, f32::INFINITY] {
        assert!(matches!(
            playback.duck(db),
            Err(Error::Option { name: "db", .. })
        ));
    }
    playback.duck(f32::NEG_INFINITY).unwrap();
    pop(&mut playback);
    assert!(pop(&mut playback).iter().all(|&y| y == 0));
}

#[test]
fn finished_turns_are_remembered_up_to_a_bound() {
    let mut playback = Playback::new(copying()).unwrap();
    for turn in 1..=1000 {
        push(&mut playback, &[5; 100], turn);
        playback.end_turn(turn);
        drain(&mut playback);
    }
    assert!(playback.turn_stats(900).is_none());
    assert_eq!(playback.played_ms(900), 0.0);
    assert_eq!(playback.turn_stats(950).unwrap().played, 100);
    assert_eq!(playback.stats().played, 100_000);
}

#[test]
fn any_number_of_queued_turns_is_a_bounded_number() {
    let mut playback = Playback::new(copying()).unwrap();
    let accepted = (0..5000)
        .map(|turn| playback.push(&[1], turn).accepted)
        .sum::<usize>();
    let stats = playback.stats();
    assert!(accepted < 5000 && stats.queued as usize == accepted);
    assert_eq!(stats.dropped as usize, 5000 - accepted);
    assert_eq!(stats.overflowed as usize, 5000 - accepted);
}

#[test]
fn options_out_of_range_are_refused() {
    let usual = PlaybackOptions::default();
    for (options, name) in [
        (
            PlaybackOptions {
                capacity_ms: 10,
                ..usual
            },
            "capacity_ms",
        ),
        (
            PlaybackOptions {
                fade_ms: 0,
                ..usual
            },
            "fade_ms",
        ),
        (
            PlaybackOptions {
                prefill_ms: 2_000_000,
                ..usual
            },
            "prefill_ms",
        ),
    ] {
        let error = Playback::new(options).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let options = PlaybackOptions {
        input_rate: 11_025,
        ..usual
    };
    assert_eq!(
        Playback::new(options).unwrap_err(),
        Error::FrameRate { rate: 11_025 }
    );
}

/// Makes samples of equal magnitude whose signs identify the turn.
///
/// A gain changes no sign, and no fade is deep enough to round one away.
fn signs(turn: u64, n: usize) -> Vec<i16> {
    signs_from(turn, 0, n)
}

fn signs_from(turn: u64, start: usize, n: usize) -> Vec<i16> {
    (start..start + n)
        .map(|i| {
            // SplitMix64 (Steele, Lea, Flood 2014) of the sample's index.
            let mut z = (turn << 32 | i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            if (z ^ (z >> 31)) & 1 == 1 {
                30_000
            } else {
                -30_000
            }
        })
        .collect()
}

#[derive(Debug, Clone)]
enum Op {
    /// Pushes samples for the newest turn plus `ahead`, or one before it.
    Push {
        n: usize,
        ahead: i64,
    },
    EndTurn,
    Pop,
    Pause,
    Resume,
    Duck(f32),
    Flush,
    /// Flushes the newest turn plus `ahead`.
    FlushTurn {
        ahead: i64,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0usize..3000, -1i64..=1).prop_map(|(n, ahead)| Op::Push { n, ahead }),
        4 => (0usize..3000).prop_map(|n| Op::Push { n, ahead: 0 }),
        1 => Just(Op::EndTurn),
        12 => Just(Op::Pop),
        2 => Just(Op::Pause),
        3 => Just(Op::Resume),
        1 => (-20.0f32..=0.0).prop_map(Op::Duck),
        1 => Just(Op::Duck(0.0)),
        1 => Just(Op::Flush),
        1 => (-2i64..=1).prop_map(|ahead| Op::FlushTurn { ahead }),
    ];
    prop::collection::vec(op, 1..120)
}

/// Popped frame, with its numbers of samples of turns and of concealment.
struct Popped {
    frame: Vec<i16>,
    played: usize,
    concealed: usize,
}

fn pop_counted(playback: &mut Playback) -> Popped {
    let before = playback.stats();
    let frame = pop(playback);
    let after = playback.stats();
    Popped {
        frame,
        played: (after.played - before.played) as usize,
        concealed: (after.concealed - before.concealed) as usize,
    }
}

/// Runs the calls, with `sample(turn, start, n)` as the audio, and checks the counts after each.
///
/// Returns all frames, and the samples accepted for each turn with whether it was cut.
fn run(
    playback: &mut Playback,
    ops: &[Op],
    sample: fn(u64, usize, usize) -> Vec<i16>,
) -> (Vec<Popped>, Vec<(u64, usize, bool)>) {
    let mut newest = 1u64;
    let mut out = Vec::new();
    let mut accepted: Vec<(u64, usize)> = Vec::new();
    for op in ops {
        match *op {
            Op::Push { n, ahead } => {
                let turn = newest.saturating_add_signed(ahead);
                newest = newest.max(turn);
                let entry = match accepted.iter().position(|&(t, _)| t == turn) {
                    Some(at) => at,
                    None => {
                        accepted.push((turn, 0));
                        accepted.len() - 1
                    }
                };
                let start = accepted[entry].1;
                let outcome = playback.push(&sample(turn, start, n), turn);
                assert_eq!(outcome.accepted + outcome.dropped, n);
                accepted[entry].1 += outcome.accepted;
            }
            Op::EndTurn => playback.end_turn(newest),
            Op::Pop => {
                let audible = playback.audible();
                let popped = pop_counted(playback);
                assert!(
                    audible || popped.played > 0 || popped.frame.iter().all(|&y| y == 0),
                    "sound out of silence"
                );
                out.push(popped);
            }
            Op::Pause => playback.pause(),
            Op::Resume => playback.resume(),
            Op::Duck(db) => playback.duck(db).unwrap(),
            Op::Flush => {
                let queued = playback.stats().queued as usize;
                let dropped = playback.flush();
                assert!(dropped <= queued && queued - dropped <= 120);
            }
            Op::FlushTurn { ahead } => {
                let flushed = newest.saturating_add_signed(ahead);
                let others = |playback: &Playback| {
                    let turns = (newest.saturating_sub(8)..=newest).filter(|&turn| turn != flushed);
                    turns
                        .map(|turn| playback.turn_stats(turn))
                        .collect::<Vec<_>>()
                };
                let before = others(playback);
                playback.flush_turn(flushed);
                assert_eq!(before, others(playback), "turns other than {flushed}");
            }
        }
        let stats = playback.stats();
        assert_eq!(stats.pushed, stats.played + stats.dropped + stats.queued);
        for &(turn, _) in &accepted {
            let turn = playback.turn_stats(turn);
            if let Some(t) = turn {
                assert_eq!(t.pushed, t.played + t.dropped + t.queued);
            }
        }
    }
    playback.resume();
    playback.end_turn(newest);
    while playback.audible() {
        out.push(pop_counted(playback));
    }
    let stats = playback.stats();
    assert_eq!((stats.queued, playback.state()), (0, PlaybackState::Idle));
    assert_eq!(stats.pushed, stats.played + stats.dropped);
    let turns = accepted
        .into_iter()
        .filter_map(|(turn, n)| Some((turn, n, playback.turn_stats(turn)?.cut)))
        .collect();
    (out, turns)
}

proptest! {
    #![proptest_config(property::property(300))]

    #[test]
    fn every_sample_of_an_uncut_turn_is_heard_once_and_in_order(ops in ops()) {
        let mut playback = Playback::new(copying()).unwrap();
        let (out, mut turns) = run(&mut playback, &ops, signs_from);
        turns.sort();
        let mut want = Vec::new();
        for (turn, accepted, cut) in turns {
            let played = playback.turn_stats(turn).unwrap().played as usize;
            prop_assert!(cut || played == accepted, "turn {turn} lost samples");
            want.extend(signs(turn, played).iter().map(|x| x.signum()));
        }
        let mut want = want.as_slice();
        for Popped { frame, played, concealed } in out {
            let heard: Vec<i16> = frame.iter().map(|y| y.signum()).filter(|&y| y != 0).collect();
            // Concealment may be silent: noise cannot be predicted.
            prop_assert!((played..=played + concealed).contains(&heard.len()));
            // Concealment is contiguous: all other samples are before and after it.
            let (now, later) = want.split_at(played);
            let same = |(a, b): &(&i16, &i16)| a == b;
            let in_front = heard.iter().zip(now).take_while(same).count();
            let behind = heard.iter().rev().zip(now.iter().rev()).take_while(same).count();
            prop_assert!(in_front + behind >= played, "{played} played, {in_front}, {behind}");
            prop_assert!(concealed > 0 || in_front == played);
            want = later;
        }
        prop_assert!(want.is_empty());
    }

    #[test]
    fn no_order_of_calls_makes_a_step(ops in ops(), output_rate in prop::sample::select(vec![24_000, 48_000, 16_000])) {
        let options = PlaybackOptions { output_rate, ..PlaybackOptions::default() };
        let mut playback = Playback::new(options).unwrap();
        let (out, _) = run(&mut playback, &ops, |_, _, n| vec![20_000; n]);
        // A fade and the ramp of the duck (10 ms, linear) may coincide.
        let steepest = fade_step(20_000, output_rate) + (20_000 / (output_rate as i32 / 100)) + 2;
        // A fade that is reversed half-way has a corner, where the slope steps from +s to -s. After
        // the resampler's filter such a step overshoots by 9 % of its height (Gibbs): by 0.18 s.
        let bound = steepest + steepest * 18 / 100;
        let out: Vec<i16> = out.into_iter().flat_map(|popped| popped.frame).collect();
        let step = largest_step(&out);
        prop_assert!(step <= bound, "a step of {step}, {bound} allowed");
    }
}
