//! One source of a [`Capture`](super::Capture): conversion, detection, echo hold, timeline.

use super::timeline::{Mark, Packet, Placement, Timeline};
use super::warmup::{EchoWarmup, NOTICE_HOLD_MS, Verdict};
use super::{Arrival, CaptureEvent, Due, SourceKind, SpeechPhase, Times};
use crate::pcm::Sample;
use crate::{Error, InputStream, Samples, VadEvent, VadOptions};

/// Speech since whose end less than this has passed is still a word: it bridges the gaps between
/// syllables, which last about 100 ms.
const WORD_HANGOVER_MS: u32 = 100;
/// Probability from which a push may be the beginning of a word. It is not enough for an event.
/// On labelled clean speech it comes 27 ms after the onset in the median and 45 ms at p90, where the
/// event's 0.5 takes 45 and 75 ms; in noise of 5 to 0 dB 45 and 87 ms, and 4 % of the noise has it.
const PERHAPS_SPEECH: f32 = 0.1;
/// Mean square of -60 dBFS: what is quieter is never the beginning of a word.
const QUIET: f32 = 1e-6;
/// A push that is louder than the source's noise floor by 6 dB may be the soft beginning of a word.
const ABOVE_NOISE: f32 = 4.0;
/// Factor by which the noise floor rises with a push that is no word: by 6 dB in a second of pushes
/// of 20 ms, so that it follows a noise, and not the sounds of a word that the detector has missed.
const FLOOR_RISE: f32 = 1.03;

/// What the detector knows of a source, as its events have told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Silent,
    Starting,
    Speaking { sustained: bool },
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: u64,
    kind: SourceKind,
    stream: InputStream,
    pub(super) timeline: Timeline,
    warmup: EchoWarmup,
    speech: Speech,
    /// Events of a source whose classification is pending.
    withheld: Vec<VadEvent>,
    /// Silence that the detector has heard since the newest packet because nothing came, in samples.
    silence_heard: i64,
    /// Such silence within the speech that is under way, which does not count as speech.
    silence_in_speech: i64,
    /// The newest packet was part of a word.
    in_word: bool,
    /// Least mean square of late, slowly rising.
    noise_floor: f32,
    wire: Vec<i16>,
    found: Vec<VadEvent>,
    /// In place of the detector, whether the next packet is part of a word.
    #[cfg(test)]
    pub(super) scripted: Option<bool>,
}

impl Source {
    pub(super) fn new(
        id: u64,
        kind: SourceKind,
        wire_rate: u32,
        vad: VadOptions,
        times: &Times,
    ) -> Result<Self, Error> {
        Ok(Self {
            id,
            kind,
            stream: InputStream::new(wire_rate, vad)?,
            timeline: Timeline::new(times),
            warmup: EchoWarmup::new(),
            speech: Speech::Silent,
            withheld: Vec::new(),
            silence_heard: 0,
            silence_in_speech: 0,
            in_word: false,
            noise_floor: QUIET / ABOVE_NOISE,
            wire: Vec::new(),
            found: Vec::new(),
            #[cfg(test)]
            scripted: None,
        })
    }

    /// True between the events of the start and the end of speech.
    pub(super) fn speaking(&self) -> bool {
        matches!(self.speech, Speech::Speaking { .. })
    }

    pub(super) fn kind(&self) -> SourceKind {
        self.kind
    }

    pub(super) fn echo_delay_ms(&self) -> Option<f64> {
        self.stream.echo_delay_ms()
    }

    /// Prepares for input at `sample_rate`; nothing else changes when that is refused.
    pub(super) fn prepare(&mut self, sample_rate: u32) -> Result<(), Error> {
        self.stream.prepare(sample_rate)
    }

    /// Takes a packet of at most 120 ms at a rate that was prepared for.
    pub(super) fn push<S: Sample>(
        &mut self,
        samples: Samples<'_, S>,
        sample_rate: u32,
        arrival: &Arrival<'_>,
        moment: Moment,
        due: &mut Due,
        times: &Times,
    ) -> Result<(), Error> {
        let len = samples.len() as u64 * u64::from(times.rate) / u64::from(sample_rate);
        let packet = Packet {
            len: len as i64,
            pts: moment.pts,
            fingerprint: moment.pts.map_or(0, |_| fingerprint(samples)),
            now: moment.now,
            delayed_here: moment.delayed_here,
        };
        let Some(placement) = self.timeline.accept(packet, moment.playhead, times) else {
            return Ok(());
        };
        self.wire.clear();
        if placement.gap >= times.gap {
            let heard = std::mem::take(&mut self.silence_heard).min(placement.gap);
            let missing = self.stream.skip_gap(
                placement.gap as usize,
                heard as usize,
                &mut self.wire,
                &mut self.found,
            );
            self.silence_in_speech += missing as i64;
            let end = placement.position - placement.gap;
            self.timeline
                .insert_tail(end, &self.wire, moment.now, times);
            self.wire.clear();
        }
        self.silence_heard = 0;
        let silent_before = self.speech == Speech::Silent;
        if let Some(reference) = arrival.echo {
            self.stream.expect_echo(reference, arrival.at)?;
        }
        #[cfg(test)]
        if let Some(word) = self.scripted {
            crate::pcm::convert(samples.first_row(), &mut self.wire);
            let Self { timeline, wire, .. } = self;
            let mark = if word { Mark::Word } else { Mark::Quiet };
            timeline.insert(placement, wire, mark, moment.now, times);
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
        let ms = self.wire.len() as f64 * 1e3 / f64::from(times.rate);
        self.insert(placement, active, moment.now, times);
        self.classify(ms, active, silent_before, due, times);
        Ok(())
    }

    /// Lets the detector hear that nothing has come for a while.
    pub(super) fn hear_time(&mut self, now: i64, due: &mut Due, times: &Times) {
        let absence = self.timeline.absence(times);
        let silent_for = self.timeline.last_arrival().map_or(0, |last| now - last);
        if silent_for <= absence {
            return;
        }
        self.flush(due, times);
        if self.speech == Speech::Silent {
            return;
        }
        let missing = silent_for - absence - self.silence_heard;
        if missing > 0 {
            self.hear_silence(missing, due, times);
        }
    }

    /// Ends the speech of a source from which nothing comes any more.
    pub(super) fn end(&mut self, due: &mut Due, times: &Times) {
        self.flush(due, times);
        if self.speech != Speech::Silent {
            self.hear_silence(i64::MAX, due, times);
        }
    }

    /// Sends what is held: nothing comes that could classify it.
    fn flush(&mut self, due: &mut Due, times: &Times) {
        if self.timeline.holds() || self.warmup.pending() {
            self.warmup.give_up();
            self.timeline.hold_newest(0);
            self.found.splice(0..0, self.withheld.drain(..));
            self.report(due, times);
        }
    }

    /// Lets the detector hear silence, which ends any speech: no more of it than that takes.
    fn hear_silence(&mut self, samples: i64, due: &mut Due, times: &Times) {
        // Its hangover, and what the network needs to forget a word.
        let hangover = i64::from(self.stream.vad().options().hangover_ms);
        let heard = samples.min((hangover + 200) * times.ms);
        self.silence_heard = self.silence_heard.saturating_add(samples);
        self.silence_in_speech += heard;
        self.stream.hear_silence(heard as usize, &mut self.found);
        self.report(due, times);
    }

    fn suppress(&mut self, samples: usize, due: &mut Due) {
        self.timeline.count_suppressed(samples);
        due.suppressed += samples as u64;
    }

    /// Queues what the stream has made of a packet; holds it while it may be echo.
    fn insert(&mut self, placement: Placement, playout_active: bool, now: i64, times: &Times) {
        let vad = self.stream.vad();
        let speech = vad.starting() || vad.speaking() && vad.silent_ms() < WORD_HANGOVER_MS;
        let word = speech || vad.probability() >= PERHAPS_SPEECH;
        let energy = mean_square(&self.wire);
        let sounds = energy > ABOVE_NOISE * self.noise_floor;
        if energy < self.noise_floor {
            self.noise_floor = energy.max(QUIET / ABOVE_NOISE);
        } else if !word {
            self.noise_floor = energy.min(self.noise_floor * FLOOR_RISE);
        }
        // A word that is under way began before the agent spoke, and is no echo of it.
        let between_words = !std::mem::replace(&mut self.in_word, word);
        if playout_active && !self.warmup.classified() && between_words {
            self.timeline.hold_from(placement.position);
        }
        let mark = if word {
            Mark::Word
        } else if sounds {
            Mark::Sound
        } else {
            Mark::Quiet
        };
        self.timeline
            .insert(placement, &self.wire, mark, now, times);
    }

    /// Reports what was found, or withholds it while the source's classification is pending.
    fn classify(
        &mut self,
        ms: f64,
        playout_active: bool,
        silent_before: bool,
        due: &mut Due,
        times: &Times,
    ) {
        if self.warmup.classified() || !(playout_active || self.warmup.pending()) {
            self.timeline.hold_newest(0);
            return self.report(due, times);
        }
        let held_ms = self.timeline.held() as f64 * 1e3 / f64::from(times.rate);
        // Without a hold a word was under way before the agent was heard: it is no echo.
        let begins = silent_before && self.timeline.holds();
        let verdict = self
            .warmup
            .update(&self.stream, ms, held_ms, playout_active, begins);
        if self.warmup.pending() && !self.warmup.withholds_events() {
            return self.report(due, times);
        }
        if self.warmup.pending() {
            self.withheld.append(&mut self.found);
            // Evidence goes on: what may be a barge-in lowers the agent's voice.
            if self.speech == Speech::Silent && (self.stream.starting() || self.stream.speaking()) {
                self.set_speech(Speech::Starting, due);
            }
            return;
        }
        if verdict == Some(Verdict::Echo) {
            let silenced = self.timeline.silence_held();
            self.suppress(silenced, due);
            self.withheld.clear();
            self.found.clear();
            if self.speech != Speech::Silent {
                self.set_speech(Speech::Silent, due);
            }
        }
        self.found.splice(0..0, self.withheld.drain(..));
        // A hold that began within a word would tear it.
        let may_hold = self.timeline.holds() || !self.in_word;
        let hold = if playout_active && !self.warmup.classified() && may_hold {
            i64::from(NOTICE_HOLD_MS) * times.ms
        } else {
            0
        };
        self.timeline.hold_newest(hold);
        self.report(due, times);
    }

    /// Turns what the detector found into events, which alternate.
    fn report(&mut self, due: &mut Due, times: &Times) {
        for k in 0..self.found.len() {
            match (self.found[k], self.speech) {
                (VadEvent::SpeechStarted { .. }, Speech::Silent | Speech::Starting) => {
                    self.silence_in_speech = 0;
                    self.set_speech(Speech::Speaking { sustained: false }, due);
                }
                (VadEvent::SpeechStopped { .. }, Speech::Speaking { .. }) => {
                    self.set_speech(Speech::Silent, due);
                }
                _ => {} // the end of an echo
            }
        }
        self.found.clear();
        match self.speech {
            Speech::Silent if self.stream.starting() => self.set_speech(Speech::Starting, due),
            Speech::Starting if !self.stream.starting() => self.set_speech(Speech::Silent, due),
            // Its end was withheld together with an echo.
            Speech::Speaking { .. } if !self.stream.speaking() => {
                self.set_speech(Speech::Silent, due);
            }
            Speech::Speaking { sustained: false } => {
                let spoken = i64::from(self.stream.vad().spoken_ms()) * times.ms;
                if spoken - self.silence_in_speech >= times.sustained {
                    self.set_speech(Speech::Speaking { sustained: true }, due);
                }
            }
            _ => {}
        }
    }

    /// Changes the state of the source's speech, and tells.
    fn set_speech(&mut self, to: Speech, due: &mut Due) {
        let phase = match (self.speech, to) {
            (_, Speech::Starting) => SpeechPhase::Starting,
            (Speech::Starting, Speech::Silent) => SpeechPhase::Dismissed,
            (_, Speech::Silent) => SpeechPhase::Stopped,
            (_, Speech::Speaking { sustained: false }) => SpeechPhase::Started,
            (_, Speech::Speaking { sustained: true }) => SpeechPhase::Sustained,
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

/// When a packet came, in samples of the wire's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: i64,
    pub(super) pts: Option<i64>,
    pub(super) playhead: i64,
    /// It may have come before now, while the process was away.
    pub(super) delayed_here: bool,
}

/// Tells a packet that came twice from a timestamp that stands still: FNV-1a over 32 samples.
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
