//! Echo warm-up: classifies a new source by whether it sends back the agent's own voice.

use crate::InputStream;

/// Quiet during playout, in milliseconds, after which new sound is likely a person.
///
/// It is then more likely a person than an echo. Echoes through a call come within 400 ms. Events
/// are then reported at once, but audio is still held, since the service would take a late echo for
/// an interruption.
const LIKELY_CLEAR_AFTER_MS: f64 = 500.0;
/// Quiet during playout, in milliseconds, after which a source is known to be free of echo.
///
/// An echo has a delay of at most 1 s, and is found within 0.4 s.
const CLEAR_AFTER_MS: f64 = 1_500.0;
/// Longest audio of one source held for its classification, in milliseconds.
pub(super) const MAX_HOLD_MS: f64 = 400.0;
/// Audio of an unclassified source that is always held during playout, in milliseconds.
///
/// The detector reports speech 20 to 60 ms after its first sound, which must be held, too.
pub(super) const NOTICE_HOLD_MS: u32 = 80;
/// Consecutive pushes of echo after which the suppressor has learned the level of the echo.
///
/// The delay is known some pushes before.
const CONFIRM_PUSHES: u32 = 3;

/// Result of a pending classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The held audio is the agent's own voice.
    Echo,
    /// The held audio is speech.
    Speech,
    /// The held audio is neither; the source stays unclassified.
    Neither,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// The source may or may not send echo.
    Unclassified { quiet_ms: f64 },
    /// Sound has begun that may be echo; the source's audio is held.
    Pending {
        /// True if the sound is more likely a person; events are reported meanwhile.
        likely_clear: bool,
        /// True if the detector has reported the start of speech since.
        started: bool,
        echo_pushes: u32,
        /// Duration since the beginning of the sound, held or not.
        lasted_ms: f64,
    },
    /// The classification is known. The echo suppressor follows later changes by itself.
    Classified,
}

/// Hold of a new source's audio during playout, until the source is classified.
///
/// The echo suppressor needs 0.2 to 0.3 s of an echo to find it. Without a hold the first reply of
/// a call would pause at its own first syllable, and the service, which receives it, too, would cut
/// the reply off.
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

    /// Returns true if events must be withheld: the pending sound is as likely an echo as a person.
    pub(super) fn withholds_events(&self) -> bool {
        matches!(self.state, State::Pending { likely_clear, .. } if !likely_clear)
    }

    /// Updates the classification after a push of `ms` milliseconds; returns its result if it ends.
    ///
    /// `held_ms` is the source's held audio, this push included. `playout_active` is true while the
    /// agent is heard or its echo may still be on its way. `begins` is true if the detector had no
    /// evidence of speech in the push before, and the sound is held from its beginning.
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

    /// Abandons a pending classification, since no more audio comes that could end it.
    pub(super) fn give_up(&mut self) {
        if self.pending() {
            self.state = State::Unclassified { quiet_ms: 0.0 };
        }
    }
}
