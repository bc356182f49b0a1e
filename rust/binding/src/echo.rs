//! Python class `EchoReference`.

use pyo3::prelude::*;

use crate::convert::{audio_error, milliseconds, mono, rate};
use crate::state::State;

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct EchoReference {
    sample_rate: u32,
    max_delay_ms: u32,
    pub(crate) state: State<voice_audio::EchoReference>,
}

#[pymethods]
impl EchoReference {
    #[new]
    #[pyo3(signature = (sample_rate=48000, *, max_delay_ms=1000))]
    fn new(sample_rate: i64, max_delay_ms: i64) -> PyResult<Self> {
        let sample_rate = rate(sample_rate)?;
        let max_delay_ms = milliseconds("max_delay_ms", max_delay_ms)?;
        let inner =
            voice_audio::EchoReference::new(sample_rate, max_delay_ms).map_err(audio_error)?;
        Ok(Self {
            sample_rate,
            max_delay_ms,
            state: State::new(inner),
        })
    }

    fn push(&self, py: Python<'_>, pcm: &Bound<'_, PyAny>, at: f64) -> PyResult<()> {
        mono(pcm)?.lend(|pcm, long| {
            self.state
                .run(py, long, |reference| reference.push(pcm, at))
                .map_err(audio_error)
        })
    }

    #[getter]
    pub(crate) fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    #[getter]
    fn max_delay_ms(&self) -> u32 {
        self.max_delay_ms
    }

    fn __repr__(&self) -> String {
        format!(
            "EchoReference({}, max_delay_ms={})",
            self.sample_rate, self.max_delay_ms
        )
    }
}
