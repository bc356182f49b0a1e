//! Python functions `encode_base64` and `decode_base64`.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};
use voice_audio::base64;

use crate::convert::{AudioError, Raw, audio_error, raw};

/// Number of bytes from which a call is long: about 100 us.
const LONG: usize = 1 << 20;

/// Default prefix and suffix of a text.
pub(crate) const NOTHING: &[u8] = b"";

/// Base64 text that cannot change while it is borrowed.
pub(crate) enum Text<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl Text<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

/// Borrows text from a string or from bytes.
pub(crate) fn text<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Text<'a>> {
    if let Ok(text) = object.cast::<PyString>() {
        Ok(Text::Borrowed(text.to_str()?.as_bytes()))
    } else if let Ok(text) = object.cast::<PyBytes>() {
        Ok(Text::Borrowed(text.as_bytes()))
    } else if let Ok(text) = object.cast::<PyByteArray>() {
        Ok(Text::Owned(text.to_vec()))
    } else if object.is_instance_of::<PyMemoryView>() {
        let bytes = object.call_method0("tobytes")?;
        Ok(Text::Owned(bytes.cast::<PyBytes>()?.as_bytes().to_vec()))
    } else {
        Err(AudioError::new_err(format!(
            "base64 is a str or bytes, got {}",
            object.get_type().name()?
        )))
    }
}

/// Returns `prefix`, the base64 text of `samples`, and `suffix`.
pub(crate) fn text_of(samples: &[i16], prefix: &[u8], suffix: &[u8]) -> Vec<u8> {
    let mut text = with_room(2 * samples.len(), prefix, suffix);
    base64::encode_pcm(samples, &mut text);
    text.extend_from_slice(suffix);
    text
}

fn with_room(bytes: usize, prefix: &[u8], suffix: &[u8]) -> Vec<u8> {
    let digits = bytes.div_ceil(3) * 4;
    let mut text = Vec::with_capacity(prefix.len() + digits + suffix.len());
    text.extend_from_slice(prefix);
    text
}

#[pyfunction]
#[pyo3(
    signature = (pcm, prefix=NOTHING, suffix=NOTHING),
    text_signature = "(pcm, prefix=b'', suffix=b'')"
)]
pub(crate) fn encode_base64<'py>(
    py: Python<'py>,
    pcm: &Bound<'py, PyAny>,
    prefix: &[u8],
    suffix: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    match raw(pcm)? {
        Raw::Samples(samples) => {
            let text = text_of(samples.as_slice(), prefix, suffix);
            Ok(PyBytes::new(py, &text))
        }
        Raw::Bytes(bytes) => {
            let bytes = bytes.as_bytes();
            let encode = || {
                let mut text = with_room(bytes.len(), prefix, suffix);
                base64::encode(bytes, &mut text);
                text.extend_from_slice(suffix);
                text
            };
            let text = if bytes.len() > LONG {
                py.detach(encode)
            } else {
                encode()
            };
            Ok(PyBytes::new(py, &text))
        }
    }
}

#[pyfunction]
pub(crate) fn decode_base64<'py>(
    py: Python<'py>,
    text: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let text = self::text(text)?;
    let text = text.as_bytes();
    let decode = || {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
        base64::decode(text, &mut bytes).map(|()| bytes)
    };
    let bytes = if text.len() > LONG {
        py.detach(decode)
    } else {
        decode()
    }
    .map_err(audio_error)?;
    Ok(PyBytes::new(py, &bytes))
}
