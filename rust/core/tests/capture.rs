//! Capture with the real detector and recorded speech: what is heard, what is reported, what waits.

mod speech;

use speech::{Call, FRAME, RATE, Rng, assert_alternate, find, ms, recording, recordings};
use voice_audio::{
    Arrival, Capture, CaptureOptions, Due, Resampler, Samples, SourceKind, SourceStats, SpeechPhase,
};

/// Seconds at which packet `k` of 20 ms has been captured.
fn end(k: usize) -> f64 {
    0.02 * (k + 1) as f64
}

/// Loudest sample.
fn peak(samples: &[i16]) -> u16 {
    samples.iter().map(|x| x.unsigned_abs()).max().unwrap_or(0)
}

fn assert_accounted(stats: SourceStats, context: &str) {
    let gone = stats.skipped + stats.duplicate + stats.misplaced + stats.overflow + stats.unsent;
    assert_eq!(
        stats.pushed,
        stats.played + gone + stats.queued,
        "{context}: {stats:?}"
    );
}

#[test]
fn on_a_clean_link_the_wire_is_what_the_resampler_gives() {
    let mut up = Resampler::new(RATE, 48_000).unwrap();
    for speech in recordings() {
        let mut microphone: Vec<i16> = Vec::new();
        up.push(&speech, &mut microphone);
        up.flush(&mut microphone);
        for frame_ms in [10, 20, 40, 60] {
            for pts in [false, true] {
                let mut capture = Capture::new(RATE, CaptureOptions::default()).unwrap();
                let mut due = Due::default();
                let mut down = Resampler::new(48_000, RATE).unwrap();
                let mut expected: Vec<i16> = Vec::new();
                for (k, frame) in microphone.chunks_exact(48 * frame_ms).enumerate() {
                    let captured = (k * frame_ms) as f64 / 1e3;
                    let arrival = Arrival {
                        pts: pts.then_some(captured + 1_234.5),
                        ..Arrival::at(captured + frame_ms as f64 / 1e3)
                    };
                    capture
                        .push(1, Samples::Mono(frame), 48_000, arrival, &mut due)
                        .unwrap();
                    down.push(frame, &mut expected);
                    let whole = expected.len() / FRAME * FRAME;
                    assert!(due.wire == expected[..whole], "{frame_ms} ms, frame {k}");
                }
            }
        }
    }
}

/// How what was said ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    /// The microphone goes on, with noise.
    Silence,
    /// No more packets.
    Mute,
    /// No packets for 1.5 s, then noise.
    Freeze,
    /// Packets that are marked as muted, full of noise.
    Muted,
}

/// Says `word`; returns the call 3 s later.
fn say(word: &[i16], ending: Ending) -> Call {
    let mut call = Call::new(CaptureOptions::default());
    let mut rng = Rng(5);
    let lead = 25;
    let mut said = rng.noise(lead * FRAME);
    said.extend(word);
    let length = said.len().div_ceil(FRAME);
    said.resize(length * FRAME, 0);
    for k in 0..length + 150 {
        let at = end(k);
        let arrival = Arrival {
            pts: Some(at),
            muted: ending == Ending::Muted && k >= length,
            ..Arrival::at(at)
        };
        let since = k.saturating_sub(length);
        if k < length {
            call.push_as(1, &said[k * FRAME..(k + 1) * FRAME], arrival);
        } else if ending == Ending::Mute || ending == Ending::Freeze && since < 75 {
            call.advance(at);
        } else {
            let noise = rng.noise(FRAME);
            call.push_as(1, &noise, arrival);
        }
    }
    call
}

#[test]
fn a_short_word_is_never_sustained_however_it_ends() {
    let (mut started, mut cases) = (0, 0);
    for speech in recordings() {
        for length in [300, 400, 480, 540] {
            for from in (0..speech.len() - ms(length)).step_by(ms(210)) {
                for ending in [Ending::Silence, Ending::Mute, Ending::Freeze, Ending::Muted] {
                    let call = say(&speech[from..from + ms(length)], ending);
                    let sustained = call.times(1, SpeechPhase::Sustained);
                    assert!(sustained.is_empty(), "{length} ms from {from}, {ending:?}");
                    assert_alternate(&call.events, true, "a word");
                    started += call.times(1, SpeechPhase::Started).len();
                    cases += 1;
                }
            }
        }
    }
    assert!(started * 10 > cases * 7, "{started} of {cases} were heard");
}

/// Positions in `speech` from which it goes on for `length` without 100 ms below -40 dBFS.
fn fluent(speech: &[i16], length: usize) -> Vec<usize> {
    let loud: Vec<bool> = speech
        .chunks_exact(FRAME)
        .map(|frame| peak(frame) > 1_000)
        .collect();
    let frames = length.div_ceil(FRAME);
    let whole = |from: &usize| {
        let part = &loud[*from..from + frames];
        part[0] && part[frames - 1] && !part.windows(5).any(|w| w.iter().all(|loud| !loud))
    };
    (0..loud.len().saturating_sub(frames))
        .filter(whole)
        .map(|from| from * FRAME)
        .collect()
}

#[test]
fn nine_tenths_of_a_second_of_fluent_speech_are_sustained() {
    let mut cases = 0;
    for speech in recordings() {
        for from in fluent(&speech, ms(900)).into_iter().step_by(3) {
            for ending in [Ending::Silence, Ending::Mute] {
                let call = say(&speech[from..from + ms(900)], ending);
                let sustained = call.times(1, SpeechPhase::Sustained);
                // Some begin in a sound without voice, which the detector does not take for speech.
                if call.times(1, SpeechPhase::Started)[0] > 0.62 {
                    continue;
                }
                assert_eq!(
                    sustained.len(),
                    1,
                    "from {from}, {ending:?}: {:?}",
                    call.events
                );
                cases += 1;
            }
        }
    }
    assert!(cases > 30, "{cases}");
}

#[test]
fn events_alternate_whatever_the_network_does() {
    let recordings = recordings();
    for seed in 1..=seeds(12) {
        let mut rng = Rng(seed * 0x9e37_79b9);
        let options = CaptureOptions {
            active_speaker: rng.chance(0.4),
            ..CaptureOptions::default()
        };
        let context = format!("seed {seed}, active_speaker {}", options.active_speaker);
        let mut call = Call::new(options);
        let sources = 1 + rng.below(5);
        let echo = rng.chance(0.6);
        // Arrival, source, and number of each packet.
        let mut packets = Vec::new();
        for source in 0..sources {
            let (jitter, loss) = (rng.below(100), if rng.chance(0.5) { 0.05 } else { 0.0 });
            let mut frozen = 0;
            for k in 0..500usize {
                if rng.chance(0.005) {
                    frozen = k + rng.below(60);
                }
                let late = rng.below(jitter + 1) as f64 / 1e3;
                let copies = usize::from(!rng.chance(loss)) + usize::from(rng.chance(0.02));
                for _ in 0..copies {
                    packets.push((end(k.max(frozen)) + late, source, k));
                }
            }
        }
        packets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut muted = vec![false; sources];
        let mut played = 0;
        for (at, source, k) in packets {
            while echo && end(played) < at {
                let reply = &recordings[2][played % 140 * FRAME..][..FRAME];
                let silence = [0; FRAME];
                call.play(
                    if played % 300 < 150 { reply } else { &silence },
                    end(played),
                );
                played += 1;
            }
            match rng.below(300) {
                0 => call.remove(source as u64, at),
                1..=3 => muted[source] = !muted[source],
                4..=100 => call.advance(at),
                _ => {}
            }
            if muted[source] {
                continue;
            }
            let speech = &recordings[source % 2];
            let from = (k + 37 * source) % (speech.len() / FRAME) * FRAME;
            let mut samples = speech[from..from + FRAME].to_vec();
            if echo && source == 1 && k >= 5 && k % 300 < 150 {
                let reply = &recordings[2][(k - 5) % 140 * FRAME..][..FRAME];
                samples = reply.iter().map(|x| x / 4).collect();
            }
            let arrival = Arrival {
                pts: Some(0.02 * k as f64),
                muted: source == 3 && k % 100 > 70,
                ..Arrival::at(at)
            };
            call.push_as(source as u64, &samples, arrival);
            assert_accounted(call.capture.stats(source as u64).unwrap(), &context);
        }
        let last = call.sent_at.last().copied().unwrap_or(0.0);
        (1..300).for_each(|t| call.advance(last + 0.02 * t as f64));
        assert_alternate(&call.events, true, &context);
        assert!(!call.events.is_empty(), "{context}");
    }
}

/// Seeds that random tests try: `default`, or as many as `CAPTURE_SEEDS` says.
fn seeds(default: u64) -> u64 {
    std::env::var("CAPTURE_SEEDS").map_or(default, |n| n.parse().expect("a number of seeds"))
}

#[test]
fn sound_is_sent_and_not_reported() {
    let speech = recording("question.wav");
    let mut call = Call::new(CaptureOptions::default());
    call.capture.open(7, SourceKind::Sound).unwrap();
    for (k, frame) in speech.chunks_exact(FRAME).enumerate() {
        call.push(7, frame, end(k));
    }
    (1..200).for_each(|t| call.advance(end(speech.len() / FRAME + t)));
    assert!(call.events.is_empty());
    assert_eq!(
        find(&call.wire, &speech[..speech.len() / FRAME * FRAME]),
        Some(0)
    );
}
