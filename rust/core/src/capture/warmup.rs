//! Classification of a new source: does it send back the agent's own voice?

use crate::InputStream;

/// Quiet while playout is active, in milliseconds, after which what begins is more likely a person
/// than an echo: echoes through a call come within 400 ms. Its events are told at once then, and
/// its audio is held all the same, since the service would take a late echo for an interruption.
const LIKELY_CLEAR_AFTER_MS: f64 = 500.0;
/// Quiet after which a source is known to be free of echo: one comes within 1 s of delay, and is
/// found within 0.4 s.
const CLEAR_AFTER_MS: f64 = 1_500.0;
/// Longest audio of one source held for its classification, in milliseconds.
pub(super) const MAX_HOLD_MS: f64 = 400.0;
/// Audio of an unclassified source that is always held while playout is active, in milliseconds: the
/// detector notices speech 20 to 60 ms after its first sound, which is to be held, too.
pub(super) const NOTICE_HOLD_MS: u32 = 80;
/// Pushes of echo in a row after which the guard is sure of the echo's level. The delay is known
/// some pushes before.
const CONFIRM_PUSHES: u32 = 3;

/// How a pending classification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was held is the agent's own voice.
    Echo,
    /// What was held is speech.
    Speech,
    /// It was neither; the source stays unclassified.
    Neither,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// It is not known whether the source sends echo.
    Unclassified { quiet_ms: f64 },
    /// Something has begun that may be echo; the source's audio is held meanwhile.
    Pending {
        /// Events are told meanwhile: it is more likely a person.
        likely_clear: bool,
        /// The detector has reported the start of speech since.
        started: bool,
        echo_pushes: u32,
        /// Audio since then, held or not.
        lasted_ms: f64,
    },
    /// It is known. The echo guard follows later changes by itself.
    Classified,
}

/// The echo guard has to hear an echo for 0.2 to 0.3 s before it knows it. Without a hold the first
/// reply of a call would pause at its own first syllable, and the service, which hears it too,
/// would cut it off. So what begins in these first moments is held until it is classified.
#[derive(Debug)]
pub(super) struct EchoWarmup {
    state: State,
}

impl EchoWarmup {
    pub(super) fn new() -> Self {
        Self {
            state: State::Unclassified { quiet_ms: 0.0 },
        }
    }

    pub(super) fn classified(&self) -> bool {
        self.state == State::Classified
    }

    pub(super) fn pending(&self) -> bool {
        matches!(self.state, State::Pending { .. })
    }

    /// True if events are to be withheld: what is pending is as likely an echo as a person.
    pub(super) fn withholds_events(&self) -> bool {
        matches!(self.state, State::Pending { likely_clear, .. } if !likely_clear)
    }

    /// Takes in what the stream knows after a push of `ms` milliseconds; returns the end of a pending
    /// classification. `held_ms` is the source's audio that is held, this push included.
    /// `playout_active`: the agent is heard, or its echo may still be on its way. `begins`: the detector
    /// had no evidence of speech in the push before, and what comes is held from its first sound on.
    pub(super) fn update(
        &mut self,
        stream: &InputStream,
        ms: f64,
        held_ms: f64,
        playout_active: bool,
        begins: bool,
    ) -> Option<Verdict> {
        let evidence = stream.starting() || stream.speaking();
        let echo_known = stream.echo_delay_ms().is_some();
        match &mut self.state {
            State::Classified => None,
            State::Unclassified { quiet_ms } => {
                if echo_known || (playout_active && evidence && begins) {
                    self.state = State::Pending {
                        likely_clear: *quiet_ms >= LIKELY_CLEAR_AFTER_MS && !echo_known,
                        started: stream.speaking(),
                        echo_pushes: 0,
                        lasted_ms: 0.0,
                    };
                } else if !playout_active || evidence {
                    *quiet_ms = 0.0;
                } else {
                    *quiet_ms += ms;
                    if *quiet_ms >= CLEAR_AFTER_MS {
                        self.state = State::Classified;
                    }
                }
                None
            }
            State::Pending {
                started,
                echo_pushes,
                lasted_ms,
                ..
            } => {
                *lasted_ms += ms;
                *started |= stream.speaking();
                *echo_pushes = if stream.echo() { *echo_pushes + 1 } else { 0 };
                let verdict = if *echo_pushes >= CONFIRM_PUSHES {
                    Verdict::Echo
                } else if held_ms.max(*lasted_ms) + ms <= MAX_HOLD_MS {
                    return None;
                } else if evidence || *started {
                    Verdict::Speech
                } else if echo_known {
                    Verdict::Echo
                } else {
                    Verdict::Neither
                };
                self.state = match verdict {
                    Verdict::Neither => State::Unclassified { quiet_ms: 0.0 },
                    Verdict::Echo | Verdict::Speech => State::Classified,
                };
                Some(verdict)
            }
        }
    }

    /// Gives up a pending classification: no more audio comes that could end it.
    pub(super) fn give_up(&mut self) {
        if self.pending() {
            self.state = State::Unclassified { quiet_ms: 0.0 };
        }
    }
}
