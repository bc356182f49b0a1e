//! Python classes `Capture`, `CaptureEvent` and `SourceStats`.

use numpy::Element;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use voice_audio::pcm::Sample;
use voice_audio::{
    Arrival, CaptureOptions, Due, Error, Samples, SourceKind, SpeechPhase, websocket,
};

use crate::base64::text_of;
use crate::convert::{
    AudioError, Channels, Pcm, audio_error, milliseconds, pcm, rate, two_channels,
};
use crate::echo::EchoReference;
use crate::state::State;
use crate::vad::options;
use crate::websocket::masking_key;

/// Speech event of a source.
#[pyclass(frozen, eq, hash, get_all, module = "getstream.plugins.gemini._core")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct CaptureEvent {
    source: u64,
    phase: &'static str,
}

#[pymethods]
impl CaptureEvent {
    fn __repr__(&self) -> String {
        format!(
            "CaptureEvent(source={}, phase='{}')",
            self.source, self.phase
        )
    }
}

fn name_of(phase: SpeechPhase) -> &'static str {
    match phase {
        SpeechPhase::Starting => "starting",
        SpeechPhase::Dismissed => "dismissed",
        SpeechPhase::Started => "started",
        SpeechPhase::Sustained => "sustained",
        SpeechPhase::Stopped => "stopped",
    }
}

/// Statistics of one source; durations in milliseconds.
#[pyclass(frozen, get_all, module = "getstream.plugins.gemini._core")]
pub(crate) struct SourceStats {
    pushed_ms: f64,
    played_ms: f64,
    skipped_ms: f64,
    inserted_ms: f64,
    lost_ms: f64,
    duplicate_ms: f64,
    late_ms: f64,
    overflow_ms: f64,
    underrun_ms: f64,
    unsent_ms: f64,
    suppressed_ms: f64,
    queued_ms: f64,
    delay_ms: f64,
    depth_ms: f64,
    abandoned: u64,
    rejected_timestamps: u64,
}

#[pymethods]
impl SourceStats {
    fn __repr__(&self) -> String {
        format!(
            "SourceStats(pushed_ms={:.1}, played_ms={:.1}, delay_ms={:.1}, depth_ms={:.1}, \
             lost_ms={:.1}, underrun_ms={:.1}, suppressed_ms={:.1}, ...)",
            self.pushed_ms,
            self.played_ms,
            self.delay_ms,
            self.depth_ms,
            self.lost_ms,
            self.underrun_ms,
            self.suppressed_ms
        )
    }
}

/// Text before and after the base64 of each frame; None gives frames as bytes of PCM.
type Envelope = Option<(Vec<u8>, Vec<u8>)>;

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Capture {
    wire_rate: u32,
    envelope: Envelope,
    /// True if frames are framed and masked for a websocket.
    websocket: bool,
    echo: Option<Py<EchoReference>>,
    state: State<(voice_audio::Capture, Due)>,
}

/// Circumstances of a packet's arrival, as given by Python.
struct Packet {
    source: u64,
    sample_rate: u32,
    at: f64,
    pts: Option<f64>,
    muted: bool,
}

#[pymethods]
impl Capture {
    #[new]
    #[pyo3(signature = (
        wire_rate=16000,
        *,
        envelope=None,
        websocket=false,
        threshold=0.5,
        onset_ms=16,
        hangover_ms=200,
        sustained_ms=600,
        tail_ms=2000,
        active_speaker=false,
        preroll_ms=300,
        echo=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        wire_rate: i64,
        envelope: Envelope,
        websocket: bool,
        threshold: f32,
        onset_ms: i64,
        hangover_ms: i64,
        sustained_ms: i64,
        tail_ms: i64,
        active_speaker: bool,
        preroll_ms: i64,
        echo: Option<Py<EchoReference>>,
    ) -> PyResult<Self> {
        let wire_rate = rate(wire_rate)?;
        let options = CaptureOptions {
            vad: options(threshold, onset_ms, hangover_ms)?,
            sustained_ms: milliseconds("sustained_ms", sustained_ms)?,
            tail_ms: milliseconds("tail_ms", tail_ms)?,
            active_speaker,
            preroll_ms: milliseconds("preroll_ms", preroll_ms)?,
            ..CaptureOptions::default()
        };
        let inner = voice_audio::Capture::new(wire_rate, options).map_err(audio_error)?;
        Ok(Self {
            wire_rate,
            envelope,
            websocket,
            echo,
            state: State::new((inner, Due::default())),
        })
    }

    #[pyo3(signature = (source, samples, sample_rate, channels, at, pts=None, muted=false))]
    #[allow(clippy::too_many_arguments, reason = "one call for each packet")]
    fn push<'py>(
        &self,
        py: Python<'py>,
        source: u64,
        samples: &Bound<'py, PyAny>,
        sample_rate: i64,
        channels: i64,
        at: f64,
        pts: Option<f64>,
        muted: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let packet = Packet {
            source,
            sample_rate: rate(sample_rate)?,
            at,
            pts,
            muted,
        };
        match pcm(samples)? {
            Pcm::Int16(pcm) => self.push_channels(py, pcm, channels, packet),
            Pcm::Float32(pcm) => self.push_channels(py, pcm, channels, packet),
        }
    }

    fn advance<'py>(&self, py: Python<'py>, at: f64) -> PyResult<Bound<'py, PyTuple>> {
        self.due(py, false, |capture, due| capture.advance(at, due))
    }

    fn remove<'py>(&self, py: Python<'py>, source: u64) -> PyResult<Bound<'py, PyTuple>> {
        self.due(py, false, |capture, due| {
            capture.remove(source, due);
            Ok(())
        })
    }

    fn open(&self, py: Python<'_>, source: u64, kind: &str) -> PyResult<()> {
        let kind = match kind {
            "voice" => SourceKind::Voice,
            "sound" => SourceKind::Sound,
            _ => {
                return Err(AudioError::new_err(format!(
                    "kind={kind:?} is not usable: give 'voice' or 'sound'"
                )));
            }
        };
        let (capture, _) = &mut *self.state.lock(py);
        capture.open(source, kind).map_err(audio_error)
    }

    fn stats(&self, py: Python<'_>, source: u64) -> Option<SourceStats> {
        let stats = self.state.lock(py).0.stats(source)?;
        let per_ms = f64::from(self.wire_rate) / 1e3;
        let ms = |samples: u64| samples as f64 / per_ms;
        Some(SourceStats {
            pushed_ms: ms(stats.pushed),
            played_ms: ms(stats.played),
            skipped_ms: ms(stats.skipped),
            inserted_ms: ms(stats.inserted),
            lost_ms: ms(stats.lost),
            duplicate_ms: ms(stats.duplicate),
            late_ms: ms(stats.late),
            overflow_ms: ms(stats.overflow),
            underrun_ms: ms(stats.underrun),
            unsent_ms: ms(stats.unsent),
            suppressed_ms: ms(stats.suppressed),
            queued_ms: ms(stats.queued),
            delay_ms: stats.delay as f64 / per_ms,
            depth_ms: stats.depth as f64 / per_ms,
            abandoned: stats.abandoned,
            rejected_timestamps: stats.rejected_timestamps,
        })
    }

    fn echo_delay_ms(&self, py: Python<'_>, source: u64) -> Option<f64> {
        self.state.lock(py).0.echo_delay_ms(source)
    }

    #[getter]
    fn sources(&self, py: Python<'_>) -> Vec<u64> {
        self.state.lock(py).0.sources().collect()
    }

    #[getter]
    fn is_open(&self, py: Python<'_>) -> bool {
        self.state.lock(py).0.is_open()
    }

    #[getter]
    fn behind_ms(&self, py: Python<'_>) -> f64 {
        self.state.lock(py).0.behind_ms()
    }

    #[getter]
    fn wire_rate(&self) -> u32 {
        self.wire_rate
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!(
            "<Capture {} Hz, {} sources>",
            self.wire_rate,
            self.state.lock(py).0.sources().count()
        )
    }
}

impl Capture {
    fn push_channels<'py, T: Sample + Element + Sync>(
        &self,
        py: Python<'py>,
        pcm: Channels<'py, T>,
        channels: i64,
        packet: Packet,
    ) -> PyResult<Bound<'py, PyTuple>> {
        match (pcm, two_channels(channels)?) {
            (Channels::Row(row), false) => {
                row.lend(|row, long| self.take(py, long, packet, Samples::Mono(row)))
            }
            (Channels::Row(row), true) => {
                row.lend(|row, long| self.take(py, long, packet, Samples::Interleaved(row)))
            }
            // The shape gives the layout; `channels` may repeat it or be left at its default.
            (Channels::Planes(planes), _) => planes.lend(|left, right, long| {
                self.take(py, long, packet, Samples::Planar(left, right))
            }),
        }
    }

    /// Pushes one packet.
    ///
    /// The lock of a capture is taken before that of the reference, and a reference takes no other.
    fn take<'py, T: Sample + Sync>(
        &self,
        py: Python<'py>,
        long: bool,
        packet: Packet,
        samples: Samples<'_, T>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let Packet {
            source,
            sample_rate,
            at,
            pts,
            muted,
        } = packet;
        let push = |capture: &mut voice_audio::Capture, echo: Option<&_>, due: &mut Due| {
            let arrival = Arrival {
                at,
                pts,
                muted,
                echo,
            };
            capture.push(source, samples, sample_rate, arrival, due)
        };
        let echo = self.echo.as_ref().map(Py::get);
        self.due(py, long, |capture, due| {
            // The holder of this lock needs no GIL to release it.
            let echo = echo.map(|echo| echo.state.lock_detached());
            push(capture, echo.as_deref(), due)
        })
    }

    /// Runs `work`, and returns the due output.
    ///
    /// Output that was due before an error is kept for the next call. A long call releases the GIL.
    fn due<'py>(
        &self,
        py: Python<'py>,
        long: bool,
        work: impl FnOnce(&mut voice_audio::Capture, &mut Due) -> Result<(), Error> + Send,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let result = self.state.run(py, long, |(capture, due)| {
            work(capture, due)?;
            Ok((std::mem::take(due), capture.next_advance()))
        });
        // The lock is released while objects are made: that may run the garbage collector, and with
        // it code that calls this object again.
        let (mut due, next) = result.map_err(audio_error)?;
        let tuple = self.to_tuple(py, &due, next);
        due.clear();
        self.state.run(py, false, |(_, buffer)| {
            if *buffer == Due::default() {
                *buffer = due; // for its memory
            }
        });
        tuple
    }

    fn to_tuple<'py>(
        &self,
        py: Python<'py>,
        due: &Due,
        next_advance: Option<f64>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let length = self.wire_rate as usize / 50;
        let frames = PyList::empty(py);
        for (frame, &silence) in due.wire.chunks_exact(length).zip(&due.silence) {
            frames.append((self.message(py, frame)?, silence))?;
        }
        let events = PyList::empty(py);
        for event in &due.events {
            events.append(CaptureEvent {
                source: event.source,
                phase: name_of(event.phase),
            })?;
        }
        let suppressed_ms = due.suppressed as f64 * 1e3 / f64::from(self.wire_rate);
        (frames, events, suppressed_ms, next_advance, due.ended).into_pyobject(py)
    }

    /// Converts a wire frame to the chosen output format.
    fn message<'py>(&self, py: Python<'py>, frame: &[i16]) -> PyResult<Bound<'py, PyBytes>> {
        let payload = match &self.envelope {
            Some((prefix, suffix)) => text_of(frame, prefix, suffix),
            None => frame.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        if !self.websocket {
            return Ok(PyBytes::new(py, &payload));
        }
        let mut message = Vec::with_capacity(websocket::MAX_HEADER + payload.len());
        websocket::text_frame(&payload, masking_key()?, &mut message);
        Ok(PyBytes::new(py, &message))
    }
}
