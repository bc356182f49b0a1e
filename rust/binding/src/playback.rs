//! `Playback`, `PlaybackStats`, `TurnStats`.

use numpy::PyArray1;
use pyo3::prelude::*;
use voice_audio::{PlaybackOptions, PlaybackState, base64};

use crate::base64::text;
use crate::convert::{LONG, audio_error, milliseconds, mono, rate, to_array};
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

#[pyclass(frozen, module = "getstream.plugins.gemini._core")]
pub(crate) struct Playback {
    options: PlaybackOptions,
    state: State<(voice_audio::Playback, Vec<i16>)>,
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
        fade_ms=5,
    ))]
    fn new(
        input_rate: i64,
        output_rate: i64,
        capacity_ms: i64,
        prefill_ms: i64,
        max_prefill_ms: i64,
        fade_ms: i64,
    ) -> PyResult<Self> {
        let options = PlaybackOptions {
            input_rate: rate(input_rate)?,
            output_rate: rate(output_rate)?,
            capacity_ms: milliseconds("capacity_ms", capacity_ms)?,
            prefill_ms: milliseconds("prefill_ms", prefill_ms)?,
            max_prefill_ms: milliseconds("max_prefill_ms", max_prefill_ms)?,
            fade_ms: milliseconds("fade_ms", fade_ms)?,
        };
        let inner = voice_audio::Playback::new(options).map_err(audio_error)?;
        let frame = vec![0; inner.frame_len()];
        Ok(Self {
            options,
            state: State::new((inner, frame)),
        })
    }

    fn push(&self, py: Python<'_>, pcm: &Bound<'_, PyAny>, turn: u64) -> PyResult<usize> {
        mono(pcm)?.lend(|pcm, long| {
            let outcome = self
                .state
                .run(py, long, |(playback, _)| playback.push(pcm, turn));
            Ok(outcome.accepted)
        })
    }

    fn push_base64(&self, py: Python<'_>, text: &Bound<'_, PyAny>, turn: u64) -> PyResult<usize> {
        let text = self::text(text)?;
        let text = text.as_bytes();
        let mut pcm = Vec::with_capacity(text.len() * 3 / 8 + 1);
        base64::decode_pcm(text, &mut pcm).map_err(audio_error)?;
        let long = pcm.len() > LONG;
        let push = |(playback, _): &mut (voice_audio::Playback, _)| playback.push(&pcm, turn);
        Ok(self.state.run(py, long, push).accepted)
    }

    fn end_turn(&self, py: Python<'_>, turn: u64) {
        self.state.lock(py).0.end_turn(turn);
    }

    fn pop_frame<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i16>> {
        let (playback, frame) = &mut *self.state.lock(py);
        playback.pop_frame(frame);
        to_array(py, frame)
    }

    fn pause(&self, py: Python<'_>) {
        self.state.lock(py).0.pause();
    }

    fn resume(&self, py: Python<'_>) {
        self.state.lock(py).0.resume();
    }

    fn fade_in(&self, py: Python<'_>) {
        self.state.lock(py).0.fade_in();
    }

    fn duck(&self, py: Python<'_>, db: f32) -> PyResult<()> {
        self.state.lock(py).0.duck(db).map_err(audio_error)
    }

    fn flush(&self, py: Python<'_>) -> usize {
        self.state.lock(py).0.flush()
    }

    fn flush_turn(&self, py: Python<'_>, turn: u64) -> usize {
        self.state.lock(py).0.flush_turn(turn)
    }

    fn played_ms(&self, py: Python<'_>, turn: u64) -> f64 {
        self.state.lock(py).0.played_ms(turn)
    }

    fn turn_stats(&self, py: Python<'_>, turn: u64) -> Option<TurnStats> {
        let stats = self.state.lock(py).0.turn_stats(turn)?;
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
        let stats = self.state.lock(py).0.stats();
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
        self.state.lock(py).0.level_ms()
    }

    #[getter]
    fn active_turn(&self, py: Python<'_>) -> Option<u64> {
        self.state.lock(py).0.active_turn()
    }

    #[getter]
    fn state(&self, py: Python<'_>) -> &'static str {
        match self.state.lock(py).0.state() {
            PlaybackState::Idle => "idle",
            PlaybackState::Buffering => "buffering",
            PlaybackState::Playing => "playing",
            PlaybackState::Paused => "paused",
        }
    }

    #[getter]
    fn audible(&self, py: Python<'_>) -> bool {
        self.state.lock(py).0.audible()
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
