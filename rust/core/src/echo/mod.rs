//! The echo of what is played: found, judged, and kept out.
//!
//! Of both sides, far end (what is played) and near end (what is captured), the power in 32 bands is
//! measured, every 10 ms and over windows of 20 ms.
//!
//! 1. *Found* (`delay`): for each delay, how alike are the movements of the band powers of both sides
//!    over about a second? An echo, and nothing else, is alike at one delay and at no other, however
//!    loud it is and whatever a loudspeaker and a room have made of it. WebRTC's
//!    `residual_echo_detector.cc` does the same with one band and a memory of 10 s; its cancellers
//!    find the delay by spectra of one bit per band (`delay_estimator.cc`), which is cheaper and
//!    takes seconds, too.
//! 2. *Judged* (`coupling`): once the delay is known, how loud the echo is in each band is measured,
//!    and the loudest that it may be follows from what was played. What is louder is a person.
//! 3. *Kept out* (`guard`): what is not louder is replaced by the background.
//!
//! Nothing is subtracted, as a canceller does: that needs the samples, a linear path, and clocks
//! that agree. A codec, a jitter buffer and the echo suppressor of a client leave none of these,
//! and band powers survive them.

mod background;
mod bands;
mod coupling;
mod delay;
mod far;
mod guard;
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use guard::EchoGuard;
pub use reference::EchoReference;

use crate::Error;

/// A hop is 10 ms; a window is two of them.
const HOPS_PER_SECOND: u32 = 100;
/// Largest time that is taken, in seconds: its hops can be counted exactly.
const LATEST: f64 = 1e12;

/// Delays, in hops, up to a number of milliseconds.
fn delays(max_delay_ms: u32) -> usize {
    (max_delay_ms * HOPS_PER_SECOND / 1000) as usize + 1
}

/// Refuses what is no time.
pub(crate) fn check_time(at: f64) -> Result<(), Error> {
    if at.abs() < LATEST {
        Ok(())
    } else {
        Err(Error::Option {
            name: "at",
            value: at,
            accepted: "a finite number of seconds",
        })
    }
}
