//! Python class `Mixer`.

use numpy::PyArray1;
use pyo3::prelude::*;

use crate::convert::{AudioError, audio_error, mono, rate, to_array};
use crate::state::State;

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Mixer {
    sample_rate: u32,
    state: State<(voice_audio::Mixer, Vec<i16>)>,
}

#[pymethods]
impl Mixer {
    #[new]
    #[pyo3(signature = (sample_rate=16000))]
    fn new(sample_rate: i64) -> PyResult<Self> {
        let sample_rate = rate(sample_rate)?;
        let inner = voice_audio::Mixer::new(sample_rate).map_err(audio_error)?;
        let frame = vec![0; inner.frame_len()];
        Ok(Self {
            sample_rate,
            state: State::new((inner, frame)),
        })
    }

    fn mix<'py>(
        &self,
        py: Python<'py>,
        frames: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<i16>>> {
        let frames = frames.iter().map(mono).collect::<PyResult<Vec<_>>>()?;
        let (mixer, sum) = &mut *self.state.lock(py);
        let length = mixer.frame_len();
        if let Some(wrong) = frames.iter().find(|f| f.as_slice().len() != length) {
            return Err(AudioError::new_err(format!(
                "a frame of {} samples cannot be mixed: 20 ms at {} Hz are {length} samples",
                wrong.as_slice().len(),
                self.sample_rate
            )));
        }
        for frame in &frames {
            mixer.add(frame.as_slice());
        }
        mixer.finish(sum);
        Ok(to_array(py, sum))
    }

    #[getter]
    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn __repr__(&self) -> String {
        format!("<Mixer {} Hz>", self.sample_rate)
    }
}
