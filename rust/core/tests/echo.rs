//! Tests of echo suppression through the whole capture path.

mod property;
mod signals;

use proptest::prelude::*;
use signals::voice;
use voice_audio::{EchoReference, Error, InputStream, VadEvent, VadOptions};

const RATE: u32 = 16_000;
const FRAME: usize = 320;

/// Result of a stream.
#[derive(Default)]
struct Heard {
    wire: Vec<i16>,
    events: Vec<VadEvent>,
    /// Number of samples until a delay was known, and that delay.
    found: Option<(usize, f64)>,
    silenced: usize,
}

/// Runs a call frame by frame; `far` is what is played, None without a reference.
fn call(far: Option<&[i16]>, near: &[i16]) -> Heard {
    let mut reference = EchoReference::new(RATE, 500).unwrap();
    let mut stream = InputStream::new(RATE, VadOptions::default()).unwrap();
    let mut heard = Heard::default();
    for (k, captured) in near.chunks(FRAME).enumerate() {
        let now = 0.02 * k as f64;
        if let Some(played) = far.and_then(|far| far.chunks(FRAME).nth(k)) {
            reference.push(played, now).unwrap();
        }
        if far.is_some() {
            stream.expect_echo(&reference, now).unwrap();
        }
        let Heard { wire, events, .. } = &mut heard;
        stream.push(captured, RATE, wire, events).unwrap();
        heard.silenced += usize::from(stream.echo()) * captured.len();
        if let (None, Some(delay)) = (heard.found, stream.echo_delay_ms()) {
            heard.found = Some((heard.wire.len(), delay));
        }
    }
    assert_eq!(heard.wire.len(), near.len());
    heard
}

#[test]
fn an_echo_is_no_speech() {
    let far = voice(RATE, 4.0);
    let mut near = vec![0; 200 * RATE as usize / 1000];
    near.extend(far.iter().map(|x| x / 5));
    near.truncate(far.len());
    let without = call(None, &near);
    assert!(without.wire == near && !without.events.is_empty());
    let with = call(Some(&far), &near);
    let (found, delay) = with.found.expect("an echo");
    assert!(found < RATE as usize, "found after {found} samples");
    assert!((180.0..=220.0).contains(&delay), "{delay} ms");
    assert!(with.wire[..found - FRAME] == near[..found - FRAME]);
    // After the fade, silence.
    assert!(with.wire[found + FRAME..].iter().all(|&x| x == 0));
    let late = with.events.iter().filter(|event| match event {
        VadEvent::SpeechStarted { sample } => *sample > found as u64,
        _ => false,
    });
    assert_eq!(late.count(), 0);
}

#[test]
fn a_push_that_is_not_announced_is_left_alone() {
    let far = voice(RATE, 3.0);
    let mut reference = EchoReference::new(RATE, 500).unwrap();
    let mut stream = InputStream::new(RATE, VadOptions::default()).unwrap();
    let mut events = Vec::new();
    let mut silenced = 0;
    for (k, frame) in far.chunks(FRAME).enumerate() {
        let now = 0.02 * k as f64;
        reference.push(frame, now).unwrap();
        let mut wire = Vec::new();
        if k % 50 < 40 {
            stream.expect_echo(&reference, now).unwrap();
        }
        if k % 50 == 45 {
            // The echo is announced for a push that is refused; the next push is not announced.
            stream.expect_echo(&reference, now).unwrap();
            assert!(stream.push(frame, 4_000, &mut wire, &mut events).is_err());
        }
        stream.push(frame, RATE, &mut wire, &mut events).unwrap();
        silenced += usize::from(wire != frame);
        assert!(k % 50 < 40 || wire == frame, "frame {k}");
    }
    assert!(silenced > 60);
}

#[test]
fn a_gap_stays_silent() {
    let far = voice(RATE, 2.0);
    let mut reference = EchoReference::new(RATE, 500).unwrap();
    let mut stream = InputStream::new(RATE, VadOptions::default()).unwrap();
    let (mut wire, mut events) = (Vec::new(), Vec::new());
    for (k, frame) in far.chunks(FRAME).enumerate() {
        reference.push(frame, 0.02 * k as f64).unwrap();
        stream.expect_echo(&reference, 0.02 * k as f64).unwrap();
        stream.push(frame, RATE, &mut wire, &mut events).unwrap();
    }
    assert!(stream.echo());
    wire.clear();
    stream.silence(100, &mut wire, &mut events);
    assert!(wire == [0; 1_600] && !stream.echo());
}

#[test]
fn what_is_no_time_is_refused() {
    let reference = EchoReference::new(48_000, 1_000).unwrap();
    let mut stream = InputStream::new(RATE, VadOptions::default()).unwrap();
    for at in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
        let refused = stream.expect_echo(&reference, at);
        assert!(matches!(refused, Err(Error::Option { name: "at", .. })));
    }
}

/// Generates noise in bursts of any level and colour.
fn bursts() -> impl Strategy<Value = Vec<i16>> {
    let burst = (0usize..4_000, 0f32..9_000.0, 0f32..0.95, any::<u32>());
    prop::collection::vec(burst, 1..8).prop_map(|bursts| {
        let mut out = Vec::new();
        for (length, level, colour, seed) in bursts {
            let (mut state, mut last) = (u64::from(seed) | 1, 0.0);
            out.extend((0..length).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let white = (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
                last = colour * last + white;
                (level * last * (1.0 - colour).sqrt()) as i16
            }));
        }
        out
    })
}

proptest! {
    #![proptest_config(property::property(8))]

    #[test]
    fn a_sound_that_is_no_echo_is_not_touched(far in bursts(), near in bursts()) {
        let (without, with) = (call(None, &near), call(Some(&far), &near));
        prop_assert!(with.wire == near && with.found.is_none() && with.silenced == 0);
        prop_assert_eq!(with.events, without.events);
    }
}
