//! What holds whatever arrives.

use super::people::{Jitter, Person, Pts, Report, Rng, Scripted, quantile, run, run_busy};
use super::{FRAME, advance, capture, exact, ms, push};
use crate::{Arrival, CaptureOptions, Due, Samples};

const CLEAN: Person = Person::CLEAN;

fn call(people: &[Person], seconds: i64, seed: u64) -> Report {
    run(people, seconds, seed, ms(10), &mut Scripted::new(exact()))
}

/// The wire is never more than a frame ahead of the clock, nor further behind than it may wait.
fn assert_wire(report: &Report, behind: i64, context: &str) {
    assert!(report.behind.0 >= -ms(41), "{context}: {:?}", report.behind);
    assert!(
        report.behind.1 <= behind + ms(31),
        "{context}: {:?}",
        report.behind
    );
}

fn assert_complete(report: &Report, context: &str) {
    for voice in &report.voices {
        assert_eq!(voice.heard, voice.delivered, "{context}");
    }
}

fn longest_hole(report: &Report, after: i64) -> i64 {
    let holes = report.voices.iter().flat_map(|v| &v.holes);
    holes
        .filter(|h| h.0 >= after)
        .map(|h| h.1)
        .max()
        .unwrap_or(0)
}

#[test]
fn one_person_on_a_clean_link_passes_at_once_and_bit_exactly() {
    let mut capture = capture(CaptureOptions::default());
    let mut rng = Rng(3);
    for k in 0..500 {
        let samples: Vec<i16> = (0..FRAME).map(|_| rng.bits() as i16).collect();
        let mut due = Due::default();
        advance(&mut capture, ms(20 * k) + 160, &mut due);
        assert!(due.wire.is_empty());
        push(
            &mut capture,
            1,
            &samples,
            Some(320 * k),
            ms(20 * (k + 1)),
            k % 50 < 30,
            &mut due,
        );
        assert_eq!(due.wire, samples, "{k}");
    }
}

#[test]
fn jitter_tears_no_word_once_it_is_known() {
    for seed in 1..6 {
        for by in [5, 10, 20, 30, 40, 50, 60, 80, 100] {
            for n in [1, 2, 5] {
                let people = vec![
                    Person {
                        jitter: Jitter::Uniform(by),
                        ..CLEAN
                    };
                    n
                ];
                let report = call(&people, 60, seed);
                let context = format!("{by} ms, {n} people, seed {seed}");
                assert_complete(&report, &context);
                assert_wire(&report, ms(60), &context);
                let hole = longest_hole(&report, ms(2_000));
                assert!(hole <= ms(20), "{context}: {} ms", hole / 16);
                assert!(longest_hole(&report, 0) <= ms(by).max(ms(20)), "{context}");
                assert!(
                    report.rate.0 >= 0.99 && report.rate.1 <= 1.01,
                    "{context}: {:?}",
                    report.rate
                );
            }
        }
    }
}

#[test]
fn one_persons_network_costs_nobody_else_a_sample_or_more_than_60_ms() {
    for seed in 1..4 {
        for person in [
            Person {
                jitter: Jitter::Uniform(100),
                ..CLEAN
            },
            Person {
                jitter: Jitter::Bursts(300),
                ..CLEAN
            },
            Person {
                stall: Some((150, 10_000)),
                ..CLEAN
            },
            Person {
                stall: Some((1_000, 10_000)),
                ..CLEAN
            },
            Person {
                loss: 0.1,
                jitter: Jitter::Uniform(30),
                ..CLEAN
            },
            Person {
                dtx: true,
                jitter: Jitter::Uniform(40),
                ..CLEAN
            },
            Person {
                dtx: true,
                talks: false,
                ..CLEAN
            },
            Person {
                ppm: 200.0,
                ..CLEAN
            },
            Person {
                ppm: -200.0,
                ..CLEAN
            },
            Person {
                pts: Pts::Fast(1.3),
                jitter: Jitter::Uniform(20),
                ..CLEAN
            },
            Person {
                pts: Pts::Stands,
                jitter: Jitter::Uniform(20),
                ..CLEAN
            },
            Person {
                pts: Pts::Jumps,
                dtx: true,
                ..CLEAN
            },
            Person {
                away: Some((3_000, 3_700)),
                ..CLEAN
            },
        ] {
            let report = call(&[CLEAN, person], 120, seed);
            let context = format!("{person:?}, seed {seed}");
            let clean = &report.voices[0];
            assert_eq!(clean.whole, clean.words, "{context}");
            assert_eq!(clean.heard, clean.delivered, "{context}");
            // A tick, and the frame in which an onset is not yet marked.
            assert!(
                quantile(&clean.added, 1.0) <= 60.0 + 30.0,
                "{context}: {}",
                quantile(&clean.added, 1.0)
            );
            assert!(
                quantile(&clean.added, 0.5) <= 3.0,
                "{context}: {}",
                quantile(&clean.added, 0.5)
            );
            assert_complete(&report, &context);
            assert_wire(&report, ms(300), &context);
        }
    }
}

#[test]
fn alone_a_stall_of_280_ms_tears_no_word_that_was_known() {
    for seed in 1..6 {
        let report = call(
            &[Person {
                stall: Some((280, 7_000)),
                ..CLEAN
            }],
            120,
            seed,
        );
        let voice = &report.voices[0];
        // One that begins in the very frame of an onset finds the onset unmarked.
        assert!(
            voice.whole + 3 >= voice.words,
            "{} of {}",
            voice.whole,
            voice.words
        );
        assert_complete(&report, "");
        assert_eq!(quantile(&voice.added, 0.5), 0.0);
    }
}

#[test]
fn clocks_may_differ_by_400_ppm_for_an_hour() {
    let people = [-200.0, 0.0, 200.0].map(|ppm| Person {
        ppm,
        jitter: Jitter::Uniform(15),
        ..CLEAN
    });
    let report = call(&people, 3_600, 1);
    assert_complete(&report, "");
    assert_wire(&report, ms(60), "");
    assert!(longest_hole(&report, ms(2_000)) <= ms(20));
    for voice in &report.voices {
        assert!(quantile(&voice.late, 1.0) <= 80.0);
    }
}

#[test]
fn timestamps_that_lie_tear_nothing() {
    for pts in [
        Pts::Missing,
        Pts::Stands,
        Pts::Fast(1.3),
        Pts::Fast(0.7),
        Pts::Fast(1.004),
        Pts::Jumps,
    ] {
        let person = Person {
            pts,
            jitter: Jitter::Uniform(20),
            ..CLEAN
        };
        let report = call(&[CLEAN, person], 60, 1);
        assert_complete(&report, &format!("{pts:?}"));
        assert!(longest_hole(&report, ms(2_000)) <= ms(20), "{pts:?}");
    }
}

#[test]
fn order_is_restored_and_what_comes_twice_is_heard_once() {
    for seed in 1..4 {
        let person = Person {
            reordered: 0.05,
            duplicates: 0.05,
            ..CLEAN
        };
        let report = call(&[person; 2], 60, seed);
        assert_complete(&report, "");
        assert!(longest_hole(&report, 0) <= ms(20));
    }
}

#[test]
fn after_a_stall_half_of_the_silence_pays_back() {
    // One word with a stall in it, 1 s of silence, then words again.
    for (stall, left) in [(300, 60), (500, 160), (1_000, 600)] {
        let mut capture = capture(exact());
        let mut due = Due::default();
        let mut delay = 0;
        for k in 0..400i64 {
            let speech = !(150..200).contains(&k);
            for source in 1..=2u64 {
                let stalled = source == 2 && (50 * 20..50 * 20 + stall).contains(&(k * 20));
                if stalled {
                    continue;
                }
                let first = if source == 2 && k * 20 == 50 * 20 + stall {
                    50
                } else {
                    k
                };
                for j in first..=k {
                    let value = if speech { 5 } else { 0 };
                    push(
                        &mut capture,
                        source,
                        &[value; FRAME],
                        Some(j * 320),
                        ms(20 * (k + 1)),
                        speech,
                        &mut due,
                    );
                }
            }
            if k == 240 {
                delay = capture.stats(2).unwrap().delay;
            }
        }
        assert!(delay <= ms(left), "{stall}: {}", delay / 16);
        assert_eq!(capture.stats(2).unwrap().overflow, 0);
    }
}

#[test]
fn silence_comes_with_time_and_the_stream_ends_once() {
    let mut capture = capture(CaptureOptions::default());
    let mut due = Due::default();
    for k in 0..10 {
        push(
            &mut capture,
            1,
            &[900; FRAME],
            None,
            ms(20 * (k + 1)),
            true,
            &mut due,
        );
    }
    assert_eq!(due.silence.len(), 10);
    for t in 20..400 {
        advance(&mut capture, ms(10 * t + 10), &mut due);
        let behind = 10 * t + 10 - 20 * due.silence.len() as i64;
        match 10 * t + 10 {
            ..520 => assert_eq!(due.silence.len(), 10), // the rest of the word is waited for
            530..700 => assert!((0..=80).contains(&behind), "{t}: {behind}"),
            710..2_190 => assert!((0..=20).contains(&behind), "{t}: {behind}"),
            _ => {}
        }
    }
    assert_eq!(due.silence.len(), 110);
    assert!(due.ended);
    assert!(due.wire[11 * FRAME..].iter().all(|&x| x == 0));
}

#[test]
fn who_comes_back_is_heard_from_the_first_frame_and_a_last_word_is_sent() {
    let mut capture = capture(exact());
    let mut due = Due::default();
    let mut heard = 0;
    for k in 0..200i64 {
        let now = ms(20 * (k + 1));
        push(
            &mut capture,
            1,
            &[1; FRAME],
            Some(k * 320),
            now,
            true,
            &mut due,
        );
        if k == 60 {
            capture.remove(2, &mut due);
        }
        if !(60..90).contains(&k) {
            // Another track: its timestamps begin anew.
            let pts = if k < 60 { k * 320 } else { 5_000_000 + k * 320 };
            push(&mut capture, 2, &[2; FRAME], Some(pts), now, true, &mut due);
        }
    }
    (0..100).for_each(|t| advance(&mut capture, ms(4_000 + 20 * t), &mut due));
    heard += due.wire.iter().filter(|&&x| x & 2 != 0).count();
    assert_eq!(heard, 170 * FRAME);
}

#[test]
fn edges_are_smooth() {
    let mut capture = capture(CaptureOptions::default());
    let mut due = Due::default();
    for k in 0..200i64 {
        let tone = |hz: f64| -> Vec<i16> {
            let at = |i: usize| (k * 320 + i as i64) as f64 / 16_000.0;
            (0..FRAME)
                .map(|i| (8_000.0 * (std::f64::consts::TAU * hz * at(i)).sin()) as i16)
                .collect()
        };
        // Lost, stalled beside somebody who speaks, away.
        let there = k % 40 != 7 && !(60..75).contains(&k) && !(110..180).contains(&k);
        if there {
            push(
                &mut capture,
                1,
                &tone(200.0),
                Some(k * 320),
                ms(20 * (k + 1)),
                true,
                &mut due,
            );
        }
        push(
            &mut capture,
            2,
            &[0; FRAME],
            Some(k * 320),
            ms(20 * (k + 1)) + 16,
            true,
            &mut due,
        );
    }
    let wire: Vec<i32> = due.wire.iter().map(|&x| i32::from(x)).collect();
    let steepest = wire.windows(2).map(|w| (w[1] - w[0]).abs()).max().unwrap();
    // The tone itself has steps of 628; its mirror image up to twice its height.
    assert!(steepest < 1_900, "{steepest}");
}

#[test]
fn whatever_comes_is_counted_and_bounded() {
    for seed in 1..40 {
        let mut rng = Rng(seed * 7_919);
        let mut capture = capture(exact());
        let mut due = Due::default();
        let (mut now, mut pushed, mut frames, mut greatest) = (0, 0, 0, 0);
        for _ in 0..3_000 {
            now += match rng.between(0, 40) {
                0 => -ms(500),
                1 => ms(rng.between(0, 3_000)),
                _ => rng.between(0, 200),
            };
            greatest = greatest.max(now);
            let len = match rng.between(0, 60) {
                0 => rng.between(0, 3),
                1 => rng.between(0, 160_000),
                _ => 320,
            };
            let pts = match rng.between(0, 5) {
                0 => Some(rng.bits() as i64),
                1 => None,
                _ => Some(now),
            };
            let id = rng.between(0, 30) as u64;
            let value = rng.bits() as i16;
            match rng.between(0, 50) {
                0 => capture.remove(id, &mut due),
                _ => push(
                    &mut capture,
                    id,
                    &vec![value; len as usize],
                    pts,
                    now,
                    rng.unit() < 0.5,
                    &mut due,
                ),
            }
            pushed += len;
            frames += due.silence.drain(..).len() as i64;
            assert!(capture.behind() <= ms(300 + 6_000), "{}", capture.behind());
        }
        assert!(pushed > 0);
        assert!(
            frames * 320 <= greatest + ms(1_000),
            "{frames} frames in {} ms",
            greatest / 16
        );
    }
}

#[test]
fn each_sample_is_played_or_counted() {
    let mut capture = capture(exact());
    let mut due = Due::default();
    let mut rng = Rng(11);
    let mut now = 0;
    for k in 0..5_000i64 {
        now = now.max(ms(20 * (k + 1)) + rng.between(0, ms(90)));
        let pts = k * 320 + if rng.unit() < 0.05 { -640 } else { 0 };
        push(
            &mut capture,
            1,
            &[k as i16; FRAME],
            Some(pts),
            now,
            k % 90 < 50,
            &mut due,
        );
        if k % 5 == 0 {
            push(&mut capture, 2, &[1; FRAME], None, now, false, &mut due);
        }
    }
    let before = capture.stats(1).unwrap();
    (1..100).for_each(|t| advance(&mut capture, now + ms(20 * t), &mut due));
    let stats = capture.stats(1).unwrap();
    assert!(before.played > 0);
    assert_eq!(
        stats.pushed,
        stats.played + stats.skipped + stats.duplicate + stats.misplaced + stats.overflow
    );
}

#[test]
fn a_thousand_sources() {
    let mut capture = capture(exact());
    let mut due = Due::default();
    for k in 0..50i64 {
        for id in 0..1_000 {
            push(
                &mut capture,
                id,
                &[0; FRAME],
                Some(k * 320),
                ms(20 * (k + 1)) + id as i64 % 300,
                id == 0,
                &mut due,
            );
        }
    }
    assert!(
        (45..=51).contains(&due.silence.len()),
        "{}",
        due.silence.len()
    );
}

#[test]
fn a_caller_who_was_away_for_long_gets_the_tail_and_no_more() {
    // A computer that was suspended; and a clock that is wrong by ages.
    for gap in [30.0, 3_600.0, 1e9] {
        for n in [1, 2] {
            for word in [false, true] {
                let mut capture = capture(exact());
                let mut due = Due::default();
                for k in 1..=50 {
                    for id in 0..n {
                        push(
                            &mut capture,
                            id,
                            &[7; FRAME],
                            Some(320 * (k - 1)),
                            320 * k,
                            word,
                            &mut due,
                        );
                    }
                }
                due.clear();
                let now = ms(1_000) + (gap * 16_000.0) as i64;
                push(
                    &mut capture,
                    0,
                    &[9; FRAME],
                    Some(now),
                    now + 320,
                    word,
                    &mut due,
                );
                advance(&mut capture, now + 330, &mut due);
                let frames = due.silence.len();
                assert!(
                    frames <= 50 * 5,
                    "{frames} frames after {gap} s, {n} sources"
                );
                assert!(due.wire.ends_with(&[9; FRAME]), "{gap} s, {n} sources");
                assert!(capture.behind() <= ms(20));
            }
        }
    }
}

#[test]
fn speech_ends_at_once_when_ages_have_passed() {
    let mut capture = capture(CaptureOptions::default());
    let mut due = Due::default();
    // Whatever is heard is speech: even silence does not end it.
    capture.options.vad.threshold = 0.0;
    let tone: Vec<i16> = (0..FRAME as i16).map(|i| (i % 40 - 20) * 300).collect();
    for k in 1..=50 {
        let arrival = Arrival::at(0.02 * f64::from(k));
        let samples = Samples::Mono(&tone);
        capture.push(1, samples, 16_000, arrival, &mut due).unwrap();
    }
    assert!(capture.sources[0].speaking());
    for k in 0..3 {
        capture.advance(1e9 + f64::from(k), &mut due).unwrap();
    }
    assert!(due.ended && capture.sources().count() == 0);
}

#[test]
fn a_process_that_was_busy_tears_nothing() {
    for busy in [50, 80, 150, 300, 500] {
        for n in [1, 2, 5] {
            let wire = &mut Scripted::new(exact());
            let report = run_busy(&vec![CLEAN; n], 120, 1, ms(10), (busy, 7_000), wire);
            assert_complete(&report, "");
            assert_eq!(longest_hole(&report, 0), 0, "{busy} ms, {n} people");
            for voice in &report.voices {
                assert!(quantile(&voice.added, 0.5) <= 20.0, "{busy} ms, {n} people");
            }
        }
    }
}

#[test]
fn anything_at_once() {
    for seed in 1..=200 {
        let mut rng = Rng(seed * 0x9e37_79b9);
        let mut people = vec![CLEAN];
        for _ in 0..rng.between(1, 6) {
            people.push(Person {
                talks: people.len() < 3 || rng.unit() < 0.5,
                jitter: match rng.between(0, 2) {
                    0 => Jitter::Uniform(rng.between(0, 100)),
                    1 => Jitter::Bursts(rng.between(0, 200)),
                    _ => Jitter::Uniform(0),
                },
                stall: (rng.unit() < 0.3)
                    .then(|| (rng.between(80, 1_000), rng.between(4_000, 15_000))),
                loss: if rng.unit() < 0.3 {
                    0.1 * rng.unit()
                } else {
                    0.0
                },
                duplicates: if rng.unit() < 0.3 { 0.05 } else { 0.0 },
                dtx: rng.unit() < 0.3,
                ppm: 400.0 * rng.unit() - 200.0,
                pts: [
                    Pts::True,
                    Pts::True,
                    Pts::Missing,
                    Pts::Jumps,
                    Pts::Fast(1.2),
                ][rng.between(0, 4) as usize],
                away: (rng.unit() < 0.2).then(|| (2_000, 2_000 + rng.between(200, 5_000))),
                ..CLEAN
            });
            let newest = people.last_mut().unwrap();
            if newest.duplicates > 0.0 {
                // Only a timestamp tells what came twice.
                newest.pts = Pts::True;
            }
        }
        let tick = ms([5, 10, 20][rng.between(0, 2) as usize]);
        let report = run(&people, 40, seed, tick, &mut Scripted::new(exact()));
        let context = format!("seed {seed}, tick {tick}: {people:#?}");
        let clean = &report.voices[0];
        assert_eq!(clean.whole, clean.words, "{context}");
        assert!(
            quantile(&clean.added, 1.0) <= 60.0 + 40.0,
            "{}, {context}",
            quantile(&clean.added, 1.0)
        );
        assert_complete(&report, &context);
        assert_wire(&report, ms(300), &context);
    }
}
