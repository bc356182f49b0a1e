"""Define the turns of the model, and the policies that choose them."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..._beliefs import believed
from ...audio import Resampler
from ...errors import AudioError, ConfigError
from ..signals import read_wav, speech_like

__all__ = [
    "OUTPUT_RATE",
    "FunctionCall",
    "Parrot",
    "ReplyPolicy",
    "Script",
    "Stall",
    "Turn",
    "Turns",
    "UserTurn",
    "require_policy",
    "to_output_rate",
]

OUTPUT_RATE: int = believed("output_rate")
"""The rate of everything that Gemini Live says, in Hz."""

_MS_PER_WORD = 300.0  # of a turn that has a text and no audio: an ordinary 200 words a minute
_FADE_MS = 5.0


@dataclass(frozen=True)
class UserTurn:
    """One turn of the user, as a reply policy sees it.

    Attributes:
        kind: `audio`, `text`, or `tool_response`.
        text: The text, or the transcript of the audio.
        audio: int16 mono, shape `(n,)`, with up to 200 ms before and after the speech; empty if
            the turn has none.
        rate: Sample rate of `audio`, in Hz; it is the rate on the wire.
        onset_ms: Start of the speech on the session's audio timeline, in milliseconds.
        end_ms: End of the speech on the same timeline.
        tool_responses: `functionResponses`, as they came; keys in camelCase.
        session: Index of the session in `LocalGemini.sessions`.
    """

    kind: Literal["audio", "text", "tool_response"]
    text: str = ""
    audio: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    rate: int = 16000
    onset_ms: float = 0.0
    end_ms: float = 0.0
    tool_responses: tuple[dict[str, Any], ...] = ()
    session: int = 0


@dataclass(frozen=True)
class FunctionCall:
    """A tool that the model calls.

    Attributes:
        name: Name of the declared function.
        args: Its arguments.
        id: Id of the call; empty lets the server choose one.
    """

    name: str
    args: dict[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Stall:
    """The server goes silent in the middle of a turn.

    Attributes:
        at_ms: After this much of the turn's audio has been sent.
        seconds: For how long; None lasts until `LiveSession.release()`.
    """

    at_ms: float
    seconds: float | None = None


@dataclass(frozen=True)
class Turn:
    """One turn of the model.

    A turn with function calls sends its audio, if any, and then the calls, and is complete only
    with the turn that answers the tool's response.

    Attributes:
        audio: int16 mono at 24 kHz, shape `(n,)`. None is a babble as long as the text takes to
            say (`signals.speech_like`, 300 ms a word); without a text, a turn with function calls,
            `written`, `thought` or `turn_complete_reason` stays silent.
        text: What is said: the output transcription if the session asked for it, and the text
            itself in a session whose modality is TEXT.
        written: Text parts without audio before the speech, in a session that speaks: reasoning or
            stray text, which native-audio models send. With neither `audio` nor `text` the turn
            ends without any audio, as some do (livekit agents #7390).
        thought: A thought before the speech: a text part that is marked as one (`thought: true`).
        in_progress: A filler: with extended thinking, its `turnComplete` says that the interaction
            is `IN_PROGRESS` and not `IDLE`, because another turn follows.
        turn_complete: False ends the turn with `generationComplete` alone, as was seen (livekit
            agents #4979): its `turnComplete` never comes.
        turn_complete_reason: `turnCompleteReason` of the turn, for example `RESPONSE_REJECTED`.
            Such a turn has no `generationComplete`: nothing was generated to its end.
        function_calls: Tools that are called.
        delay_ms: Time to think: from the end of the user's turn to the first message.
        stall: A pause of the server in mid-sentence.
        seed: Chooses the babble.
    """

    audio: NDArray[np.int16] | None = None
    text: str = ""
    written: str = ""
    thought: str = ""
    in_progress: bool = False
    turn_complete: bool = True
    turn_complete_reason: str = ""
    function_calls: tuple[FunctionCall, ...] = ()
    delay_ms: float = 0.0
    stall: Stall | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.audio is not None and (self.audio.dtype != np.int16 or self.audio.ndim != 1):
            raise AudioError(
                "Turn.audio takes int16 of shape (n,) at 24 kHz, "
                f"not {self.audio.dtype} {self.audio.shape}; Turn.from_wav converts a file"
            )
        if self.turn_complete_reason and not self.turn_complete:
            raise ConfigError("Turn.turn_complete_reason is part of a turnComplete: let it be sent")
        if self.in_progress and not self.turn_complete:
            raise ConfigError("Turn.in_progress is told with a turnComplete: let it be sent")
        if self.function_calls and (self.turn_complete_reason or not self.turn_complete):
            raise ConfigError(
                "a Turn with function_calls ends with the turn that answers the tool's response: "
                "turn_complete and turn_complete_reason belong there"
            )

    @property
    def pcm(self) -> NDArray[np.int16]:
        """The audio that is sent: int16 mono at 24 kHz."""
        if self.audio is not None:
            return self.audio
        wordless = self.function_calls or self.written or self.thought or self.turn_complete_reason
        if wordless and not self.text:
            return np.zeros(0, dtype=np.int16)
        words = max(1, len(self.text.split()))
        return speech_like(words * _MS_PER_WORD, OUTPUT_RATE, seed=self.seed)

    @classmethod
    def empty(cls, turn_complete_reason: str = "") -> Turn:
        """A turn with nothing in it, as an answer that failed: no audio, no text, only its end."""
        return cls(audio=np.zeros(0, np.int16), turn_complete_reason=turn_complete_reason)

    @classmethod
    def from_wav(cls, path: str | os.PathLike[str], text: str = "") -> Turn:
        """A turn that says what a WAV file holds (16-bit PCM, any rate; the first channel).

        Raises:
            AudioError: Not a WAV file of 16-bit PCM, or a rate out of 8 to 96 kHz.
            OSError: The file cannot be read.
        """
        samples, rate = read_wav(path)
        mono = samples if samples.ndim == 1 else np.ascontiguousarray(samples[:, 0])
        return cls(audio=to_output_rate(mono, rate), text=text)


Turns = Iterable[Turn] | AsyncIterable[Turn]


class ReplyPolicy(Protocol):
    """Decides what the model says.

    An exception that a policy raises closes the session with 1011, as an internal error of the
    service does, and is raised again when the server is closed.
    """

    def reply(self, user: UserTurn) -> Turns:
        """Returns the turns of the model that answer a turn of the user; none is silence.

        It is called once for each turn of the user, in order, when that turn ends. It may be a
        generator or an async generator; it is consumed turn by turn, until it is interrupted.
        """
        ...


class Parrot:
    """Answers with the user's own words; makes the whole way of the audio measurable.

    The answer is the audio of the user's turn from 200 ms before its onset (or the session's
    `prefixPaddingMs`, if that is longer) to 200 ms after its end, at 24 kHz, complete and
    time-aligned: the resampler's delay is compensated. Its first and last 5 ms are faded.

    Args:
        greeting: The answer to a text, and to the response of a tool.
        delay_ms: Time to think before it answers speech.
    """

    def __init__(self, greeting: Turn | None = None, *, delay_ms: float = 0.0) -> None:
        self._greeting = greeting or Turn(text="Hello, it is good to hear from you.")
        self._delay_ms = delay_ms

    def reply(self, user: UserTurn) -> Iterable[Turn]:
        """Repeats speech; greets otherwise."""
        if user.kind != "audio":
            return [self._greeting]
        if not user.audio.size:
            return []
        audio = _faded(to_output_rate(user.audio, user.rate), OUTPUT_RATE)
        return [Turn(audio=audio, text=user.text, delay_ms=self._delay_ms)]


Spoken = Turn | str | FunctionCall
"""Entry of a script: a turn, or something that makes one."""


class Script:
    """Answers with turns written down beforehand, in order, whatever the user says.

    A function is called, and the next entry is what follows its result::

        Script([FunctionCall("book", {"seats": 2}), "Your table is booked."])

    All sessions of a server read the same script, so that it goes on after a reconnect.

    Args:
        turns: One entry for each turn of the user, and for each answer to a function that was
            called: a `Turn`, a text that is said, a `FunctionCall` that is made, or several of them
            in a row. An empty sequence is silence.
        then: What answers after the last entry; None is silence.

    Raises:
        ConfigError: `turns` is no list of these, or `then` no reply policy.
    """

    def __init__(
        self, turns: Sequence[Spoken | Sequence[Spoken]], *, then: ReplyPolicy | None = None
    ) -> None:
        _require_turns(turns)
        if then is not None:
            require_policy(then, "Script(then=)")
        self._turns = [
            [_turn(entry)]
            if isinstance(entry, (Turn, str, FunctionCall))
            else [_turn(each) for each in entry]
            for entry in turns
        ]
        self._then = then
        self._next = 0

    @property
    def remaining(self) -> int:
        """Entries that have not been used."""
        return len(self._turns) - self._next

    def reply(self, user: UserTurn) -> Turns:
        """The next entry of the script."""
        if self._next < len(self._turns):
            self._next += 1
            return self._turns[self._next - 1]
        return self._then.reply(user) if self._then else []


def _turn(entry: Spoken) -> Turn:
    if isinstance(entry, str):
        return Turn(text=entry)
    return Turn(function_calls=(entry,)) if isinstance(entry, FunctionCall) else entry


def require_policy(value: object, option: str) -> None:
    """Check that a value is a reply policy.

    Args:
        value: The value.
        option: Name of the argument, for the message.

    Raises:
        ConfigError: It has no method `reply`, or it is a class instead of an instance.
    """
    if isinstance(value, type):
        raise ConfigError(f"{option} is the class {value.__name__}: write {value.__name__}(...)")
    if isinstance(value, str):
        raise ConfigError(f"{option} is a str: write Script([{_short(value)}])")
    if isinstance(value, (Turn, list, tuple)):
        raise ConfigError(f"{option} is a {type(value).__name__} of turns: write Script([...])")
    if not callable(getattr(value, "reply", None)):
        raise ConfigError(
            f"{option} is a {type(value).__name__}, which has no method `reply`; take Parrot(), "
            "Script([Turn(...)]) or a policy of your own"
        )


def _require_turns(turns: object) -> None:
    """Check the entries of a script; a str would be taken apart into its letters."""
    if isinstance(turns, str):
        raise ConfigError(f"Script takes a list of turns, not a str: Script([{_short(turns)}])")
    if isinstance(turns, (Turn, FunctionCall)):
        name = type(turns).__name__
        raise ConfigError(f"Script takes a list of turns, not one {name}: Script([{name}(...)])")
    if not isinstance(turns, Sequence):
        raise ConfigError(f"Script takes a list of turns, not {type(turns).__name__}")
    for number, entry in enumerate(turns):
        members = entry if isinstance(entry, (list, tuple)) else [entry]
        if not all(isinstance(each, (Turn, str, FunctionCall)) for each in members):
            raise ConfigError(
                f"Script: entry {number} is {_short(entry)}; it is a Turn, a text, a FunctionCall, "
                "or a list of these that are said in a row. What answers after the last entry is "
                "`then`"
            )


def _short(value: object) -> str:
    """Return `repr` of a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def to_output_rate(samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    """Converts to 24 kHz without a delay and without losing an end.

    Args:
        samples: int16 mono, shape `(n,)`.
        rate: Its rate, 8 to 96 kHz.

    Returns:
        int16, exactly `round(n * 24000 / rate)` samples, the first one at the time of the first.

    Raises:
        AudioError: A rate out of range.
    """
    if rate == OUTPUT_RATE:
        return samples.copy()
    resampler = Resampler(rate, OUTPUT_RATE)
    delay = round(resampler.delay)
    size = round(samples.size * OUTPUT_RATE / rate)
    # Silence behind the signal pushes its last samples through the filter.
    tail = np.zeros(math.ceil((delay + 1) * rate / OUTPUT_RATE) + 1, dtype=np.int16)
    parts = [resampler.push(samples), resampler.push(tail), resampler.flush()]
    return np.concatenate(parts)[delay : delay + size]


def _faded(samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    edge = min(round(rate * _FADE_MS / 1000.0), samples.size // 2)
    if not edge:
        return samples
    ramp = 0.5 * (1 - np.cos(np.pi * (np.arange(edge) + 0.5) / edge))
    faded = samples.astype(np.float64)
    faded[:edge] *= ramp
    faded[-edge:] *= ramp[::-1]
    return np.rint(faded).astype(np.int16)
