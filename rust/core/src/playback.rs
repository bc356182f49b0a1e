//! Playback: the store between a burst of speech from a model and a steady 20 ms clock.

mod concealment;
mod delivery;
mod envelope;
mod store;

use std::collections::VecDeque;

use crate::echo::check_time;
use crate::pcm::Sample;
use crate::{Error, Resampler, frame_len, ms_to_samples, samples_to_ms};
use concealment::Concealment;
use delivery::Delivery;
use envelope::{Envelope, Gain};
use store::{Pool, Queue};

/// Finished turns whose numbers are kept.
const FINISHED_TURNS: usize = 64;
/// Turns that may be queued at once; each costs a block of memory at least. Audio of further turns
/// is refused like audio beyond the capacity.
const QUEUED_TURNS: usize = 1024;
/// Length of the gain ramp of [`Playback::duck`] in milliseconds.
const DUCK_RAMP_MS: u32 = 10;
/// Length of a frame in seconds.
const FRAME_S: f64 = 0.020;

/// Options of a [`Playback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaybackOptions {
    /// Rate of the audio that is pushed, in Hz. 24 kHz is what Gemini speaks.
    pub input_rate: u32,
    /// Rate of the frames that are popped, in Hz.
    pub output_rate: u32,
    /// Most audio that is queued, in milliseconds. Memory is taken as it is needed: 30 minutes at
    /// 24 kHz are 86 MB.
    pub capacity_ms: u32,
    /// Audio that is queued before a turn begins to speak, in milliseconds, unless it ends before.
    /// Less will do once [`push_at`](Playback::push_at) has shown that the service keeps ahead of
    /// the listener.
    pub prefill_ms: u32,
    /// The prefill doubles with each underrun up to this, and halves again with each clean turn.
    /// After an underrun, and while the service is slower than real time, it is at least what
    /// [`push_at`](Playback::push_at) has shown to be needed. A maximum at or below `prefill_ms`
    /// keeps it fixed.
    pub max_prefill_ms: u32,
    /// Time without another push after which a turn starts, or goes on after an underrun, with less
    /// than its prefill, in milliseconds: it may be whole, and its end declared late or never. It
    /// counts by the times given to [`push_at`](Playback::push_at) and
    /// [`pop_frame_at`](Playback::pop_frame_at).
    pub patience_ms: u32,
    /// Length of every fade in milliseconds.
    pub fade_ms: u32,
}

impl Default for PlaybackOptions {
    fn default() -> Self {
        Self {
            input_rate: 24_000,
            output_rate: 48_000,
            capacity_ms: 30 * 60 * 1000,
            prefill_ms: 60,
            max_prefill_ms: 240,
            // A service at real time has sent the longest prefill by then.
            patience_ms: 300,
            fade_ms: 5,
        }
    }
}

/// Result of a push: `accepted + dropped` is the number of pushed samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a full store refuses samples, and a cut turn stays silent"]
pub struct PushOutcome {
    /// Samples taken, the first ones of the push.
    pub accepted: usize,
    /// Samples refused, the last ones of the push.
    pub dropped: usize,
}

/// State of a [`Playback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaybackState {
    /// Nothing to say.
    Idle,
    /// A turn has begun, or has run dry, and too little of it is queued to speak.
    Buffering,
    /// Speaking.
    Playing,
    /// Held by [`Playback::pause`], or fading out because of it.
    Paused,
}

/// Numbers of one turn, in samples at the input rate.
///
/// Always: `pushed == played + dropped + queued`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnStats {
    /// The turn.
    pub turn: u64,
    /// Samples that were pushed, refused ones included.
    pub pushed: u64,
    /// Samples that the read head has passed, fades included. The listener is behind it by the
    /// resampler's delay and whatever transports the frames.
    pub played: u64,
    /// Samples that were refused or flushed.
    pub dropped: u64,
    /// Samples that wait.
    pub queued: u64,
    /// Times that the turn ran dry before it had ended.
    pub underruns: u32,
    /// No more audio of this turn is accepted.
    pub ended: bool,
    /// It was flushed.
    pub cut: bool,
    /// It has ended and nothing of it is queued.
    pub finished: bool,
}

/// Numbers of a [`Playback`] since it was made, in samples at the input rate.
///
/// Always: `pushed == played + dropped + queued`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaybackStats {
    /// Samples that were pushed, refused ones included.
    pub pushed: u64,
    /// Samples that the read head has passed, fades included.
    pub played: u64,
    /// Samples that were refused or flushed.
    pub dropped: u64,
    /// Dropped samples that were refused because the store was full.
    pub overflowed: u64,
    /// Samples that wait.
    pub queued: u64,
    /// Times that a turn ran dry before it had ended.
    pub underruns: u64,
    /// Samples that were made up, to fade out a sound whose end was not foreseen. They belong to no
    /// turn and are not among the played ones.
    pub concealed: u64,
    /// Frames that were popped.
    pub frames: u64,
    /// The prefill that the next start needs, in milliseconds, if chunks are as long as the last.
    pub prefill_ms: u32,
}

/// Kind of the next frame of a [`Playback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextFrame {
    /// Exact silence; it need not be popped.
    Silent,
    /// The end of what there is of a turn that goes on, less than 20 ms of it: an underrun, unless
    /// more is pushed before the frame has to be popped.
    Starved,
    /// Speech, a fade or the resampler's tail.
    Sound,
}

/// A turn has begun or ended at the read head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnProgress {
    /// Its first sample has been played.
    Started(u64),
    /// It had started, and no more of it will be played: it is at its end, or was cut.
    Finished(u64),
}

/// Admission of a turn's audio.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Open,
    /// It has ended, was cut, or is older than one of which nothing is known any more.
    Closed,
    /// Too many turns are queued to know one more.
    Full,
}

#[derive(Debug)]
struct Turn {
    id: u64,
    queue: Queue,
    pushed: u64,
    played: u64,
    dropped: u64,
    underruns: u32,
    ended: bool,
    cut: bool,
    /// Ran dry, and nothing has come since.
    starved: bool,
    /// To be started with whatever is queued: see [`Playback::begin`].
    hurried: bool,
    /// Time of the newest audio, on the clock of the pops. None until a pop has told the time.
    news_at: Option<f64>,
    /// Samples of the newest push.
    newest: usize,
    /// [`Playback::take_progress`] has told of its begin, of its end.
    told: (bool, bool),
}

impl Turn {
    fn new(id: u64) -> Self {
        Self {
            id,
            queue: Queue::default(),
            pushed: 0,
            played: 0,
            dropped: 0,
            underruns: 0,
            ended: false,
            cut: false,
            starved: false,
            hurried: false,
            news_at: None,
            newest: 0,
            told: (false, false),
        }
    }

    fn finished(&self) -> bool {
        self.ended && self.queue.is_empty()
    }
}

/// A turn-tagged playback store: bursts of speech in, a steady stream of 20 ms frames out.
///
/// Minutes deep, and nothing is lost in silence: what does not fit, and what is flushed, is counted
/// and reported. Every edge is faded: start, end, underrun, pause, resume, flush. Samples of a turn
/// that is not cut are played exactly once and in order; [`pause`](Self::pause) fades out over
/// samples that count as played, and [`resume`](Self::resume) fades in at the very next one.
///
/// A turn that is refilled before its last sample was played sounds as if all of it had been there:
/// what is queued is played at full level to the last sample. When nothing has come by then, the
/// sound is continued by linear prediction under the fade; these samples are counted as concealed.
///
/// Turns are numbers that grow. Audio for a newer turn ends the older ones; audio for a turn that
/// has ended or was flushed is refused, so a turn that was cut never speaks again.
///
/// Gain and fades work at the input rate, in front of the resampler, so the output is continuous.
///
/// Nothing waits for ever: audio of a turn that is short of its prefill plays once
/// [`PlaybackOptions::patience_ms`] have passed without news of the turn, whether or not its end is
/// declared.
///
/// Allocates: in [`new`](Self::new) and, block by block, in [`push`](Self::push). Popping does not.
///
/// ```
/// use voice_audio::{Playback, PlaybackOptions, PlaybackState};
/// let mut playback = Playback::new(PlaybackOptions::default())?;
/// let outcome = playback.push(&[1000; 2400], 1); // 100 ms at 24 kHz
/// assert_eq!(outcome.accepted, 2400);
/// playback.end_turn(1);
///
/// let mut frame = [0; 960]; // 20 ms at 48 kHz
/// while playback.audible() {
///     playback.pop_frame(&mut frame);
/// }
/// assert_eq!(playback.played_ms(1), 100.0);
/// assert_eq!(playback.state(), PlaybackState::Idle);
/// # Ok::<(), voice_audio::Error>(())
/// ```
#[derive(Debug)]
pub struct Playback {
    options: PlaybackOptions,
    capacity: usize,
    /// Turns in the order of their numbers: finished ones first, then the one at the read head.
    turns: VecDeque<Turn>,
    /// Index in `turns` of the turn at the read head; `turns.len()` when all are finished.
    head: usize,
    /// The newest turn that was ever mentioned.
    newest: Option<u64>,
    pool: Pool,
    envelope: Envelope,
    concealment: Concealment,
    gain: Gain,
    resampler: Resampler,
    /// The turn at the read head has been started and has not run dry.
    speaking: bool,
    paused: bool,
    /// The next audible frame follows a hole that the listener has heard.
    after_hole: bool,
    delivery: Delivery,
    /// The newest time that a pop has told, in seconds.
    clock: Option<f64>,
    patience_s: f64,
    /// A turn has begun or ended since [`take_progress`](Self::take_progress).
    progressed: bool,
    /// Inputs of silence that the resampler needs before its output is exact silence.
    tail: usize,
    /// One frame at the input rate.
    rendered: Vec<f32>,
    /// One frame at the output rate.
    resampled: Vec<i16>,
    stats: PlaybackStats,
}

impl Playback {
    /// An empty store.
    ///
    /// # Errors
    /// [`Error::Rate`], [`Error::Ratio`]: see [`Resampler::new`]. [`Error::FrameRate`] if 20 ms are
    /// not a whole number of samples at one of the rates. [`Error::Option`] if the capacity is
    /// below 20 ms or above 24 hours, the prefill exceeds the capacity, or the fade is not within 1
    /// to 20 ms.
    pub fn new(options: PlaybackOptions) -> Result<Self, Error> {
        let input_frame = frame_len(options.input_rate)?;
        let output_frame = frame_len(options.output_rate)?;
        let accept = |name, value: u32, range: std::ops::RangeInclusive<u32>, accepted| match range
            .contains(&value)
        {
            true => Ok(()),
            false => Err(Error::Option {
                name,
                value: f64::from(value),
                accepted,
            }),
        };
        let day = 24 * 60 * 60 * 1000;
        accept(
            "capacity_ms",
            options.capacity_ms,
            20..=day,
            "20 ms to 24 hours",
        )?;
        let capacity_ms = options.capacity_ms;
        accept(
            "prefill_ms",
            options.prefill_ms,
            0..=capacity_ms,
            "at most capacity_ms",
        )?;
        accept("fade_ms", options.fade_ms, 1..=20, "1 to 20 ms")?;
        Ok(Self {
            options,
            capacity: ms_to_samples(options.capacity_ms, options.input_rate),
            turns: VecDeque::new(),
            head: 0,
            newest: None,
            pool: Pool::default(),
            envelope: Envelope::new(ms_to_samples(options.fade_ms, options.input_rate)),
            concealment: Concealment::new(),
            gain: Gain::new(ms_to_samples(DUCK_RAMP_MS, options.input_rate)),
            resampler: Resampler::new(options.input_rate, options.output_rate)?,
            speaking: false,
            paused: false,
            after_hole: false,
            delivery: Delivery::new(
                f64::from(options.prefill_ms) / 1000.0,
                f64::from(options.max_prefill_ms) / 1000.0,
            ),
            clock: None,
            patience_s: f64::from(options.patience_ms) / 1000.0,
            progressed: false,
            tail: 0,
            rendered: Vec::with_capacity(input_frame),
            resampled: Vec::with_capacity(output_frame),
            stats: PlaybackStats {
                prefill_ms: options.prefill_ms,
                ..PlaybackStats::default()
            },
        })
    }

    /// The options as given.
    pub fn options(&self) -> PlaybackOptions {
        self.options
    }

    /// Samples of one popped frame: 20 ms at the output rate.
    pub fn frame_len(&self) -> usize {
        (self.options.output_rate / crate::FRAMES_PER_SECOND) as usize
    }

    /// Queues audio of a turn. Ends all older turns.
    ///
    /// When the store is full the newest samples are refused. All are refused if the turn has
    /// ended, was flushed, or is older than the newest one. Refused samples count as dropped.
    ///
    /// Nothing is learnt about how the service delivers: see [`push_at`](Self::push_at). Patience
    /// counts from the next pop.
    pub fn push(&mut self, pcm: &[i16], turn: u64) -> PushOutcome {
        let outcome = self.queue(pcm, turn, None);
        if outcome.accepted > 0 {
            self.delivery.lose_track();
        }
        outcome
    }

    /// Queues audio of a turn that has come at `at`, in seconds on any clock that only goes forward,
    /// the one of [`pop_frame_at`](Self::pop_frame_at).
    ///
    /// As [`push`](Self::push), and learns from the times how the service delivers. Once it has
    /// been seen to keep ahead of the listener, turns start with what their first chunk brings, if
    /// that is a frame of 20 ms at least. The next underrun, a chunk that would have come too late,
    /// or more scatter of the times end that; four healthy turns bring it back.
    ///
    /// # Errors
    /// [`Error::Option`] if `at` is not a finite number of seconds. Nothing is changed then.
    pub fn push_at(&mut self, pcm: &[i16], turn: u64, at: f64) -> Result<PushOutcome, Error> {
        check_time(at)?;
        let outcome = self.queue(pcm, turn, Some(at));
        if outcome.accepted > 0 {
            let seconds = outcome.accepted as f64 / f64::from(self.options.input_rate);
            self.delivery.note(turn, seconds, at);
        }
        Ok(outcome)
    }

    fn queue(&mut self, pcm: &[i16], turn: u64, at: Option<f64>) -> PushOutcome {
        let admission = self.admit(turn);
        let room = self.capacity - self.stats.queued as usize;
        let accepted = match admission {
            Admission::Open => pcm.len().min(room),
            Admission::Closed | Admission::Full => 0,
        };
        let dropped = pcm.len() - accepted;
        self.stats.pushed += pcm.len() as u64;
        self.stats.dropped += dropped as u64;
        self.stats.queued += accepted as u64;
        if admission != Admission::Closed {
            self.stats.overflowed += dropped as u64;
        }
        if let Some(index) = self.find(turn) {
            let turn = &mut self.turns[index];
            turn.pushed += pcm.len() as u64;
            turn.dropped += dropped as u64;
            turn.queue.push(&pcm[..accepted], &mut self.pool);
            if accepted > 0 {
                turn.newest = accepted;
                turn.news_at = at;
            }
            if turn.starved && accepted > 0 {
                // It was a real gap and not the end of the turn: be more careful.
                turn.starved = false;
                self.delivery.ran_dry();
                let most = self.options.max_prefill_ms.max(self.options.prefill_ms);
                self.stats.prefill_ms = self.stats.prefill_ms.saturating_mul(2).min(most);
            }
        }
        self.pool.reserve();
        PushOutcome { accepted, dropped }
    }

    /// Declares that no more audio of this turn, or of an older one, will come.
    pub fn end_turn(&mut self, turn: u64) {
        self.admit(turn);
        for index in self.head..self.turns.len() {
            if self.turns[index].id <= turn {
                self.turns[index].ended = true;
            }
        }
        self.advance_head();
    }

    /// Starts the turn at the read head with what is queued of it, if anything is, without waiting
    /// for its prefill.
    pub fn begin(&mut self) {
        if let Some(turn) = self.turns.get_mut(self.head) {
            turn.hurried = !turn.queue.is_empty();
        }
    }

    /// Holds the read head: fades out over the next samples, then stands still.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Lets the read head go on with the very next sample, faded in.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Sets the gain in dB, reached by a ramp of 10 ms; 0 undoes it. While nothing is audible the
    /// gain changes at once.
    ///
    /// # Errors
    /// [`Error::Option`] if `db` is NaN or positive. Negative infinity mutes.
    pub fn duck(&mut self, db: f32) -> Result<(), Error> {
        if db.is_nan() || db > 0.0 {
            return Err(Error::Option {
                name: "db",
                value: f64::from(db),
                accepted: "0 or a negative number of decibels",
            });
        }
        self.gain.aim(10f32.powf(db / 20.0));
        Ok(())
    }

    /// Declares that the listener has heard silence since the last frame, because it was popped too
    /// late: the next audible frame is faded in. Nothing is skipped.
    ///
    /// This fade works at the output rate, behind the resampler, whose memory is older than the
    /// hole.
    pub fn fade_in(&mut self) {
        self.after_hole = true;
    }

    /// Drops everything that is queued and cuts every turn mentioned so far. If speech is audible
    /// the next few milliseconds of it are kept, for the fade. Does not change whether the read
    /// head is paused. Returns the number of samples dropped.
    pub fn flush(&mut self) -> usize {
        let dropped = (self.head..self.turns.len())
            .map(|index| self.cut(index))
            .sum();
        self.advance_head();
        dropped
    }

    /// Drops everything and cuts every turn mentioned so far, without a fade and at once: for when
    /// nobody hears it any more. The next frame is exact silence. Does not change whether the read
    /// head is paused, nor the gain. Returns the number of samples dropped.
    pub fn clear(&mut self) -> usize {
        self.envelope.silence();
        self.concealment.end();
        let dropped = self.flush();
        self.gain.settle();
        self.resampler.reset();
        self.tail = 0;
        self.after_hole = false;
        dropped
    }

    /// Drops what is queued of one turn and cuts it, with a fade if it is the audible one; other
    /// turns stay as they are, an open one stays open. Returns the number of samples dropped.
    ///
    /// A turn may be cut before its first sample has come. It is the newest one then: turns between
    /// it and the open one are refused.
    pub fn flush_turn(&mut self, turn: u64) -> usize {
        self.announce(turn);
        let dropped = match self.find(turn) {
            Some(index) => self.cut(index),
            None => 0,
        };
        self.advance_head();
        dropped
    }

    /// Renders the next 20 ms into `frame`, all of it: speech, fades or silence. As
    /// [`pop_frame_at`](Self::pop_frame_at), 20 ms after the pop before.
    ///
    /// # Panics
    /// If `frame` is not [`frame_len`](Self::frame_len) samples long.
    pub fn pop_frame(&mut self, frame: &mut [i16]) {
        self.note_time(self.clock.unwrap_or(0.0) + FRAME_S);
        self.render_frame(frame);
    }

    /// Renders the next 20 ms, which are played at `at`, in seconds on the clock of
    /// [`push_at`](Self::push_at). A clock that goes back stands still.
    ///
    /// # Errors
    /// [`Error::Option`] if `at` is not a finite number of seconds. Nothing is popped then.
    ///
    /// # Panics
    /// If `frame` is not [`frame_len`](Self::frame_len) samples long.
    pub fn pop_frame_at(&mut self, frame: &mut [i16], at: f64) -> Result<(), Error> {
        check_time(at)?;
        self.note_time(at);
        self.render_frame(frame);
        Ok(())
    }

    /// Lets time pass up to `at` without a pop: a turn whose time has come may start. For a player
    /// that does not pop silence; see [`starts_at`](Self::starts_at).
    ///
    /// # Errors
    /// [`Error::Option`] if `at` is not a finite number of seconds.
    pub fn pass_time(&mut self, at: f64) -> Result<(), Error> {
        check_time(at)?;
        self.note_time(at);
        Ok(())
    }

    /// Returns the time, in seconds, at which the turn at the read head starts without its prefill.
    ///
    /// None if nothing waits for that.
    pub fn starts_at(&self) -> Option<f64> {
        let turn = self.turns.get(self.head)?;
        let waits = !self.paused && !self.speaking && !turn.queue.is_empty() && !self.may_start();
        let since = turn.news_at.or(self.clock).unwrap_or(0.0);
        waits.then_some(since + self.patience_s)
    }

    fn note_time(&mut self, at: f64) {
        let now = self.clock.map_or(at, |clock| clock.max(at));
        self.clock = Some(now);
        let due = (!self.paused).then_some(now);
        for turn in self.turns.range_mut(self.head..) {
            // Of pushes on a clock that is ahead, or without one, this is the first that is known.
            let news = turn.news_at.map_or(now, |news| news.min(now));
            turn.news_at = Some(news);
            // What `starts_at` says, to the bit. Turns behind the head, too: theirs may come within
            // this frame.
            let over = due.is_some_and(|due| due >= news + self.patience_s);
            turn.hurried |= over && !turn.queue.is_empty();
        }
    }

    fn render_frame(&mut self, frame: &mut [i16]) {
        assert_eq!(frame.len(), self.frame_len(), "a frame is 20 ms long");
        self.stats.frames += 1;
        if !self.audible() {
            // The resampler has nothing left to say and 20 ms are a whole number of its periods:
            // leaving it alone is the same as pushing silence.
            self.starve();
            frame.fill(0);
            return;
        }
        let wanted = self.input_frame();
        self.rendered.clear();
        while self.rendered.len() < wanted && self.render(wanted) {}
        if self.rendered.len() < wanted {
            self.tail = self.tail.saturating_sub(wanted - self.rendered.len());
            self.rendered.resize(wanted, 0.0);
        }
        self.resampled.clear();
        self.resampler.push(&self.rendered, &mut self.resampled);
        frame.copy_from_slice(&self.resampled);
        if std::mem::take(&mut self.after_hole) {
            let fade = ms_to_samples(self.options.fade_ms, self.options.output_rate);
            for (i, sample) in frame.iter_mut().take(fade).enumerate() {
                let phase = std::f64::consts::PI * (i + 1) as f64 / (fade + 1) as f64;
                *sample = (f64::from(*sample) * (0.5 - 0.5 * phase.cos())).round() as i16;
            }
        }
    }

    /// Milliseconds of audio that are queued.
    pub fn level_ms(&self) -> f64 {
        samples_to_ms(self.stats.queued, self.options.input_rate)
    }

    /// Milliseconds of a turn that the read head has passed; 0 for a turn that is not known, or
    /// was forgotten (the last 64 finished turns are remembered).
    pub fn played_ms(&self, turn: u64) -> f64 {
        let played = self.find(turn).map_or(0, |index| self.turns[index].played);
        samples_to_ms(played, self.options.input_rate)
    }

    /// The turn at the read head: the oldest one that has not finished.
    pub fn active_turn(&self) -> Option<u64> {
        self.turns.get(self.head).map(|turn| turn.id)
    }

    /// Returns the state of the store.
    pub fn state(&self) -> PlaybackState {
        match self.turns.get(self.head) {
            _ if self.paused => PlaybackState::Paused,
            None => PlaybackState::Idle,
            Some(turn) if self.speaking && !turn.queue.is_empty() => PlaybackState::Playing,
            Some(_) if self.may_start() => PlaybackState::Playing,
            Some(_) => PlaybackState::Buffering,
        }
    }

    /// True while the next frame would carry sound: speech, a fade or the resampler's tail. False
    /// means that it would be exact silence and need not be popped.
    pub fn audible(&self) -> bool {
        if self.tail > 0 || self.envelope.needs() > 0 {
            return true;
        }
        !self.paused
            && match self.turns.get(self.head) {
                Some(turn) => !turn.queue.is_empty() && (self.speaking || self.may_start()),
                None => false,
            }
    }

    /// Returns the kind of the next frame.
    pub fn next_frame(&self) -> NextFrame {
        if !self.audible() {
            return NextFrame::Silent;
        }
        let goes_on = self.speaking || self.may_start();
        match self.turns.get(self.head) {
            Some(turn)
                if goes_on
                    && !self.paused
                    && !turn.ended
                    && turn.queue.len() < self.input_frame() =>
            {
                NextFrame::Starved
            }
            _ => NextFrame::Sound,
        }
    }

    /// Appends what has become of turns at the read head since the last call, in order.
    ///
    /// A turn that was forgotten in the meantime (64 finished ones are remembered) is left out.
    pub fn take_progress(&mut self, progress: &mut Vec<TurnProgress>) {
        if !std::mem::take(&mut self.progressed) {
            return;
        }
        for turn in self.turns.iter_mut().take(self.head + 1) {
            if turn.played > 0 && !turn.told.0 {
                turn.told.0 = true;
                progress.push(TurnProgress::Started(turn.id));
            }
            if turn.finished() && turn.told.0 && !turn.told.1 {
                turn.told.1 = true;
                progress.push(TurnProgress::Finished(turn.id));
            }
        }
    }

    /// Numbers since the start.
    pub fn stats(&self) -> PlaybackStats {
        let rate = u64::from(self.options.input_rate);
        let newest = self.turns.back().map_or(0, |turn| turn.newest);
        let prefill = (self.prefill(newest) as u64 * 1000).div_ceil(rate);
        PlaybackStats {
            prefill_ms: u32::try_from(prefill).unwrap_or(u32::MAX),
            ..self.stats
        }
    }

    /// Numbers of one turn; None if it is not known or was forgotten.
    pub fn turn_stats(&self, turn: u64) -> Option<TurnStats> {
        let turn = &self.turns[self.find(turn)?];
        Some(TurnStats {
            turn: turn.id,
            pushed: turn.pushed,
            played: turn.played,
            dropped: turn.dropped,
            queued: turn.queue.len() as u64,
            underruns: turn.underruns,
            ended: turn.ended,
            cut: turn.cut,
            finished: turn.finished(),
        })
    }

    fn find(&self, turn: u64) -> Option<usize> {
        self.turns.binary_search_by_key(&turn, |t| t.id).ok()
    }

    fn is_newer(&self, turn: u64) -> bool {
        self.newest.is_none_or(|newest| turn > newest)
    }

    /// Makes a turn known if it is newer than all others and not too many are queued.
    fn announce(&mut self, turn: u64) {
        if !self.is_newer(turn) {
            return;
        }
        self.newest = Some(turn);
        self.advance_head();
        if self.turns.len() - self.head < QUEUED_TURNS {
            self.turns.push_back(Turn::new(turn));
        }
    }

    /// Makes a turn known if it is newer than all others, which it ends.
    fn admit(&mut self, turn: u64) -> Admission {
        if self.is_newer(turn) {
            for older in self.turns.range_mut(self.head..) {
                older.ended = true;
            }
            self.announce(turn);
        }
        match self.find(turn) {
            Some(index) if !self.turns[index].ended => Admission::Open,
            None if self.newest == Some(turn) => Admission::Full,
            _ => Admission::Closed,
        }
    }

    /// Drops a turn's queue except for what a fade still needs.
    fn cut(&mut self, index: usize) -> usize {
        let keep = match index == self.head && self.speaking && !self.concealment.is_active() {
            true => self.envelope.needs(),
            false => 0,
        };
        let turn = &mut self.turns[index];
        if turn.finished() {
            return 0;
        }
        let dropped = turn.queue.truncate(keep, &mut self.pool);
        turn.ended = true;
        turn.cut = true;
        turn.dropped += dropped as u64;
        self.stats.dropped += dropped as u64;
        self.stats.queued -= dropped as u64;
        dropped
    }

    /// Moves the head over finished turns and forgets the oldest of them.
    fn advance_head(&mut self) {
        self.pass_turns();
        while self.head > FINISHED_TURNS {
            self.turns.pop_front();
            self.head -= 1;
        }
    }

    /// Moves the head over finished turns; the next one starts on its own.
    fn pass_turns(&mut self) {
        while let Some(turn) = self.turns.get(self.head).filter(|turn| turn.finished()) {
            if turn.underruns == 0 && turn.played > 0 {
                let halved = self.stats.prefill_ms / 2;
                self.stats.prefill_ms = halved.max(self.options.prefill_ms);
            }
            self.progressed = true;
            self.head += 1;
            self.speaking = false;
        }
    }

    /// Enough of the turn at the head is queued to begin (or go on after an underrun).
    fn may_start(&self) -> bool {
        self.turns.get(self.head).is_some_and(|turn| {
            // A store smaller than the adapted prefill must still be able to start.
            let prefill = self.prefill(turn.newest).min(self.capacity).max(1);
            turn.ended || turn.hurried || turn.queue.len() >= prefill
        })
    }

    /// Samples that have to be queued for a start, the `newest` chunk included.
    fn prefill(&self, newest: usize) -> usize {
        let PlaybackOptions {
            input_rate,
            prefill_ms,
            max_prefill_ms,
            ..
        } = self.options;
        let careful = ms_to_samples(self.stats.prefill_ms, input_rate);
        if max_prefill_ms <= prefill_ms {
            return careful;
        }
        let with_newest = |seconds: f64| {
            let samples = (seconds * f64::from(input_rate)).ceil() as i64 + newest as i64;
            usize::try_from(samples).unwrap_or(0)
        };
        if let Some(seconds) = self.delivery.least() {
            let most = ms_to_samples(max_prefill_ms, input_rate);
            return with_newest(seconds).clamp(careful, most);
        }
        match self.delivery.head_start() {
            // Doubled by an underrun, it has to be halved by clean turns first.
            Some(seconds) if self.stats.prefill_ms == prefill_ms => {
                with_newest(seconds).max(self.input_frame()).min(careful)
            }
            _ => careful,
        }
    }

    /// Samples of 20 ms at the input rate.
    fn input_frame(&self) -> usize {
        (self.options.input_rate / crate::FRAMES_PER_SECOND) as usize
    }

    /// Notes that the open turn at the head has run dry. A paused one may still be refilled before
    /// anybody hears the gap.
    fn starve(&mut self) {
        if let Some(turn) = self.turns.get_mut(self.head)
            && self.speaking
            && !self.paused
            && turn.queue.is_empty()
            && !turn.ended
        {
            self.speaking = false;
            turn.starved = true;
            turn.hurried = false;
            turn.underruns += 1;
            self.stats.underruns += 1;
        }
    }

    /// Renders sound up to the end of the frame, of the turn or of a concealment; false if there is
    /// none now.
    fn render(&mut self, wanted: usize) -> bool {
        self.starve();
        if self.concealment_is_due() {
            return self.render_concealment(wanted);
        }
        if !self.speaking && !self.paused && self.may_start() {
            self.speaking = true;
        }
        let Some(turn) = self.turns.get_mut(self.head) else {
            return false;
        };
        if !self.speaking || turn.queue.is_empty() {
            return false;
        }
        if self.envelope.is_silent() {
            self.gain.settle();
        }
        let before = self.rendered.len();
        while self.rendered.len() < wanted && !turn.queue.is_empty() {
            let queued = turn.queue.len();
            // An open turn may go on: its end is not known.
            let left = turn.ended.then_some(queued);
            let steady = self.envelope.steady(left, self.paused);
            if steady > 0 && self.gain.is_settled() {
                // The usual case: full level, far from any edge.
                let run = turn.queue.peek();
                let n = run.len().min(steady).min(wanted - self.rendered.len());
                let gain = self.gain.value();
                self.rendered
                    .extend(run[..n].iter().map(|x| x.to_unit() * gain));
                if queued - n < self.concealment.reach() {
                    let newest = n.saturating_sub(self.concealment.reach());
                    run[newest..n]
                        .iter()
                        .for_each(|x| self.concealment.remember(x.to_unit()));
                }
                turn.queue.advance(n, &mut self.pool);
            } else {
                let Some(level) = self.envelope.next(left, self.paused) else {
                    break;
                };
                let sample = turn.queue.peek()[0].to_unit();
                self.concealment.remember(sample);
                self.rendered.push(sample * level * self.gain.next());
                turn.queue.advance(1, &mut self.pool);
            }
        }
        let played = self.rendered.len() - before;
        self.progressed |= turn.played == 0 && played > 0;
        turn.played += played as u64;
        self.stats.played += played as u64;
        self.stats.queued -= played as u64;
        if played > 0 {
            self.tail = self.resampler.memory();
        }
        self.pass_turns();
        played > 0
    }

    /// There is sound, and nothing to go on with: it has to be faded out. A concealment that has
    /// begun goes on to its end, because what comes now does not join it.
    fn concealment_is_due(&self) -> bool {
        let dry = match self.turns.get(self.head) {
            Some(turn) => !self.speaking || turn.queue.is_empty(),
            None => true,
        };
        self.concealment.is_active() || (dry && !self.envelope.is_silent())
    }

    /// Renders concealment up to the end of the frame or its own; true if the frame is not full.
    fn render_concealment(&mut self, wanted: usize) -> bool {
        let before = self.rendered.len();
        while self.rendered.len() < wanted {
            let Some(level) = self.envelope.fall() else {
                self.concealment.end();
                break;
            };
            let sample = self.concealment.next();
            self.rendered.push(sample * level * self.gain.next());
        }
        let concealed = self.rendered.len() - before;
        if concealed > 0 {
            self.stats.concealed += concealed as u64;
            self.tail = self.resampler.memory();
        }
        self.rendered.len() < wanted
    }
}
