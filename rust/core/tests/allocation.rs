//! Nothing on the frame path allocates once its buffers have grown to their usual size.
//!
//! One test in a file of its own: the counter sees the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use voice_audio::{
    InputStream, Mixer, MixerOptions, Playback, PlaybackOptions, Resampler, VadOptions,
};

struct Counting;

thread_local! {
    /// Calls of the allocator by this thread, of any kind: giving back counts too.
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

    let mut resampler = Resampler::new(44_100, 16_000).unwrap();
    let mut out: Vec<i16> = Vec::new();
    let mut resample = |rounds: usize| {
        for _ in 0..rounds {
            out.clear();
            resampler.push(&frame[..882], &mut out);
        }
        out.clear();
        resampler.flush(&mut out);
    };
    resample(20);
    assert_eq!(calls_during(|| resample(500)), 0, "Resampler");

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

    let mut playback = Playback::new(PlaybackOptions::default()).unwrap();
    let minute = vec![1_000i16; 24_000 * 60];
    let mut popped = [0i16; 960];
    for turn in 0..3 {
        // Taking blocks may allocate, playing and giving them back may not.
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
            }
            playback.flush();
            for _ in 0..5 {
                playback.pop_frame(&mut popped);
            }
        });
        // The very first frames grow the buffers of the resampler.
        assert!(turn == 0 || calls == 0, "Playback: {calls} calls");
    }

    let mut mixer = Mixer::new(16_000, MixerOptions::default()).unwrap();
    let mut mixed = [0i16; 320];
    let mut mix = |rounds: usize| {
        for _ in 0..rounds {
            for stream in 0..3 {
                mixer.push(stream, &frame[..320]);
            }
            while mixer.pop(&mut mixed) {}
        }
    };
    mix(20);
    assert_eq!(calls_during(|| mix(500)), 0, "Mixer");
}
