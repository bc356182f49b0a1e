//! Suppression of the echo of what is played to a participant.
//!
//! The render (far-end) signal is what is played; the capture (near-end) signal is what comes back.
//! For both, `bands` measures the power in 32 bands, every 10 ms (a *hop*) over windows of 20 ms.
//!
//! 1. `delay_estimator` finds the delay: for each candidate it correlates the modulations of the
//!    band powers of both signals over about a second. An echo, and only an echo, correlates at one
//!    delay and at no other, whatever its level and whatever the loudspeaker and the room have
//!    changed. WebRTC's `residual_echo_detector.cc` does the same with one band and a memory of 10
//!    s; its cancellers find the delay by spectra of one bit per band (`delay_estimator.cc`), which
//!    costs less and takes seconds as well.
//! 2. `path_model` learns, at a known delay, the level of the echo in each band, and predicts the
//!    loudest echo of each hop. Whatever is louder is a person.
//! 3. `suppressor` replaces hops that are not louder by noise at the level of the noise floor.
//!
//! Nothing is subtracted, unlike in an echo canceller. A canceller needs the samples, a linear path
//! and synchronous clocks; a codec, a jitter buffer and the suppressor of a client destroy all
//! three, but leave the band powers intact.

mod bands;
mod delay_estimator;
mod noise_floor;
mod path_model;
mod reference;
mod render;
mod suppressor;
#[cfg(test)]
mod tests;

pub use reference::EchoReference;
pub(crate) use suppressor::EchoSuppressor;

use crate::Error;

/// Hops per second: a hop is 10 ms, a window is two hops.
const HOPS_PER_SECOND: u32 = 100;
/// Largest accepted time, in seconds: its hops can be counted exactly in an `f64`.
const MAX_TIME_S: f64 = 1e12;

/// Returns the number of delays to search, in hops, from 0 to `max_delay_ms`.
fn delays(max_delay_ms: u32) -> usize {
    (max_delay_ms * HOPS_PER_SECOND / 1000) as usize + 1
}

/// Refuses a time that is not finite or exceeds [`MAX_TIME_S`].
pub(crate) fn check_time(at: f64) -> Result<(), Error> {
    if at.abs() < MAX_TIME_S {
        Ok(())
    } else {
        Err(Error::Option {
            name: "at",
            value: at,
            accepted: "a finite number of seconds",
        })
    }
}
