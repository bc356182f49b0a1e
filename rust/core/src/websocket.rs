//! WebSocket frames of a client's text messages (RFC 6455).
//!
//! A text message is one frame: final, opcode 1, masked. This module has no source of randomness:
//! the masking key is an argument, and section 5.3 requires a fresh and unpredictable one for each
//! frame.
//!
//! ```
//! use voice_audio::websocket;
//! let mut frame = Vec::new();
//! websocket::text_frame(b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut frame);
//! // The masked "Hello" of RFC 6455, section 5.7.
//! assert_eq!(frame, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
//! assert_eq!(websocket::payload_of(&frame)?, b"Hello");
//! # Ok::<(), voice_audio::Error>(())
//! ```

use crate::Error;

/// Length of the longest header of a masked frame: 2 bytes, 8 of the length, 4 of the key.
pub const MAX_HEADER: usize = 14;

/// FIN and the opcode of text (section 5.2); the three reserved bits belong to extensions.
const FINAL_TEXT: u8 = 0x81;
/// Bit before the length that marks a masked payload.
const MASKED: u8 = 0x80;
/// 7-bit length that announces a length of 16 bits.
const LENGTH_16: u8 = 126;
/// 7-bit length that announces a length of 64 bits.
const LENGTH_64: u8 = 127;
/// Number of bytes of a masking key.
const KEY: usize = 4;

/// Appends `payload` to `out` as one masked text frame.
///
/// `payload` must be UTF-8, which is not checked: a peer closes the connection over anything else.
pub fn text_frame(payload: &[u8], key: [u8; KEY], out: &mut Vec<u8>) {
    out.reserve(MAX_HEADER + payload.len());
    out.push(FINAL_TEXT);
    // Only the shortest of the three forms that holds the length is allowed.
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < LENGTH_16 => out.push(MASKED | length),
        (_, Ok(length)) => {
            out.push(MASKED | LENGTH_16);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(MASKED | LENGTH_64);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], key);
}

/// Returns the unmasked payload of one whole text frame, such as [`text_frame`] makes.
///
/// # Errors
/// [`Error::WebSocket`] names the place and the fault of anything else: another opcode, a fragment,
/// reserved bits, a payload without a mask, a length in a longer form than it needs, bytes that are
/// missing or too many.
pub fn payload_of(frame: &[u8]) -> Result<Vec<u8>, Error> {
    let fault = |offset, reason| Err(Error::WebSocket { offset, reason });
    let Some((&[first, second], rest)) = frame.split_first_chunk() else {
        return fault(frame.len(), "the header was cut");
    };
    if first != FINAL_TEXT {
        return fault(0, "this is not a whole message of text without extensions");
    }
    if second & MASKED == 0 {
        return fault(1, "what a client sends is masked");
    }
    let (length, rest) = match second & !MASKED {
        LENGTH_16 => match rest.split_first_chunk() {
            Some((&length, rest)) => (u64::from(u16::from_be_bytes(length)), rest),
            None => return fault(frame.len(), "the header was cut"),
        },
        LENGTH_64 => match rest.split_first_chunk() {
            Some((&length, rest)) => (u64::from_be_bytes(length), rest),
            None => return fault(frame.len(), "the header was cut"),
        },
        length => (u64::from(length), rest),
    };
    let least = match second & !MASKED {
        LENGTH_16 => u64::from(LENGTH_16),
        LENGTH_64 => 1 << 16,
        _ => 0,
    };
    if length < least {
        return fault(2, "a shorter form holds this length");
    }
    let Some((&key, masked)) = rest.split_first_chunk::<KEY>() else {
        return fault(frame.len(), "the header was cut");
    };
    if masked.len() as u64 != length {
        return fault(frame.len(), "the payload is not as long as the header says");
    }
    let mut payload = masked.to_vec();
    mask(&mut payload, key);
    Ok(payload)
}

/// Masks or unmasks `bytes`: each is XORed with the byte of the key at its offset modulo 4.
fn mask(bytes: &mut [u8], key: [u8; KEY]) {
    // The doubled key is a word of the same period, and the compiler vectorises loops over words.
    let [a, b, c, d] = key;
    let twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ twice).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the frame of section 5.2, bit by bit.
    fn by_the_book(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0b1000_0001];
        let n = payload.len();
        if n <= 125 {
            frame.push(0b1000_0000 | n as u8);
        } else if n <= 65_535 {
            frame.extend([0b1111_1110, (n >> 8) as u8, n as u8]);
        } else {
            frame.push(0b1111_1111);
            frame.extend((0..8).rev().map(|byte| ((n as u64) >> (8 * byte)) as u8));
        }
        frame.extend(key);
        frame.extend(
            payload
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ key[i % 4]),
        );
        frame
    }

    fn payload(n: usize) -> Vec<u8> {
        (0..n).map(|i| ((i * 7_919) >> 3) as u8).collect()
    }

    #[test]
    fn frames_of_every_form_are_those_of_the_book() {
        let edges = [
            125,
            126,
            127,
            902,
            903,
            65_534,
            65_535,
            65_536,
            65_537,
            1 << 20,
        ];
        for n in (0..300).chain(edges) {
            let (payload, key) = (payload(n), [0x9c, 0, 0xff, n as u8]);
            let mut frame = b"before".to_vec();
            text_frame(&payload, key, &mut frame);
            assert_eq!(frame[..6], *b"before");
            assert!(frame[6..] == by_the_book(&payload, key), "{n} bytes");
            assert!(frame.len() - 6 <= n + MAX_HEADER);
            assert!(payload_of(&frame[6..]).unwrap() == payload, "{n} bytes");
        }
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let mut good = Vec::new();
        text_frame(&payload(200), [1, 2, 3, 4], &mut good);
        let with = |place: usize, byte: u8| {
            let mut frame = good.clone();
            frame[place] = byte;
            frame
        };
        let mut longest = vec![0x81, 0xff];
        longest.extend(u64::MAX.to_be_bytes());
        longest.extend([0; 10]);
        let mut inflated = vec![0x81, 0xff];
        inflated.extend(65_535u64.to_be_bytes());
        inflated.extend(vec![0; 4 + 65_535]);
        for (frame, place, part) in [
            (vec![], 0, "cut"),
            (good[..1].to_vec(), 1, "cut"),
            (good[..3].to_vec(), 3, "cut"),
            (good[..7].to_vec(), 7, "cut"),
            (vec![0x81, 0xff, 0, 0], 4, "cut"),
            (vec![0x81, 0x80, 1, 2], 4, "cut"),
            (with(0, 0x01), 0, "whole message"),
            (with(0, 0x82), 0, "whole message"),
            (with(0, 0x88), 0, "whole message"),
            (with(0, 0xc1), 0, "whole message"),
            (with(1, 0x7e), 1, "masked"),
            (vec![0x81, 0xfe, 0, 125, 1, 2, 3, 4], 2, "shorter form"),
            (inflated, 2, "shorter form"),
            (longest, 20, "as long as"),
            (
                good[..good.len() - 1].to_vec(),
                good.len() - 1,
                "as long as",
            ),
            ([&good[..], b"!"].concat(), good.len() + 1, "as long as"),
        ] {
            match payload_of(&frame) {
                Err(Error::WebSocket { offset, reason }) => {
                    assert!(reason.contains(part), "{reason}, not {part}");
                    assert_eq!(offset, place, "{reason}");
                }
                other => panic!("{part}: {other:?}"),
            }
        }
    }
}
