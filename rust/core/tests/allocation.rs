//! Checks that the frame path does not allocate once its buffers have their usual size.
//!
//! It is one test in a file of its own, because the counter sees the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use voice_audio::{
    Arrival, Capture, CaptureOptions, Due, EchoReference, InputStream, Kernel, Mixer, Playback,
    PlaybackOptions, Quality, Resampler, ResamplerOptions, Samples, VadOptions, base64, pcm,
};

struct Counting;

thread_local! {
    /// Number of allocator calls by this thread, deallocations included.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call goes to the system allocator unchanged; the counter is a plain thread-local
// number without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls_during(work: impl FnOnce()) -> usize {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn the_frame_path_does_not_allocate() {
    assert!(
        calls_during(|| drop(std::hint::black_box(vec![1u8]))) >= 2,
        "the counter counts"
    );

    let frame: Vec<i16> = (0..1_920).map(|i| (i * 7919) as i16).collect();
    let float: Vec<f32> = frame.iter().map(|&x| f32::from(x) / 32768.0).collect();

    for (kernel, quality) in Kernel::available()
        .map(|kernel| (Some(kernel), Quality::Voice))
        .chain([(None, Quality::Music)])
    {
        let options = ResamplerOptions::default()
            .with_quality(quality)
            .with_kernel(kernel);
        let mut resampler = Resampler::with_options(44_100, 16_000, options).unwrap();
        let (mut out, mut exact): (Vec<i16>, Vec<f32>) = (Vec::new(), Vec::new());
        let mut resample = |rounds: usize| {
            for _ in 0..rounds {
                out.clear();
                exact.clear();
                resampler.push(&frame[..882], &mut out);
                resampler.push(&float[..882], &mut exact);
                resampler
                    .push_interleaved(&frame[..1_764], &mut out)
                    .unwrap();
                resampler
                    .push_planar(&float[..882], &float[882..1_764], &mut exact)
                    .unwrap();
            }
            out.clear();
            resampler.flush(&mut out);
        };
        resample(20);
        assert_eq!(calls_during(|| resample(200)), 0, "Resampler {options:?}");
    }

    let (mut text, mut bytes, mut back) = (Vec::new(), Vec::new(), Vec::new());
    let mut carry = |rounds: usize| {
        for _ in 0..rounds {
            text.clear();
            bytes.clear();
            back.clear();
            base64::encode_pcm(&frame, &mut text);
            base64::decode_pcm(&text, &mut back).unwrap();
            base64::decode(&text, &mut bytes).unwrap();
            back.clear();
            pcm::from_bytes(&bytes, &mut back).unwrap();
            assert!(base64::decode(b"no base64", &mut bytes).is_err());
        }
        assert_eq!(back, frame);
    };
    carry(2);
    assert_eq!(calls_during(|| carry(200)), 0, "base64");

    for wire_rate in [16_000, 48_000] {
        let mut input = InputStream::new(wire_rate, VadOptions::default()).unwrap();
        let (mut wire, mut events) = (Vec::new(), Vec::with_capacity(1_000));
        let mut capture = |rounds: usize| {
            for _ in 0..rounds {
                wire.clear();
                events.clear();
                input
                    .push(&frame[..960], 48_000, &mut wire, &mut events)
                    .unwrap();
                input
                    .push(&float[..960], 48_000, &mut wire, &mut events)
                    .unwrap();
                input
                    .push_interleaved(&frame, 48_000, &mut wire, &mut events)
                    .unwrap();
                let (left, right) = float.split_at(960);
                input
                    .push_planar(left, right, 48_000, &mut wire, &mut events)
                    .unwrap();
                input.silence(20, &mut wire, &mut events);
            }
        };
        capture(20);
        assert_eq!(
            calls_during(|| capture(200)),
            0,
            "InputStream, {wire_rate} Hz"
        );
    }

    // An echo is searched for, found and suppressed, then a person speaks over it.
    let mut reference = EchoReference::new(48_000, 1_000).unwrap();
    let mut input = InputStream::new(16_000, VadOptions::default()).unwrap();
    let (mut wire, mut events) = (Vec::new(), Vec::with_capacity(1_000));
    let (mut tick, mut state, mut found, mut silenced) = (0u32, 1u32, false, 0);
    let mut sound = [0i16; 960 * 12];
    let mut call = |rounds: u32| {
        for _ in 0..rounds {
            // Bursts of noise of different colours and lengths.
            let played = &mut sound[..960];
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (burst, colour) = (tick / 5 % 7 % 3, (tick / 5) as f32 * 0.37 % 0.9);
            let mut last = 0.0;
            for x in played.iter_mut() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                last = colour * last + (1.0 - colour) * ((state >> 16) as f32 - 32_768.0);
                *x = if burst == 0 { 0 } else { (last * 0.5) as i16 };
            }
            let now = 0.02 * f64::from(tick);
            reference.push(&sound[..960], now).unwrap();
            sound.copy_within(0..960 * 11, 960);
            wire.clear();
            events.clear();
            let mut near = [0i16; 960];
            for (y, x) in near.iter_mut().zip(&sound[960 * 10..]) {
                *y = x / 6
                    + if tick % 400 > 350 {
                        frame[tick as usize] / 4
                    } else {
                        0
                    };
            }
            input.expect_echo(&reference, now).unwrap();
            input.push(&near, 48_000, &mut wire, &mut events).unwrap();
            found |= input.echo_delay_ms().is_some();
            silenced += u32::from(input.echo());
            tick += 1;
        }
    };
    call(20);
    assert_eq!(calls_during(|| call(700)), 0, "echo");
    assert!(found && silenced > 100, "no echo was found: {silenced}");

    let mut playback = Playback::new(PlaybackOptions::default()).unwrap();
    let mut progress = Vec::with_capacity(8);
    let minute = vec![1_000i16; 24_000 * 60];
    let mut popped = [0i16; 960];
    for turn in 0..3 {
        // Taking blocks may allocate; playing them and giving them back may not.
        let outcome = playback.push(&minute, turn);
        assert_eq!(outcome.dropped, 0);
        let calls = calls_during(|| {
            for i in 0..2_000 {
                match i % 100 {
                    10 => playback.duck(-15.0).unwrap(),
                    30 => playback.pause(),
                    40 => playback.resume(),
                    60 => playback.duck(0.0).unwrap(),
                    _ => {}
                }
                playback.pop_frame(&mut popped);
                playback.next_frame();
                playback.take_progress(&mut progress);
                progress.clear();
            }
            // Play to the unforeseen end, and beyond it.
            while playback.audible() {
                playback.pop_frame(&mut popped);
            }
            playback.pop_frame(&mut popped);
            playback.flush();
        });
        assert!(playback.stats().concealed > 0, "no underrun");
        // The very first frames grow the buffers of the resampler.
        assert!(turn == 0 || calls == 0, "Playback: {calls} calls");
    }

    let mut mixer = Mixer::new(16_000).unwrap();
    let mut mixed = [0i16; 320];
    let calls = calls_during(|| {
        for _ in 0..500 {
            for voice in 0..3 {
                mixer.add(&frame[320 * voice..320 * (voice + 1)]);
            }
            mixer.finish(&mut mixed);
        }
    });
    assert_eq!(calls, 0, "Mixer");

    for active_speaker in [false, true] {
        captures(active_speaker);
    }
}

/// Runs three sources: one with jitter and DTX, one that is echo at times, one clean.
///
/// Each speaks (bursts of noise replace speech) and falls silent in turn.
fn captures(active_speaker: bool) {
    let options = CaptureOptions {
        active_speaker,
        ..CaptureOptions::default()
    };
    let mut capture = Capture::new(16_000, options).unwrap();
    let mut reference = EchoReference::new(48_000, 1_000).unwrap();
    let mut due = Due {
        events: Vec::with_capacity(1_000),
        ..Due::default()
    };
    let (mut tick, mut state, mut frames) = (0u32, 1u32, 0);
    let mut noise = |samples: &mut [i16], loud: bool| {
        for x in samples {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *x = ((state >> 16) as i16) >> if loud { 2 } else { 12 };
        }
    };
    let mut sound = [0i16; 960 * 6];
    let mut call = |rounds: u32| {
        for _ in 0..rounds {
            let now = 0.02 * f64::from(tick + 1);
            due.clear();
            sound.copy_within(0..960 * 5, 960);
            noise(&mut sound[..960], tick % 400 < 200 && tick % 9 < 6);
            reference.push(&sound[..960], now).unwrap();
            let mut samples = [0i16; 1_920];
            for source in 0..3u32 {
                let speaks = tick % 300 / 100 == source && tick % 20 < 15;
                let arrival = |late: u32, first: u32| Arrival {
                    pts: Some(0.02 * f64::from(first)),
                    echo: Some(&reference),
                    ..Arrival::at(now + 0.001 * f64::from(late))
                };
                match source {
                    // Every 13th packet comes with the next one, and none in long silence.
                    0 if tick % 13 == 5 || (!speaks && tick % 300 > 150) => {}
                    0 => {
                        let late = u32::from(tick % 13 == 6);
                        for first in tick - late..=tick {
                            noise(&mut samples[..960], speaks);
                            let mono = Samples::Mono(&samples[..960]);
                            let arrival = arrival(tick * 7 % 15, first);
                            capture.push(0, mono, 48_000, arrival, &mut due).unwrap();
                        }
                    }
                    1 => {
                        noise(&mut samples[..960], speaks);
                        for (y, x) in samples.iter_mut().zip(&sound[960 * 5..]) {
                            *y = y.saturating_add(x / 6);
                        }
                        let mono = Samples::Mono(&samples[..960]);
                        let arrival = arrival(16, tick);
                        capture.push(1, mono, 48_000, arrival, &mut due).unwrap();
                    }
                    _ => {
                        noise(&mut samples, speaks);
                        let stereo = Samples::Interleaved(&samples);
                        let arrival = Arrival {
                            muted: tick % 500 > 450,
                            ..arrival(18, tick)
                        };
                        capture.push(2, stereo, 48_000, arrival, &mut due).unwrap();
                    }
                }
            }
            capture.advance(now + 0.019, &mut due).unwrap();
            frames += due.silence.len();
            tick += 1;
        }
    };
    // The first run grows the buffers, the second must not allocate.
    call(1_500);
    assert_eq!(calls_during(|| call(1_500)), 0, "Capture {options:?}");
    assert!((2_950..=3_001).contains(&frames), "{frames}");
    let stats = [0, 1, 2].map(|source| capture.stats(source).unwrap());
    assert!(stats[0].inserted + stats[0].skipped > 0, "no jitter");
    assert!(stats[1].suppressed > 0, "no echo");
    assert_eq!(stats.iter().any(|s| s.unsent > 0), active_speaker);
}
