#![doc = include_str!("../README.md")]
// Only the kernels may use unsafe: those of the resampler in `resample/kernel`, others in
// `simd.rs`.
#![deny(unsafe_code)]

pub mod base64;
mod capture;
mod echo;
mod error;
pub mod pcm;

mod input;
mod mixer;
mod playback;
mod resample;
mod simd;
mod vad;
pub mod websocket;

pub use capture::{
    Arrival, Capture, CaptureEvent, CaptureOptions, Due, SourceKind, SourceStats, SpeechPhase,
};
pub use echo::EchoReference;
pub use error::Error;
pub use input::{InputStream, Samples};
pub use mixer::Mixer;
pub use playback::{
    NextFrame, Playback, PlaybackOptions, PlaybackState, PlaybackStats, PushOutcome, TurnProgress,
    TurnStats,
};
pub use resample::{Kernel, MAX_PHASES, Quality, Resampler, ResamplerOptions};
pub use vad::{Vad, VadEvent, VadOptions};

/// Lowest supported sample rate in Hz.
pub const MIN_RATE: u32 = 8_000;
/// Highest supported sample rate in Hz.
pub const MAX_RATE: u32 = 96_000;
/// Frames per second: every frame is 20 ms, as in WebRTC.
pub const FRAMES_PER_SECOND: u32 = 50;

fn check_rate(rate: u32) -> Result<(), Error> {
    match rate {
        MIN_RATE..=MAX_RATE => Ok(()),
        _ => Err(Error::Rate { rate }),
    }
}

/// Returns the number of samples of a 20 ms frame.
fn frame_len(rate: u32) -> Result<usize, Error> {
    check_rate(rate)?;
    match rate % FRAMES_PER_SECOND {
        0 => Ok((rate / FRAMES_PER_SECOND) as usize),
        _ => Err(Error::FrameRate { rate }),
    }
}

/// Returns the number of samples that last `ms` milliseconds, rounded down.
fn ms_to_samples(ms: u32, rate: u32) -> usize {
    (u64::from(ms) * u64::from(rate) / 1000) as usize
}

/// Returns the duration of `samples` in milliseconds.
fn samples_to_ms(samples: u64, rate: u32) -> f64 {
    samples as f64 * 1000.0 / f64::from(rate)
}
