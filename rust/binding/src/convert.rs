//! Conversion between Python objects and samples.

use numpy::ndarray::Dimension;
use numpy::{
    Element, PyArray, PyArray1, PyArray2, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray,
    PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use voice_audio::{Error, pcm};

pyo3::import_exception!(getstream.plugins.gemini.errors, AudioError);

/// Number of samples from which any call is long: about 100 us of the cheapest work.
pub(crate) const LONG: usize = 48_000;

/// Converts an error of the core to an `AudioError` with the same text.
pub(crate) fn audio_error(error: Error) -> PyErr {
    AudioError::new_err(error.to_string())
}

/// Converts a sample rate; refuses values that do not fit, and leaves the range to the core.
pub(crate) fn rate(hz: i64) -> PyResult<u32> {
    u32::try_from(hz).map_err(|_| {
        let (least, most) = (voice_audio::MIN_RATE, voice_audio::MAX_RATE);
        AudioError::new_err(format!(
            "sample rate {hz} Hz is not supported: use {least} to {most} Hz"
        ))
    })
}

/// Converts a duration in milliseconds.
pub(crate) fn milliseconds(name: &str, ms: i64) -> PyResult<u32> {
    u32::try_from(ms)
        .map_err(|_| AudioError::new_err(format!("{name}={ms} is not usable: give 0 or more")))
}

/// One channel of samples, borrowed from an array if its memory layout allows.
pub(crate) enum Samples<'py, T: Element> {
    Borrowed(PyReadonlyArray1<'py, T>),
    Owned(Vec<T>),
}

impl<T: Element + Copy> Samples<'_, T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::Borrowed(array) => array
                .as_slice()
                .expect("only aligned, contiguous arrays are borrowed"),
            Self::Owned(samples) => samples,
        }
    }

    /// Lends the samples to `work`, with whether they are long.
    ///
    /// Long ones are copied first: without the GIL another thread could write to the array.
    pub(crate) fn lend<R>(self, work: impl FnOnce(&[T], bool) -> R) -> R {
        match self.as_slice() {
            short if short.len() <= LONG => work(short, false),
            long => {
                let copy: Vec<T> = long.to_vec();
                work(&copy, true)
            }
        }
    }
}

/// Input of `push` methods: PCM of one of two formats, mono or stereo.
pub(crate) enum Pcm<'py> {
    Int16(Channels<'py, i16>),
    Float32(Channels<'py, f32>),
}

/// Memory layout of samples: one row, which may be interleaved, or two planes.
pub(crate) enum Channels<'py, T: Element> {
    Row(Samples<'py, T>),
    Planes(Planes<T>),
}

/// Left and right channel in one vector, of equal length.
pub(crate) struct Planes<T>(Vec<T>);

impl<T> Planes<T> {
    /// Lends the two channels to `work`, with whether they are long.
    pub(crate) fn lend<R>(self, work: impl FnOnce(&[T], &[T], bool) -> R) -> R {
        let (left, right) = self.0.split_at(self.0.len() / 2);
        work(left, right, self.0.len() > LONG)
    }
}

/// Bytes or samples of mono `i16`, unconverted.
pub(crate) enum Raw<'a, 'py> {
    Samples(Samples<'py, i16>),
    Bytes(&'a Bound<'py, PyBytes>),
}

/// Returns true for `channels=2`, false for 1.
pub(crate) fn two_channels(channels: i64) -> PyResult<bool> {
    match channels {
        1 => Ok(false),
        2 => Ok(true),
        _ => Err(AudioError::new_err(format!(
            "channels={channels} is not supported: 1 (mono) and 2 (stereo) are"
        ))),
    }
}

/// Converts mono `i16` for callers that do not need samples: bytes stay bytes.
pub(crate) fn raw<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<Raw<'a, 'py>> {
    match object.cast::<PyBytes>() {
        Ok(bytes) if bytes.as_bytes().len() % 2 == 1 => Err(audio_error(Error::OddBytes {
            bytes: bytes.as_bytes().len(),
        })),
        Ok(bytes) => Ok(Raw::Bytes(bytes)),
        Err(_) => mono(object).map(Raw::Samples),
    }
}

/// Converts mono `i16` from an array of shape `(n,)` or `(1, n)`, or little-endian bytes.
pub(crate) fn mono<'py>(object: &Bound<'py, PyAny>) -> PyResult<Samples<'py, i16>> {
    // The usual case first.
    if let Ok(array) = object.cast::<PyArray1<i16>>() {
        return row(array);
    }
    match pcm(object)? {
        Pcm::Int16(Channels::Row(samples)) => Ok(samples),
        Pcm::Int16(Channels::Planes(_)) => Err(AudioError::new_err(
            "mono PCM has the shape (n,) or (1, n), got two channels: Resampler and InputStream \
             make one of them",
        )),
        Pcm::Float32(_) => Err(AudioError::new_err(
            "int16 PCM is needed, got float32: convert it; Resampler and InputStream take both",
        )),
    }
}

/// Converts PCM from an array or from little-endian 16-bit bytes.
///
/// The array is `int16` or `float32`, of shape `(n,)`, `(1, n)` or `(2, n)`.
pub(crate) fn pcm<'py>(object: &Bound<'py, PyAny>) -> PyResult<Pcm<'py>> {
    // The usual case first.
    if let Ok(array) = object.cast::<PyArray1<i16>>() {
        return Ok(Pcm::Int16(Channels::Row(row(array)?)));
    }
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        if let Some(channels) = channels(array)? {
            return Ok(Pcm::Int16(channels));
        }
        if let Some(channels) = channels(array)? {
            return Ok(Pcm::Float32(channels));
        }
        return Err(AudioError::new_err(format!(
            "PCM is an array of int16 or float32, got {}: convert it with the scale you mean",
            array.dtype()
        )));
    }
    let mut samples = Vec::new();
    if let Ok(bytes) = object.cast::<PyBytes>() {
        pcm::from_bytes(bytes.as_bytes(), &mut samples)
    } else if let Ok(bytes) = object.cast::<PyByteArray>() {
        pcm::from_bytes(&bytes.to_vec(), &mut samples)
    } else if object.is_instance_of::<PyMemoryView>() {
        let bytes = object.call_method0("tobytes")?;
        pcm::from_bytes(bytes.cast::<PyBytes>()?.as_bytes(), &mut samples)
    } else {
        return Err(AudioError::new_err(format!(
            "PCM is a numpy array or little-endian 16-bit bytes, got {}",
            object.get_type().name()?
        )));
    }
    .map_err(audio_error)?;
    Ok(Pcm::Int16(Channels::Row(Samples::Owned(samples))))
}

/// Makes an array with a copy of `samples`.
pub(crate) fn to_array<'py, T: Element>(py: Python<'py>, samples: &[T]) -> Bound<'py, PyArray1<T>> {
    PyArray1::from_slice(py, samples)
}

/// Returns the channels of an array of `T`; None if its elements have another type.
fn channels<'py, T: Element + Copy>(
    array: &Bound<'py, PyUntypedArray>,
) -> PyResult<Option<Channels<'py, T>>> {
    if !array.dtype().is_equiv_to(&T::get_dtype(array.py())) {
        return Ok(None);
    }
    if let Ok(array) = array.cast::<PyArray1<T>>() {
        return row(array).map(|samples| Some(Channels::Row(samples)));
    }
    if let Ok(array) = array.cast::<PyArray2<T>>() {
        let samples = in_order(array)?.to_vec()?;
        match array.shape()[0] {
            1 => return Ok(Some(Channels::Row(Samples::Owned(samples)))),
            2 => return Ok(Some(Channels::Planes(Planes(samples)))),
            _ => {}
        }
    }
    Err(AudioError::new_err(format!(
        "PCM has the shape (n,), (1, n) or (2, n), got {:?}: pass (n, 2) arrays transposed",
        array.shape()
    )))
}

/// Returns the samples of an array of shape `(n,)`, borrowed if they are contiguous.
fn row<'py, T: Element + Copy>(array: &Bound<'py, PyArray1<T>>) -> PyResult<Samples<'py, T>> {
    in_order(array).map(Samples::Borrowed)
}

/// Borrows an array whose elements are contiguous and aligned for `T`; copies any other one.
///
/// The copy is numpy's: Rust must not even point to an unaligned element, and a view of `ndarray`
/// counts its strides in whole elements, which does not hold for fields of packed records.
fn in_order<'py, T: Element, D: Dimension>(
    array: &Bound<'py, PyArray<T, D>>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    let samples = array.try_readonly()?;
    if array.is_aligned() && array.is_c_contiguous() {
        return Ok(samples);
    }
    let copy = PyArray::zeros(array.py(), array.dims(), false);
    array.copy_to(&copy)?;
    Ok(copy.try_readonly()?)
}
