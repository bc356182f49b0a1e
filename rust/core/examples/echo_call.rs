//! Runs the whole path of a voice agent, in and out, on a virtual clock.
//!
//! The agent is a parrot: it repeats the speaker's words, and gives way when it is spoken to.
//!
//! ```text
//! cargo run --release -p voice-audio --example echo_call -- in.wav out.wav
//! ```
//!
//! `in.wav` is the microphone: 16 bit, mono or stereo, any rate. It goes frame by frame through
//! [`Capture`] to the wire, as base64. When the speaker has finished, what was said comes back as
//! one turn, in a burst, as models send it. `out.wav` is stereo at 48 kHz: the microphone left, the
//! parrot right.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use voice_audio::{
    Arrival, Capture, CaptureOptions, Due, Playback, PlaybackOptions, Resampler, Samples,
    SpeechPhase, base64,
};

const WIRE_RATE: u32 = 16_000;
const CALL_RATE: u32 = 48_000;
/// Pre-roll of the speech event: the detector's onset, and the soft beginning of a word.
const PREROLL: usize = WIRE_RATE as usize * 3 / 10;

fn run(input: &str, output: &str) -> Result<(), Box<dyn Error>> {
    let mut reader = WavReader::open(input)?;
    let spec = reader.spec();
    if spec.sample_format != SampleFormat::Int || spec.bits_per_sample != 16 || spec.channels > 2 {
        return Err("a microphone here is 16 bit, mono or stereo".into());
    }
    let microphone: Vec<i16> = reader.samples().collect::<Result<_, _>>()?;
    let frame_len = (spec.sample_rate / 50) as usize * usize::from(spec.channels);
    // Room for the reply after the end of the recording.
    let silence = vec![0; microphone.len() + 50 * frame_len];
    let recording = [microphone, silence].concat();

    let mut capture = Capture::new(WIRE_RATE, CaptureOptions::default())?;
    let mut due = Due::default();
    let mut playback = Playback::new(PlaybackOptions {
        input_rate: WIRE_RATE,
        output_rate: CALL_RATE,
        ..PlaybackOptions::default()
    })?;
    let mut monitor = Resampler::new(spec.sample_rate, CALL_RATE)?;
    let stereo = WavSpec {
        channels: 2,
        sample_rate: CALL_RATE,
        ..spec
    };
    let mut writer = WavWriter::create(output, stereo)?;

    let mut frame = vec![0; playback.frame_len()];
    let (mut text, mut turn) = (Vec::new(), 0);
    let (mut heard, mut left) = (Vec::<i16>::new(), Vec::<i16>::new());
    for (tick, captured) in recording.chunks_exact(frame_len).enumerate() {
        // In: downmix, resample, detect, encode.
        let seconds = (tick + 1) as f64 * 0.02;
        left.clear();
        due.clear();
        let samples = if spec.channels == 2 {
            monitor.push_interleaved(captured, &mut left)?;
            Samples::Interleaved(captured)
        } else {
            monitor.push(captured, &mut left);
            Samples::Mono(captured)
        };
        capture.push(1, samples, spec.sample_rate, Arrival::at(seconds), &mut due)?;
        text.clear();
        base64::encode_pcm(&due.wire, &mut text);
        base64::decode_pcm(&text, &mut heard)?;
        // The conversation: give way at once, answer when the speaker has finished.
        for event in &due.events {
            match event.phase {
                SpeechPhase::Started => {
                    let dropped = playback.flush();
                    println!("{seconds:7.2} s  speech; {dropped} samples dropped");
                    // What was heard before is not part of what is said.
                    heard.drain(..heard.len().saturating_sub(PREROLL));
                }
                SpeechPhase::Stopped => {
                    turn += 1;
                    let outcome = playback.push(&heard, turn);
                    playback.end_turn(turn);
                    println!("{seconds:7.2} s  turn {turn}: {} samples", outcome.accepted);
                    heard.clear();
                }
                _ => {}
            }
        }
        // Out: one frame of the store for one frame of the call.
        playback.pop_frame(&mut frame);
        for (left, right) in left.iter().zip(&frame) {
            writer.write_sample(*left)?;
            writer.write_sample(*right)?;
        }
    }
    writer.finalize()?;
    println!("{:?}", playback.stats());
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        eprintln!("usage: echo_call IN.wav OUT.wav");
        return ExitCode::FAILURE;
    };
    match run(input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
