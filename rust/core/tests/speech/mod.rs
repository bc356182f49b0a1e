//! Recorded speech, and calls that play it.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::Path;

use voice_audio::{
    Arrival, Capture, CaptureEvent, CaptureOptions, Due, EchoReference, Samples, SpeechPhase,
};

/// Rate of the recordings and of the wire, in Hz.
pub const RATE: u32 = 16_000;
/// Number of samples of 20 ms at [`RATE`].
pub const FRAME: usize = 320;

/// Reads a recording of the Python package: 16 kHz, 100 ms of digital silence at both ends.
pub fn recording(name: &str) -> Vec<i16> {
    let data =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/getstream/plugins/gemini/data");
    let mut reader = hound::WavReader::open(data.join(name)).expect("the recording is there");
    let spec = reader.spec();
    assert_eq!(
        (spec.sample_rate, spec.channels, spec.bits_per_sample),
        (RATE, 1, 16)
    );
    reader.samples().map(|x| x.expect("a whole file")).collect()
}

/// Reads all recordings: two of people and a synthesized one.
pub fn recordings() -> [Vec<i16>; 3] {
    ["speech.wav", "question.wav", "greeting.wav"].map(recording)
}

/// Converts milliseconds to samples at [`RATE`].
pub fn ms(ms: usize) -> usize {
    ms * 16
}

/// Random generator, xorshift64*: the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Draws a number from 0 to below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 33) as usize % n.max(1)
    }

    pub fn chance(&mut self, p: f64) -> bool {
        ((self.bits() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// Makes quiet microphone noise: -75 dBFS.
    pub fn noise(&mut self, n: usize) -> Vec<i16> {
        (0..n).map(|_| (self.bits() >> 60) as i16 - 8).collect()
    }
}

/// Capture, and everything that it has returned.
pub struct Call {
    pub capture: Capture,
    pub reference: Option<EchoReference>,
    pub wire: Vec<i16>,
    /// Time in seconds of each wire frame.
    pub sent_at: Vec<f64>,
    /// Events, each with its time in seconds.
    pub events: Vec<(f64, CaptureEvent)>,
    pub suppressed: u64,
    due: Due,
}

impl Call {
    pub fn new(options: CaptureOptions) -> Self {
        Self {
            capture: Capture::new(RATE, options).expect("usable options"),
            reference: None,
            wire: Vec::new(),
            sent_at: Vec::new(),
            events: Vec::new(),
            suppressed: 0,
            due: Due::default(),
        }
    }

    /// Plays 20 ms to every participant.
    pub fn play(&mut self, frame: &[i16], at: f64) {
        let new = || EchoReference::new(RATE, 1_000).expect("in range");
        let reference = self.reference.get_or_insert_with(new);
        reference.push(frame, at).expect("a time");
    }

    /// Pushes 16 kHz mono without a timestamp.
    pub fn push(&mut self, source: u64, samples: &[i16], at: f64) {
        self.push_as(source, samples, Arrival::at(at));
    }

    /// Pushes 16 kHz mono, which may contain an echo of what was played.
    pub fn push_as(&mut self, source: u64, samples: &[i16], arrival: Arrival<'_>) {
        let arrival = Arrival {
            echo: self.reference.as_ref(),
            ..arrival
        };
        let samples = Samples::Mono(samples);
        self.capture
            .push(source, samples, RATE, arrival, &mut self.due)
            .expect("usable samples");
        self.take(arrival.at);
    }

    pub fn advance(&mut self, at: f64) {
        self.capture.advance(at, &mut self.due).expect("a time");
        self.take(at);
    }

    pub fn remove(&mut self, source: u64, at: f64) {
        self.capture.remove(source, &mut self.due);
        self.take(at);
    }

    /// Returns the times at which `source` reached `phase`.
    pub fn times(&self, source: u64, phase: SpeechPhase) -> Vec<f64> {
        let which = CaptureEvent { source, phase };
        let told = self.events.iter().filter(|(_, event)| *event == which);
        told.map(|(at, _)| *at).collect()
    }

    fn take(&mut self, at: f64) {
        self.wire.append(&mut self.due.wire);
        self.sent_at.extend(self.due.silence.iter().map(|_| at));
        self.events
            .extend(self.due.events.iter().map(|event| (at, *event)));
        self.suppressed += self.due.suppressed;
        self.due.clear();
    }
}

/// Returns the position of an exact copy of `part` in `wire`.
pub fn find(wire: &[i16], part: &[i16]) -> Option<usize> {
    // The loudest samples are rarest; the position of one is tried first.
    let (at, &loudest) = part
        .iter()
        .enumerate()
        .max_by_key(|(_, x)| x.unsigned_abs())?;
    (0..=wire.len().checked_sub(part.len())?)
        .find(|&k| wire[k + at] == loudest && wire[k..k + part.len()] == *part)
}

/// Checks that each source's events alternate; with `over`, that all speech has ended.
pub fn assert_alternate(events: &[(f64, CaptureEvent)], over: bool, context: &str) {
    use SpeechPhase::{Dismissed, Started, Starting, Stopped, Sustained};
    let mut phases = std::collections::HashMap::new();
    for (at, event) in events {
        let before: Option<SpeechPhase> = phases.insert(event.source, event.phase);
        let follows = match event.phase {
            Starting => matches!(before, None | Some(Dismissed | Stopped)),
            Started => matches!(before, None | Some(Starting | Dismissed | Stopped)),
            Dismissed => before == Some(Starting),
            Sustained => before == Some(Started),
            Stopped => matches!(before, Some(Started | Sustained)),
        };
        assert!(follows, "{at} s: {before:?}, then {event:?}; {context}");
    }
    for (source, phase) in phases {
        let ended = matches!(phase, Dismissed | Stopped);
        assert!(ended || !over, "source {source} stays {phase:?}; {context}");
    }
}
