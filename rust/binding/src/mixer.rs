//! `Mixer`, `MixerStats`.

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use voice_audio::MixerOptions;

use crate::base64::{NOTHING, framed};
use crate::convert::{audio_error, milliseconds, mono, rate, to_array};
use crate::state::State;

#[pyclass(frozen, get_all, module = "getstream.plugins.gemini._core")]
pub(crate) struct MixerStats {
    pushed: u64,
    mixed: u64,
    dropped: u64,
    frames: u64,
    lags: u64,
}

#[pymethods]
impl MixerStats {
    fn __repr__(&self) -> String {
        format!(
            "MixerStats(pushed={}, mixed={}, dropped={}, frames={}, lags={})",
            self.pushed, self.mixed, self.dropped, self.frames, self.lags
        )
    }
}

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Mixer {
    sample_rate: u32,
    state: State<(voice_audio::Mixer, Vec<i16>)>,
}

#[pymethods]
impl Mixer {
    #[new]
    #[pyo3(signature = (sample_rate=16000, *, max_skew_ms=60, capacity_ms=2000))]
    fn new(sample_rate: i64, max_skew_ms: i64, capacity_ms: i64) -> PyResult<Self> {
        let sample_rate = rate(sample_rate)?;
        let options = MixerOptions {
            max_skew_ms: milliseconds("max_skew_ms", max_skew_ms)?,
            capacity_ms: milliseconds("capacity_ms", capacity_ms)?,
        };
        let inner = voice_audio::Mixer::new(sample_rate, options).map_err(audio_error)?;
        let frame = vec![0; inner.frame_len()];
        Ok(Self {
            sample_rate,
            state: State::new((inner, frame)),
        })
    }

    fn push(&self, py: Python<'_>, stream: u64, pcm: &Bound<'_, PyAny>) -> PyResult<usize> {
        mono(pcm)?.lend(|pcm, long| {
            Ok(self
                .state
                .run(py, long, |(mixer, _)| mixer.push(stream, pcm)))
        })
    }

    fn pop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<i16>>> {
        let (mixer, frame) = &mut *self.state.lock(py);
        mixer.pop(frame).then(|| to_array(py, frame))
    }

    #[pyo3(
        signature = (prefix=NOTHING, suffix=NOTHING),
        text_signature = "($self, prefix=b'', suffix=b'')"
    )]
    fn pop_base64<'py>(
        &self,
        py: Python<'py>,
        prefix: &[u8],
        suffix: &[u8],
    ) -> Option<Bound<'py, PyBytes>> {
        let (mixer, frame) = &mut *self.state.lock(py);
        mixer.pop(frame).then(|| framed(py, frame, prefix, suffix))
    }

    fn level(&self, py: Python<'_>, stream: u64) -> Option<f32> {
        self.state.lock(py).0.level(stream)
    }

    fn remove(&self, py: Python<'_>, stream: u64) -> usize {
        self.state.lock(py).0.remove(stream)
    }

    fn stats(&self, py: Python<'_>) -> MixerStats {
        let stats = self.state.lock(py).0.stats();
        MixerStats {
            pushed: stats.pushed,
            mixed: stats.mixed,
            dropped: stats.dropped,
            frames: stats.frames,
            lags: stats.lags,
        }
    }

    #[getter]
    fn loudest(&self, py: Python<'_>) -> Option<u64> {
        self.state.lock(py).0.loudest()
    }

    #[getter]
    fn speaking(&self, py: Python<'_>) -> Vec<u64> {
        self.state.lock(py).0.speaking().collect()
    }

    #[getter]
    fn streams(&self, py: Python<'_>) -> usize {
        self.state.lock(py).0.streams()
    }

    #[getter]
    fn active_streams(&self, py: Python<'_>) -> usize {
        self.state.lock(py).0.active_streams()
    }

    #[getter]
    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!(
            "<Mixer {} Hz, {} streams>",
            self.sample_rate,
            self.streams(py)
        )
    }
}
