//! Error type: every way in which this crate can refuse its input.

use std::fmt;

/// Reason for which an argument was refused.
///
/// Errors come from constructors and from input that makes no sense. Conditions of a healthy
/// stream (a full store, an underrun, late audio) are data, not errors: see
/// [`PushOutcome`](crate::PushOutcome) and [`PlaybackStats`](crate::PlaybackStats).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The sample rate lies outside [`MIN_RATE`](crate::MIN_RATE)..=[`MAX_RATE`](crate::MAX_RATE).
    Rate {
        /// Rate that was given, in Hz.
        rate: u32,
    },
    /// The two rates have no common divisor that keeps the filter bank small.
    Ratio {
        /// Input rate in Hz.
        in_rate: u32,
        /// Output rate in Hz.
        out_rate: u32,
        /// `out_rate / gcd(in_rate, out_rate)`, the number of filter phases this pair needs.
        phases: u32,
    },
    /// This machine cannot run the kernel that was asked for.
    Kernel {
        /// The kernel.
        kernel: crate::Kernel,
    },
    /// A 20 ms frame at this rate is not a whole number of samples.
    FrameRate {
        /// The rate that was given, in Hz.
        rate: u32,
    },
    /// Samples come in groups of `channels`, and the number given is not a multiple of it.
    Channels {
        /// Number of samples that was given, over all channels.
        samples: usize,
        /// Number of channels that was stated.
        channels: usize,
    },
    /// Planar stereo has channels of different length.
    Planes {
        /// Number of samples of the left channel.
        left: usize,
        /// Number of samples of the right channel.
        right: usize,
    },
    /// 16-bit PCM has an odd number of bytes.
    OddBytes {
        /// Number of bytes that was given.
        bytes: usize,
    },
    /// Text is not valid base64.
    Base64 {
        /// Offset of the character where the fault was found.
        offset: usize,
        /// Description of the fault.
        reason: &'static str,
    },
    /// A whole number lies outside its range.
    Range {
        /// Name of the option.
        name: &'static str,
        /// Value that was given.
        value: u32,
        /// Least accepted value.
        least: u32,
        /// Greatest accepted value.
        most: u32,
    },
    /// A limit on the number of things is reached.
    TooMany {
        /// Name of the things.
        name: &'static str,
        /// Greatest possible number.
        most: usize,
    },
    /// Bytes are not one whole frame of a client's text message (RFC 6455).
    WebSocket {
        /// Offset of the first invalid byte, or the length of a truncated frame.
        offset: usize,
        /// Description of the fault.
        reason: &'static str,
    },
    /// An option lies outside its range.
    Option {
        /// Name of the option.
        name: &'static str,
        /// Value that was given.
        value: f64,
        /// Description of the accepted values.
        accepted: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Rate { rate } => write!(
                f,
                "sample rate {rate} Hz is not supported: use {} to {} Hz",
                crate::MIN_RATE,
                crate::MAX_RATE
            ),
            Self::Ratio {
                in_rate,
                out_rate,
                phases,
            } => write!(
                f,
                "{in_rate} to {out_rate} Hz needs {phases} filter phases, at most {} are \
                 supported: use rates with a larger common divisor, such as 44100 and 48000",
                crate::resample::MAX_PHASES
            ),
            Self::Kernel { kernel } => write!(
                f,
                "this machine cannot run the {kernel} kernel: leave the choice to \
                 Kernel::best()"
            ),
            Self::FrameRate { rate } => write!(
                f,
                "20 ms at {rate} Hz is not a whole number of samples: use a multiple of 50 Hz"
            ),
            Self::Channels { samples, channels } => write!(
                f,
                "{samples} samples cannot be {channels} channels: 1 (mono) and 2 (stereo) \
                 channels are supported, and stereo needs an even number of samples"
            ),
            Self::Planes { left, right } => write!(
                f,
                "planar stereo needs sides of equal length, got {left} and {right} samples"
            ),
            Self::OddBytes { bytes } => write!(
                f,
                "16-bit PCM has an even number of bytes, got {bytes}: a sample was cut in half"
            ),
            Self::Base64 { offset, reason } => write!(f, "no base64 at offset {offset}: {reason}"),
            Self::Range {
                name,
                value,
                least,
                most,
            } => write!(f, "{name}={value} is not usable: give {least} to {most}"),
            Self::TooMany { name, most } => write!(
                f,
                "there are too many {name}: {most} at a time are supported; remove those that are \
                 gone"
            ),
            Self::WebSocket { offset, reason } => {
                write!(f, "no websocket frame at offset {offset}: {reason}")
            }
            Self::Option {
                name,
                value,
                accepted,
            } => write!(f, "{name}={value} is not usable: give {accepted}"),
        }
    }
}

impl std::error::Error for Error {}
