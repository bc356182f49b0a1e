//! One source of a `Capture`: conversion, detection, echo hold, jitter buffer.

use super::jitter_buffer::{Activity, JitterBuffer, Packet, Placement};
use super::warmup::{EchoWarmup, NOTICE_HOLD_MS, Verdict};
use super::{Arrival, CaptureEvent, Due, SourceKind, SpeechPhase, Timing};
use crate::pcm::Sample;
use crate::{Error, InputStream, Samples, VadEvent, VadOptions};

/// Hangover of a talk spurt after the last speech, in milliseconds.
///
/// It bridges the gaps between syllables, which last about 100 ms.
const TALKSPURT_HANGOVER_MS: u32 = 100;
/// Probability from which a push may begin a talk spurt; it is not enough for an event.
///
/// In clean speech of the labelled set (`benches/results/vad.md`, 20 ms pushes) it is reached 30 ms
/// after the onset in the median and 50 ms at p95, where the event's 0.5 takes 40 and 90 ms; in
/// noise of 0 dB 40 and 100 ms. 2.3 % of the pauses of all conditions reach it.
const MAYBE_SPEECH_PROBABILITY: f32 = 0.1;
/// Least power of the beginning of a talk spurt, as a mean square: -60 dBFS.
const MIN_SPEECH_POWER: f32 = 1e-6;
/// Ratio over the noise floor from which a push may softly begin a talk spurt: 6 dB.
const NOISE_RATIO: f32 = 4.0;
/// Rise of the noise floor per push without speech: 6 dB per second of 20 ms pushes.
///
/// This follows noise, but not the sounds of a word that the detector has missed.
const FLOOR_RISE: f32 = 1.03;

/// Speech state of a source, as reported by its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpeechState {
    Silent,
    Starting,
    Speaking { sustained: bool },
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: u64,
    kind: SourceKind,
    stream: InputStream,
    pub(super) jitter_buffer: JitterBuffer,
    warmup: EchoWarmup,
    speech: SpeechState,
    /// Events of a source whose classification is pending.
    withheld: Vec<VadEvent>,
    /// Silence pushed to the detector since the newest packet, for missing audio, in samples.
    silence_pushed: i64,
    /// Such silence within the current speech, which does not count as speech.
    silence_in_speech: i64,
    /// True if the newest packet was part of a talk spurt.
    in_talkspurt: bool,
    /// Recent least mean square, slowly rising.
    noise_floor: f32,
    wire: Vec<i16>,
    found: Vec<VadEvent>,
    /// Replaces the detector: true if the next packet is part of a talk spurt.
    #[cfg(test)]
    pub(super) scripted: Option<bool>,
}

impl Source {
    pub(super) fn new(
        id: u64,
        kind: SourceKind,
        wire_rate: u32,
        vad: VadOptions,
        timing: &Timing,
    ) -> Result<Self, Error> {
        Ok(Self {
            id,
            kind,
            stream: InputStream::new(wire_rate, vad)?,
            jitter_buffer: JitterBuffer::new(timing),
            warmup: EchoWarmup::new(),
            speech: SpeechState::Silent,
            withheld: Vec::new(),
            silence_pushed: 0,
            silence_in_speech: 0,
            in_talkspurt: false,
            noise_floor: MIN_SPEECH_POWER / NOISE_RATIO,
            wire: Vec::new(),
            found: Vec::new(),
            #[cfg(test)]
            scripted: None,
        })
    }

    /// Returns true between the events of the start and the end of speech.
    pub(super) fn speaking(&self) -> bool {
        matches!(self.speech, SpeechState::Speaking { .. })
    }

    pub(super) fn kind(&self) -> SourceKind {
        self.kind
    }

    pub(super) fn echo_delay_ms(&self) -> Option<f64> {
        self.stream.echo_delay_ms()
    }

    /// Prepares for input at `sample_rate`; on an error nothing changes.
    pub(super) fn prepare(&mut self, sample_rate: u32) -> Result<(), Error> {
        self.stream.prepare(sample_rate)
    }

    /// Takes a packet of at most 120 ms at a prepared rate.
    pub(super) fn push<S: Sample>(
        &mut self,
        samples: Samples<'_, S>,
        sample_rate: u32,
        arrival: &Arrival<'_>,
        packet_time: PacketTime,
        due: &mut Due,
        timing: &Timing,
    ) -> Result<(), Error> {
        let len = samples.len() as u64 * u64::from(timing.rate) / u64::from(sample_rate);
        let packet = Packet {
            len: len as i64,
            pts: packet_time.pts,
            fingerprint: packet_time.pts.map_or(0, |_| fingerprint(samples)),
            now: packet_time.now,
            delayed_here: packet_time.delayed_here,
        };
        let Some(placement) = self
            .jitter_buffer
            .accept(packet, packet_time.playhead, timing)
        else {
            return Ok(());
        };
        self.wire.clear();
        if placement.gap >= timing.min_gap {
            let heard = std::mem::take(&mut self.silence_pushed).min(placement.gap);
            let missing = self.stream.skip_gap(
                placement.gap as usize,
                heard as usize,
                &mut self.wire,
                &mut self.found,
            );
            self.silence_in_speech += missing as i64;
            let end = placement.position - placement.gap;
            self.jitter_buffer
                .insert_tail(end, &self.wire, packet_time.now, timing);
            self.wire.clear();
        }
        self.silence_pushed = 0;
        let silent_before = self.speech == SpeechState::Silent;
        if let Some(reference) = arrival.echo {
            self.stream.expect_echo(reference, arrival.at)?;
        }
        #[cfg(test)]
        if let Some(speech) = self.scripted {
            crate::pcm::convert(samples.first_row(), &mut self.wire);
            let Self {
                jitter_buffer,
                wire,
                ..
            } = self;
            let activity = if speech {
                Activity::Speech
            } else {
                Activity::Silence
            };
            jitter_buffer.insert(placement, wire, activity, packet_time.now, timing);
            return Ok(());
        }
        self.stream
            .push_samples(samples, sample_rate, &mut self.wire, &mut self.found)?;
        if self.stream.echo() {
            self.suppress(self.wire.len(), due);
        }
        let active = arrival
            .echo
            .is_some_and(|reference| reference.echo_possible(arrival.at));
        let ms = self.wire.len() as f64 * 1e3 / f64::from(timing.rate);
        self.insert(placement, active, packet_time.now, timing);
        self.classify(ms, active, silent_before, due, timing);
        Ok(())
    }

    /// Lets time pass: pushes silence to the detector if the source is absent.
    pub(super) fn advance(&mut self, now: i64, due: &mut Due, timing: &Timing) {
        let absence = self.jitter_buffer.absence(timing);
        let silent_for = self
            .jitter_buffer
            .last_arrival()
            .map_or(0, |last| now - last);
        if silent_for <= absence {
            return;
        }
        self.flush(due, timing);
        if self.speech == SpeechState::Silent {
            return;
        }
        let missing = silent_for - absence - self.silence_pushed;
        if missing > 0 {
            self.push_silence(missing, due, timing);
        }
    }

    /// Ends the speech of a source that sends nothing any more.
    pub(super) fn end(&mut self, due: &mut Due, timing: &Timing) {
        self.flush(due, timing);
        if self.speech != SpeechState::Silent {
            self.push_silence(i64::MAX, due, timing);
        }
    }

    /// Releases held audio and events, since nothing arrives that could classify the source.
    fn flush(&mut self, due: &mut Due, timing: &Timing) {
        if self.jitter_buffer.holds() || self.warmup.pending() {
            self.warmup.give_up();
            self.jitter_buffer.hold_newest(0);
            self.found.splice(0..0, self.withheld.drain(..));
            self.report(due, timing);
        }
    }

    /// Pushes silence to the detector, at most as much as ends any speech.
    fn push_silence(&mut self, samples: i64, due: &mut Due, timing: &Timing) {
        // The hangover, and the time that the network needs to forget a word.
        let hangover = i64::from(self.stream.vad().options().hangover_ms);
        let heard = samples.min((hangover + 200) * timing.ms);
        self.silence_pushed = self.silence_pushed.saturating_add(samples);
        self.silence_in_speech += heard;
        self.stream.detect_silence(heard as usize, &mut self.found);
        self.report(due, timing);
    }

    fn suppress(&mut self, samples: usize, due: &mut Due) {
        self.jitter_buffer.count_suppressed(samples);
        due.suppressed += samples as u64;
    }

    /// Queues the converted samples of a packet, and holds them while they may be echo.
    fn insert(&mut self, placement: Placement, playout_active: bool, now: i64, timing: &Timing) {
        let vad = self.stream.vad();
        let speech = vad.starting() || vad.speaking() && vad.silent_ms() < TALKSPURT_HANGOVER_MS;
        let in_talkspurt = speech || vad.probability() >= MAYBE_SPEECH_PROBABILITY;
        let energy = mean_square(&self.wire);
        let sounds = energy > NOISE_RATIO * self.noise_floor;
        if energy < self.noise_floor {
            self.noise_floor = energy.max(MIN_SPEECH_POWER / NOISE_RATIO);
        } else if !in_talkspurt {
            self.noise_floor = energy.min(self.noise_floor * FLOOR_RISE);
        }
        // A talk spurt that is under way began before the agent spoke, and is no echo of it.
        let between_talkspurts = !std::mem::replace(&mut self.in_talkspurt, in_talkspurt);
        if playout_active && !self.warmup.classified() && between_talkspurts {
            self.jitter_buffer.hold_from(placement.position);
        }
        let activity = if in_talkspurt {
            Activity::Speech
        } else if sounds {
            Activity::Sound
        } else {
            Activity::Silence
        };
        self.jitter_buffer
            .insert(placement, &self.wire, activity, now, timing);
    }

    /// Reports the found events, or withholds them while the classification is pending.
    fn classify(
        &mut self,
        ms: f64,
        playout_active: bool,
        silent_before: bool,
        due: &mut Due,
        timing: &Timing,
    ) {
        if self.warmup.classified() || !(playout_active || self.warmup.pending()) {
            self.jitter_buffer.hold_newest(0);
            return self.report(due, timing);
        }
        let held_ms = self.jitter_buffer.held() as f64 * 1e3 / f64::from(timing.rate);
        // Without a hold, a talk spurt was under way before the agent was heard: it is no echo.
        let begins = silent_before && self.jitter_buffer.holds();
        let verdict = self
            .warmup
            .update(&self.stream, ms, held_ms, playout_active, begins);
        if self.warmup.pending() && !self.warmup.withholds_events() {
            return self.report(due, timing);
        }
        if self.warmup.pending() {
            self.withheld.append(&mut self.found);
            // Evidence is still reported: a possible barge-in ducks the agent's voice.
            if self.speech == SpeechState::Silent
                && (self.stream.starting() || self.stream.speaking())
            {
                self.set_speech(SpeechState::Starting, due);
            }
            return;
        }
        if verdict == Some(Verdict::Echo) {
            let silenced = self.jitter_buffer.silence_held();
            self.suppress(silenced, due);
            self.withheld.clear();
            self.found.clear();
            if self.speech != SpeechState::Silent {
                self.set_speech(SpeechState::Silent, due);
            }
        }
        self.found.splice(0..0, self.withheld.drain(..));
        // A hold that began within a talk spurt would cut it.
        let may_hold = self.jitter_buffer.holds() || !self.in_talkspurt;
        let hold = if playout_active && !self.warmup.classified() && may_hold {
            i64::from(NOTICE_HOLD_MS) * timing.ms
        } else {
            0
        };
        self.jitter_buffer.hold_newest(hold);
        self.report(due, timing);
    }

    /// Turns the detector's events into capture events, which alternate.
    fn report(&mut self, due: &mut Due, timing: &Timing) {
        for k in 0..self.found.len() {
            match (self.found[k], self.speech) {
                (VadEvent::SpeechStarted { .. }, SpeechState::Silent | SpeechState::Starting) => {
                    self.silence_in_speech = 0;
                    self.set_speech(SpeechState::Speaking { sustained: false }, due);
                }
                (VadEvent::SpeechStopped { .. }, SpeechState::Speaking { .. }) => {
                    self.set_speech(SpeechState::Silent, due);
                }
                _ => {} // the end of an echo
            }
        }
        self.found.clear();
        match self.speech {
            SpeechState::Silent if self.stream.starting() => {
                self.set_speech(SpeechState::Starting, due)
            }
            SpeechState::Starting if !self.stream.starting() => {
                self.set_speech(SpeechState::Silent, due)
            }
            // The end of the speech was withheld together with an echo.
            SpeechState::Speaking { .. } if !self.stream.speaking() => {
                self.set_speech(SpeechState::Silent, due);
            }
            SpeechState::Speaking { sustained: false } => {
                let spoken = i64::from(self.stream.vad().spoken_ms()) * timing.ms;
                if spoken - self.silence_in_speech >= timing.sustained {
                    self.set_speech(SpeechState::Speaking { sustained: true }, due);
                }
            }
            _ => {}
        }
    }

    /// Changes the speech state of the source, and reports the phase.
    fn set_speech(&mut self, to: SpeechState, due: &mut Due) {
        let phase = match (self.speech, to) {
            (_, SpeechState::Starting) => SpeechPhase::Starting,
            (SpeechState::Starting, SpeechState::Silent) => SpeechPhase::Dismissed,
            (_, SpeechState::Silent) => SpeechPhase::Stopped,
            (_, SpeechState::Speaking { sustained: false }) => SpeechPhase::Started,
            (_, SpeechState::Speaking { sustained: true }) => SpeechPhase::Sustained,
        };
        self.speech = to;
        if self.kind == SourceKind::Voice {
            due.events.push(CaptureEvent {
                source: self.id,
                phase,
            });
        }
    }
}

/// Time of a packet's arrival, in samples of the wire's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketTime {
    pub(super) now: i64,
    pub(super) pts: Option<i64>,
    pub(super) playhead: i64,
    /// True if the packet may have arrived earlier, while the process was stalled.
    pub(super) delayed_here: bool,
}

/// Hashes up to 32 samples by FNV-1a, to tell duplicates from a timestamp that stands still.
fn fingerprint<S: Sample>(samples: Samples<'_, S>) -> u64 {
    let row = samples.first_row();
    let step = row.len().div_ceil(32).max(1);
    let seed = 0xcbf2_9ce4_8422_2325 ^ row.len() as u64;
    row.iter().step_by(step).fold(seed, |hash, x| {
        (hash ^ u64::from(x.to_unit().to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
}

fn mean_square(samples: &[i16]) -> f32 {
    let sum: i64 = samples
        .iter()
        .map(|&x| i64::from(i32::from(x) * i32::from(x)))
        .sum();
    sum as f32 / (samples.len().max(1) as f32 * 32_768.0 * 32_768.0)
}
