//! Python class `Resampler`.

use numpy::{Element, PyArray1};
use pyo3::prelude::*;
use voice_audio::pcm::Sample;
use voice_audio::{Error, Quality, ResamplerOptions};

use crate::convert::{AudioError, Channels, Pcm, audio_error, pcm, rate, to_array, two_channels};
use crate::state::State;

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Resampler {
    in_rate: u32,
    out_rate: u32,
    quality: Quality,
    delay: usize,
    kernel: String,
    state: State<(voice_audio::Resampler, Buffers)>,
}

/// Reusable output buffers of short calls.
#[derive(Default)]
struct Buffers {
    int16: Vec<i16>,
    float32: Vec<f32>,
}

/// Sample format with an output buffer of its own.
trait Buffered: Sample + Element + Sync {
    fn buffer(buffers: &mut Buffers) -> &mut Vec<Self>;
}

impl Buffered for i16 {
    fn buffer(buffers: &mut Buffers) -> &mut Vec<Self> {
        &mut buffers.int16
    }
}

impl Buffered for f32 {
    fn buffer(buffers: &mut Buffers) -> &mut Vec<Self> {
        &mut buffers.float32
    }
}

#[pymethods]
impl Resampler {
    #[new]
    #[pyo3(signature = (in_rate, out_rate, *, quality="voice"))]
    fn new(py: Python<'_>, in_rate: i64, out_rate: i64, quality: &str) -> PyResult<Self> {
        let (in_rate, out_rate) = (rate(in_rate)?, rate(out_rate)?);
        let quality = match quality {
            "voice" => Quality::Voice,
            "music" => Quality::Music,
            _ => {
                return Err(AudioError::new_err(format!(
                    "quality={quality:?} is not known: give \"voice\" or \"music\""
                )));
            }
        };
        let options = ResamplerOptions::default().with_quality(quality);
        // The filters of a new pair of rates are designed here, which takes up to 2 s.
        let inner = py
            .detach(|| voice_audio::Resampler::with_options(in_rate, out_rate, options))
            .map_err(audio_error)?;
        Ok(Self {
            in_rate,
            out_rate,
            quality: options.quality,
            delay: inner.delay(),
            kernel: inner.kernel().to_string(),
            state: State::new((inner, Buffers::default())),
        })
    }

    #[pyo3(signature = (samples, channels=1))]
    fn push<'py>(
        &self,
        py: Python<'py>,
        samples: &Bound<'py, PyAny>,
        channels: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        match pcm(samples)? {
            Pcm::Int16(pcm) => Ok(self.push_channels(py, pcm, channels)?.into_any()),
            Pcm::Float32(pcm) => Ok(self.push_channels(py, pcm, channels)?.into_any()),
        }
    }

    #[pyo3(signature = (dtype="int16"))]
    fn flush<'py>(&self, py: Python<'py>, dtype: &str) -> PyResult<Bound<'py, PyAny>> {
        match dtype {
            "int16" => Ok(self.flush_as::<i16>(py).into_any()),
            "float32" => Ok(self.flush_as::<f32>(py).into_any()),
            _ => Err(AudioError::new_err(format!(
                "dtype={dtype:?} is not known: give \"int16\" or \"float32\""
            ))),
        }
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
    fn quality(&self) -> &'static str {
        match self.quality {
            Quality::Voice => "voice",
            Quality::Music => "music",
        }
    }

    #[getter]
    fn delay(&self) -> usize {
        self.delay
    }

    #[getter]
    fn kernel(&self) -> &str {
        &self.kernel
    }

    fn __repr__(&self) -> String {
        match self.quality {
            Quality::Voice => format!("Resampler({}, {})", self.in_rate, self.out_rate),
            Quality::Music => format!(
                "Resampler({}, {}, quality='music')",
                self.in_rate, self.out_rate
            ),
        }
    }
}

impl Resampler {
    fn push_channels<'py, T: Buffered>(
        &self,
        py: Python<'py>,
        pcm: Channels<'py, T>,
        channels: i64,
    ) -> PyResult<Bound<'py, PyArray1<T>>> {
        match (pcm, two_channels(channels)?) {
            (Channels::Row(row), false) => row.lend(|row, long| {
                self.call(py, long, |resampler, out| {
                    resampler.push(row, out);
                    Ok(())
                })
            }),
            (Channels::Row(row), true) => row.lend(|row, long| {
                self.call(py, long, |resampler, out| {
                    resampler.push_interleaved(row, out)
                })
            }),
            // The shape gives the layout; `channels` may repeat it or be left at its default.
            (Channels::Planes(planes), _) => planes.lend(|left, right, long| {
                self.call(py, long, |resampler, out| {
                    resampler.push_planar(left, right, out)
                })
            }),
        }
    }

    fn call<'py, T: Buffered>(
        &self,
        py: Python<'py>,
        long: bool,
        work: impl FnOnce(&mut voice_audio::Resampler, &mut Vec<T>) -> Result<(), Error> + Send,
    ) -> PyResult<Bound<'py, PyArray1<T>>> {
        if long {
            let mut out = Vec::new();
            self.state
                .run(py, true, |(resampler, _)| work(resampler, &mut out))
                .map_err(audio_error)?;
            return Ok(to_array(py, &out));
        }
        let (resampler, buffers) = &mut *self.state.lock(py);
        let out = T::buffer(buffers);
        out.clear();
        work(resampler, out).map_err(audio_error)?;
        Ok(to_array(py, out))
    }

    fn flush_as<'py, T: Buffered>(&self, py: Python<'py>) -> Bound<'py, PyArray1<T>> {
        let (resampler, buffers) = &mut *self.state.lock(py);
        let out = T::buffer(buffers);
        out.clear();
        resampler.flush(out);
        to_array(py, out)
    }
}
