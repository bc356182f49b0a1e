//! Sample formats: 16-bit integers, 32-bit floats, bytes, and stereo to mono.
//!
//! Full scale is 1.0 in `f32` and 32768 in `i16`, so a conversion from `i16` to `f32` and back is
//! exact, and a float of exactly 1.0 saturates to 32767.

use crate::Error;

/// Full scale of `i16`: the factor between an integer sample and a float at unit scale.
pub const FULL_SCALE: f32 = 32768.0;

/// Magnitude to which float input is limited, in units of full scale (+60 dB).
///
/// No real signal comes near it. The limit keeps every filter sum finite, so that one absurd sample
/// cannot turn into NaN and stay in a filter's memory.
pub const FLOAT_LIMIT: f32 = 1024.0;

mod sealed {
    pub trait Sealed {}
    impl Sealed for i16 {}
    impl Sealed for f32 {}
}

/// Sample format of this crate: `i16` or `f32`.
///
/// The trait is sealed: the streaming types promise bit-exactness for these two.
pub trait Sample: Copy + Default + sealed::Sealed {
    /// Converts to unit scale. NaN becomes 0; floats are limited to ±[`FLOAT_LIMIT`].
    fn to_unit(self) -> f32;
    /// Converts from unit scale, rounding to the nearest sample.
    ///
    /// Ties go to the even integer, values beyond full scale saturate, NaN becomes 0. An `f32` is
    /// the value itself.
    fn from_unit(value: f32) -> Self;
}

impl Sample for i16 {
    #[inline(always)]
    fn to_unit(self) -> f32 {
        f32::from(self) * (1.0 / FULL_SCALE)
    }

    #[inline(always)]
    fn from_unit(value: f32) -> Self {
        // Rounding on plain x86-64 would call the mathematical library; this form vectorises. At
        // 1.5 * 2^23 the spacing of floats is 1, so the addition rounds to an integer, ties to
        // even, and leaves it in the low bits, in two's complement.
        const ROUND: f32 = 12_582_912.0;
        let value = if value.is_nan() { 0.0 } else { value };
        let value = (value * FULL_SCALE).clamp(f32::from(i16::MIN), f32::from(i16::MAX));
        (value + ROUND).to_bits() as i16
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn to_unit(self) -> f32 {
        if self.is_nan() {
            0.0
        } else {
            self.clamp(-FLOAT_LIMIT, FLOAT_LIMIT)
        }
    }

    #[inline(always)]
    fn from_unit(value: f32) -> Self {
        value
    }
}

/// Appends `input` to `out` in the other format.
///
/// ```
/// use voice_audio::pcm;
/// let mut out = Vec::new();
/// pcm::convert::<f32, i16>(&[0.5, 2.0, -2.0, f32::NAN], &mut out);
/// assert_eq!(out, [16384, 32767, -32768, 0]);
/// ```
pub fn convert<I: Sample, O: Sample>(input: &[I], out: &mut Vec<O>) {
    out.extend(input.iter().map(|&x| O::from_unit(x.to_unit())));
}

/// Returns the mean of two samples at unit scale.
///
/// It is exact for integers, so that a later conversion rounds once.
#[inline(always)]
pub(crate) fn mean<S: Sample>(left: S, right: S) -> f32 {
    0.5 * left.to_unit() + 0.5 * right.to_unit()
}

/// Appends the mean of the two channels of planar stereo to `out`.
///
/// # Errors
/// [`Error::Planes`] if the channels differ in length; `out` is then unchanged.
///
/// ```
/// use voice_audio::pcm;
/// let mut mono: Vec<i16> = Vec::new();
/// pcm::downmix_planar(&[32767i16, -32768], &[32767, -32768], &mut mono)?;
/// assert_eq!(mono, [32767, -32768]);
/// # Ok::<(), voice_audio::Error>(())
/// ```
pub fn downmix_planar<I: Sample, O: Sample>(
    left: &[I],
    right: &[I],
    out: &mut Vec<O>,
) -> Result<(), Error> {
    check_planes(left, right)?;
    out.extend(
        left.iter()
            .zip(right)
            .map(|(&l, &r)| O::from_unit(mean(l, r))),
    );
    Ok(())
}

/// Appends the mean of the two channels of interleaved stereo (L, R, L, R, ...) to `out`.
///
/// # Errors
/// [`Error::Channels`] if the number of samples is odd; `out` is then unchanged.
///
/// ```
/// use voice_audio::pcm;
/// let mut mono: Vec<i16> = Vec::new();
/// pcm::downmix_interleaved(&[100i16, 200, -5, 5], &mut mono)?;
/// assert_eq!(mono, [150, 0]);
/// # Ok::<(), voice_audio::Error>(())
/// ```
pub fn downmix_interleaved<I: Sample, O: Sample>(
    input: &[I],
    out: &mut Vec<O>,
) -> Result<(), Error> {
    out.extend(pairs(input)?.iter().map(|&[l, r]| O::from_unit(mean(l, r))));
    Ok(())
}

/// Returns the samples of interleaved stereo as (left, right) pairs.
pub(crate) fn pairs<S: Sample>(input: &[S]) -> Result<&[[S; 2]], Error> {
    match input.as_chunks::<2>() {
        (pairs, []) => Ok(pairs),
        _ => Err(Error::Channels {
            samples: input.len(),
            channels: 2,
        }),
    }
}

/// Refuses channels of different length.
pub(crate) fn check_planes<S: Sample>(left: &[S], right: &[S]) -> Result<(), Error> {
    if left.len() == right.len() {
        Ok(())
    } else {
        Err(Error::Planes {
            left: left.len(),
            right: right.len(),
        })
    }
}

/// Appends little-endian 16-bit PCM to `out`.
///
/// # Errors
/// [`Error::OddBytes`] if the last sample is cut in half; `out` is then unchanged.
///
/// ```
/// use voice_audio::pcm;
/// let mut samples = Vec::new();
/// pcm::from_bytes(&[0x01, 0x00, 0xff, 0xff], &mut samples)?;
/// assert_eq!(samples, [1, -1]);
/// # Ok::<(), voice_audio::Error>(())
/// ```
pub fn from_bytes(bytes: &[u8], out: &mut Vec<i16>) -> Result<(), Error> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Error::OddBytes { bytes: bytes.len() });
    }
    out.extend(pairs.iter().map(|&pair| i16::from_le_bytes(pair)));
    Ok(())
}

/// Appends `samples` to `out` as little-endian 16-bit PCM.
///
/// ```
/// let mut bytes = Vec::new();
/// voice_audio::pcm::to_bytes(&[1, -1], &mut bytes);
/// assert_eq!(bytes, [0x01, 0x00, 0xff, 0xff]);
/// ```
pub fn to_bytes(samples: &[i16], out: &mut Vec<u8>) {
    out.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_i16_survives_the_round_trip_through_f32() {
        for x in i16::MIN..=i16::MAX {
            assert_eq!(i16::from_unit(x.to_unit()), x);
        }
    }

    #[test]
    fn every_value_is_rounded_as_the_standard_library_rounds() {
        // Every quarter from beyond one end of the range to beyond the other, and its neighbours.
        for quarters in -140_000..=140_000 {
            let exact = quarters as f32 / 4.0;
            for value in [exact.next_down(), exact, exact.next_up()] {
                let want = value.round_ties_even() as i16;
                assert_eq!(i16::from_unit(value / FULL_SCALE), want, "{value}");
            }
        }
    }

    #[test]
    fn floats_saturate_and_nan_is_silence() {
        for (x, want) in [
            (1.0, i16::MAX),
            (-1.0, i16::MIN),
            (1e30, i16::MAX),
            (f32::NEG_INFINITY, i16::MIN),
            (f32::NAN, 0),
            (0.5 / FULL_SCALE, 0),
            (1.5 / FULL_SCALE, 2),
        ] {
            assert_eq!(i16::from_unit(x.to_unit()), want, "{x}");
        }
    }

    #[test]
    fn the_mean_of_two_integers_is_the_exact_mean_rounded_to_even() {
        for l in (i16::MIN..=i16::MAX).step_by(97) {
            for r in [i16::MIN, -3, -2, -1, 0, 1, 2, 3, 1000, i16::MAX] {
                let exact = (f64::from(l) + f64::from(r)) / 2.0;
                let rounded = i16::from_unit(mean(l, r));
                assert_eq!(f64::from(rounded), exact.round_ties_even());
            }
        }
    }

    #[test]
    fn refused_input_leaves_the_output_alone() {
        let mut out = vec![7i16];
        assert!(downmix_interleaved(&[1i16, 2, 3], &mut out).is_err());
        assert!(downmix_planar(&[1i16, 2], &[3], &mut out).is_err());
        assert!(from_bytes(&[1, 2, 3], &mut out).is_err());
        assert_eq!(out, [7]);
    }
}
