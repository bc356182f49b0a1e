//! Python classes `Vad`, `SpeechStarted` and `SpeechStopped`.

use pyo3::prelude::*;
use pyo3::types::PyList;
use voice_audio::{VadEvent, VadOptions};

use crate::convert::{audio_error, milliseconds, mono, rate};
use crate::state::State;

#[pyclass(frozen, eq, hash, get_all, module = "getstream.plugins.gemini._core")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct SpeechStarted {
    sample: u64,
}

#[pymethods]
impl SpeechStarted {
    #[new]
    fn new(sample: u64) -> Self {
        Self { sample }
    }

    fn __repr__(&self) -> String {
        format!("SpeechStarted(sample={})", self.sample)
    }
}

#[pyclass(frozen, eq, hash, get_all, module = "getstream.plugins.gemini._core")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct SpeechStopped {
    sample: u64,
}

#[pymethods]
impl SpeechStopped {
    #[new]
    fn new(sample: u64) -> Self {
        Self { sample }
    }

    fn __repr__(&self) -> String {
        format!("SpeechStopped(sample={})", self.sample)
    }
}

/// Converts options given by Python.
pub(crate) fn options(threshold: f32, onset_ms: i64, hangover_ms: i64) -> PyResult<VadOptions> {
    Ok(VadOptions::default()
        .with_threshold(threshold)
        .with_onset_ms(milliseconds("onset_ms", onset_ms)?)
        .with_hangover_ms(milliseconds("hangover_ms", hangover_ms)?))
}

/// Makes a list of event objects.
pub(crate) fn to_list<'py>(py: Python<'py>, events: &[VadEvent]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for event in events {
        match *event {
            VadEvent::SpeechStarted { sample } => list.append(SpeechStarted { sample })?,
            VadEvent::SpeechStopped { sample } => list.append(SpeechStopped { sample })?,
            _ => unreachable!("of the same workspace: every event has its class here"),
        }
    }
    Ok(list)
}

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Vad {
    sample_rate: u32,
    options: VadOptions,
    state: State<voice_audio::Vad>,
}

#[pymethods]
impl Vad {
    #[new]
    #[pyo3(signature = (sample_rate=16000, *, threshold=0.5, onset_ms=16, hangover_ms=200))]
    fn new(sample_rate: i64, threshold: f32, onset_ms: i64, hangover_ms: i64) -> PyResult<Self> {
        let sample_rate = rate(sample_rate)?;
        let options = options(threshold, onset_ms, hangover_ms)?;
        let inner = voice_audio::Vad::new(sample_rate, options).map_err(audio_error)?;
        Ok(Self {
            sample_rate,
            options,
            state: State::new(inner),
        })
    }

    fn push<'py>(&self, py: Python<'py>, pcm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let mut events = Vec::new();
        mono(pcm)?.lend(|pcm, long| {
            self.state.run(py, long, |vad| vad.push(pcm, &mut events));
        });
        to_list(py, &events)
    }

    fn reset(&self, py: Python<'_>) {
        self.state.lock(py).reset();
    }

    #[getter]
    fn probability(&self, py: Python<'_>) -> f32 {
        self.state.lock(py).probability()
    }

    #[getter]
    fn speaking(&self, py: Python<'_>) -> bool {
        self.state.lock(py).speaking()
    }

    #[getter]
    fn starting(&self, py: Python<'_>) -> bool {
        self.state.lock(py).starting()
    }

    #[getter]
    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    #[getter]
    fn threshold(&self) -> f32 {
        self.options.threshold
    }

    #[getter]
    fn onset_ms(&self) -> u32 {
        self.options.onset_ms
    }

    #[getter]
    fn hangover_ms(&self) -> u32 {
        self.options.hangover_ms
    }

    fn __repr__(&self) -> String {
        let VadOptions {
            threshold,
            onset_ms,
            hangover_ms,
            ..
        } = self.options;
        format!(
            "Vad({}, threshold={threshold}, onset_ms={onset_ms}, hangover_ms={hangover_ms})",
            self.sample_rate
        )
    }
}
