//! Base64 of audio and bytes, as JSON protocols carry it (RFC 4648).
//!
//! Encoding uses the standard alphabet, padded. Decoding accepts the standard or the URL-safe
//! alphabet, with or without padding, as the JSON form of protocol buffers allows. It refuses a
//! text that mixes the alphabets, white space, padding of the wrong length, and non-zero bits after
//! the last byte. So each accepted text has one meaning.
//!
//! ```
//! use voice_audio::base64;
//! let mut text = Vec::new();
//! base64::encode_pcm(&[1, -1], &mut text);
//! assert_eq!(text, b"AQD//w==");
//!
//! let mut samples = Vec::new();
//! base64::decode_pcm(b"AQD__w", &mut samples)?;
//! assert_eq!(samples, [1, -1]);
//! # Ok::<(), voice_audio::Error>(())
//! ```

use base64_simd::{AsOut, STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::{Error, pcm};

/// Number of bytes processed at once: whole groups of three, whole samples.
const PASS: usize = 3 * 512;
/// Number of characters of [`PASS`] bytes.
const PASS_TEXT: usize = PASS / 3 * 4;

/// Appends the base64 text of `bytes` to `out`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    STANDARD.encode_append(bytes, out);
}

/// Appends the base64 text of `samples`, as little-endian 16-bit PCM, to `out`.
pub fn encode_pcm(samples: &[i16], out: &mut Vec<u8>) {
    let mut bytes = [0; PASS];
    for pass in samples.chunks(PASS / 2) {
        for (pair, sample) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(pass) {
            *pair = sample.to_le_bytes();
        }
        encode(&bytes[..2 * pass.len()], out);
    }
}

/// Decodes `text` and appends the bytes to `out`.
///
/// # Errors
/// [`Error::Base64`] names the place; `out` is then unchanged.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let digits = digits(text)?;
    let start = out.len();
    // Try the usual alphabet first: inspecting each character to find the alphabet would be slower.
    if STANDARD_NO_PAD.decode_append(digits, out).is_ok() {
        return Ok(());
    }
    out.truncate(start);
    if URL_SAFE_NO_PAD.decode_append(digits, out).is_ok() {
        return Ok(());
    }
    out.truncate(start);
    Err(fault(digits))
}

/// Decodes `text` and appends the samples, little-endian 16-bit PCM, to `out`.
///
/// # Errors
/// As [`decode`], and [`Error::OddBytes`] if the last sample is cut in half; `out` is then
/// unchanged.
pub fn decode_pcm(text: &[u8], out: &mut Vec<i16>) -> Result<(), Error> {
    let digits = digits(text)?;
    let bytes = digits.len() * 6 / 8;
    if !bytes.is_multiple_of(2) {
        // Report invalid base64 before an odd length: invalid text has no number of bytes.
        decode(text, &mut Vec::new())?;
        return Err(Error::OddBytes { bytes });
    }
    let start = out.len();
    for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        let mut buffer = [0; PASS];
        let whole = digits.chunks(PASS_TEXT).all(|pass| {
            let decoded = alphabet.decode(pass, buffer.as_mut_slice().as_out());
            decoded.is_ok_and(|bytes| pcm::from_bytes(bytes, out).is_ok())
        });
        if whole {
            return Ok(());
        }
        out.truncate(start);
    }
    Err(fault(digits))
}

/// Returns the text without its padding; fails if the padding has the wrong length.
fn digits(text: &[u8]) -> Result<&[u8], Error> {
    let padding = text.iter().rev().take_while(|&&c| c == b'=').count();
    let digits = &text[..text.len() - padding];
    let reason = match (digits.len() % 4, padding) {
        (1, _) => "a single character at the end stands for no byte: the text was cut",
        (_, 0) | (2, 2) | (3, 1) => return Ok(digits),
        _ => "the padding has the wrong length",
    };
    Err(Error::Base64 {
        offset: digits.len().saturating_sub((digits.len() % 4 == 1).into()),
        reason,
    })
}

/// Returns the error for digits that cannot be decoded.
fn fault(digits: &[u8]) -> Error {
    let standard = |c: &u8| matches!(c, b'+' | b'/');
    let url_safe = |c: &u8| matches!(c, b'-' | b'_');
    let foreign = |c: &u8| !(c.is_ascii_alphanumeric() || standard(c) || url_safe(c));
    let (offset, reason) = if let Some(offset) = digits.iter().position(foreign) {
        (offset, "this character belongs to no alphabet of base64")
    } else if let (Some(a), Some(b)) = (
        digits.iter().position(standard),
        digits.iter().position(url_safe),
    ) {
        let reason = "the standard and the URL-safe alphabet are mixed";
        (a.max(b), reason)
    } else {
        let reason = "the last character stands for more bits than the last byte has";
        (digits.len() - 1, reason)
    };
    Error::Base64 { offset, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<Vec<u8>, Error> {
        let mut out = vec![7];
        let result = decode(text.as_bytes(), &mut out);
        assert_eq!(out[0], 7);
        if result.is_err() {
            assert_eq!(out, [7], "refused text leaves the output alone");
        }
        result.map(|()| out[1..].to_vec())
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decoded(text).unwrap(), bytes.as_bytes());
            let bare = text.trim_end_matches('=');
            assert_eq!(decoded(bare).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        for (text, place, part) in [
            ("Zm9v Ym", 4, "no alphabet"),
            ("Zm9v\u{e9}==", 4, "no alphabet"),
            ("Zm9vYg=", 6, "padding"),
            ("Zm9vYg===", 6, "padding"),
            ("Zm9v=", 4, "padding"),
            ("Zm9v====", 4, "padding"),
            ("Zm9vYmE==", 7, "padding"),
            ("====", 0, "padding"),
            ("=", 0, "padding"),
            ("Zm9vY", 4, "cut"),
            ("Zm9vY===", 4, "cut"),
            ("Zg==Zg==", 2, "no alphabet"),
            ("Zh==", 1, "more bits"),
            ("Zm9=", 2, "more bits"),
            ("-/8=", 1, "mixed"),
            ("+A__", 2, "mixed"),
        ] {
            match decoded(text) {
                Err(Error::Base64 { offset, reason }) => {
                    assert!(reason.contains(part), "{text}: {reason}");
                    assert_eq!(offset, place, "{text}: {reason}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn samples_of_any_number_go_there_and_back() {
        let pcm: Vec<i16> = (0..5_000).map(|i| (i * 7919) as i16).collect();
        for n in (0..40).chain([766, 767, 768, 769, 1_535, 1_536, 1_537, 5_000]) {
            let (mut text, mut whole, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
            encode_pcm(&pcm[..n], &mut text);
            pcm::to_bytes(&pcm[..n], &mut bytes);
            encode(&bytes, &mut whole);
            assert_eq!(text, whole, "{n} samples");
            let mut out = Vec::new();
            decode_pcm(&text, &mut out).unwrap();
            assert_eq!(out, pcm[..n]);
            let url: Vec<u8> = text
                .iter()
                .map(|c| match c {
                    b'+' => b'-',
                    b'/' => b'_',
                    &c => c,
                })
                .collect();
            out.clear();
            decode_pcm(&url, &mut out).unwrap();
            assert_eq!(out, pcm[..n]);
            if n >= 4 {
                // A fault in the last character, long after valid passes, leaves `out` unchanged.
                let last = url.iter().rposition(|&c| c != b'=').unwrap();
                let mut broken = url.clone();
                broken[last] = b'!';
                out.truncate(3);
                let fault = decode_pcm(&broken, &mut out).unwrap_err();
                assert!(matches!(fault, Error::Base64 { offset, .. } if offset == last));
                assert_eq!(out, pcm[..3]);
            }
        }
        let mut out = vec![5i16];
        let odd = decode_pcm(b"Zm9v", &mut out);
        assert_eq!(odd, Err(Error::OddBytes { bytes: 3 }));
        let odd = decode_pcm(b"Zm9!", &mut out);
        assert!(matches!(odd, Err(Error::Base64 { offset: 3, .. })));
        assert_eq!(out, [5]);
    }
}
