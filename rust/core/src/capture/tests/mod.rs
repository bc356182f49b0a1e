//! Properties of the wire, whatever arrives: a model of people and networks, and a model of the
//! detector in place of the real one, so that each sample can be found on the wire.

mod people;
mod properties;

use super::{Arrival, Capture, CaptureOptions, Due};
use crate::Samples;

/// Samples of a wire frame at 16 kHz.
const FRAME: usize = 320;

/// Milliseconds in samples.
const fn ms(ms: i64) -> i64 {
    ms * 16
}

fn capture(options: CaptureOptions) -> Capture {
    let mut capture = Capture::new(16_000, options).unwrap();
    capture.epoch = Some(0.0);
    capture
}

/// Without fades, so that every sample on the wire is one that was pushed.
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

/// Pushes 16 kHz samples; `speech` stands for the detector, times are in samples.
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
