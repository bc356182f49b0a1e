//! `Playback`, `PlaybackStats`, `TurnStats`.

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use voice_audio::{NextFrame, PlaybackOptions, PlaybackState, PushOutcome, TurnProgress, base64};

use crate::base64::text;
use crate::convert::{AudioError, LONG, audio_error, milliseconds, mono, rate, to_array};
use crate::echo::EchoReference;
use crate::state::State;

#[pyclass(frozen, get_all, module = "getstream.plugins.gemini._core")]
pub(crate) struct PlaybackStats {
    pushed: u64,
    played: u64,
    dropped: u64,
    overflowed: u64,
    queued: u64,
    underruns: u64,
    concealed: u64,
    frames: u64,
    prefill_ms: u32,
}

#[pymethods]
impl PlaybackStats {
    fn __repr__(&self) -> String {
        format!(
            "PlaybackStats(pushed={}, played={}, dropped={}, overflowed={}, queued={}, \
             underruns={}, concealed={}, frames={}, prefill_ms={})",
            self.pushed,
            self.played,
            self.dropped,
            self.overflowed,
            self.queued,
            self.underruns,
            self.concealed,
            self.frames,
            self.prefill_ms
        )
    }
}

#[pyclass(frozen, get_all, module = "getstream.plugins.gemini._core")]
pub(crate) struct TurnStats {
    turn: u64,
    pushed: u64,
    played: u64,
    dropped: u64,
    queued: u64,
    underruns: u32,
    ended: bool,
    cut: bool,
    finished: bool,
}

#[pymethods]
impl TurnStats {
    fn __repr__(&self) -> String {
        let title = |flag| if flag { "True" } else { "False" };
        format!(
            "TurnStats(turn={}, pushed={}, played={}, dropped={}, queued={}, underruns={}, \
             ended={}, cut={}, finished={})",
            self.turn,
            self.pushed,
            self.played,
            self.dropped,
            self.queued,
            self.underruns,
            title(self.ended),
            title(self.cut),
            title(self.finished)
        )
    }
}

/// One popped frame: its bytes, whether it sounds, what the next one would be, and the progress.
type Popped<'py> = (Bound<'py, PyBytes>, bool, &'static str, Bound<'py, PyTuple>);

struct Inner {
    playback: voice_audio::Playback,
    frame: Vec<i16>,
    progress: Vec<TurnProgress>,
}

impl Inner {
    fn push(&mut self, pcm: &[i16], turn: u64, at: Option<f64>) -> PyResult<PushOutcome> {
        match at {
            Some(at) => self.playback.push_at(pcm, turn, at).map_err(audio_error),
            None => Ok(self.playback.push(pcm, turn)),
        }
    }

    /// The turns that have begun or ended, as pairs of a number and `True` for those that ended.
    fn take_progress<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.playback.take_progress(&mut self.progress);
        let pairs = self.progress.drain(..).map(|progress| match progress {
            TurnProgress::Started(turn) => (turn, false),
            TurnProgress::Finished(turn) => (turn, true),
        });
        match pairs.len() {
            0 => Ok(PyTuple::empty(py)),
            _ => PyTuple::new(py, pairs.collect::<Vec<_>>()),
        }
    }

    fn next_frame(&self) -> &'static str {
        match self.playback.next_frame() {
            NextFrame::Silent => "silent",
            NextFrame::Starved => "starved",
            NextFrame::Sound => "sound",
        }
    }
}

/// The lock of a playback is taken before that of its reference, which takes no other.
#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Playback {
    options: PlaybackOptions,
    echo: Option<Py<EchoReference>>,
    state: State<Inner>,
}

#[pymethods]
impl Playback {
    #[new]
    #[pyo3(signature = (
        input_rate=24000,
        output_rate=48000,
        *,
        capacity_ms=1_800_000,
        prefill_ms=60,
        max_prefill_ms=240,
        patience_ms=300,
        fade_ms=5,
        echo=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        input_rate: i64,
        output_rate: i64,
        capacity_ms: i64,
        prefill_ms: i64,
        max_prefill_ms: i64,
        patience_ms: i64,
        fade_ms: i64,
        echo: Option<Py<EchoReference>>,
    ) -> PyResult<Self> {
        let options = PlaybackOptions {
            input_rate: rate(input_rate)?,
            output_rate: rate(output_rate)?,
            capacity_ms: milliseconds("capacity_ms", capacity_ms)?,
            prefill_ms: milliseconds("prefill_ms", prefill_ms)?,
            max_prefill_ms: milliseconds("max_prefill_ms", max_prefill_ms)?,
            patience_ms: milliseconds("patience_ms", patience_ms)?,
            fade_ms: milliseconds("fade_ms", fade_ms)?,
        };
        let playback = voice_audio::Playback::new(options).map_err(audio_error)?;
        if let Some(echo) = &echo
            && echo.get().sample_rate() != options.output_rate
        {
            return Err(AudioError::new_err(format!(
                "output_rate={} differs from the echo reference's sample_rate={}: make both equal",
                options.output_rate,
                echo.get().sample_rate()
            )));
        }
        let frame = vec![0; playback.frame_len()];
        Ok(Self {
            options,
            echo,
            state: State::new(Inner {
                playback,
                frame,
                progress: Vec::new(),
            }),
        })
    }

    #[pyo3(signature = (pcm, turn, at=None))]
    fn push(
        &self,
        py: Python<'_>,
        pcm: &Bound<'_, PyAny>,
        turn: u64,
        at: Option<f64>,
    ) -> PyResult<usize> {
        mono(pcm)?.lend(|pcm, long| {
            let push = |inner: &mut Inner| inner.push(pcm, turn, at);
            Ok(self.state.run(py, long, push)?.accepted)
        })
    }

    #[pyo3(signature = (text, turn, at=None))]
    fn push_base64(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        turn: u64,
        at: Option<f64>,
    ) -> PyResult<usize> {
        let text = self::text(text)?;
        let text = text.as_bytes();
        let mut pcm = Vec::with_capacity(text.len() * 3 / 8 + 1);
        base64::decode_pcm(text, &mut pcm).map_err(audio_error)?;
        let long = pcm.len() > LONG;
        let push = |inner: &mut Inner| inner.push(&pcm, turn, at);
        Ok(self.state.run(py, long, push)?.accepted)
    }

    fn end_turn(&self, py: Python<'_>, turn: u64) {
        self.state.lock(py).playback.end_turn(turn);
    }

    fn pop_frame<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i16>> {
        let inner = &mut *self.state.lock(py);
        inner.playback.pop_frame(&mut inner.frame);
        to_array(py, &inner.frame)
    }

    #[pyo3(signature = (at, under=None))]
    fn pop<'py>(&self, py: Python<'py>, at: f64, under: Option<&[u8]>) -> PyResult<Popped<'py>> {
        let inner = &mut *self.state.lock(py);
        if let Some(under) = under
            && under.len() != 2 * inner.frame.len()
        {
            return Err(AudioError::new_err(format!(
                "under must be a frame of {} bytes, not {}",
                2 * inner.frame.len(),
                under.len()
            )));
        }
        let mut reference = self.echo.as_ref().map(|echo| echo.get().state.lock(py));
        if let Some(reference) = &mut reference {
            // A time that is none is refused, while nothing has been popped.
            reference.push(&[], at).map_err(audio_error)?;
        }
        inner.playback.pass_time(at).map_err(audio_error)?;
        let sounds = inner.playback.audible() || under.is_some();
        let popped = inner.playback.pop_frame_at(&mut inner.frame, at);
        popped.map_err(audio_error)?;
        for (sample, pair) in inner
            .frame
            .iter_mut()
            .zip(under.unwrap_or_default().chunks_exact(2))
        {
            *sample = sample.saturating_add(i16::from_ne_bytes([pair[0], pair[1]]));
        }
        if let Some(reference) = &mut reference {
            reference.push(&inner.frame, at).map_err(audio_error)?;
        }
        drop(reference);
        let bytes = PyBytes::new_with(py, 2 * inner.frame.len(), |bytes| {
            for (pair, sample) in bytes.chunks_exact_mut(2).zip(&inner.frame) {
                pair.copy_from_slice(&sample.to_ne_bytes());
            }
            Ok(())
        })?;
        let progress = inner.take_progress(py)?;
        Ok((bytes, sounds, inner.next_frame(), progress))
    }

    fn take_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.state.lock(py).take_progress(py)
    }

    fn pass_time(&self, py: Python<'_>, at: f64) -> PyResult<()> {
        let passed = self.state.lock(py).playback.pass_time(at);
        passed.map_err(audio_error)
    }

    fn begin(&self, py: Python<'_>) {
        self.state.lock(py).playback.begin();
    }

    fn pause(&self, py: Python<'_>) {
        self.state.lock(py).playback.pause();
    }

    fn resume(&self, py: Python<'_>) {
        self.state.lock(py).playback.resume();
    }

    fn fade_in(&self, py: Python<'_>) {
        self.state.lock(py).playback.fade_in();
    }

    fn duck(&self, py: Python<'_>, db: f32) -> PyResult<()> {
        self.state.lock(py).playback.duck(db).map_err(audio_error)
    }

    fn flush(&self, py: Python<'_>) -> usize {
        self.state.lock(py).playback.flush()
    }

    fn clear(&self, py: Python<'_>) -> usize {
        self.state.lock(py).playback.clear()
    }

    fn flush_turn(&self, py: Python<'_>, turn: u64) -> usize {
        self.state.lock(py).playback.flush_turn(turn)
    }

    fn played_ms(&self, py: Python<'_>, turn: u64) -> f64 {
        self.state.lock(py).playback.played_ms(turn)
    }

    fn turn_stats(&self, py: Python<'_>, turn: u64) -> Option<TurnStats> {
        let stats = self.state.lock(py).playback.turn_stats(turn)?;
        Some(TurnStats {
            turn: stats.turn,
            pushed: stats.pushed,
            played: stats.played,
            dropped: stats.dropped,
            queued: stats.queued,
            underruns: stats.underruns,
            ended: stats.ended,
            cut: stats.cut,
            finished: stats.finished,
        })
    }

    fn stats(&self, py: Python<'_>) -> PlaybackStats {
        let stats = self.state.lock(py).playback.stats();
        PlaybackStats {
            pushed: stats.pushed,
            played: stats.played,
            dropped: stats.dropped,
            overflowed: stats.overflowed,
            queued: stats.queued,
            underruns: stats.underruns,
            concealed: stats.concealed,
            frames: stats.frames,
            prefill_ms: stats.prefill_ms,
        }
    }

    #[getter]
    fn level_ms(&self, py: Python<'_>) -> f64 {
        self.state.lock(py).playback.level_ms()
    }

    #[getter]
    fn active_turn(&self, py: Python<'_>) -> Option<u64> {
        self.state.lock(py).playback.active_turn()
    }

    #[getter]
    fn state(&self, py: Python<'_>) -> &'static str {
        match self.state.lock(py).playback.state() {
            PlaybackState::Idle => "idle",
            PlaybackState::Buffering => "buffering",
            PlaybackState::Playing => "playing",
            PlaybackState::Paused => "paused",
        }
    }

    #[getter]
    fn next_frame(&self, py: Python<'_>) -> &'static str {
        self.state.lock(py).next_frame()
    }

    #[getter]
    fn starts_at(&self, py: Python<'_>) -> Option<f64> {
        self.state.lock(py).playback.starts_at()
    }

    #[getter]
    fn audible(&self, py: Python<'_>) -> bool {
        self.state.lock(py).playback.audible()
    }

    #[getter]
    fn input_rate(&self) -> u32 {
        self.options.input_rate
    }

    #[getter]
    fn output_rate(&self) -> u32 {
        self.options.output_rate
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!(
            "<Playback {} to {} Hz, {}, {:.0} ms queued>",
            self.options.input_rate,
            self.options.output_rate,
            self.state(py),
            self.level_ms(py)
        )
    }
}
