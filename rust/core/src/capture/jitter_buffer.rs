//! Jitter buffer of one source, on the clock of the wire.
//!
//! Positions count the source's own samples at the wire rate. The *cursor* is the playout position:
//! the position of the next wire sample. It advances with the wire whether there is audio or not,
//! so silence follows from time alone: audio that is missing at its playout time is silence, and
//! audio that arrives later moves the cursor back, which delays this source and no other.

use std::collections::VecDeque;

use super::Timing;
use super::arrival::ArrivalStats;
use super::concealment::LossConcealer;

/// Greatest position: 9 million years at 16 kHz.
const MAX_POSITION: i64 = 1 << 62;
/// Number of packets remembered to find copies and overlaps: more than are ever queued.
const DUPLICATE_WINDOW: usize = 128;
/// Greatest number of consecutive copies of a packet.
///
/// Digital silence under a timestamp that stands still looks the same, and comes more often.
const MAX_COPIES: u32 = 3;
/// Greatest number of buffers of played segments kept for reuse.
const MAX_SPARE_BUFFERS: usize = 32;

/// Statistics of one source. Counts are samples at the wire rate unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Samples that arrived, resampled to the wire rate.
    pub pushed: u64,
    /// Samples sent to the wire.
    pub played: u64,
    /// Silence skipped between talk spurts, to reduce the delay.
    pub skipped: u64,
    /// Silence inserted between talk spurts, to increase the delay.
    pub inserted: u64,
    /// Samples of talk spurts lost by the network, according to the timestamps.
    pub lost: u64,
    /// Samples of duplicate packets.
    pub duplicate: u64,
    /// Samples of reordered packets discarded because their successors had been sent.
    pub late: u64,
    /// Samples discarded because the buffer was full.
    pub overflow: u64,
    /// Samples of talk spurts missing at playout time because nothing had arrived.
    pub underrun: u64,
    /// Samples not sent because another source had the floor.
    pub unsent: u64,
    /// Samples suppressed as the agent's own voice: replaced by silence or noise.
    pub suppressed: u64,
    /// Number of talk spurts without whose rest the wire went on.
    pub abandoned: u64,
    /// Number of timestamps ignored as implausible.
    pub rejected_timestamps: u64,
    /// Current delay of playout relative to the fastest path.
    pub delay: i64,
    /// Target delay of playout, which the source's jitter requires.
    pub depth: i64,
    /// Samples queued now, held ones included.
    pub queued: u64,
}

/// Header of a packet that has just arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    /// Length at the wire rate, in samples.
    pub(super) len: i64,
    /// Timestamp of the first sample, at the wire rate.
    pub(super) pts: Option<i64>,
    /// Hash of the content: tells a copy from another packet with the same timestamp.
    pub(super) fingerprint: u64,
    pub(super) now: i64,
    /// True if the packet may have arrived earlier, while the process was stalled.
    pub(super) delayed_here: bool,
}

/// Position of a packet in the stream of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) position: i64,
    /// Samples missing between the newest media and this packet; 0 for one out of order.
    pub(super) gap: i64,
}

/// Activity in a packet, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Activity {
    /// Silence or background noise, which may be skipped.
    Silence,
    /// Sound loud enough to be the soft beginning of a talk spurt.
    Sound,
    /// Part of a talk spurt.
    Speech,
}

/// Recently accepted packet.
#[derive(Debug)]
struct Accepted {
    position: i64,
    len: i64,
    pts: Option<i64>,
    fingerprint: u64,
    arrived: i64,
}

/// Samples of one packet in the queue.
#[derive(Debug)]
struct Segment {
    /// Position of the first of `samples`.
    position: i64,
    samples: Vec<i16>,
    /// Number of samples played from the front.
    played: usize,
    /// Number of samples sent or skipped from the front, beyond which `rewind` cannot go.
    consumed: usize,
    /// Samples missing before the segment when it arrived.
    gap: i64,
    speech: bool,
    /// True if the segment is loud enough to be the soft beginning of a talk spurt.
    sounds: bool,
    arrived: i64,
}

impl Segment {
    fn start(&self) -> i64 {
        self.position + self.played as i64
    }

    fn end(&self) -> i64 {
        self.position + self.samples.len() as i64
    }

    fn remaining(&self) -> &[i16] {
        &self.samples[self.played..]
    }

    /// Rewinds to position `to` over samples played but not sent; returns their number.
    fn rewind(&mut self, to: i64) -> usize {
        let from = (to - self.position).clamp(0, self.played as i64) as usize;
        let played = std::mem::replace(&mut self.played, from.max(self.consumed));
        played - self.played
    }
}

/// Availability of a source's audio for the next frame of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Supply {
    /// The whole frame is queued, or known to be silence.
    Ready,
    /// Audio is missing before a queued segment, which arrived at `since`.
    Gap { since: i64 },
    /// No more audio is queued.
    Empty,
}

#[derive(Debug)]
pub(super) struct JitterBuffer {
    queue: VecDeque<Segment>,
    /// Position from which on audio is held and must not be played yet.
    held_from: Option<i64>,
    /// Recently played segments, for a pre-roll.
    history: VecDeque<Segment>,
    spare: Vec<Vec<i16>>,
    cursor: i64,
    /// End of the newest media.
    end: i64,
    /// Difference between position and timestamp; None before the first timestamp.
    pts_offset: Option<i64>,
    /// Recent excess of the timestamps' time over real time.
    excess: i64,
    newest_pts: Option<i64>,
    /// Number of consecutive repetitions of the newest timestamp.
    repeats: u32,
    arrival: ArrivalStats,
    /// Arrival time of the newest packet; None before the first.
    last_arrival: Option<i64>,
    /// Length of the longest packet beyond a frame of 20 ms: the next one takes as long to arrive.
    packet_excess: i64,
    accepted: VecDeque<Accepted>,
    /// True if the newest played sample belonged to a talk spurt that was not given up.
    in_talkspurt: bool,
    /// True if the source sends continuously: a missing frame is late, not omitted silence.
    steady: bool,
    /// True if the wire does not wait for the source until its next packet.
    abandoned: bool,
    /// Silence on the wire since the last talk spurt.
    silence: i64,
    removed: bool,
    concealer: LossConcealer,
    stats: SourceStats,
}

impl JitterBuffer {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            queue: VecDeque::new(),
            held_from: None,
            history: VecDeque::new(),
            spare: Vec::new(),
            cursor: 0,
            end: 0,
            pts_offset: None,
            excess: 0,
            newest_pts: None,
            repeats: 0,
            arrival: ArrivalStats::new(),
            last_arrival: None,
            packet_excess: 0,
            accepted: VecDeque::with_capacity(DUPLICATE_WINDOW),
            in_talkspurt: false,
            steady: false,
            abandoned: false,
            silence: 0,
            removed: false,
            concealer: LossConcealer::new(timing.fade),
            stats: SourceStats::default(),
        }
    }

    // -- in ------------------------------------------------------------------------------------

    /// Decides the position of a packet; None for a copy, or if its successors were already sent.
    ///
    /// `playhead` is the capture time of the next wire sample.
    pub(super) fn accept(
        &mut self,
        packet: Packet,
        playhead: i64,
        timing: &Timing,
    ) -> Option<Placement> {
        let now = packet.now;
        if self.removed {
            // A removed source that returns is another track: its timestamps start afresh.
            self.removed = false;
            self.forget_timestamps();
        }
        let pause = self.last_arrival.map(|last| now - last);
        let absence = self.absence(timing);
        self.steady = pause.is_some_and(|pause| pause <= absence);
        let back = pause.is_some_and(|pause| {
            pause > timing.reset_after
                || (pause > absence && !self.in_talkspurt && self.queue.is_empty())
        });
        if pause.is_some_and(|pause| pause > timing.reset_after) {
            self.forget_timestamps();
        }
        let position = self.place(packet, back, timing)?;
        self.abandoned = false;
        self.last_arrival = Some(now);
        self.packet_excess = self.packet_excess.max(packet.len - timing.frame);
        let gap = (position - self.end).max(0);
        if position >= self.end {
            self.end = position + packet.len;
            self.arrival
                .record(self.end, now, packet.delayed_here, timing);
        }
        if pause.is_none() || back && self.queue.is_empty() {
            // The source was silent, so its delay can be chosen freely.
            self.cursor = playhead - self.arrival.fastest() - self.depth(timing);
        }
        let gap = if pause.is_none() { 0 } else { gap };
        Some(Placement { position, gap })
    }

    /// Queues the samples of an accepted packet.
    pub(super) fn insert(
        &mut self,
        Placement { position, gap }: Placement,
        samples: &[i16],
        activity: Activity,
        now: i64,
        timing: &Timing,
    ) {
        if samples.is_empty() {
            return;
        }
        let at = self
            .queue
            .partition_point(|segment| segment.position < position);
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(samples);
        self.stats.pushed += samples.len() as u64;
        self.stats.queued += samples.len() as u64;
        if at == self.queue.len() {
            // Resampling may give one sample more or less than the expected length.
            self.end = position + samples.len() as i64;
        }
        let segment = Segment {
            position,
            samples: buffer,
            played: 0,
            consumed: 0,
            gap,
            speech: activity >= Activity::Speech,
            sounds: activity >= Activity::Sound,
            arrived: now,
        };
        self.queue.insert(at, segment);
        self.rewind_to_late();
        self.drop_overflow(timing);
    }

    /// Queues the end of the sound before a gap, flushed from the resampler, unless it is too late.
    pub(super) fn insert_tail(
        &mut self,
        position: i64,
        samples: &[i16],
        now: i64,
        timing: &Timing,
    ) {
        let newest = self.queue.back();
        let free = newest.is_none_or(|segment| segment.end() <= position);
        if position >= self.cursor && free {
            let speech = newest.map_or(self.in_talkspurt, |segment| segment.speech);
            let activity = if speech {
                Activity::Speech
            } else {
                Activity::Sound
            };
            let placement = Placement { position, gap: 0 };
            self.insert(placement, samples, activity, now, timing);
        }
    }

    /// Counts samples suppressed as the agent's own voice.
    pub(super) fn count_suppressed(&mut self, samples: usize) {
        self.stats.suppressed += samples as u64;
    }

    /// Forgets the timestamp offset and the accepted packets.
    ///
    /// A clip that is played again under the same timestamps is no copy.
    fn forget_timestamps(&mut self) {
        self.pts_offset = None;
        self.excess = 0;
        self.accepted.clear();
    }

    fn place(&mut self, packet: Packet, back: bool, timing: &Timing) -> Option<i64> {
        let Packet { len, pts, now, .. } = packet;
        // Position by the clock, if the packet came on the fastest path.
        let by_clock = (now - len - self.arrival.fastest().min(now)).max(self.end);
        // Position without a timestamp: after silence by the clock, else right after the last
        // packet.
        let without_pts = if back { by_clock } else { self.end };
        self.repeats = if pts.is_some() && pts == self.newest_pts {
            self.repeats + 1
        } else {
            0
        };
        self.newest_pts = pts;
        // A copy has both the timestamp and the content of a recent packet: a timestamp alone may
        // stand still. Later repetitions are a clip that is played again.
        let lately = now - timing.reorder_reach;
        let same = |a: &Accepted| {
            a.pts == pts && a.fingerprint == packet.fingerprint && a.arrived >= lately
        };
        if pts.is_some() && self.repeats < MAX_COPIES && self.accepted.iter().any(same) {
            self.stats.pushed += len as u64;
            self.stats.duplicate += len as u64;
            return None;
        }
        let claim = pts
            .zip(self.pts_offset)
            .filter(|_| self.excess < timing.max_excess)
            .map(|(pts, pts_offset)| {
                pts.wrapping_add(pts_offset)
                    .clamp(-MAX_POSITION, MAX_POSITION)
            });
        let position = match claim {
            None => without_pts,
            Some(claimed) if (claimed - self.end).abs() <= timing.rounding => self.end,
            Some(claimed) if claimed > self.end => {
                // Accept a gap up to the time that has really passed.
                let excess = (claimed - by_clock).max(0);
                self.excess += excess.min(timing.max_loss);
                self.stats.rejected_timestamps += u64::from(excess > timing.frame);
                if excess > timing.reorder_reach {
                    without_pts
                } else {
                    claimed - excess
                }
            }
            Some(claimed) => {
                let overlaps =
                    |a: &Accepted| claimed < a.position + a.len && a.position < claimed + len;
                if self.accepted.iter().any(overlaps) {
                    self.reject_timestamp(without_pts, timing)
                } else if claimed >= self.cursor {
                    claimed
                } else if claimed > self.end - timing.reorder_reach {
                    // 20 ms at a wrong position are worse than 20 ms of concealment.
                    self.stats.pushed += len as u64;
                    self.stats.late += len as u64;
                    return None;
                } else {
                    self.reject_timestamp(without_pts, timing)
                }
            }
        };
        if self.excess < timing.max_excess {
            // One jump, or a few losses before the fastest path is known, are forgotten: a quarter
            // of a millisecond with each packet.
            self.excess = (self.excess - timing.excess_decay).max(0);
        }
        self.pts_offset = pts
            .map(|pts| position.wrapping_sub(pts))
            .or(self.pts_offset);
        if self.accepted.len() == DUPLICATE_WINDOW {
            self.accepted.pop_front();
        }
        self.accepted.push_back(Accepted {
            position,
            len,
            pts,
            fingerprint: packet.fingerprint,
            arrived: now,
        });
        Some(position)
    }

    /// Ignores a timestamp that stands still or runs back.
    fn reject_timestamp(&mut self, without_pts: i64, timing: &Timing) -> i64 {
        self.stats.rejected_timestamps += 1;
        self.excess += timing.max_loss;
        without_pts
    }

    /// Moves the cursor back to late audio, which is played; the source is delayed from there on.
    fn rewind_to_late(&mut self) {
        let first = self.available().next().map(Segment::start);
        self.cursor = first.map_or(self.cursor, |start| self.cursor.min(start));
    }

    /// Discards the oldest audio beyond the capacity: the source sends faster than real time.
    fn drop_overflow(&mut self, timing: &Timing) {
        while self.queue.len() > 1 && self.stats.queued > timing.capacity as u64 {
            let Some(oldest) = self.queue.pop_front() else {
                break;
            };
            self.stats.overflow += oldest.remaining().len() as u64;
            self.stats.queued -= oldest.remaining().len() as u64;
            self.concealer.begin_skip();
            self.concealer.skip(oldest.remaining());
            self.cursor = self.cursor.max(self.queue[0].start());
            if self.held_from.is_some_and(|held| held < self.cursor) {
                self.held_from = Some(self.cursor);
            }
            self.recycle(oldest.samples);
        }
    }

    // -- the hold ------------------------------------------------------------------------------

    /// Holds the newest `len` samples that were not played; 0 releases everything.
    ///
    /// It also holds up to as many samples of a sound that leads up to them. Released audio is
    /// late, and played from its first sample on.
    pub(super) fn hold_newest(&mut self, len: i64) {
        self.held_from = if len == 0 {
            None
        } else {
            let from = self.end - len;
            // A segment is held whole, and released audio is not held again.
            let first = self.queue.partition_point(|s| s.end() <= from);
            let oldest = self.held_from.unwrap_or(i64::MIN).max(from - len);
            let leads_up = |s: &&Segment| s.sounds && s.position >= oldest;
            let lead = self.queue.range(..first).rev().take_while(leads_up);
            let first = first - lead.count();
            self.queue.get(first).map(|segment| match self.held_from {
                Some(held) => segment.position.max(held),
                None => segment.position,
            })
        };
        self.rewind_to_late();
    }

    /// Holds audio from `position` on, unless audio is held already.
    pub(super) fn hold_from(&mut self, position: i64) {
        self.held_from.get_or_insert(position);
    }

    /// Returns the number of held samples.
    pub(super) fn held(&self) -> i64 {
        self.held_from.map_or(0, |from| self.end - from)
    }

    /// Returns true from [`hold_from`](Self::hold_from) until everything is released.
    pub(super) fn holds(&self) -> bool {
        self.held_from.is_some()
    }

    /// Replaces the held audio by silence; returns its length in samples.
    pub(super) fn silence_held(&mut self) -> usize {
        let from = self.held_from.unwrap_or(MAX_POSITION);
        let mut silenced = 0;
        for segment in self.queue.iter_mut().filter(|s| s.position >= from) {
            silenced += segment.samples.len();
            segment.samples.fill(0);
            segment.speech = false;
            segment.sounds = false;
        }
        silenced
    }

    fn available(&self) -> impl Iterator<Item = &Segment> {
        let from = self.held_from.unwrap_or(MAX_POSITION);
        self.queue.iter().take_while(move |s| s.position < from)
    }

    // -- out -----------------------------------------------------------------------------------

    /// Returns true if nothing is queued, held audio included.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns true if audio is queued that may be played.
    pub(super) fn has_audio(&self) -> bool {
        self.available().next().is_some()
    }

    /// Returns true if speech is queued that may be played.
    pub(super) fn has_speech(&self) -> bool {
        self.available().any(|segment| segment.speech)
    }

    pub(super) fn removed(&self) -> bool {
        self.removed
    }

    /// Marks the source as removed; its queued audio is still played.
    pub(super) fn remove(&mut self) {
        self.removed = true;
        self.held_from = None;
        self.rewind_to_late();
    }

    /// Returns the arrival time of the newest packet; None before the first.
    pub(super) fn last_arrival(&self) -> Option<i64> {
        self.last_arrival
    }

    pub(super) fn stats(&self) -> SourceStats {
        self.stats
    }

    pub(super) fn supply(&self, timing: &Timing) -> Supply {
        let mut at = self.cursor;
        let mut in_talkspurt = self.in_talkspurt;
        for segment in self.available() {
            if segment.start() > at {
                return if in_talkspurt || segment.gap <= timing.max_loss {
                    Supply::Gap {
                        since: segment.arrived,
                    }
                } else {
                    Supply::Ready
                };
            }
            in_talkspurt = segment.speech;
            at = segment.end();
            if at >= self.cursor + timing.frame {
                return Supply::Ready;
            }
        }
        // The wire does not wait for held audio.
        if self.held_from.is_some() {
            Supply::Ready
        } else {
            Supply::Empty
        }
    }

    /// Returns the delay relative to the fastest path with which the next sample is played.
    pub(super) fn delay(&self, playhead: i64) -> i64 {
        match self.arrival.fastest() {
            i64::MAX => 0,
            fastest => playhead - fastest - self.cursor,
        }
    }

    /// Returns the target delay, which the source's jitter requires.
    ///
    /// The wire waits a frame for every source, so lateness up to a frame needs no delay.
    pub(super) fn depth(&self, timing: &Timing) -> i64 {
        (self.arrival.usual_lateness() - timing.frame).clamp(0, timing.max_depth)
    }

    /// Returns true if the source is silent by absence and nothing is queued.
    pub(super) fn is_absent(&self, now: i64, timing: &Timing) -> bool {
        let absence = self.absence(timing);
        let silent = self.last_arrival.is_none_or(|last| now - last > absence);
        silent && self.queue.is_empty() && !self.in_talkspurt
    }

    /// Returns whether a packet may be on its way: the newest one is recent, or a talk spurt goes on.
    pub(super) fn is_expected(&self, now: i64, timing: &Timing) -> bool {
        let longest = if self.steady {
            self.absence(timing)
        } else {
            // The source leaves out its silence; a second packet, if there is one, comes right after
            // the first.
            let second = 2 * timing.frame + self.packet_excess + self.depth(timing);
            second.min(self.absence(timing))
        };
        let recent = self.last_arrival.is_some_and(|last| now - last <= longest);
        recent || self.in_talkspurt || self.abandoned || self.removed
    }

    /// Returns the time without packets after which the source is silent.
    pub(super) fn absence(&self, timing: &Timing) -> i64 {
        timing.absent + self.depth(timing) + self.packet_excess
    }

    /// Returns how far the wire may fall behind its clock while it waits for this source.
    ///
    /// `supply` says what the source lacks. `shared` is true if somebody else speaks and would be
    /// delayed.
    pub(super) fn max_wait(
        &self,
        supply: Supply,
        shared: bool,
        now: i64,
        playhead: i64,
        timing: &Timing,
    ) -> i64 {
        let limit = if shared {
            timing.wait_shared
        } else {
            timing.wait_alone
        };
        let silent_for = self.last_arrival.map_or(MAX_POSITION, |last| now - last);
        match supply {
            Supply::Ready => i64::MIN,
            Supply::Gap { since } if now - since >= timing.reorder => i64::MIN,
            Supply::Gap { .. } => limit,
            Supply::Empty if self.removed => i64::MIN,
            // The hole in its talk spurt is shorter if the wire keeps its delay within the bound.
            Supply::Empty if self.abandoned && silent_for > timing.give_up => i64::MIN,
            Supply::Empty if self.abandoned => timing.wait_shared,
            Supply::Empty if self.in_talkspurt => limit,
            Supply::Empty if !self.is_expected(now, timing) => 0,
            Supply::Empty if !self.steady => timing.frame,
            // The next talk spurt may begin in the missing audio.
            Supply::Empty if !shared => self.absence(timing),
            Supply::Empty => {
                let unmet = self.depth(timing) - self.delay(playhead);
                (unmet.max(0) + timing.frame).min(timing.wait_shared)
            }
        }
    }

    /// Writes the next frame to `frame`.
    ///
    /// `depth` is the target delay; `sent` is true if the frame goes to the wire.
    pub(super) fn play(
        &mut self,
        frame: &mut [i16],
        playhead: i64,
        depth: i64,
        sent: bool,
        timing: &Timing,
    ) -> Played {
        let mut speech = false;
        let mut at = 0;
        if self.adapt(playhead, depth, timing) {
            self.play_silence(frame, timing);
            at = frame.len();
        }
        while at < frame.len() {
            let room = frame.len() - at;
            let gap = self.available().next().map(|s| s.start() - self.cursor);
            let n = match gap {
                Some(..=0) => {
                    let n = self.play_segment(&mut frame[at..], sent, timing);
                    speech |= self.in_talkspurt;
                    n
                }
                Some(gap) => {
                    let n = room.min(gap as usize);
                    if self.in_talkspurt {
                        self.stats.lost += n as u64;
                    }
                    self.play_silence(&mut frame[at..at + n], timing);
                    n
                }
                None => {
                    if self.in_talkspurt && self.held_from.is_none() {
                        self.stats.underrun += room as u64;
                    }
                    self.play_silence(&mut frame[at..], timing);
                    room
                }
            };
            self.cursor += n as i64;
            at += n;
        }
        self.stats.delay = self.delay(playhead + timing.frame);
        self.stats.depth = depth;
        Played {
            speech,
            in_talkspurt: self.in_talkspurt,
        }
    }

    /// Abandons the rest of a talk spurt: the wire goes on without it.
    pub(super) fn abandon(&mut self) {
        if self.in_talkspurt {
            self.stats.abandoned += 1;
            self.abandoned = true;
        }
    }

    /// Rewinds up to `len` samples that were played but not sent: a pre-roll.
    pub(super) fn rewind(&mut self, len: i64) {
        let to = self.cursor - len;
        let mut back = 0;
        if let Some(front) = self.queue.front_mut() {
            back += front.rewind(to);
        }
        while let Some(mut segment) = self.history.pop_back() {
            let samples = segment.rewind(to);
            if samples == 0 {
                self.recycle(segment.samples);
                break;
            }
            back += samples;
            self.queue.push_front(segment);
        }
        self.forget_history();
        self.stats.unsent -= back as u64;
        self.stats.queued += back as u64;
        self.rewind_to_late();
        self.concealer.fade_in();
    }

    fn forget_history(&mut self) {
        while let Some(forgotten) = self.history.pop_front() {
            self.recycle(forgotten.samples);
        }
    }

    fn play_segment(&mut self, out: &mut [i16], sent: bool, timing: &Timing) -> usize {
        let segment = &mut self.queue[0];
        let n = out.len().min(segment.remaining().len());
        let samples = &segment.samples[segment.played..segment.played + n];
        self.concealer.play(samples, &mut out[..n]);
        segment.played += n;
        let speech = segment.speech;
        self.in_talkspurt = speech;
        self.silence = if speech { 0 } else { self.silence + n as i64 };
        self.stats.queued -= n as u64;
        if sent {
            segment.consumed = segment.played;
            self.stats.played += n as u64;
            self.forget_history();
        } else {
            self.stats.unsent += n as u64;
        }
        if self.queue[0].remaining().is_empty()
            && let Some(segment) = self.queue.pop_front()
        {
            if !sent && timing.preroll > 0 {
                self.remember(segment, timing);
            } else {
                self.recycle(segment.samples);
            }
        }
        n
    }

    fn remember(&mut self, segment: Segment, timing: &Timing) {
        let oldest = segment.end() - timing.preroll;
        self.history.push_back(segment);
        while self.history.front().is_some_and(|s| s.end() <= oldest) {
            if let Some(forgotten) = self.history.pop_front() {
                self.recycle(forgotten.samples);
            }
        }
    }

    fn recycle(&mut self, buffer: Vec<i16>) {
        if self.spare.len() < MAX_SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }

    fn play_silence(&mut self, out: &mut [i16], timing: &Timing) {
        self.concealer.conceal(out);
        self.silence += out.len() as i64;
        // The talk spurt is given up; later audio is a new one. A hold begins between talk spurts
        // only.
        if (self.abandoned && self.silence >= timing.absent) || self.held_from.is_some() {
            self.in_talkspurt = false;
        }
    }

    /// Adapts the delay towards `depth`, between talk spurts, by a frame at a time.
    ///
    /// Returns true if this frame is inserted silence.
    fn adapt(&mut self, playhead: i64, depth: i64, timing: &Timing) -> bool {
        if self.in_talkspurt || self.silence < timing.speech_guard {
            return false;
        }
        let delay = self.delay(playhead);
        // The detector marks an onset late: before a marked segment it is too late to insert
        // silence.
        let next_is_quiet = self.available().next().is_some_and(|s| !s.speech);
        if delay < depth - timing.frame && next_is_quiet {
            self.stats.inserted += timing.frame as u64;
            return true;
        }
        if delay >= depth + timing.frame {
            self.skip_frame(timing);
        }
        false
    }

    /// Skips a frame of silence, if more known silence follows than the detector's onset lag.
    fn skip_frame(&mut self, timing: &Timing) {
        let to = self.cursor + timing.frame;
        let silence = self.available().take_while(|s| !s.speech);
        let known = silence.last().map_or(self.cursor, Segment::end);
        let sounds = (self.available().take_while(|s| s.position < to)).any(|s| s.sounds);
        if known < to + timing.onset_lag || sounds {
            return;
        }
        self.concealer.begin_skip();
        while let Some(segment) = self.queue.front_mut().filter(|s| s.start() < to) {
            let n = segment
                .remaining()
                .len()
                .min((to - segment.start()) as usize);
            self.concealer
                .skip(&segment.samples[segment.played..segment.played + n]);
            segment.played += n;
            segment.consumed = segment.played;
            self.stats.skipped += n as u64;
            self.stats.queued -= n as u64;
            if segment.remaining().is_empty()
                && let Some(segment) = self.queue.pop_front()
            {
                self.recycle(segment.samples);
            }
        }
        self.cursor = to;
    }
}

/// Content of a played frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Played {
    /// True if the frame contains speech.
    pub(super) speech: bool,
    /// True if the frame ends within a talk spurt, whose rest may still arrive.
    pub(super) in_talkspurt: bool,
}
