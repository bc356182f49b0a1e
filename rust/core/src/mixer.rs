//! Mixer: sums aligned frames with a soft limiter.

use crate::{Error, frame_len};

/// Knee of the limiter, three quarters of full scale (-2.5 dBFS): smaller sums pass unchanged.
const KNEE: f32 = 24_576.0;
/// Range between the knee and full scale.
const HEADROOM: f32 = 32_767.0 - KNEE;

/// Sums simultaneous 20 ms frames into one frame.
///
/// [`add`](Self::add) each frame; [`finish`](Self::finish) returns their sum and begins a new one.
/// One voice, or one voice among silent ones, passes bit for bit. Sums of several voices are exact
/// up to three quarters of full scale and are compressed softly above, so that two loud voices do
/// not clip. The caller aligns the frames in time: see [`Capture`](crate::Capture).
///
/// Allocates: in [`new`](Self::new) only.
///
/// ```
/// use voice_audio::Mixer;
/// let mut mixer = Mixer::new(16_000)?;
/// let mut frame = [0; 320];
/// mixer.add(&[1000; 320]);
/// mixer.add(&[-200; 320]);
/// mixer.finish(&mut frame);
/// assert_eq!(frame, [800; 320]);
/// # Ok::<(), voice_audio::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mixer {
    sample_rate: u32,
    sums: Vec<i32>,
    /// Number of non-silent frames in the current sum.
    voices: usize,
}

impl Mixer {
    /// Makes a mixer of frames at `sample_rate` Hz.
    ///
    /// # Errors
    /// [`Error::Rate`], [`Error::FrameRate`] for a rate that has no 20 ms frames.
    pub fn new(sample_rate: u32) -> Result<Self, Error> {
        Ok(Self {
            sample_rate,
            sums: vec![0; frame_len(sample_rate)?],
            voices: 0,
        })
    }

    /// Returns the rate in Hz.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Returns the number of samples of one frame.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.sums.len()
    }

    /// Adds a frame to the sum.
    ///
    /// # Panics
    /// If `frame` is not [`frame_len`](Self::frame_len) samples long, or after 65,536 frames
    /// without [`finish`](Self::finish) in a debug build.
    pub fn add(&mut self, frame: &[i16]) {
        assert_eq!(frame.len(), self.sums.len(), "a frame is 20 ms long");
        if frame.iter().all(|&x| x == 0) {
            return;
        }
        self.voices += 1;
        for (sum, &x) in self.sums.iter_mut().zip(frame) {
            *sum += i32::from(x);
        }
    }

    /// Writes the sum to `frame` and begins a new one. The sum of no frames is silence.
    ///
    /// # Panics
    /// If `frame` is not [`frame_len`](Self::frame_len) samples long.
    pub fn finish(&mut self, frame: &mut [i16]) {
        assert_eq!(frame.len(), self.sums.len(), "a frame is 20 ms long");
        if self.voices > 1 {
            for (y, &sum) in frame.iter_mut().zip(&self.sums) {
                *y = soften(sum);
            }
        } else {
            for (y, &sum) in frame.iter_mut().zip(&self.sums) {
                *y = sum as i16;
            }
        }
        self.sums.fill(0);
        self.voices = 0;
    }
}

/// Limits a sum to 16 bits: exact up to the knee, a hyperbolic tangent above.
///
/// The slope of the tangent is 1 at the knee; it approaches full scale without reaching it.
fn soften(sum: i32) -> i16 {
    let magnitude = sum.unsigned_abs() as f32;
    if magnitude <= KNEE {
        return sum as i16;
    }
    let soft = KNEE + HEADROOM * ((magnitude - KNEE) / HEADROOM).tanh();
    soft.round().copysign(sum as f32) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limiter_is_exact_below_the_knee_then_smooth_monotonic_and_odd() {
        for sum in -24_576..=24_576 {
            assert_eq!(i32::from(soften(sum)), sum);
        }
        let mut last = soften(24_576);
        for sum in 24_577..400_000 {
            let y = soften(sum);
            assert!(y >= last && y - last <= 1, "{sum}");
            assert_eq!(soften(-sum), -y);
            last = y;
        }
        assert_eq!(last, i16::MAX);
    }
}
