//! Capture: frames of many sources in, one wire stream of 20 ms frames and speech events out.
//!
//! - `arrival`: arrival statistics of a source: fastest path and lateness.
//! - `jitter_buffer`: jitter buffer of a source, on the clock of the wire.
//! - `concealment`: packet loss concealment and fades.
//! - `warmup`: hold of a source until it is known whether it sends echo.
//! - `source`: all of these and the [`InputStream`](crate::InputStream) of one source.
//! - This module: playout of the wire, and how long it waits for each source.
//!
//! A *talk spurt* is a run of speech of one source, without a pause longer than the gaps between
//! syllables. Delay changes between talk spurts only.

mod arrival;
mod concealment;
mod jitter_buffer;
mod source;
#[cfg(test)]
mod tests;
mod warmup;

use crate::echo::check_time;
use crate::pcm::Sample;
use crate::{EchoReference, Error, Mixer, Samples, VadOptions, frame_len, ms_to_samples};
pub use jitter_buffer::SourceStats;
use jitter_buffer::Supply;
use source::{PacketTime, Source};

/// Length of the longest Opus packet, in milliseconds: a longer push counts as several packets.
const MAX_PACKET_MS: i64 = 120;
/// Time without a call, in milliseconds, after which the caller itself is considered stalled.
///
/// Packets that arrived meanwhile are about to be pushed, so no source counts as late yet.
const CALLER_STALL_MS: i64 = 48;
/// Time from a push to the next call by time, in milliseconds, if nothing is pushed.
///
/// Two packets of 20 ms, and 4 ms by which the second one or a timer may be late. A timer that is set
/// anew when it expires so runs 25 times a second beside steady packets, and not 50 times. Less than
/// [`CALLER_STALL_MS`]: otherwise each gap of the network would be taken for a stall of the caller.
const AFTER_PUSH_MS: i64 = 44;
/// Pause without packets, in milliseconds, that ends the stream.
///
/// Clients with discontinuous transmission (DTX) send a frame every 400 ms.
const PAUSE_MS: u32 = 1_000;
/// Time without packets, in milliseconds, after which a source is forgotten.
const FORGET_SOURCE_MS: i64 = 30_000;
/// Greatest number of sources: more than any call has, a bound for callers that invent ids.
const MAX_SOURCES: usize = 4_096;

/// Options of a [`Capture`]. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CaptureOptions {
    /// Options of each source's detector.
    pub vad: VadOptions,
    /// Speech duration that is reported as sustained, without hangover and without missing audio.
    pub sustained_ms: u32,
    /// Silence on the wire after the last speech, when nobody sends any more.
    ///
    /// A service detects the end of speech in it; then the stream ends.
    pub tail_ms: u32,
    /// True to send only the source that has the floor.
    ///
    /// The first speaker keeps the floor until the end of their speech; then it goes to whoever
    /// speaks.
    pub active_speaker: bool,
    /// Pre-roll: audio from before the speech that is sent of a source that takes the floor.
    pub preroll_ms: u32,
    /// Longest wait for missing audio of a talk spurt while nobody else speaks.
    pub wait_alone_ms: u32,
    /// Longest wait for missing audio of a talk spurt while it delays another speaker.
    pub wait_shared_ms: u32,
    /// Time without packets, in addition to the usual lateness, after which a source is silent.
    pub absent_ms: u32,
    /// Delay of the detector's first evidence of speech after the onset.
    pub onset_lag_ms: u32,
    /// Greatest target delay of a source's jitter buffer.
    pub max_depth_ms: u32,
    /// Capacity of a source's jitter buffer, after a long stall or from a sender that is too fast.
    ///
    /// Older speech no longer helps a conversation.
    pub capacity_ms: u32,
    /// Length of the fades at the ends of missing audio.
    ///
    /// 0 makes hard edges, and puts nothing on the wire that was not captured.
    pub fade_ms: u32,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            vad: VadOptions::default(),
            sustained_ms: 600,
            tail_ms: 2_000,
            active_speaker: false,
            preroll_ms: 300,
            wait_alone_ms: 300,
            wait_shared_ms: 60,
            absent_ms: 100,
            onset_lag_ms: 40,
            max_depth_ms: 120,
            capacity_ms: 10_000,
            fade_ms: 10,
        }
    }
}

impl CaptureOptions {
    fn check(&self) -> Result<(), Error> {
        let ranges = [
            ("sustained_ms", self.sustained_ms, 0, 60_000),
            ("tail_ms", self.tail_ms, 0, 120_000),
            ("preroll_ms", self.preroll_ms, 0, 1_000),
            ("wait_alone_ms", self.wait_alone_ms, 0, 1_000),
            ("wait_shared_ms", self.wait_shared_ms, 0, 1_000),
            ("absent_ms", self.absent_ms, 40, 1_000),
            ("onset_lag_ms", self.onset_lag_ms, 0, 200),
            ("max_depth_ms", self.max_depth_ms, 0, 500),
            ("capacity_ms", self.capacity_ms, 1_000, 60_000),
            ("fade_ms", self.fade_ms, 0, 20),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(Error::Range {
                    name,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// Durations in samples at the wire rate.
#[derive(Debug, Clone, Copy)]
struct Timing {
    rate: u32,
    /// Samples of a millisecond, rounded down; at least 8.
    ms: i64,
    frame: i64,
    max_packet: i64,
    wait_alone: i64,
    wait_shared: i64,
    absent: i64,
    onset_lag: i64,
    max_depth: i64,
    capacity: i64,
    tail: i64,
    /// Lateness of the last speech by which the tail may be shorter.
    tail_slack: i64,
    /// Time after the last packet by which every queued sample was played or given up.
    drain: i64,
    preroll: i64,
    sustained: i64,
    fade: usize,
    stall: i64,
    after_push: i64,
    pause: i64,
    forget_source: i64,
    /// Time for which the wire keeps its delay, up to `wait_shared`, for an abandoned source.
    ///
    /// The hole in its talk spurt is then shorter. After that the wire catches up with its clock.
    give_up: i64,
    /// Time for which a gap before a received packet is kept open for a reordered packet.
    reorder: i64,
    /// Greatest distance of a reordered packet: a timestamp further back starts another count.
    reorder_reach: i64,
    /// Greatest rounding error of timestamps: RTP clocks count in other units.
    rounding: i64,
    /// Excess of the timestamps' time over real time from which their gaps are ignored.
    ///
    /// Their clock then counts in another unit.
    max_excess: i64,
    /// Decrease of that excess per packet.
    excess_decay: i64,
    /// Longest gap that counts as lost or reordered packets; unsent silence lasts longer.
    max_loss: i64,
    /// Shortest gap at which the resampler is flushed before the next packet.
    min_gap: i64,
    /// Pause after which the timestamp offset and the delay start afresh.
    reset_after: i64,
    /// Silence after a talk spurt in which the delay does not change.
    speech_guard: i64,
    /// Half of the window of arrival statistics.
    half_window: i64,
    /// Distance of arrivals below which packets come out of the same stall and count once.
    ///
    /// If each counted, one stall of a second would look like fifty late packets.
    burst: i64,
}

impl Timing {
    fn new(rate: u32, options: &CaptureOptions) -> Self {
        let ms = |ms: u32| ms_to_samples(ms, rate) as i64;
        Self {
            rate,
            ms: ms(1),
            frame: ms(20),
            max_packet: ms(MAX_PACKET_MS as u32),
            wait_alone: ms(options.wait_alone_ms),
            wait_shared: ms(options.wait_shared_ms),
            absent: ms(options.absent_ms),
            onset_lag: ms(options.onset_lag_ms),
            max_depth: ms(options.max_depth_ms),
            capacity: ms(options.capacity_ms),
            tail: ms(options.tail_ms),
            tail_slack: ms(100),
            drain: ms(options.capacity_ms + options.wait_alone_ms + options.wait_shared_ms + 1_000),
            preroll: if options.active_speaker {
                ms(options.preroll_ms)
            } else {
                0
            },
            sustained: ms(options.sustained_ms),
            fade: ms_to_samples(options.fade_ms, rate),
            stall: ms(CALLER_STALL_MS as u32),
            after_push: ms(AFTER_PUSH_MS as u32),
            pause: ms(PAUSE_MS),
            forget_source: ms(FORGET_SOURCE_MS as u32),
            give_up: ms(500),
            reorder: ms(20),
            reorder_reach: ms(500),
            rounding: ms(2),
            max_excess: ms(160),
            excess_decay: ms(1) / 4,
            max_loss: ms(60),
            min_gap: ms(5),
            reset_after: ms(1_500),
            speech_guard: ms(40),
            half_window: ms(5_000),
            burst: ms(5),
        }
    }
}

/// Kind of a source's audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceKind {
    /// Voice of a person, whose speech is reported.
    #[default]
    Voice,
    /// Sound such as that of a shared screen: it is sent without speech events.
    Sound,
}

/// Phase of a source's speech.
///
/// The phases of a source alternate: `Starting` is followed by `Dismissed` or `Started`, `Started`
/// by `Stopped`, with at most one `Sustained` between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechPhase {
    /// First evidence of speech.
    Starting,
    /// The evidence was not confirmed.
    Dismissed,
    /// Speech has lasted for the detector's onset.
    Started,
    /// Speech has lasted for [`CaptureOptions::sustained_ms`].
    Sustained,
    /// Speech is over: silent for the detector's hangover, or no packets arrive any more.
    Stopped,
}

/// Speech event of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureEvent {
    /// Id of the source.
    pub source: u64,
    /// Phase that its speech has reached.
    pub phase: SpeechPhase,
}

/// Circumstances of a packet's arrival.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Time of the arrival in seconds, on any clock that only goes forward.
    pub at: f64,
    /// Time of the first sample in seconds, on the sender's clock; None if unknown.
    pub pts: Option<f64>,
    /// True to treat the packet as silence of the same length.
    pub muted: bool,
    /// Reference of the sound that is played to the source and may come back as an echo.
    pub echo: Option<&'a EchoReference>,
}

impl Arrival<'_> {
    /// Makes an arrival at `at` seconds, without a timestamp and without an echo.
    pub fn at(at: f64) -> Self {
        Self {
            at,
            pts: None,
            muted: false,
            echo: None,
        }
    }
}

/// Output of a [`Capture`]: frames, events and counts that are due.
///
/// Each call appends to it, so that one buffer can be reused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Concatenated wire frames of [`Capture::frame_len`] samples each.
    pub wire: Vec<i16>,
    /// For each frame, true if it contains no speech and no received speech is still queued.
    pub silence: Vec<bool>,
    /// Speech events, in order.
    pub events: Vec<CaptureEvent>,
    /// Number of samples suppressed as the agent's own voice, at the wire rate.
    pub suppressed: u64,
    /// True if the stream has ended after these frames, because nobody sends any more.
    ///
    /// It opens again with the next packet.
    pub ended: bool,
}

impl Due {
    /// Clears the output and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.wire.clear();
        self.silence.clear();
        self.events.clear();
        self.suppressed = 0;
        self.ended = false;
    }
}

/// Capture side of a call: frames of many sources in, one wire stream and speech events out.
///
/// Sans-IO: it has no clock and no thread; time is an argument. [`push`](Self::push) takes a
/// received packet, [`advance`](Self::advance) lets time pass; call it at
/// [`next_advance`](Self::next_advance), which moves with every call. Both append what is due. A time
/// before the newest one counts as the newest one.
///
/// Each source (one track of one person) has its own [`InputStream`](crate::InputStream) and jitter
/// buffer, which advances with the clock of the wire. So silence follows from time alone, and no
/// source's jitter, stalls, absence, timestamps or clock lose or repeat a sample of another.
///
/// - *Clock.* The wire is never more than a frame ahead of its clock, and never further behind than
///   the longest wait: `wait_alone_ms` for missing audio of a talk spurt, `wait_shared_ms` while
///   somebody else speaks.
/// - *Clean link.* One source passes at once and bit for bit.
/// - *Jitter.* The lateness that a source has reached twice in the last 10 s becomes its target
///   delay, applied between talk spurts, up to `max_depth_ms`. Lateness up to a frame of 20 ms
///   needs none: the wire waits that long.
/// - *Stalls.* Late audio is sent late and in order. Its source is then delayed, and catches up in
///   its silences, by a frame for each frame that is played. The end of an abandoned talk spurt is
///   concealed.
/// - *Stalls of the caller.* After 48 ms without a call no source counts as late until the packets
///   that arrived meanwhile could be pushed.
/// - *Echo.* During playout, audio of a source that may be a loudspeaker is held for at most 400
///   ms, until it is known whether the source sends echo.
/// - *End.* When nobody sends any more, the wire carries silence until `tail_ms` after the last
///   speech. Then nothing is sent, and after a pause of 1 s the stream ends. If somebody sends
///   again before that, the omitted silence is sent first.
///
/// Allocates: for a new source, when a rate changes, and while queues grow to their usual length.
///
/// ```
/// use voice_audio::{Arrival, Capture, CaptureOptions, Due, Samples};
/// let mut capture = Capture::new(16_000, CaptureOptions::default())?;
/// let mut due = Due::default();
/// capture.push(1, Samples::Mono(&[7i16; 320]), 16_000, Arrival::at(0.02), &mut due)?;
/// assert_eq!(due.wire, [7; 320]); // at once, as it came
/// due.clear();
/// for k in 2..200 {
///     capture.advance(0.02 * f64::from(k), &mut due)?;
/// }
/// assert!(due.ended && !capture.is_open());
/// assert!(due.silence.len() <= 5); // there was no speech: no more than 100 ms of silence
/// # Ok::<(), voice_audio::Error>(())
/// ```
#[derive(Debug)]
pub struct Capture {
    options: CaptureOptions,
    timing: Timing,
    sources: Vec<Source>,
    mixer: Mixer,
    frame: Vec<i16>,
    zeros: Vec<i16>,
    /// Time of the first call in seconds: zero of the wire's clock.
    epoch: Option<f64>,
    now: i64,
    /// Start of the open stream, at which the first packet was captured; None while it is closed.
    stream_start: Option<i64>,
    /// Number of samples sent since the start of the stream.
    sent: i64,
    last_arrival: i64,
    /// End of the newest speech on the wire; None before the first of the open stream.
    speech_end: Option<i64>,
    /// Time until which no source counts as late, because the caller was stalled.
    stalled_until: i64,
    /// Source that has the floor, with `active_speaker`.
    floor: Option<u64>,
}

impl Capture {
    /// Makes a capture without sources, for a wire of `wire_rate` Hz.
    ///
    /// # Errors
    /// [`Error::Rate`], [`Error::FrameRate`] for a rate without whole 20 ms frames,
    /// [`Error::Range`] and those of [`Vad::new`](crate::Vad::new) for options out of range.
    pub fn new(wire_rate: u32, options: CaptureOptions) -> Result<Self, Error> {
        let frame = frame_len(wire_rate)?;
        options.check()?;
        crate::InputStream::new(wire_rate, options.vad)?;
        Ok(Self {
            options,
            timing: Timing::new(wire_rate, &options),
            sources: Vec::new(),
            mixer: Mixer::new(wire_rate)?,
            frame: vec![0; frame],
            zeros: Vec::new(),
            epoch: None,
            now: 0,
            stream_start: None,
            sent: 0,
            last_arrival: 0,
            speech_end: None,
            stalled_until: 0,
            floor: None,
        })
    }

    /// Returns the rate of the wire in Hz.
    pub fn wire_rate(&self) -> u32 {
        self.timing.rate
    }

    /// Returns the number of samples of a wire frame of 20 ms.
    pub fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// Returns true while [`advance`](Self::advance) must be called, as frames are due by time.
    pub fn is_open(&self) -> bool {
        self.stream_start.is_some()
    }

    /// Returns the time in seconds at which to call [`advance`](Self::advance) if nothing is pushed
    /// before: 44 ms after a push, then each 20 ms from the push on, or when a frame that arrived
    /// early is due. None while nothing is due by time.
    pub fn next_advance(&self) -> Option<f64> {
        let epoch = self.epoch.filter(|_| self.is_open())?;
        let since = self.now - self.last_arrival;
        let mut at = if since == 0 {
            self.now + self.timing.after_push
        } else {
            self.last_arrival + (since / self.timing.frame + 1) * self.timing.frame
        };
        let ready = |source| {
            self.supply(source)
                .is_none_or(|supply| supply == Supply::Ready)
        };
        if self.behind() < -self.timing.frame && self.sources.iter().all(ready) {
            at = at.min(self.playhead());
        }
        Some(epoch + at as f64 / f64::from(self.timing.rate))
    }

    /// Lists the ids of the sources, in order of their first packet.
    pub fn sources(&self) -> impl Iterator<Item = u64> {
        self.sources.iter().map(|source| source.id)
    }

    /// Returns the statistics of a source; None if it is unknown.
    pub fn stats(&self, source: u64) -> Option<SourceStats> {
        self.find(source).map(|source| source.jitter_buffer.stats())
    }

    /// Returns the delay of a source's echo in milliseconds; None while no echo is known.
    pub fn echo_delay_ms(&self, source: u64) -> Option<f64> {
        self.find(source).and_then(Source::echo_delay_ms)
    }

    /// Returns the milliseconds by which the wire is behind its clock; negative when it is ahead.
    pub fn behind_ms(&self) -> f64 {
        self.behind() as f64 * 1e3 / f64::from(self.timing.rate)
    }

    /// Adds a source of the given kind. A source that was not opened is a [`SourceKind::Voice`].
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn open(&mut self, source: u64, kind: SourceKind) -> Result<(), Error> {
        self.index_of(source, kind).map(|_| ())
    }

    /// Takes a packet of a source, of any length; a new id is a new source.
    ///
    /// More than 120 ms count as several packets.
    ///
    /// # Errors
    /// [`Error::Option`] for a time that is not finite, [`Error::Rate`], [`Error::Ratio`],
    /// [`Error::Channels`], [`Error::Planes`] for samples that cannot be used, [`Error::TooMany`]
    /// for one source too many. Time passes nevertheless; nothing else changes.
    pub fn push<S: Sample>(
        &mut self,
        source: u64,
        samples: Samples<'_, S>,
        sample_rate: u32,
        arrival: Arrival<'_>,
        due: &mut Due,
    ) -> Result<(), Error> {
        let now = self.clock(arrival.at)?;
        // Play out what was due before this packet. A packet that arrives exactly when a frame is
        // due belongs to that frame, and so does the next one with the same time: hence `now - 1`.
        if now > self.now {
            self.pass_time(now - 1, due);
            self.close_after_pause();
        }
        self.now = self.now.max(now);
        samples.check()?;
        crate::check_rate(sample_rate)?;
        if samples.is_empty() {
            return Ok(());
        }
        let index = self.index_of(source, SourceKind::Voice)?;
        self.sources[index].prepare(sample_rate)?;
        self.last_arrival = self.now;
        let rate = f64::from(sample_rate);
        if self.stream_start.is_none() {
            let length = samples.len() as f64 / rate * f64::from(self.timing.rate);
            let length = (length.round() as i64).min(self.timing.max_packet);
            self.stream_start = Some(self.now - length);
            self.sent = 0;
            self.speech_end = None;
        }
        let packet_time = PacketTime {
            now: self.now,
            pts: None,
            playhead: self.playhead(),
            delayed_here: self.now < self.stalled_until,
        };
        let longest = (MAX_PACKET_MS * i64::from(sample_rate) / 1_000).max(1) as usize;
        let (mut rest, mut done) = (samples, 0);
        while !rest.is_empty() {
            let (packet, later) = rest.split_at(rest.len().min(longest));
            let pts = arrival.pts.filter(|pts| pts.is_finite());
            let packet_time = PacketTime {
                pts: pts.map(|pts| self.samples_of(pts + f64::from(done) / rate)),
                ..packet_time
            };
            let source = &mut self.sources[index];
            if arrival.muted {
                self.zeros.resize(self.zeros.len().max(packet.len()), 0);
                let zeros = Samples::Mono(&self.zeros[..packet.len()]);
                source.push(zeros, sample_rate, &arrival, packet_time, due, &self.timing)?;
            } else {
                source.push(
                    packet,
                    sample_rate,
                    &arrival,
                    packet_time,
                    due,
                    &self.timing,
                )?;
            }
            done += packet.len() as u32;
            rest = later;
        }
        self.give_floor(index);
        // The next packet with the same time may be the missing one, so a push ends no wait.
        self.send(due, false);
        Ok(())
    }

    /// Lets time pass until `at`, in seconds.
    ///
    /// # Errors
    /// [`Error::Option`] for a time that is not finite.
    pub fn advance(&mut self, at: f64, due: &mut Due) -> Result<(), Error> {
        let now = self.clock(at)?;
        due.ended |= self.pass_time(now, due);
        due.ended |= self.close_after_pause();
        Ok(())
    }

    /// Ends a source and its speech.
    ///
    /// Its queued audio is still sent. Later packets with its id belong to a new track.
    pub fn remove(&mut self, source: u64, due: &mut Due) {
        if let Some(source) = self.sources.iter_mut().find(|s| s.id == source) {
            source.end(due, &self.timing);
            source.jitter_buffer.remove();
        }
        self.send(due, false);
        self.drop_removed();
    }

    // -- time ----------------------------------------------------------------------------------

    /// Converts `at` seconds to samples of the wire's clock.
    fn clock(&mut self, at: f64) -> Result<i64, Error> {
        check_time(at)?;
        let epoch = *self.epoch.get_or_insert(at);
        Ok(self.samples_of(at - epoch))
    }

    fn samples_of(&self, seconds: f64) -> i64 {
        (seconds * f64::from(self.timing.rate)).round() as i64
    }

    /// Lets time pass; returns true if the stream ended long before `now`.
    fn pass_time(&mut self, now: i64, due: &mut Due) -> bool {
        // After a suspend of the computer the caller was away for longer than anything can be due:
        // the stream has ended meanwhile, and the rest of that time is not sent as silence.
        let over = self.last_arrival + self.timing.tail + self.timing.drain;
        let ended = self.stream_start.is_some() && now > over && {
            self.advance_to(self.now.max(over), due);
            self.close_after_pause()
        };
        if self.stream_start.is_some()
            && now - self.now > self.timing.stall
            && self.now >= self.stalled_until
        {
            self.stalled_until = now + self.timing.frame;
        }
        self.advance_to(now, due);
        ended
    }

    fn advance_to(&mut self, now: i64, due: &mut Due) {
        self.now = self.now.max(now);
        for source in &mut self.sources {
            source.advance(self.now, due, &self.timing);
        }
        self.send(due, self.now >= self.stalled_until);
        self.expire();
    }

    /// Returns the number of samples by which the wire is behind its clock.
    fn behind(&self) -> i64 {
        self.now - self.playhead() - self.timing.frame
    }

    /// Returns the capture time of the next wire sample.
    fn playhead(&self) -> i64 {
        self.stream_start.unwrap_or(self.now) + self.sent
    }

    /// Closes the stream after a pause of [`PAUSE_MS`]; returns true if it did.
    fn close_after_pause(&mut self) -> bool {
        let over = self.is_paused() && self.now >= self.last_arrival + self.timing.pause;
        if over {
            self.stream_start = None;
        }
        over
    }

    /// Returns true if nobody sends and the tail after the last speech is complete.
    ///
    /// Nothing is sent then; if somebody sends again in time, the omitted silence is sent first.
    fn is_paused(&self) -> bool {
        let heard = |end: i64| self.playhead() >= end + self.timing.tail;
        self.stream_start.is_some()
            && self.speech_end.is_none_or(heard)
            && (self.sources.iter()).all(|s| s.jitter_buffer.is_absent(self.now, &self.timing))
    }

    // -- sources -------------------------------------------------------------------------------

    fn find(&self, source: u64) -> Option<&Source> {
        self.sources.iter().find(|s| s.id == source)
    }

    fn index_of(&mut self, source: u64, kind: SourceKind) -> Result<usize, Error> {
        if let Some(index) = self.sources.iter().position(|s| s.id == source) {
            return Ok(index);
        }
        if self.sources.len() >= MAX_SOURCES {
            return Err(Error::TooMany {
                name: "sources",
                most: MAX_SOURCES,
            });
        }
        let (rate, vad) = (self.timing.rate, self.options.vad);
        self.sources
            .push(Source::new(source, kind, rate, vad, &self.timing)?);
        Ok(self.sources.len() - 1)
    }

    /// Forgets sources without packets for [`FORGET_SOURCE_MS`].
    fn expire(&mut self) {
        let oldest = self.now - self.timing.forget_source;
        self.sources.retain(|source| {
            let alive = source
                .jitter_buffer
                .last_arrival()
                .is_none_or(|last| last > oldest);
            alive || !source.jitter_buffer.is_empty()
        });
        self.drop_removed();
    }

    fn drop_removed(&mut self) {
        self.sources
            .retain(|s| !s.jitter_buffer.removed() || !s.jitter_buffer.is_empty());
        if let Some(floor) = self.floor
            && self.find(floor).is_none()
        {
            self.floor = None;
        }
    }

    /// Gives the floor to the source that has just pushed, if it may have it.
    fn give_floor(&mut self, index: usize) {
        if !self.options.active_speaker || self.sources[index].kind() == SourceKind::Sound {
            return;
        }
        let source = &self.sources[index];
        let holder = self.floor.and_then(|floor| self.find(floor));
        let free = match holder {
            None => true,
            Some(holder) if holder.id == source.id => false,
            // The queued speech of a delayed holder is sent first.
            Some(holder) => {
                source.speaking() && !holder.speaking() && !holder.jitter_buffer.has_speech()
            }
        };
        if free {
            self.floor = Some(source.id);
            let source = &mut self.sources[index];
            if source.speaking() {
                source.jitter_buffer.rewind(self.timing.preroll);
            }
        }
    }

    // -- the wire ------------------------------------------------------------------------------

    /// Makes the frames that are due; with `incomplete`, also those that some source lacks.
    fn send(&mut self, due: &mut Due, incomplete: bool) {
        while self.stream_start.is_some() && self.frame_is_due(incomplete) {
            let playhead = self.playhead();
            // With one source the wire itself can wait, and needs no target delay. With several, a
            // source that is usually late is played late, so that it delays nobody else.
            let alone = self.active_sources() < 2;
            // `in_talkspurt`: a talk spurt is under way, or is queued because it was late.
            let (mut speech, mut in_talkspurt) = (None, false);
            for source in &mut self.sources {
                let depth = if alone {
                    0
                } else {
                    source.jitter_buffer.depth(&self.timing)
                };
                let sent = !self.options.active_speaker
                    || self.floor == Some(source.id)
                    || source.kind() == SourceKind::Sound;
                let jitter_buffer = &mut source.jitter_buffer;
                let played =
                    jitter_buffer.play(&mut self.frame, playhead, depth, sent, &self.timing);
                if sent {
                    self.mixer.add(&self.frame);
                    if played.speech {
                        let late = jitter_buffer.stats().delay;
                        speech = Some(speech.map_or(late, |least: i64| least.min(late)));
                    }
                    in_talkspurt |= played.in_talkspurt || jitter_buffer.has_speech();
                }
            }
            let start = due.wire.len();
            due.wire.resize(start + self.frame.len(), 0);
            self.mixer.finish(&mut due.wire[start..]);
            due.silence.push(speech.is_none() && !in_talkspurt);
            self.sent += self.timing.frame;
            if let Some(late) = speech {
                // Speech that was slightly late may shorten the tail by as much.
                self.speech_end = Some(self.playhead() - late.clamp(0, self.timing.tail_slack));
            }
            self.drop_removed();
        }
    }

    /// Returns what a source has for the next frame; None if it has nothing, and no packet of it is
    /// expected.
    ///
    /// Such a source does not make a frame incomplete: a push of somebody else sends it. Should its
    /// next packet arrive at the very same time, it is in the frame after it.
    fn supply(&self, source: &Source) -> Option<Supply> {
        let supply = source.jitter_buffer.supply(&self.timing);
        let expected = source.jitter_buffer.is_expected(self.now, &self.timing);
        (supply != Supply::Empty || expected).then_some(supply)
    }

    /// Returns the number of sources with recent packets.
    fn active_sources(&self) -> usize {
        let oldest = self.now - self.timing.absent;
        let active = |s: &&Source| {
            s.jitter_buffer
                .last_arrival()
                .is_some_and(|last| last >= oldest)
        };
        self.sources.iter().filter(active).count()
    }

    /// Returns true if the next frame is due: every source has it, or the wait for it is over.
    fn frame_is_due(&mut self, incomplete: bool) -> bool {
        let behind = self.behind();
        // Complete frames go out up to a frame before their time: early audio waits for no timer.
        if behind < -self.timing.frame {
            return false;
        }
        let speakers = self.sources.iter().filter(|s| s.jitter_buffer.has_speech());
        let speakers = speakers.count();
        let (now, playhead) = (self.now, self.playhead());
        let (mut has_audio, mut complete) = (false, true);
        for source in &self.sources {
            let jitter_buffer = &source.jitter_buffer;
            let supply = match self.supply(source) {
                Some(Supply::Ready) => {
                    has_audio |= jitter_buffer.has_audio();
                    continue;
                }
                Some(supply) => supply,
                None => continue,
            };
            complete = false;
            let shared = speakers > usize::from(jitter_buffer.has_speech());
            let max_wait = jitter_buffer.max_wait(supply, shared, now, playhead, &self.timing);
            if !incomplete || behind < max_wait {
                return false;
            }
        }
        if complete && has_audio {
            return true;
        }
        if !incomplete || behind < 0 || self.is_paused() {
            return false;
        }
        for source in &mut self.sources {
            if source.jitter_buffer.supply(&self.timing) == Supply::Empty {
                source.jitter_buffer.abandon();
            }
        }
        true
    }
}
