//! `Resampler`.

use numpy::PyArray1;
use pyo3::prelude::*;

use crate::convert::{audio_error, mono, rate, to_array};
use crate::state::State;

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Resampler {
    in_rate: u32,
    out_rate: u32,
    delay: f64,
    state: State<(voice_audio::Resampler, Vec<i16>)>,
}

#[pymethods]
impl Resampler {
    #[new]
    fn new(in_rate: i64, out_rate: i64) -> PyResult<Self> {
        let (in_rate, out_rate) = (rate(in_rate)?, rate(out_rate)?);
        let inner = voice_audio::Resampler::new(in_rate, out_rate).map_err(audio_error)?;
        Ok(Self {
            in_rate,
            out_rate,
            delay: inner.delay(),
            state: State::new((inner, Vec::new())),
        })
    }

    fn push<'py>(
        &self,
        py: Python<'py>,
        pcm: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<i16>>> {
        mono(pcm)?.lend(|pcm, long| {
            if long {
                let mut out = Vec::new();
                self.state
                    .run(py, true, |(resampler, _)| resampler.push(pcm, &mut out));
                return Ok(to_array(py, &out));
            }
            let (resampler, out) = &mut *self.state.lock(py);
            out.clear();
            resampler.push(pcm, out);
            Ok(to_array(py, out))
        })
    }

    fn flush<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i16>> {
        let (resampler, out) = &mut *self.state.lock(py);
        out.clear();
        resampler.flush(out);
        to_array(py, out)
    }

    fn reset(&self, py: Python<'_>) {
        self.state.lock(py).0.reset();
    }

    #[getter]
    fn in_rate(&self) -> u32 {
        self.in_rate
    }

    #[getter]
    fn out_rate(&self) -> u32 {
        self.out_rate
    }

    #[getter]
    fn delay(&self) -> f64 {
        self.delay
    }

    fn __repr__(&self) -> String {
        format!("Resampler({}, {})", self.in_rate, self.out_rate)
    }
}
