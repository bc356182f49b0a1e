//! Python class `InputStream`.

use numpy::{Element, PyArray1};
use pyo3::prelude::*;
use pyo3::types::PyList;
use voice_audio::pcm::Sample;
use voice_audio::{Error, VadEvent};

use crate::convert::{
    AudioError, Channels, Pcm, audio_error, milliseconds, pcm, rate, to_array, two_channels,
};
use crate::echo::EchoReference;
use crate::state::State;
use crate::vad::{options, to_list};

/// Longest silence of one call, in milliseconds: a longer gap is the end of a stream.
const LONGEST_SILENCE_MS: u32 = 600_000;

/// Reference of the echo that a push may contain, and its time of arrival.
///
/// The lock of a stream is taken before that of a reference, and a reference takes no other.
type Arrival<'a> = Option<(&'a EchoReference, f64)>;

type Output<'py> = (Bound<'py, PyArray1<i16>>, Bound<'py, PyList>);

#[derive(Default)]
struct Buffers {
    wire: Vec<i16>,
    events: Vec<VadEvent>,
}

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct InputStream {
    wire_rate: u32,
    echo: Option<Py<EchoReference>>,
    state: State<(voice_audio::InputStream, Buffers)>,
}

#[pymethods]
impl InputStream {
    #[new]
    #[pyo3(signature = (wire_rate=16000, *, threshold=0.5, onset_ms=16, hangover_ms=200, echo=None))]
    fn new(
        wire_rate: i64,
        threshold: f32,
        onset_ms: i64,
        hangover_ms: i64,
        echo: Option<Py<EchoReference>>,
    ) -> PyResult<Self> {
        let wire_rate = rate(wire_rate)?;
        let options = options(threshold, onset_ms, hangover_ms)?;
        let inner = voice_audio::InputStream::new(wire_rate, options).map_err(audio_error)?;
        Ok(Self {
            wire_rate,
            echo,
            state: State::new((inner, Buffers::default())),
        })
    }

    #[pyo3(signature = (samples, sample_rate, channels=1, at=None))]
    fn push<'py>(
        &self,
        py: Python<'py>,
        samples: &Bound<'py, PyAny>,
        sample_rate: i64,
        channels: i64,
        at: Option<f64>,
    ) -> PyResult<Output<'py>> {
        let sample_rate = rate(sample_rate)?;
        let arrival = self.echo.as_ref().map(Py::get).zip(at);
        match pcm(samples)? {
            Pcm::Int16(pcm) => self.push_channels(py, pcm, sample_rate, channels, arrival),
            Pcm::Float32(pcm) => self.push_channels(py, pcm, sample_rate, channels, arrival),
        }
    }

    fn silence<'py>(&self, py: Python<'py>, ms: i64) -> PyResult<Output<'py>> {
        let ms = milliseconds("ms", ms)?;
        if ms > LONGEST_SILENCE_MS {
            return Err(AudioError::new_err(format!(
                "ms={ms} is not usable: give at most {LONGEST_SILENCE_MS}"
            )));
        }
        self.call(py, ms > 500, None, |stream, out| {
            stream.silence(ms, &mut out.wire, &mut out.events);
            Ok(())
        })
    }

    #[getter]
    fn wire_rate(&self) -> u32 {
        self.wire_rate
    }

    #[getter]
    fn input_rate(&self, py: Python<'_>) -> Option<u32> {
        self.state.lock(py).0.input_rate()
    }

    #[getter]
    fn delay(&self, py: Python<'_>) -> usize {
        self.state.lock(py).0.delay()
    }

    #[getter]
    fn probability(&self, py: Python<'_>) -> f32 {
        self.state.lock(py).0.probability()
    }

    #[getter]
    fn speaking(&self, py: Python<'_>) -> bool {
        self.state.lock(py).0.speaking()
    }

    #[getter]
    fn starting(&self, py: Python<'_>) -> bool {
        self.state.lock(py).0.starting()
    }

    #[getter]
    fn echo(&self, py: Python<'_>) -> bool {
        self.state.lock(py).0.echo()
    }

    #[getter]
    fn echo_delay_ms(&self, py: Python<'_>) -> Option<f64> {
        self.state.lock(py).0.echo_delay_ms()
    }

    #[getter]
    fn echo_level_db(&self, py: Python<'_>) -> Option<f32> {
        self.state.lock(py).0.echo_level_db()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        match self.input_rate(py) {
            Some(rate) => format!("<InputStream {rate} to {} Hz>", self.wire_rate),
            None => format!("<InputStream to {} Hz>", self.wire_rate),
        }
    }
}

impl InputStream {
    fn push_channels<'py, T: Sample + Element + Sync>(
        &self,
        py: Python<'py>,
        pcm: Channels<'py, T>,
        sample_rate: u32,
        channels: i64,
        arrival: Arrival<'_>,
    ) -> PyResult<Output<'py>> {
        match (pcm, two_channels(channels)?) {
            (Channels::Row(row), false) => row.lend(|row, long| {
                self.call(py, long, arrival, |stream, out| {
                    stream.push(row, sample_rate, &mut out.wire, &mut out.events)
                })
            }),
            (Channels::Row(row), true) => row.lend(|row, long| {
                self.call(py, long, arrival, |stream, out| {
                    stream.push_interleaved(row, sample_rate, &mut out.wire, &mut out.events)
                })
            }),
            // The shape gives the layout; `channels` may repeat it or be left at its default.
            (Channels::Planes(planes), _) => planes.lend(|left, right, long| {
                self.call(py, long, arrival, |stream, out| {
                    let Buffers { wire, events } = out;
                    stream.push_planar(left, right, sample_rate, wire, events)
                })
            }),
        }
    }

    fn call<'py>(
        &self,
        py: Python<'py>,
        long: bool,
        arrival: Arrival<'_>,
        work: impl FnOnce(&mut voice_audio::InputStream, &mut Buffers) -> Result<(), Error> + Send,
    ) -> PyResult<Output<'py>> {
        if long {
            let mut out = Buffers::default();
            let result = self.state.run(py, true, |(stream, _)| {
                if let Some((reference, at)) = arrival {
                    stream.expect_echo(&reference.state.lock_detached(), at)?;
                }
                work(stream, &mut out)
            });
            result.map_err(audio_error)?;
            return Ok((to_array(py, &out.wire), to_list(py, &out.events)?));
        }
        // The lock is released before the list is made: that may run the garbage collector, and
        // with it code that calls this object again.
        let (wire, events) = {
            let (stream, out) = &mut *self.state.lock(py);
            out.wire.clear();
            if let Some((reference, at)) = arrival {
                let reference = reference.state.lock(py);
                stream.expect_echo(&reference, at).map_err(audio_error)?;
            }
            work(stream, out).map_err(audio_error)?;
            (to_array(py, &out.wire), std::mem::take(&mut out.events))
        };
        Ok((wire, to_list(py, &events)?))
    }
}
