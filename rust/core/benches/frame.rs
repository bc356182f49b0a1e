//! Measures the cost of one frame of 20 ms, component by component.
//!
//! ```text
//! cargo bench -p voice-audio
//! ```
//!
//! All cases run in every round, so that a busy moment hits all of them. p10 over the rounds is a
//! quiet moment, p50 the usual one. For the resampler, `GMAC/s` counts the multiplications that the
//! filter needs, not the ones that its layout adds. The bound is the processor's peak: lanes times
//! units times clock, 118 for AVX-512 with two full units at 3.7 GHz.

mod progress;

use std::hint::black_box;
use std::time::Instant;

use progress::Progress;

use voice_audio::{
    EchoReference, InputStream, Kernel, Mixer, Playback, PlaybackOptions, Quality, Resampler,
    ResamplerOptions, VadOptions, base64, websocket,
};

struct Case {
    name: String,
    /// Number of multiplications of one call; 0 where it tells nothing.
    macs: f64,
    call: Box<dyn FnMut()>,
}

impl Case {
    fn new(name: impl Into<String>, macs: f64, call: impl FnMut() + 'static) -> Self {
        Self {
            name: name.into(),
            macs,
            call: Box::new(call),
        }
    }
}

/// Makes noise of 14 bits, about the level of speech.
fn pcm(n: usize) -> Vec<i16> {
    let mut state = 7u64;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 50) as i16 - 8_192
        })
        .collect()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for quality in [Quality::Voice, Quality::Music] {
        for (i, o) in [(48_000, 16_000), (24_000, 48_000), (44_100, 48_000)] {
            for kernel in Kernel::available() {
                let options = ResamplerOptions::default()
                    .with_quality(quality)
                    .with_kernel(kernel);
                let mut resampler = Resampler::with_options(i, o, options).expect("it is there");
                let (frame, mut out) = (pcm(i as usize / 50), Vec::<i16>::new());
                let macs = (resampler.memory() + 1) as f64 * f64::from(o / 50);
                let name = format!("resample {i}-{o} {quality:?} {kernel}");
                cases.push(Case::new(name, macs, move || {
                    out.clear();
                    resampler.push(black_box(&frame), &mut out);
                    black_box(&out);
                }));
            }
        }
    }

    let mut resampler = Resampler::new(48_000, 16_000).expect("rates in range");
    let (stereo, mut out, mut text) = (pcm(1_920), Vec::new(), Vec::new());
    cases.push(Case::new("in: stereo to base64, no VAD", 0.0, move || {
        out.clear();
        text.clear();
        resampler
            .push_interleaved::<i16, i16>(black_box(&stereo), &mut out)
            .expect("an even number");
        base64::encode_pcm(&out, &mut text);
        black_box(&text);
    }));

    let mut input = InputStream::new(16_000, VadOptions::default()).expect("defaults");
    let (stereo, mut out, mut events) = (pcm(1_920), Vec::new(), Vec::new());
    cases.push(Case::new("in: InputStream, with VAD", 0.0, move || {
        out.clear();
        events.clear();
        input
            .push_interleaved(black_box(&stereo), 48_000, &mut out, &mut events)
            .expect("a usable frame");
        black_box((&out, &events));
    }));

    // The near end contains no echo: the suppressor searches all the time.
    let mut reference = EchoReference::new(48_000, 1_000).expect("in range");
    let (played, mut at) = (pcm(960), 0.0);
    cases.push(Case::new("out: EchoReference, 20 ms", 0.0, move || {
        reference.push(black_box(&played), at).expect("a time");
        at += 0.02;
    }));
    for wire_rate in [16_000, 48_000] {
        for guarded in [false, true] {
            let mut reference = EchoReference::new(48_000, 1_000).expect("in range");
            let mut input = InputStream::new(wire_rate, VadOptions::default()).expect("defaults");
            let near: Vec<i16> = pcm(2 * wire_rate as usize / 50)[wire_rate as usize / 50..].into();
            let (played, mut at) = (pcm(960), 0.0);
            let (mut out, mut events) = (Vec::new(), Vec::new());
            let with = if guarded { "with" } else { "without" };
            let name = format!("in and out: {wire_rate} Hz, VAD, {with} echo suppressor");
            cases.push(Case::new(name, 0.0, move || {
                out.clear();
                events.clear();
                reference.push(black_box(&played), at).expect("a time");
                if guarded {
                    input.expect_echo(&reference, at).expect("a time");
                }
                input
                    .push(black_box(&near), wire_rate, &mut out, &mut events)
                    .expect("a usable frame");
                at += 0.02;
                black_box((&out, &events));
            }));
        }
    }

    let mut playback = Playback::new(PlaybackOptions::default()).expect("defaults");
    let (chunk, mut frame) = (pcm(480), [0; 960]);
    let _ = playback.push(&pcm(4_800), 1);
    cases.push(Case::new("out: push 20 ms, pop 20 ms", 0.0, move || {
        let outcome = playback.push(black_box(&chunk), 1);
        assert_eq!(outcome.dropped, 0);
        playback.pop_frame(&mut frame);
        black_box(&frame);
    }));

    let mut mixer = Mixer::new(16_000).expect("a usable rate");
    let (voice, mut frame) = (pcm(320), [0; 320]);
    cases.push(Case::new("sum of three frames", 0.0, move || {
        for _ in 0..3 {
            mixer.add(black_box(&voice));
        }
        mixer.finish(&mut frame);
        black_box(&frame);
    }));

    let (chunk, mut text, mut back) = (pcm(960), Vec::new(), Vec::new());
    cases.push(Case::new("base64, 40 ms there and back", 0.0, move || {
        text.clear();
        back.clear();
        base64::encode_pcm(black_box(&chunk), &mut text);
        base64::decode_pcm(black_box(&text), &mut back).expect("it was encoded");
        black_box(&back);
    }));

    // 20 ms at 16 kHz as base64 in JSON are about 900 bytes.
    let (mut message, mut frame) = (Vec::new(), Vec::new());
    base64::encode_pcm(&pcm(320), &mut message);
    message.resize(902, b' ');
    cases.push(Case::new(
        "websocket frame, 20 ms at 16 kHz",
        0.0,
        move || {
            frame.clear();
            websocket::text_frame(black_box(&message), [1, 2, 3, 4], &mut frame);
            black_box(&frame);
        },
    ));
    cases
}

fn main() {
    // `cargo test --benches` runs this without the flag: once, to see that it works.
    let (rounds, calls) = if std::env::args().any(|argument| argument == "--bench") {
        (150, 40)
    } else {
        (1, 1)
    };
    let mut cases = cases();
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(rounds); cases.len()];
    let mut progress = Progress::new(rounds as f64);
    for _ in 0..rounds {
        progress.advance(1.0, "rounds");
        for (case, times) in cases.iter_mut().zip(&mut times) {
            (case.call)();
            let start = Instant::now();
            for _ in 0..calls {
                (case.call)();
            }
            times.push(start.elapsed().as_secs_f64() * 1e6 / calls as f64);
        }
    }
    println!("{:<44} {:>8} {:>8} {:>8}", "", "p10 us", "p50 us", "GMAC/s");
    for (case, times) in cases.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (p10, p50) = (times[times.len() / 10], times[times.len() / 2]);
        print!("{:<44} {p10:>8.2} {p50:>8.2}", case.name);
        if case.macs > 0.0 {
            println!(" {:>8.1}", case.macs / p10 / 1e3)
        } else {
            println!()
        }
    }
}
