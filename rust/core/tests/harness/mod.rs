//! Fuzz harnesses: every entry that takes outside data, with its invariants.
//!
//! `tests/fuzz.rs` runs each harness on a bounded number of inputs; the targets in `fuzz` run the
//! same functions under libFuzzer.
//!
//! The first bytes choose options, the rest is a program: one byte chooses a call, the following
//! ones its arguments. Bytes that are used up read as zero.
#![allow(dead_code, reason = "each target uses one of them")]

use std::collections::HashMap;

use voice_audio::{
    Arrival, Capture, CaptureOptions, Due, EchoReference, Error, InputStream, Kernel, Mixer,
    Playback, PlaybackOptions, Quality, Resampler, ResamplerOptions, Samples, SourceKind,
    SpeechPhase, Vad, VadEvent, VadOptions, base64, pcm, websocket,
};

/// Number of calls of one program: enough for any state, few enough for many programs.
const CALLS: usize = 200;
/// Greatest number of samples of one call; a rare one is longer than any pass of the resampler.
const LONGEST: usize = 20_000;

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn long(&mut self) -> u32 {
        u32::from(self.word()) | u32::from(self.word()) << 16
    }

    /// Reads a number of samples: mostly up to 255, sometimes up to [`LONGEST`].
    fn len(&mut self) -> usize {
        match self.byte() {
            0 => 0,
            1..=200 => usize::from(self.byte()),
            201..=250 => usize::from(self.word()) % 2_000,
            _ => usize::from(self.word()) % LONGEST,
        }
    }

    /// Reads a rate: a usual one, or any number.
    fn rate(&mut self) -> u32 {
        const USUAL: [u32; 10] = [
            8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000,
        ];
        match self.byte() {
            255 => self.long(),
            248..=254 => u32::from(self.word()) * 2,
            byte => USUAL[usize::from(byte) % USUAL.len()],
        }
    }

    fn samples(&mut self, n: usize) -> Vec<i16> {
        let mut state = u64::from(self.word()) | 1;
        let loud = self.byte();
        (0..n)
            .map(|i| match loud {
                0 => 0,
                1 => [i16::MAX, i16::MIN][i % 2],
                _ => {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 48) as i16
                }
            })
            .collect()
    }

    /// Reads floats of any bit pattern, NaN and infinity among them.
    fn floats(&mut self, n: usize) -> Vec<f32> {
        let wild = self.byte();
        let mut samples: Vec<f32> = (self.samples(n).iter())
            .map(|&x| f32::from(x) / 32_768.0)
            .collect();
        for _ in 0..wild % 8 {
            let (at, bits) = (usize::from(self.word()), self.long());
            if let Some(x) = samples.get_mut(at % n.max(1)) {
                *x = f32::from_bits(bits);
            }
        }
        samples
    }

    /// Reads a time in seconds: mostly a little later than before, sometimes anything.
    fn time(&mut self, now: &mut f64) -> f64 {
        match self.byte() {
            255 => return self.double(),
            250..=254 => *now += f64::from(self.word()) / 1_000.0,
            248..=249 => *now -= f64::from(self.word()) / 10_000.0,
            byte => *now += f64::from(byte % 50) / 1_000.0,
        }
        *now
    }

    /// Reads a double of any bit pattern.
    fn double(&mut self) -> f64 {
        f64::from_bits(u64::from(self.long()) << 32 | u64::from(self.long()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks output counts, finite floats, and that refused input changes nothing.
pub fn resampler(data: &[u8]) {
    let mut bytes = Bytes(data);
    let quality = match bytes.byte() % 4 {
        0 => Quality::Music,
        _ => Quality::Voice,
    };
    let kernel = [None, Some(Kernel::Scalar), Some(Kernel::Neon)][usize::from(bytes.byte() % 3)];
    let options = ResamplerOptions::default()
        .with_quality(quality)
        .with_kernel(kernel);
    let (i, o) = (bytes.rate(), bytes.rate());
    let mut resampler = match Resampler::with_options(i, o, options) {
        Ok(resampler) => resampler,
        Err(Error::Rate { rate }) => return assert!(!(8_000..=96_000).contains(&rate)),
        Err(Error::Ratio { phases, .. }) => return assert!(phases > voice_audio::MAX_PHASES),
        Err(Error::Kernel { kernel }) => return assert!(!kernel.runs_here()),
        Err(other) => panic!("{other}"),
    };
    let (mut pushed, mut produced) = (0u64, 0u64);
    for _ in 0..CALLS {
        if bytes.is_empty() {
            break;
        }
        let n = bytes.len();
        let mut ints: Vec<i16> = Vec::new();
        let mut floats: Vec<f32> = Vec::new();
        match bytes.byte() % 8 {
            0 => resampler.push(&bytes.samples(n), &mut ints),
            1 => resampler.push(&bytes.floats(n), &mut ints),
            2 => resampler.push(&bytes.samples(n), &mut floats),
            3 => resampler.push(&bytes.floats(n), &mut floats),
            4 => {
                let samples = bytes.samples(2 * n);
                resampler.push_interleaved(&samples, &mut ints).unwrap();
                let odd = resampler.push_interleaved(&samples[..2 * n - n.min(1)], &mut ints);
                assert_eq!(odd.is_err(), n > 0);
            }
            5 => {
                let (left, right) = (bytes.floats(n), bytes.floats(n));
                resampler.push_planar(&left, &right, &mut floats).unwrap();
                let uneven = resampler.push_planar(&left, &right[n.min(1)..], &mut floats);
                assert_eq!(uneven.is_err(), n > 0);
            }
            6 => {
                resampler.flush(&mut floats);
                let tail = if pushed > 0 { resampler.delay() } else { 0 };
                assert_eq!(floats.len(), tail);
                (pushed, produced) = (0, 0);
                continue;
            }
            _ => {
                resampler.reset();
                (pushed, produced) = (0, 0);
                continue;
            }
        }
        pushed += n as u64;
        produced += (ints.len() + floats.len()) as u64;
        assert_eq!(produced, (pushed * u64::from(o)).div_ceil(u64::from(i)));
        // The limit of the input, and the filter's overshoot.
        let bound = 4.0 * pcm::FLOAT_LIMIT;
        assert!(floats.iter().all(|y| y.abs() <= bound), "not finite");
    }
}

/// Checks that frames keep their length, and events alternate and lie within the stream.
///
/// This must hold through every change of rate, whatever was played and whenever.
pub fn input_stream(data: &[u8]) {
    let mut bytes = Bytes(data);
    let wire_rate = bytes.rate();
    let options = VadOptions::default()
        .with_threshold(f32::from(bytes.byte()) / 200.0)
        .with_onset_ms(u32::from(bytes.byte()) * 4)
        .with_hangover_ms(u32::from(bytes.byte()) * 8);
    let Ok(mut stream) = InputStream::new(wire_rate, options) else {
        return;
    };
    let Ok(mut reference) = EchoReference::new(bytes.rate(), 8 * u32::from(bytes.byte())) else {
        return;
    };
    let mut now = 0.0;
    let (mut wire, mut events) = (Vec::new(), Vec::new());
    for _ in 0..CALLS / 4 {
        if bytes.is_empty() {
            break;
        }
        let calls = bytes.byte();
        if calls % 2 == 1 {
            let (n, at) = (bytes.len() % 3_000, bytes.time(&mut now));
            let taken = reference.push(&bytes.samples(n), at);
            assert_eq!(taken.is_ok(), at.abs() < 1e12, "{at}");
        }
        if calls % 4 > 1 {
            let at = bytes.time(&mut now);
            let taken = stream.expect_echo(&reference, at);
            assert_eq!(taken.is_ok(), at.abs() < 1e12, "{at}");
        }
        let (n, rate, before) = (bytes.len() % 3_000, bytes.rate(), wire.len());
        let known = stream.input_rate();
        let result = match bytes.byte() % 5 {
            0 => stream.push(&bytes.samples(n), rate, &mut wire, &mut events),
            1 => stream.push(&bytes.floats(n), rate, &mut wire, &mut events),
            2 => stream.push_interleaved(&bytes.samples(n), rate, &mut wire, &mut events),
            3 => {
                let other = [n, bytes.len() % 3_000][usize::from(bytes.byte() % 2)];
                let (left, right) = (bytes.floats(n), bytes.floats(other));
                stream.push_planar(&left, &right, rate, &mut wire, &mut events)
            }
            _ => {
                let ms = u32::from(bytes.byte());
                stream.silence(ms, &mut wire, &mut events);
                Ok(())
            }
        };
        if result.is_err() {
            assert_eq!((wire.len(), stream.input_rate()), (before, known));
        }
    }
    let mut speaking = false;
    for event in events {
        let (VadEvent::SpeechStarted { sample } | VadEvent::SpeechStopped { sample }) = event
        else {
            panic!("an event that this does not know: {event:?}");
        };
        assert_eq!(matches!(event, VadEvent::SpeechStarted { .. }), !speaking);
        assert!(sample <= wire.len() as u64);
        speaking = !speaking;
    }
    assert_eq!(stream.speaking(), speaking);
    assert!((0.0..=1.0).contains(&stream.probability()));
    let longest = f64::from(reference.max_delay_ms());
    let delay = stream.echo_delay_ms();
    assert!(delay.is_none_or(|ms| (0.0..=longest).contains(&ms)));
    assert!(stream.echo_level_db().is_none_or(f32::is_finite));
}

/// Checks that events of the detector alone alternate and lie within the stream.
pub fn vad(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Ok(mut vad) = Vad::new(bytes.rate(), VadOptions::default()) else {
        return;
    };
    let mut events = Vec::new();
    for _ in 0..CALLS / 4 {
        if bytes.is_empty() {
            break;
        }
        let n = bytes.len() % 3_000;
        match bytes.byte() % 8 {
            0 => vad.reset(),
            1..4 => vad.push(&bytes.floats(n), &mut events),
            _ => vad.push(&bytes.samples(n), &mut events),
        }
        assert!((0.0..=1.0).contains(&vad.probability()));
    }
}

/// Checks that the counts balance after every call, for each turn too, and that playback ends.
pub fn playback(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = PlaybackOptions {
        input_rate: bytes.rate(),
        output_rate: bytes.rate(),
        capacity_ms: u32::from(bytes.word()),
        prefill_ms: u32::from(bytes.byte()),
        max_prefill_ms: u32::from(bytes.byte()) * 4,
        patience_ms: u32::from(bytes.byte()) * 4,
        fade_ms: u32::from(bytes.byte()) % 24,
    };
    let Ok(mut playback) = Playback::new(options) else {
        return;
    };
    let mut frame = vec![0; playback.frame_len()];
    let mut newest = 0u64;
    for _ in 0..CALLS {
        if bytes.is_empty() {
            break;
        }
        match bytes.byte() % 16 {
            0..=4 => {
                let turn = newest.saturating_add_signed(i64::from(bytes.byte() % 4) - 1);
                newest = newest.max(turn);
                let n = bytes.len();
                let samples = bytes.samples(n);
                let at = f64::from(f32::from_bits(bytes.long()));
                let outcome = match playback.push_at(&samples, turn, at) {
                    Ok(outcome) => outcome,
                    Err(_) => playback.push(&samples, turn),
                };
                assert_eq!(outcome.accepted + outcome.dropped, n);
            }
            5..=8 => {
                let (audible, played) = (playback.audible(), playback.stats().played);
                playback.pop_frame(&mut frame);
                // A turn may have waited for as long as it has to.
                let begun = playback.stats().played > played;
                assert!(audible || begun || frame.iter().all(|&y| y == 0));
            }
            9 => {
                let at = f64::from(f32::from_bits(bytes.long()));
                let known = playback.stats().frames;
                let popped = playback.pop_frame_at(&mut frame, at).is_ok();
                assert_eq!(playback.stats().frames, known + u64::from(popped));
                assert_eq!(playback.pass_time(at).is_ok(), popped);
                playback.starts_at();
            }
            10 => playback.pause(),
            11 => {
                playback.resume();
                playback.begin();
            }
            12 => {
                let db = f32::from_bits(bytes.long());
                assert_eq!(playback.duck(db).is_ok(), db <= 0.0);
            }
            13 => playback.end_turn(newest),
            14 => {
                let queued = playback.stats().queued;
                if bytes.byte() % 2 == 0 {
                    assert!(playback.flush() as u64 <= queued);
                } else {
                    assert_eq!(playback.clear() as u64, queued);
                    assert!(!playback.audible());
                }
            }
            _ => {
                let ahead = i64::from(bytes.byte() % 5) - 3;
                playback.flush_turn(newest.saturating_add_signed(ahead));
                playback.fade_in();
            }
        }
        let stats = playback.stats();
        assert_eq!(stats.pushed, stats.played + stats.dropped + stats.queued);
        for turn in newest.saturating_sub(4)..=newest {
            if let Some(t) = playback.turn_stats(turn) {
                assert_eq!(t.pushed, t.played + t.dropped + t.queued);
            }
        }
    }
    playback.resume();
    playback.end_turn(u64::MAX);
    for _ in 0..10_000_000 {
        if !playback.audible() {
            break;
        }
        playback.pop_frame(&mut frame);
    }
    assert_eq!(playback.stats().queued, 0);
}

/// Checks that a sum is exact up to the knee, keeps its sign above, and leaves no residue.
pub fn mixer(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Ok(mut mixer) = Mixer::new(bytes.rate()) else {
        return;
    };
    let n = mixer.frame_len();
    let mut frame = vec![1; n];
    for _ in 0..CALLS / 4 {
        if bytes.is_empty() {
            break;
        }
        let mut sums = vec![0i32; n];
        for _ in 0..bytes.byte() % 6 {
            let voice = bytes.samples(n);
            sums.iter_mut()
                .zip(&voice)
                .for_each(|(sum, &x)| *sum += i32::from(x));
            mixer.add(&voice);
        }
        mixer.finish(&mut frame);
        for (&sum, &y) in sums.iter().zip(&frame) {
            let exact = i32::from(y) == sum;
            assert!(exact || (sum.abs() > 24_576 && sum.signum() == i32::from(y).signum()));
        }
    }
}

/// Checks the clock of the wire, the counts of samples, and the alternation of events.
pub fn capture(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = CaptureOptions {
        active_speaker: bytes.byte() % 3 == 0,
        fade_ms: u32::from(bytes.byte() % 21),
        tail_ms: u32::from(bytes.byte()) * 10,
        capacity_ms: 1_000 + u32::from(bytes.byte()) * 10,
        ..CaptureOptions::default()
    };
    let wire_rate = bytes.rate();
    let Ok(mut capture) = Capture::new(wire_rate, options) else {
        return;
    };
    let mut reference = EchoReference::new(48_000, 1_000).expect("in range");
    let mut due = Due::default();
    let mut phases = HashMap::<u64, SpeechPhase>::new();
    let (mut now, mut first, mut newest) = (0.0, None, f64::MIN);
    let (mut longest_step, mut frames, mut passed) = (0.0f64, 0u64, 0.0f64);
    for _ in 0..CALLS {
        if bytes.is_empty() {
            break;
        }
        due.clear();
        let choice = bytes.byte() % 16;
        let at = bytes.time(&mut now);
        let id = match bytes.byte() {
            255 => u64::from(bytes.word()),
            byte => u64::from(byte % 5),
        };
        let taken = match choice {
            0 => {
                capture.remove(id, &mut due);
                false
            }
            1 => {
                let kind = [SourceKind::Voice, SourceKind::Sound][usize::from(bytes.byte() % 2)];
                capture.open(id, kind).unwrap();
                false
            }
            2 => {
                let _ = reference.push(&bytes.samples(960), at);
                false
            }
            3..=6 => {
                let taken = capture.advance(at, &mut due).is_ok();
                assert_eq!(taken, usable(at));
                taken
            }
            _ => {
                let pts = match bytes.byte() {
                    0..=99 => Some(at),
                    100..=179 => None,
                    180..=199 => Some(f64::from(bytes.byte())),
                    _ => Some(bytes.double()),
                };
                let arrival = Arrival {
                    pts,
                    muted: bytes.byte() % 8 == 0,
                    echo: (bytes.byte() % 2 == 0).then_some(&reference),
                    ..Arrival::at(at)
                };
                let rate = bytes.rate();
                let n = match bytes.byte() {
                    255 => 10 * 48_000,
                    0..=15 => usize::from(bytes.byte() % 3),
                    16..=200 => rate as usize % 4_801_000 / 50,
                    _ => bytes.len(),
                };
                let pushed = match bytes.byte() % 4 {
                    0 => {
                        let samples = bytes.samples(n);
                        capture.push(id, Samples::Interleaved(&samples), rate, arrival, &mut due)
                    }
                    1 => {
                        let (left, right) = (bytes.floats(n), bytes.floats(n));
                        let samples = Samples::Planar(&left, &right[usize::from(n % 7 == 1)..]);
                        capture.push(id, samples, rate, arrival, &mut due)
                    }
                    _ => {
                        let samples = bytes.samples(n);
                        capture.push(id, Samples::Mono(&samples), rate, arrival, &mut due)
                    }
                };
                assert!(
                    pushed.is_ok() || !matches!(pushed, Err(Error::Option { .. })) || !usable(at)
                );
                usable(at)
            }
        };
        if taken {
            let first = *first.get_or_insert(at);
            longest_step = longest_step.max(at - newest.max(first));
            newest = newest.max(at);
            passed = newest - first;
        }
        assert_eq!(due.wire.len(), due.silence.len() * capture.frame_len());
        frames += due.silence.len() as u64;
        // A stream begins when its first packet, of at most 120 ms, was captured; it may begin
        // again after each tail.
        let tail = f64::from(options.tail_ms) / 1e3;
        let begun = 1.0
            + if tail == 0.0 {
                f64::from(CALLS as u32)
            } else {
                passed / tail
            };
        let most = (passed + 0.16 * begun) * 50.0 + 1.0;
        assert!(frames as f64 <= most, "{frames} frames in {passed} s");
        // Never more than a frame ahead of the clock, and behind it by no more than the wait of 0.3
        // s (with packets of 120 ms 0.4 s) and the time that a stalled caller gets to catch up.
        let behind = capture.behind_ms();
        let patience = 420.0 + 1e3 * longest_step;
        assert!(
            behind <= patience && (!taken || !capture.is_open() || behind >= -40.1),
            "{behind}"
        );
        for event in due.events.drain(..) {
            let before = phases.insert(event.source, event.phase);
            assert!(follows(before, event.phase), "{before:?}, then {event:?}");
        }
        let sources: Vec<u64> = capture.sources().collect();
        for id in sources {
            let s = capture.stats(id).unwrap();
            let counted = s.played + s.skipped + s.duplicate + s.late + s.overflow + s.unsent;
            assert_eq!(s.pushed, counted + s.queued, "{s:?}");
            assert!(
                s.queued <= u64::from(wire_rate) * u64::from(options.capacity_ms + 120) / 1_000
            );
        }
    }
}

/// Returns true for a time that a capture accepts.
fn usable(at: f64) -> bool {
    at.abs() < 1e12
}

/// Returns true if `phase` may follow `before` for one source.
pub fn follows(before: Option<SpeechPhase>, phase: SpeechPhase) -> bool {
    use SpeechPhase::{Dismissed, Started, Starting, Stopped, Sustained};
    match phase {
        Starting => matches!(before, None | Some(Dismissed | Stopped)),
        Dismissed => before == Some(Starting),
        Started => matches!(before, None | Some(Dismissed | Stopped | Starting)),
        Sustained => before == Some(Started),
        Stopped => matches!(before, Some(Started | Sustained)),
    }
}

/// Checks that accepted text encodes to the same digits, and refused text changes nothing.
pub fn base64(data: &[u8]) {
    let mut out = vec![1u8];
    if base64::decode(data, &mut out).is_ok() {
        let mut text = Vec::new();
        base64::encode(&out[1..], &mut text);
        let standard = |c: &u8| match c {
            b'-' => b'+',
            b'_' => b'/',
            &c => c,
        };
        let same: Vec<u8> = data.iter().map(standard).collect();
        assert!(
            text == same
                || text
                    .strip_suffix(b"=")
                    .is_some_and(|t| t == same || t.strip_suffix(b"=") == Some(&same))
        );
    } else {
        assert_eq!(out, [1]);
    }
    let (mut samples, mut whole) = (vec![1i16], vec![1i16]);
    let by_samples = base64::decode_pcm(data, &mut samples);
    match pcm::from_bytes(&out[1..], &mut whole) {
        Ok(()) if out.len() > 1 => assert_eq!((by_samples, samples), (Ok(()), whole)),
        Ok(()) => assert_eq!(samples, [1]),
        Err(odd) => assert_eq!((by_samples, samples), (Err(odd), whole)),
    }
    let mut text = Vec::new();
    base64::encode(data, &mut text);
    out.clear();
    base64::decode(&text, &mut out).unwrap();
    assert_eq!(out, data);
}

/// Checks that an accepted frame is the frame of its payload, and a framed payload comes back.
pub fn websocket(data: &[u8]) {
    if let Ok(payload) = websocket::payload_of(data) {
        let key = data[data.len() - payload.len() - 4..][..4]
            .try_into()
            .unwrap();
        let mut frame = Vec::new();
        websocket::text_frame(&payload, key, &mut frame);
        assert_eq!(frame, data);
    }
    if let Some((&key, payload)) = data.split_first_chunk() {
        let mut frame = vec![1u8];
        websocket::text_frame(payload, key, &mut frame);
        assert_eq!(frame[0], 1);
        assert_eq!(websocket::payload_of(&frame[1..]).unwrap(), payload);
    }
}
