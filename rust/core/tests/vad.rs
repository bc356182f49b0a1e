//! Tests of voice activity detection on sounds of known nature.

mod signals;

use proptest::prelude::*;
use signals::{silence, tone, voice};
use voice_audio::{Vad, VadEvent, VadOptions};

fn listen(vad: &mut Vad, pcm: &[i16], chunk: usize) -> Vec<VadEvent> {
    let mut events = Vec::new();
    pcm.chunks(chunk).for_each(|c| vad.push(c, &mut events));
    events
}

#[test]
fn silence_and_faint_noise_never_trigger() {
    let mut vad = Vad::new(16_000, VadOptions::default()).unwrap();
    assert!(listen(&mut vad, &silence(16_000, 10.0), 320).is_empty());
    assert_eq!(vad.probability(), 0.0);
    let dither: Vec<i16> = (0..160_000).map(|i| ((i * 7919) % 3) as i16 - 1).collect();
    assert!(listen(&mut vad, &dither, 320).is_empty());
    // At any threshold, silence is no speech.
    let options = VadOptions::default().with_threshold(0.0);
    let mut vad = Vad::new(16_000, options).unwrap();
    assert!(listen(&mut vad, &silence(16_000, 5.0), 320).is_empty());
}

#[test]
fn the_end_of_the_stream_ends_the_speech() {
    let mut vad = Vad::new(16_000, VadOptions::default()).unwrap();
    let pcm = [silence(16_000, 1.0), voice(16_000, 1.5)].concat();
    let mut events = listen(&mut vad, &pcm, 320);
    assert!(matches!(events[..], [VadEvent::SpeechStarted { .. }]));
    vad.flush(&mut events);
    let [
        VadEvent::SpeechStarted { sample: start },
        VadEvent::SpeechStopped { sample: stop },
    ] = events[..]
    else {
        panic!("{events:?}");
    };
    assert!(start < stop && stop <= pcm.len() as u64);
    // It starts anew, and there is nothing left to tell.
    assert!(!vad.speaking());
    vad.flush(&mut events);
    assert_eq!(events.len(), 2);
    assert_eq!(listen(&mut vad, &pcm, 320)[0], events[0]);
}

#[test]
fn a_click_does_not_trigger() {
    let mut vad = Vad::new(16_000, VadOptions::default()).unwrap();
    let mut pcm = silence(16_000, 3.0);
    pcm[16_000..16_010].fill(20_000);
    pcm[32_000..32_160].copy_from_slice(&tone(16_000, 3_000.0, 0.01));
    assert!(listen(&mut vad, &pcm, 320).is_empty());
}

#[test]
fn speech_is_found_where_it_is_at_any_rate() {
    for rate in [8_000, 16_000, 44_100, 48_000] {
        let mut vad = Vad::new(rate, VadOptions::default()).unwrap();
        let (pause, length) = (rate as usize, 2 * rate as usize);
        let pcm = [silence(rate, 1.0), voice(rate, 2.0), silence(rate, 1.0)].concat();
        let events = listen(&mut vad, &pcm, rate as usize / 50);
        let [
            VadEvent::SpeechStarted { sample: start },
            VadEvent::SpeechStopped { sample: stop },
        ] = events[..]
        else {
            panic!("{rate} Hz: {events:?}");
        };
        let ms = |sample: u64, at: usize| (sample as f64 - at as f64) * 1e3 / f64::from(rate);
        // A synthetic voice convinces the network later than a real one does.
        assert!(
            ms(start, pause).abs() < 250.0,
            "{rate} Hz: {} ms",
            ms(start, pause)
        );
        let late = ms(stop, pause + length);
        assert!(late.abs() < 200.0, "{rate} Hz: {late} ms");
        assert!(!vad.speaking());
    }
}

#[test]
fn the_first_evidence_comes_before_the_onset_and_may_be_nothing() {
    let options = VadOptions::default().with_onset_ms(64);
    let mut vad = Vad::new(16_000, options).unwrap();
    let pcm = [
        silence(16_000, 0.5),
        voice(16_000, 1.0),
        silence(16_000, 1.0),
    ]
    .concat();
    // (starting, speaking) after each analysis frame.
    let states: Vec<_> = pcm
        .chunks_exact(256)
        .map(|frame| {
            listen(&mut vad, frame, 256);
            (vad.starting(), vad.speaking())
        })
        .collect();
    let spoken = states.iter().position(|&(_, speaking)| speaking).unwrap();
    assert_eq!(states[spoken - 4], (false, false));
    assert_eq!(states[spoken - 3..spoken], [(true, false); 3]);
    assert!(states.iter().all(|state| *state != (true, true)));
    assert_eq!(*states.last().unwrap(), (false, false));
    // A sound that ends before the onset causes no event.
    let mut vad = Vad::new(16_000, options).unwrap();
    let mut seen = Vec::new();
    let short = [&pcm[..8_000 + 256 * 12], &silence(16_000, 0.5)].concat();
    let mut events = Vec::new();
    let long = options.with_onset_ms(60_000);
    let mut patient = Vad::new(16_000, long).unwrap();
    for frame in short.chunks_exact(256) {
        patient.push(frame, &mut events);
        vad.push(frame, &mut Vec::new());
        seen.push(patient.starting());
    }
    assert!(seen.contains(&true) && seen.last() == Some(&false));
    assert!(events.is_empty());
}

#[test]
fn frame_length_changes_nothing() {
    let pcm = [
        silence(16_000, 0.5),
        voice(16_000, 1.0),
        silence(16_000, 0.5),
    ]
    .concat();
    let whole = listen(
        &mut Vad::new(16_000, VadOptions::default()).unwrap(),
        &pcm,
        pcm.len(),
    );
    assert!(!whole.is_empty());
    for chunk in [1, 7, 160, 256, 320, 1_009] {
        let mut vad = Vad::new(16_000, VadOptions::default()).unwrap();
        assert_eq!(listen(&mut vad, &pcm, chunk), whole, "chunks of {chunk}");
    }
}

#[test]
fn hangover_bridges_short_pauses_and_onset_delays() {
    let gap = [
        silence(16_000, 0.5),
        voice(16_000, 1.0),
        silence(16_000, 0.3),
        voice(16_000, 1.0),
        silence(16_000, 1.5),
    ]
    .concat();
    let count = |hangover_ms| {
        let options = VadOptions::default().with_hangover_ms(hangover_ms);
        listen(&mut Vad::new(16_000, options).unwrap(), &gap, 320).len()
    };
    assert_eq!((count(1_000), count(100)), (2, 4));

    // The offset names the start of the run, not the moment of the decision.
    let start = |onset_ms| {
        let options = VadOptions::default().with_onset_ms(onset_ms);
        match listen(&mut Vad::new(16_000, options).unwrap(), &gap, 320)[0] {
            VadEvent::SpeechStarted { sample } => sample,
            event => panic!("it has not started: {event:?}"),
        }
    };
    assert_eq!(start(16), start(64));
}

#[test]
fn reset_begins_anew() {
    let pcm = [silence(16_000, 0.5), voice(16_000, 1.0)].concat();
    let mut vad = Vad::new(16_000, VadOptions::default()).unwrap();
    let first = listen(&mut vad, &pcm, 320);
    assert!(vad.speaking());
    vad.reset();
    assert!(!vad.speaking() && vad.probability() == 0.0);
    assert_eq!(listen(&mut vad, &pcm, 320), first);
}

#[test]
fn sounds_that_are_not_speech_do_not_trigger() {
    let rate = 16_000;
    let mut seed = 1u32;
    let mut noise = |peak: i32, n: usize| -> Vec<i16> {
        (0..n)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((seed >> 16) as i32 % (2 * peak + 1) - peak) as i16
            })
            .collect()
    };
    let mut knocks = silence(rate, 3.0);
    for knock in knocks.chunks_exact_mut(6_000) {
        knock[1_000..1_400].copy_from_slice(&noise(20_000, 400));
    }
    let dial: Vec<i16> = (0..80_000)
        .map(|i| (i, f64::from(i) / f64::from(rate)))
        .map(|(i, t)| {
            if i % 3_200 < 1_600 {
                (6_000.0 * ((t * 4_838.0).sin() + (t * 8_394.0).sin())) as i16
            } else {
                0
            }
        })
        .collect();
    let sounds = [
        ("noise", noise(3_000, 80_000)),
        ("loud noise", noise(30_000, 80_000)),
        ("tone", tone(rate, 1_000.0, 5.0)),
        ("high tone", tone(rate, 3_100.0, 5.0)),
        ("dialling", dial),
        ("knocks", knocks),
    ];
    for (name, sound) in sounds {
        let mut vad = Vad::new(rate, VadOptions::default()).unwrap();
        let pcm = [silence(rate, 1.0), sound].concat();
        let events = listen(&mut vad, &pcm, 320);
        assert!(events.is_empty(), "{name}: {events:?}");
    }
}

#[test]
fn what_is_no_number_is_silence_and_does_no_harm() {
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1e-40];
    let bad: Vec<f32> = bad.iter().copied().cycle().take(16_000).collect();
    for rate in [16_000, 48_000] {
        let mut vad = Vad::new(rate, VadOptions::default()).unwrap();
        let mut events = Vec::new();
        vad.push(&bad, &mut events);
        assert!((0.0..=1.0).contains(&vad.probability()));
        vad.push(&silence(rate, 2.0), &mut events);
        assert!(!vad.speaking() && vad.probability() == 0.0);
        events.clear();
        vad.push(&voice(rate, 1.0), &mut events);
        assert!(vad.speaking() && events.len() == 1, "{rate} Hz");
    }
}

#[test]
fn both_formats_are_the_same_sound_and_empty_pushes_are_nothing() {
    let pcm = [silence(16_000, 0.5), voice(16_000, 1.0)].concat();
    let float: Vec<f32> = pcm.iter().map(|&x| f32::from(x) / 32_768.0).collect();
    let mut integers = Vad::new(16_000, VadOptions::default()).unwrap();
    let mut floats = Vad::new(16_000, VadOptions::default()).unwrap();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (x, y) in pcm.chunks(320).zip(float.chunks(320)) {
        integers.push(x, &mut a);
        floats.push(y, &mut b);
        floats.push::<i16>(&[], &mut b);
        assert_eq!(integers.probability(), floats.probability());
    }
    assert!(a == b && !a.is_empty());
}

/// Generates stretches of sound of every kind, at unit scale.
fn sound() -> impl Strategy<Value = Vec<f32>> {
    let piece = prop_oneof![
        (1usize..9_000).prop_map(|n| vec![0.0; n]),
        (0usize..10_000, 1usize..6_000).prop_map(|(from, n)| {
            let voice = voice(16_000, 1.0);
            let piece = voice.iter().skip(from).take(n);
            piece.map(|&x| f32::from(x) / 32_768.0).collect()
        }),
        (prop::num::f32::ANY, 1usize..2_000).prop_map(|(x, n)| vec![x; n]),
        prop::collection::vec(-1.0f32..1.0, 1..3_000),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a stream is cut, its events are the same; they alternate, in order, within it.
    #[test]
    fn any_sound_in_any_pieces(
        pcm in sound(),
        cuts in prop::collection::vec(0usize..2_000, 1..20),
        rate in prop::sample::select(vec![8_000u32, 16_000, 44_100]),
        threshold in 0.0f32..=1.0,
        onset_ms in 0u32..100,
        hangover_ms in 0u32..300,
    ) {
        let options = VadOptions::default()
            .with_threshold(threshold)
            .with_onset_ms(onset_ms)
            .with_hangover_ms(hangover_ms);
        let mut whole = Vad::new(rate, options).unwrap();
        let mut want = Vec::new();
        whole.push(&pcm, &mut want);

        let mut vad = Vad::new(rate, options).unwrap();
        let (mut events, mut rest) = (Vec::new(), &pcm[..]);
        for cut in cuts.into_iter().cycle().take(pcm.len()) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            vad.push(now, &mut events);
            prop_assert!((0.0..=1.0).contains(&vad.probability()));
            rest = later;
        }
        vad.push(rest, &mut events);
        prop_assert_eq!(&events, &want);
        prop_assert_eq!(vad.probability(), whole.probability());

        let mut last = 0;
        for (i, event) in events.iter().enumerate() {
            let (begins, sample) = match *event {
                VadEvent::SpeechStarted { sample } => (true, sample),
                VadEvent::SpeechStopped { sample } => (false, sample),
                _ => panic!("an event that this does not know: {event:?}"),
            };
            prop_assert_eq!(begins, i % 2 == 0);
            prop_assert!(sample >= last && sample <= pcm.len() as u64, "{:?}", events);
            last = sample;
        }
        prop_assert_eq!(vad.speaking(), events.len() % 2 == 1);
    }
}
