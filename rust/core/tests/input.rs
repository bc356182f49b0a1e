//! Tests of the capture path: layouts, rates, and the crossfade between two rates.

mod signals;

use signals::{silence, tone, voice};
use voice_audio::{Error, InputStream, Resampler, VadEvent, VadOptions};

fn stream(wire_rate: u32) -> InputStream {
    InputStream::new(wire_rate, VadOptions::default()).unwrap()
}

#[test]
fn it_is_the_resampler_and_every_layout_gives_the_same() {
    let mono = voice(48_000, 0.5);
    let stereo: Vec<i16> = mono.iter().flat_map(|&x| [x, x]).collect();
    let float: Vec<f32> = mono.iter().map(|&x| f32::from(x) / 32768.0).collect();
    let mut want: Vec<i16> = Vec::new();
    Resampler::new(48_000, 16_000)
        .unwrap()
        .push(&mono, &mut want);

    let mut streams: [InputStream; 5] = std::array::from_fn(|_| stream(16_000));
    let mut outs: [Vec<i16>; 5] = Default::default();
    let mut events = Vec::new();
    for k in (0..mono.len()).step_by(960) {
        let (m, s, f) = (
            &mono[k..k + 960],
            &stereo[2 * k..2 * k + 1920],
            &float[k..k + 960],
        );
        let [a, b, c, d, e] = &mut streams;
        let [oa, ob, oc, od, oe] = &mut outs;
        a.push(m, 48_000, oa, &mut events).unwrap();
        b.push_interleaved(s, 48_000, ob, &mut events).unwrap();
        c.push_planar(m, m, 48_000, oc, &mut events).unwrap();
        d.push(f, 48_000, od, &mut events).unwrap();
        e.push_planar(f, f, 48_000, oe, &mut events).unwrap();
        assert_eq!(oa.len(), (k + 960) / 3);
    }
    for out in outs {
        assert!(out == want);
    }
}

#[test]
fn a_change_of_rate_keeps_the_frame_length_and_makes_no_click() {
    // 250 Hz at half scale moves by 1571 per sample at 16 kHz, and two such tones overlap in a
    // crossfade. Each part begins and ends at its peak: a hard edge would be a step of 16000.
    let rates = [
        48_000, 16_000, 44_100, 48_000, 8_000, 16_000, 24_000, 16_000, 48_000,
    ];
    let mut stream = stream(16_000);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    for (i, rate) in rates.into_iter().enumerate() {
        let pcm = &tone(rate, 250.0, 0.201)[rate as usize / 1000..];
        // Some changes come in the middle of the previous crossfade.
        let frames = if i % 3 == 2 { 1 } else { 10 };
        for frame in pcm.chunks(rate as usize / 50).take(frames) {
            let before = out.len();
            stream.push(frame, rate, &mut out, &mut events).unwrap();
            assert_eq!(out.len() - before, 320, "{rate}");
        }
        assert_eq!(stream.input_rate(), Some(rate));
    }
    // Skip the beginning, which is a hard edge of the signal itself.
    let out = &out[320..];
    let step = out
        .windows(2)
        .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
        .max()
        .unwrap();
    assert!(step < 2 * 1_571 + 800, "a step of {step}");
}

#[test]
fn what_was_in_the_filter_is_heard_after_a_change_of_rate() {
    let mut stream = stream(16_000);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    // A pulse in the very last milliseconds before the change.
    let mut frame = vec![0i16; 960];
    frame[900..].fill(20_000);
    stream.push(&frame, 48_000, &mut out, &mut events).unwrap();
    let at_change = out.len();
    stream
        .push(&[0i16; 320], 16_000, &mut out, &mut events)
        .unwrap();
    let loudest = |pcm: &[i16]| pcm.iter().copied().max();
    assert!(
        loudest(&out[..at_change]) < Some(15_000),
        "the pulse has come out before"
    );
    assert!(loudest(&out[at_change..]) > Some(10_000));
}

#[test]
fn the_events_count_samples_of_the_wire_over_gaps_and_rates() {
    let mut stream = stream(16_000);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    stream.silence(500, &mut out, &mut events);
    assert_eq!(out.len(), 8_000);
    stream
        .push(&silence(8_000, 0.5), 8_000, &mut out, &mut events)
        .unwrap();
    stream.silence(1_000, &mut out, &mut events);
    assert_eq!(out.len(), 32_000);
    for frame in voice(48_000, 1.0).chunks(960) {
        stream.push(frame, 48_000, &mut out, &mut events).unwrap();
    }
    assert!(stream.speaking());
    let [VadEvent::SpeechStarted { sample }] = events[..] else {
        panic!("{events:?}");
    };
    assert!((sample as i64 - 32_000).abs() < 4_000, "{sample}");
}

#[test]
fn another_wire_rate_hears_the_same_speech() {
    let mut stream = stream(48_000);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let pcm = [silence(48_000, 1.0), voice(48_000, 1.0)].concat();
    stream.push(&pcm, 48_000, &mut out, &mut events).unwrap();
    assert_eq!(out, pcm, "equal rates copy");
    let [VadEvent::SpeechStarted { sample }] = events[..] else {
        panic!("{events:?}");
    };
    assert!((sample as i64 - 48_000).abs() < 12_000, "{sample}");
}

#[test]
fn refused_input_changes_nothing() {
    let mut stream = stream(16_000);
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let odd = stream.push_interleaved(&[1i16; 3], 48_000, &mut out, &mut events);
    assert!(matches!(odd, Err(Error::Channels { .. })));
    let planes = stream.push_planar(&[1i16; 3], &[1; 2], 48_000, &mut out, &mut events);
    assert!(matches!(planes, Err(Error::Planes { .. })));
    assert!(
        stream
            .push(&[1i16; 3], 4_000, &mut out, &mut events)
            .is_err()
    );
    stream
        .push(&[1i16; 960], 48_000, &mut out, &mut events)
        .unwrap();
    assert!(
        stream
            .push(&[1i16; 3], 200_000, &mut out, &mut events)
            .is_err()
    );
    assert_eq!((stream.input_rate(), out.len()), (Some(48_000), 320));
}
