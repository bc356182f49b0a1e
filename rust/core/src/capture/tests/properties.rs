//! Properties of the wire, one test each.

use super::people::{Call, FRAME, Jitter, Person, Pts, Report, Rng, Wire, ms, quantile, speech};
use super::{Detecting, Scripted, advance, capture, exact, push};
use crate::{Arrival, CaptureOptions, Due, Samples, SourceStats};

const CLEAN: Person = Person::CLEAN;
const LISTENS: Person = Person::LISTENS;

/// Returns the seeds that a test tries: `default` many, or as many as `CAPTURE_SEEDS` says.
fn seeds(default: u64) -> std::ops::RangeInclusive<u64> {
    let chosen = std::env::var("CAPTURE_SEEDS");
    1..=chosen.map_or(default, |n| n.parse().expect("a number of seeds"))
}

fn jitter(most: i64) -> Person {
    Person {
        jitter: Jitter::Uniform(most),
        ..CLEAN
    }
}

fn stall(length: i64, every: i64) -> Person {
    Person {
        stall: Some((length, every)),
        ..CLEAN
    }
}

fn call(people: &[Person], seconds: i64, seed: u64) -> Report {
    Call::new(people, seconds, seed).run(&mut Scripted::new(exact()))
}

/// Checks that the wire is at most a frame early, and at most `behind` and a tick late.
///
/// Seen from its first frame, which came before its time was over, it may be two frames ahead.
fn assert_wire(report: &Report, behind: i64, context: &str) {
    let (least, most) = report.behind;
    assert!(least >= -ms(41), "{context}: {least}");
    assert!(most <= behind + ms(31), "{context}: {most}");
}

/// Checks that every delivered sample was received once.
fn assert_complete(report: &Report, context: &str) {
    for voice in &report.voices {
        assert_eq!(voice.heard, voice.delivered, "{context}");
    }
}

/// Returns the longest silence within a word from `after` on.
fn longest_hole(report: &Report, after: i64) -> i64 {
    let holes = report.voices.iter().flat_map(|v| &v.holes);
    holes
        .filter(|h| h.0 >= after)
        .map(|h| h.1)
        .max()
        .unwrap_or(0)
}

fn assert_accounted(stats: SourceStats) {
    let gone = stats.skipped + stats.duplicate + stats.late + stats.overflow + stats.unsent;
    assert_eq!(
        stats.pushed,
        stats.played + gone + stats.queued,
        "{stats:?}"
    );
}

// -- a clean link --------------------------------------------------------------------------------

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
fn on_clean_links_others_wait_for_the_next_frame_at_most() {
    for n in 2..=14 {
        let report = call(&vec![CLEAN; n], 40, n as u64);
        assert_complete(&report, "");
        assert_eq!(longest_hole(&report, 0), 0, "{n} people");
        assert!(
            report.voices.iter().all(|v| quantile(&v.added, 1.0) < 20.0),
            "{n} people"
        );
        assert_wire(&report, 0, "");
    }
}

// -- jitter --------------------------------------------------------------------------------------

#[test]
fn jitter_tears_no_word_once_it_is_known() {
    for seed in seeds(2) {
        for by in [5, 10, 20, 30, 40, 50, 60, 80, 100] {
            for (talk, listen) in [(1, 0), (2, 0), (5, 0), (3, 17)] {
                let mut people = vec![jitter(by); talk];
                people.extend(vec![
                    Person {
                        talks: false,
                        ..jitter(by)
                    };
                    listen
                ]);
                let mut wire = Scripted::new(exact());
                let report = Call::new(&people, 40, seed).run(&mut wire);
                let context = format!("{by} ms, {talk} and {listen} people, seed {seed}");
                assert_complete(&report, &context);
                assert_wire(&report, ms(60), &context);
                let hole = longest_hole(&report, ms(2_000));
                assert!(hole <= ms(20), "{context}: {} ms", hole / 16);
                assert!(longest_hole(&report, 0) <= ms(by.max(20)), "{context}");
                let (least, most) = report.rate;
                assert!(
                    least >= 0.99 && most <= 1.01,
                    "{context}: {least} to {most}"
                );
                for id in wire.capture.sources() {
                    let depth = wire.capture.stats(id).unwrap().depth;
                    assert!((0..=ms(100)).contains(&depth), "{context}: {}", depth / 16);
                }
            }
        }
    }
}

// -- others --------------------------------------------------------------------------------------

#[test]
fn one_persons_network_costs_nobody_else_a_sample_or_more_than_60_ms() {
    let people = [
        jitter(100),
        stall(80, 10_000),
        stall(150, 10_000),
        stall(500, 10_000),
        stall(1_000, 10_000),
        Person {
            jitter: Jitter::Bursts(300),
            ..CLEAN
        },
        Person {
            loss: 0.1,
            ..jitter(30)
        },
        Person {
            duplicates: 0.05,
            reordered: 0.05,
            ..CLEAN
        },
        Person {
            dtx: true,
            ..jitter(40)
        },
        Person {
            dtx: true,
            ..LISTENS
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
            ..jitter(20)
        },
        Person {
            pts: Pts::Stands,
            ..jitter(20)
        },
        Person {
            pts: Pts::Missing,
            dtx: true,
            ..jitter(20)
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
    ];
    for seed in seeds(2) {
        for person in people {
            let report = call(&[CLEAN, person], 120, seed);
            let context = format!("{person:?}, seed {seed}");
            let clean = &report.voices[0];
            assert_eq!(clean.whole, clean.words, "{context}");
            assert_eq!(clean.heard, clean.delivered, "{context}");
            // One tick, and the frame in which the onset is not yet marked.
            let most = quantile(&clean.added, 1.0);
            assert!(most <= 60.0 + 30.0, "{context}: {most}");
            let usual = quantile(&clean.added, 0.5);
            assert!(usual <= 3.0, "{context}: {usual}");
            if person.pts == Pts::True || !person.dtx {
                assert_complete(&report, &context);
            }
            assert_wire(&report, ms(300), &context);
        }
    }
}

/// Wire on which a person who sends nothing for half a second leaves, and later comes back.
///
/// They come back as the same source, or each time as a new one.
struct Visits {
    wire: Scripted,
    new_ids: bool,
    /// For each person, the newest arrival and the number of visits.
    seen: Vec<(i64, u64)>,
    present: Vec<bool>,
}

impl Visits {
    fn id(&self, person: usize) -> usize {
        if self.new_ids {
            person + 100 * self.seen[person].1 as usize
        } else {
            person
        }
    }

    fn see_out(&mut self, now: i64) {
        for person in 0..self.seen.len() {
            if self.present[person] && now - self.seen[person].0 > ms(500) {
                self.present[person] = false;
                let id = self.id(person) as u64;
                let Scripted { capture, due } = &mut self.wire;
                capture.remove(id, due);
            }
        }
    }
}

impl Wire for Visits {
    fn push(&mut self, person: usize, samples: &[i16], pts: Option<i64>, now: i64, speech: bool) {
        self.see_out(now);
        self.seen[person].0 = now;
        self.seen[person].1 += u64::from(!std::mem::replace(&mut self.present[person], true));
        self.wire.push(self.id(person), samples, pts, now, speech);
    }

    fn advance(&mut self, now: i64) {
        self.see_out(now);
        self.wire.advance(now);
    }

    fn next_advance(&self) -> Option<i64> {
        self.wire.next_advance()
    }

    fn take(&mut self, each: &mut dyn FnMut(&[i16; FRAME])) {
        self.wire.take(each);
    }
}

#[test]
fn people_come_and_go_and_nobody_loses_a_sample() {
    for seed in seeds(4) {
        let mut rng = Rng(seed * 977);
        for new_ids in [false, true] {
            let mut people = vec![CLEAN, jitter(30)];
            for k in 0..18 {
                let from = rng.between(0, 8_000);
                people.push(Person {
                    talks: k < 4,
                    away: Some((from, from + rng.between(700, 5_000))),
                    ..jitter(rng.between(0, 40))
                });
            }
            let mut wire = Visits {
                wire: Scripted::new(exact()),
                new_ids,
                seen: vec![(0, 0); people.len()],
                present: vec![false; people.len()],
            };
            let report = Call::new(&people, 60, seed).run(&mut wire);
            let context = format!("seed {seed}, new ids {new_ids}");
            assert_complete(&report, &context);
            assert_wire(&report, ms(300), &context);
            let clean = &report.voices[0];
            assert_eq!(clean.whole, clean.words, "{context}");
            assert!(
                wire.seen.iter().skip(2).all(|(_, visits)| *visits >= 5),
                "{context}"
            );
        }
    }
}

#[test]
fn who_comes_back_is_heard_from_the_first_frame_and_a_last_word_is_sent() {
    let mut capture = capture(exact());
    let mut due = Due::default();
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
            // Another track: its timestamps start afresh.
            let pts = if k < 60 { k * 320 } else { 5_000_000 + k * 320 };
            push(&mut capture, 2, &[2; FRAME], Some(pts), now, true, &mut due);
        }
    }
    (0..100).for_each(|t| advance(&mut capture, ms(4_000 + 20 * t), &mut due));
    let heard = due.wire.iter().filter(|&&x| x & 2 != 0).count();
    assert_eq!(heard, 170 * FRAME);
}

#[test]
fn the_same_words_again_after_a_pause_are_no_copies() {
    let mut capture = capture(exact());
    let mut due = Due::default();
    let starts = [0, 1_800, 4_000, 9_000];
    let voice = |k: i64| std::array::from_fn::<i16, FRAME, _>(|i| (k * 320 + i as i64 + 1) as i16);
    for start in starts {
        // The timestamps start afresh each time the clip of one second is played.
        for k in 0..50i64 {
            let now = ms(start + 20 * (k + 1));
            push(
                &mut capture,
                1,
                &voice(k),
                Some(k * 320),
                now,
                true,
                &mut due,
            );
        }
        (51..90).for_each(|t| advance(&mut capture, ms(start + 20 * t), &mut due));
    }
    (500..700).for_each(|t| advance(&mut capture, ms(20 * t), &mut due));
    assert_eq!(capture.stats(1).unwrap().duplicate, 0);
    let heard = due.wire.iter().filter(|&&x| x != 0).count();
    assert_eq!(heard, 4 * 50 * FRAME);
}

// -- stalls --------------------------------------------------------------------------------------

#[test]
fn alone_a_stall_of_280_ms_tears_no_word_that_was_known() {
    for seed in seeds(5) {
        let report = call(&[stall(280, 7_000)], 120, seed);
        let voice = &report.voices[0];
        // A stall that begins in the frame of an onset finds the onset unmarked.
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
fn every_sample_of_a_stall_comes_late_and_in_order() {
    for seed in seeds(2) {
        for length in [80, 150, 300, 500, 1_000] {
            for people in [
                &[stall(length, 15_000)][..],
                &[CLEAN, stall(length, 15_000)],
            ] {
                let report = call(people, 120, seed);
                assert_complete(&report, "");
                let voice = report.voices.last().unwrap();
                // At most one hole per stall, no longer than the stall.
                assert!(voice.holes.len() <= 8, "{length} ms: {:?}", voice.holes);
                assert!(longest_hole(&report, 0) <= ms(length + 20), "{length} ms");
                assert!(
                    quantile(&voice.late, 1.0) <= (length + 60) as f64,
                    "{length} ms"
                );
            }
        }
    }
}

#[test]
fn no_frame_is_silent_while_speech_that_was_heard_waits() {
    let mut capture = capture(exact());
    let mut due = Due::default();
    // Two words, 300 ms apart, arrive at once, 1.3 s late.
    let speaks = |k: i64| (50..75).contains(&k) || (90..115).contains(&k);
    for k in 0..300i64 {
        let now = ms(20 * (k.clamp(115, 300) + 1));
        let now = if k < 50 { ms(20 * (k + 1)) } else { now };
        let samples = [i16::from(speaks(k)); FRAME];
        let pts = Some(k * 320);
        push(&mut capture, 1, &samples, pts, now, speaks(k), &mut due);
    }
    let frames = due.wire.as_chunks::<FRAME>().0;
    let words: Vec<usize> = (0..frames.len()).filter(|&k| frames[k][0] != 0).collect();
    assert_eq!(words.len(), 50);
    let (first, last) = (words[0], words[49]);
    assert!(!due.silence[first..=last].contains(&true));
    assert!(due.silence[last + 3..].iter().all(|&silence| silence));
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
fn a_silence_that_ends_in_a_pause_resets_the_delay() {
    let mut capture = capture(exact());
    let mut due = Due::default();
    for k in 0..300i64 {
        // A stall of 600 ms within a word; later no packets for 1.7 s.
        let (speech, now) = (!(80..=200).contains(&k), ms(20 * (k + 1)));
        if !(40..70).contains(&k) && !(100..185).contains(&k) {
            let first = if k == 70 { 40 } else { k };
            for j in first..=k {
                push(
                    &mut capture,
                    2,
                    &[5; FRAME],
                    Some(j * 320),
                    now,
                    speech,
                    &mut due,
                );
            }
        }
        push(
            &mut capture,
            1,
            &[0; FRAME],
            Some(k * 320),
            now,
            false,
            &mut due,
        );
        let delay = capture.stats(2).unwrap().delay;
        match k {
            80 => assert!(delay >= ms(500), "{}", delay / 16),
            186.. => assert!(delay <= ms(20), "frame {k}: {}", delay / 16),
            _ => {}
        }
    }
    assert_accounted(capture.stats(2).unwrap());
}

#[test]
fn a_packet_whose_successor_was_sent_is_counted_and_not_sent() {
    let mut capture = capture(exact());
    let mut due = Due::default();
    for k in 0..40i64 {
        let now = ms(20 * (k + 1));
        if k != 20 {
            push(
                &mut capture,
                1,
                &[1; FRAME],
                Some(k * 320),
                now,
                true,
                &mut due,
            );
        }
        advance(&mut capture, now + ms(10), &mut due);
        if k == 24 {
            push(
                &mut capture,
                1,
                &[9; FRAME],
                Some(20 * 320),
                now + ms(11),
                true,
                &mut due,
            );
        }
    }
    assert!(due.wire.iter().all(|&x| x != 9));
    let stats = capture.stats(1).unwrap();
    assert_eq!((stats.late, stats.lost), (320, 320));
    assert_accounted(stats);
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
        // A lost packet, a stall while somebody else speaks, an absence.
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
fn what_the_detector_has_missed_is_not_left_out_either() {
    // Words are cut from anywhere in a recording, so that the detector misses parts of them.
    let speech = speech();
    let bursts = Person {
        jitter: Jitter::Bursts(100),
        ..CLEAN
    };
    let mut skipped = 0;
    for seed in seeds(1) {
        for person in [
            stall(150, 7_000),
            stall(300, 15_000),
            stall(1_000, 15_000),
            bursts,
        ] {
            let people = [CLEAN, person];
            let call = Call {
                speech: &speech,
                ..Call::new(&people, 240, seed)
            };
            let options = CaptureOptions {
                fade_ms: 0,
                ..CaptureOptions::default()
            };
            let mut wire = Detecting(Scripted::new(options));
            let report = call.run(&mut wire);
            assert_complete(&report, &format!("{person:?}, seed {seed}"));
            let clean = &report.voices[0];
            assert_eq!(clean.whole, clean.words, "{person:?}");
            skipped += wire.0.capture.stats(1).unwrap().skipped;
        }
    }
    assert!(skipped > 0);
}

// -- the process itself --------------------------------------------------------------------------

#[test]
fn a_process_that_was_busy_tears_nothing_and_teaches_no_depth() {
    for busy in [50, 80, 150, 300, 500] {
        for n in [1, 2, 5] {
            let people = vec![CLEAN; n];
            let call = Call {
                busy: (busy, 7_000),
                ..Call::new(&people, 60, 1)
            };
            let mut wire = Scripted::new(exact());
            let report = call.run(&mut wire);
            let context = format!("{busy} ms, {n} people");
            assert_complete(&report, &context);
            assert_eq!(longest_hole(&report, 0), 0, "{context}");
            assert!(
                report
                    .voices
                    .iter()
                    .all(|v| quantile(&v.added, 0.5) <= 20.0),
                "{context}"
            );
            let depths = wire
                .capture
                .sources()
                .map(|id| wire.capture.stats(id).unwrap().depth);
            assert_eq!(depths.max(), Some(0), "{context}");
        }
    }
}

#[test]
fn time_ends_patience_and_never_a_push() {
    // The second one's packets arrive when the wire has waited for exactly as long as it may, after
    // those of the first one, which arrive at the same instant.
    let mut capture = capture(exact());
    let mut due = Due::default();
    // The first packet of a new source is in the next frame; nobody waits for it.
    for id in [2, 1] {
        push(
            &mut capture,
            id,
            &[id as i16; FRAME],
            Some(0),
            ms(20),
            true,
            &mut due,
        );
    }
    for k in 1..50i64 {
        let now = ms(20 * (k + 1) + 60);
        advance(&mut capture, now - 1, &mut due);
        push(
            &mut capture,
            1,
            &[1; FRAME],
            Some(320 * k),
            now,
            true,
            &mut due,
        );
        assert_eq!(due.silence.len() as i64, k);
        push(
            &mut capture,
            2,
            &[2; FRAME],
            Some(320 * k),
            now,
            true,
            &mut due,
        );
        assert_eq!(due.silence.len() as i64, k + 1);
    }
    assert!(due.wire[..FRAME].iter().all(|&x| x == 2));
    assert!(due.wire[FRAME..].iter().all(|&x| x == 3));
    // Time alone ends the wait.
    push(
        &mut capture,
        1,
        &[1; FRAME],
        Some(320 * 50),
        ms(20 * 51 + 60),
        true,
        &mut due,
    );
    advance(&mut capture, ms(20 * 51 + 60), &mut due);
    assert_eq!(due.silence.len(), 51);
}

#[test]
fn a_caller_who_was_away_for_long_gets_the_tail_and_no_more() {
    // A computer that was suspended, and a clock that is wrong by decades.
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
    // Every sound counts as speech: even silence does not end it.
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

// -- loss, order, timestamps, clocks -------------------------------------------------------------

#[test]
fn what_is_lost_leaves_a_hole_of_its_length() {
    for seed in seeds(3) {
        for loss in [0.01, 0.1] {
            let report = call(&[Person { loss, ..CLEAN }; 2], 60, seed);
            assert_complete(&report, "");
            // Silence between two words of the model is not a hole.
            assert_eq!(longest_hole(&report, 0), 0, "{loss}, seed {seed}");
            assert!(
                report
                    .voices
                    .iter()
                    .all(|v| quantile(&v.added, 0.5) <= 20.0),
                "{loss}"
            );
        }
    }
}

#[test]
fn order_is_restored_and_what_comes_twice_is_heard_once() {
    for seed in seeds(3) {
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
fn timestamps_that_lie_tear_nothing() {
    for pts in [
        Pts::Missing,
        Pts::Stands,
        Pts::Fast(1.3),
        Pts::Fast(0.7),
        Pts::Fast(1.004),
        Pts::Jumps,
    ] {
        let report = call(&[CLEAN, Person { pts, ..jitter(20) }], 60, 1);
        assert_complete(&report, &format!("{pts:?}"));
        assert!(longest_hole(&report, ms(2_000)) <= ms(20), "{pts:?}");
    }
}

#[test]
fn clocks_may_differ_by_400_ppm_for_an_hour() {
    let people = [-200.0, 0.0, 200.0].map(|ppm| Person { ppm, ..jitter(15) });
    let report = call(&people, 3_600, 1);
    assert_complete(&report, "");
    assert_wire(&report, ms(60), "");
    assert!(longest_hole(&report, ms(2_000)) <= ms(20));
    for voice in &report.voices {
        assert!(quantile(&voice.late, 1.0) <= 80.0);
    }
}

// -- silence -------------------------------------------------------------------------------------

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

// -- whatever comes ------------------------------------------------------------------------------

#[test]
fn whatever_comes_is_counted_and_bounded() {
    for seed in seeds(12) {
        let mut rng = Rng(seed * 7_919);
        let mut capture = capture(CaptureOptions {
            active_speaker: seed % 3 == 0,
            ..exact()
        });
        let mut due = Due::default();
        let (mut now, mut frames, mut greatest) = (0, 0, 0);
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
            let samples = vec![rng.bits() as i16; len as usize];
            let speech = rng.unit() < 0.5;
            match rng.between(0, 50) {
                0 => capture.remove(id, &mut due),
                _ => push(&mut capture, id, &samples, pts, now, speech, &mut due),
            }
            if let Some(stats) = capture.stats(id) {
                assert_accounted(stats);
                assert!(stats.queued <= ms(10_120) as u64, "{stats:?}");
            }
            due.wire.clear();
            frames += due.silence.drain(..).len() as i64;
            // The longest step between two calls, twice.
            assert!(capture.behind() <= ms(300 + 6_000), "{}", capture.behind());
        }
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
        stats.played + stats.skipped + stats.duplicate + stats.late + stats.overflow
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
fn anything_at_once() {
    for seed in seeds(60) {
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
                // Only a timestamp identifies duplicates.
                newest.pts = Pts::True;
            }
        }
        let tick = [Some(ms(5)), Some(ms(10)), Some(ms(20)), None][rng.between(0, 3) as usize];
        let call = Call {
            tick,
            ..Call::new(&people, 40, seed)
        };
        let report = call.run(&mut Scripted::new(exact()));
        let context = format!("seed {seed}, tick {tick:?}: {people:#?}");
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
