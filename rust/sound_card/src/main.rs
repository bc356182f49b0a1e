//! Runs the audio path of a voice agent on a sound card: microphone in, loudspeaker out.
//!
//! ```text
//! cargo run --release --manifest-path rust/sound_card/Cargo.toml
//! ```
//!
//! The agent is a parrot: it repeats what was said, and gives way when somebody speaks. Use
//! headphones, or see `EchoReference` of the crate.
//!
//! The two callbacks of the card must not wait, allocate or log: each only moves samples between
//! the card's buffer and a ring without locks. Everything else is done by the main thread, which
//! runs every 10 ms. What it keeps ready for the loudspeaker ([`AHEAD`] frames of 20 ms) is the
//! delay of a pause; what the card asks for beyond that is silence, and counted.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{SampleFormat, StreamConfig, SupportedStreamConfig};
use rtrb::{Consumer, Producer, RingBuffer};
use voice_audio::{InputStream, Playback, PlaybackOptions, VadEvent, VadOptions};

/// Rate of what a model hears, in Hz.
const WIRE_RATE: u32 = 16_000;
/// Frames of 20 ms that are ready for the loudspeaker.
const AHEAD: usize = 2;
/// Length of each ring in seconds: longer than the main thread is ever late.
const RING_S: usize = 1;
/// Samples kept from before the event of speech: 300 ms, for onset and soft beginnings.
const PREROLL: usize = WIRE_RATE as usize * 3 / 10;

/// Counts of samples that a callback could not move.
#[derive(Default)]
struct Missed {
    /// Samples of the microphone for which the ring had no room.
    captured: AtomicUsize,
    /// Samples of the loudspeaker that were not ready.
    played: AtomicUsize,
}

/// Moves a buffer of the microphone, interleaved, into the ring; called by the card's thread.
///
/// Whole frames only, so that the channels stay in their places.
fn capture(buffer: &[f32], channels: usize, ring: &mut Producer<f32>, missed: &Missed) {
    let room = ring.slots().min(buffer.len()) / channels * channels;
    for sample in &buffer[..room] {
        // There is room: this thread is the only one that fills the ring.
        let _ = ring.push(*sample);
    }
    let lost = buffer.len() - room;
    missed.captured.fetch_add(lost, Ordering::Relaxed);
}

/// Fills a buffer of the loudspeaker from the ring, silence if it is empty; called by its thread.
fn play(buffer: &mut [f32], channels: usize, ring: &mut Consumer<f32>, missed: &Missed) {
    for frame in buffer.chunks_mut(channels) {
        let sample = ring.pop().unwrap_or_else(|_| {
            missed.played.fetch_add(1, Ordering::Relaxed);
            0.0
        });
        frame.fill(sample);
    }
}

/// Repeats what was said: everything between the two rings.
struct Parrot {
    input: InputStream,
    playback: Playback,
    wire: Vec<i16>,
    events: Vec<VadEvent>,
    frame: Vec<i16>,
    said: Vec<i16>,
    turn: u64,
}

impl Parrot {
    fn new(output_rate: u32) -> Result<Self, voice_audio::Error> {
        let playback = Playback::new(PlaybackOptions {
            input_rate: WIRE_RATE,
            output_rate,
            ..PlaybackOptions::default()
        })?;
        Ok(Self {
            input: InputStream::new(WIRE_RATE, VadOptions::default())?,
            frame: vec![0; playback.frame_len()],
            playback,
            wire: Vec::new(),
            events: Vec::new(),
            said: Vec::new(),
            turn: 0,
        })
    }

    /// Processes samples of the microphone, interleaved if it has two channels.
    fn hear(
        &mut self,
        samples: &[f32],
        channels: usize,
        rate: u32,
    ) -> Result<(), voice_audio::Error> {
        self.wire.clear();
        self.events.clear();
        let (wire, events) = (&mut self.wire, &mut self.events);
        if channels == 2 {
            self.input.push_interleaved(samples, rate, wire, events)?;
        } else {
            self.input.push(samples, rate, wire, events)?;
        }
        self.said.extend_from_slice(&self.wire);
        for event in &self.events {
            match event {
                VadEvent::SpeechStarted { .. } => {
                    println!("speech; {} samples dropped", self.playback.flush());
                }
                VadEvent::SpeechStopped { .. } => {
                    self.turn += 1;
                    let outcome = self.playback.push(&self.said, self.turn);
                    self.playback.end_turn(self.turn);
                    self.said.clear();
                    println!("turn {}: {} samples", self.turn, outcome.accepted);
                }
                _ => {}
            }
        }
        if !self.input.speaking() {
            let old = self.said.len().saturating_sub(PREROLL);
            self.said.drain(..old);
        }
        Ok(())
    }

    /// Keeps [`AHEAD`] frames ready for the loudspeaker.
    fn speak(&mut self, ring: &mut Producer<f32>, capacity: usize) {
        while capacity - ring.slots() < AHEAD * self.frame.len() {
            self.playback.pop_frame(&mut self.frame);
            for sample in &self.frame {
                let _ = ring.push(f32::from(*sample) / 32_768.0);
            }
        }
    }
}

/// Checks that a card speaks 32-bit floats, in one channel or two.
fn usable(
    name: &str,
    found: SupportedStreamConfig,
) -> Result<(StreamConfig, usize), Box<dyn Error>> {
    let channels = usize::from(found.channels());
    if found.sample_format() != SampleFormat::F32 || channels > 2 {
        return Err(
            format!("the {name} is {found:?}; this example needs f32, mono or stereo").into(),
        );
    }
    Ok((found.into(), channels))
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = cpal::default_host();
    let microphone = host
        .default_input_device()
        .ok_or("there is no microphone")?;
    let loudspeaker = host
        .default_output_device()
        .ok_or("there is no loudspeaker")?;
    let (heard, in_channels) = usable("microphone", microphone.default_input_config()?)?;
    let (spoken, out_channels) = usable("loudspeaker", loudspeaker.default_output_config()?)?;
    let (in_rate, out_rate) = (heard.sample_rate, spoken.sample_rate);

    let mut parrot = Parrot::new(out_rate)?;
    let missed = Arc::new(Missed::default());
    let (mut captured, mut microphone_ring) =
        RingBuffer::new(in_rate as usize * in_channels * RING_S);
    let capacity = out_rate as usize * RING_S;
    let (mut loudspeaker_ring, mut played) = RingBuffer::new(capacity);

    let counts = Arc::clone(&missed);
    let input = microphone.build_input_stream(
        heard,
        move |buffer: &[f32], _| capture(buffer, in_channels, &mut captured, &counts),
        |error| eprintln!("microphone: {error}"),
        None,
    )?;
    let counts = Arc::clone(&missed);
    let output = loudspeaker.build_output_stream(
        spoken,
        move |buffer: &mut [f32], _| play(buffer, out_channels, &mut played, &counts),
        |error| eprintln!("loudspeaker: {error}"),
        None,
    )?;
    parrot.speak(&mut loudspeaker_ring, capacity);
    input.play()?;
    output.play()?;

    println!("say something; Ctrl-C ends");
    let (mut samples, mut reported) = (Vec::new(), 0);
    loop {
        samples.clear();
        // Whole frames only: a callback may be in the middle of one.
        let ready = microphone_ring.slots() / in_channels * in_channels;
        samples.extend((0..ready).filter_map(|_| microphone_ring.pop().ok()));
        parrot.hear(&samples, in_channels, in_rate)?;
        parrot.speak(&mut loudspeaker_ring, capacity);
        let lost = missed.captured.load(Ordering::Relaxed) + missed.played.load(Ordering::Relaxed);
        if lost > reported {
            eprintln!("{} samples were late", lost - reported);
            reported = lost;
        }
        sleep(Duration::from_millis(10));
    }
}
