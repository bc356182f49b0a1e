//! Tests of the wire with models of people, networks and the detector.
//!
//! The model of the detector replaces the real one, so that each sample can be found on the wire.

mod people;
mod properties;

use super::{Arrival, Capture, CaptureOptions, Due};
use crate::Samples;
use people::{FRAME, Wire};

fn capture(options: CaptureOptions) -> Capture {
    let mut capture = Capture::new(16_000, options).unwrap();
    capture.epoch = Some(0.0);
    capture
}

/// Returns options without fades, so that every sample on the wire is one that was pushed.
fn exact() -> CaptureOptions {
    CaptureOptions {
        fade_ms: 0,
        onset_lag_ms: 20,
        ..CaptureOptions::default()
    }
}

fn seconds(samples: i64) -> f64 {
    samples as f64 / 16_000.0
}

/// Pushes 16 kHz samples; `speech` replaces the detector, times are in samples.
fn push(
    capture: &mut Capture,
    source: u64,
    samples: &[i16],
    pts: Option<i64>,
    now: i64,
    speech: bool,
    due: &mut Due,
) {
    let kind = crate::SourceKind::Voice;
    let index = capture.index_of(source, kind).unwrap();
    capture.sources[index].scripted = Some(speech);
    let arrival = Arrival {
        pts: pts.map(seconds),
        ..Arrival::at(seconds(now))
    };
    let samples = Samples::Mono(samples);
    capture.push(source, samples, 16_000, arrival, due).unwrap();
}

fn advance(capture: &mut Capture, now: i64, due: &mut Due) {
    capture.advance(seconds(now), due).unwrap();
}

/// Capture in which the model's speech flags replace the detector.
struct Scripted {
    capture: Capture,
    due: Due,
}

impl Scripted {
    fn new(options: CaptureOptions) -> Self {
        Self {
            capture: capture(options),
            due: Due::default(),
        }
    }
}

/// Capture with the real detector.
struct Detecting(Scripted);

impl Wire for Detecting {
    fn push(&mut self, person: usize, samples: &[i16], pts: Option<i64>, now: i64, _speech: bool) {
        let Scripted { capture, due } = &mut self.0;
        let arrival = Arrival {
            pts: pts.map(seconds),
            ..Arrival::at(seconds(now))
        };
        let pushed = capture.push(person as u64, Samples::Mono(samples), 16_000, arrival, due);
        pushed.unwrap();
    }

    fn advance(&mut self, now: i64) {
        self.0.advance(now);
    }

    fn next_advance(&self) -> Option<i64> {
        self.0.next_advance()
    }

    fn take(&mut self, each: &mut dyn FnMut(&[i16; FRAME])) {
        self.0.take(each);
    }
}

impl Wire for Scripted {
    fn push(&mut self, person: usize, samples: &[i16], pts: Option<i64>, now: i64, speech: bool) {
        let Self { capture, due } = self;
        push(capture, person as u64, samples, pts, now, speech, due);
    }

    fn advance(&mut self, now: i64) {
        advance(&mut self.capture, now, &mut self.due);
    }

    fn next_advance(&self) -> Option<i64> {
        let at = self.capture.next_advance()?;
        Some((at * 16_000.0).round() as i64)
    }

    fn take(&mut self, each: &mut dyn FnMut(&[i16; FRAME])) {
        self.due.wire.as_chunks().0.iter().for_each(each);
        self.due.clear();
    }
}
