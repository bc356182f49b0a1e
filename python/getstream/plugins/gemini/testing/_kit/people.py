"""Let the people of a local call say texts, and hear whole turns of the bot."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from .._person import Person, Utterance
from .._person.receiver import SAMPLE_RATE
from ..signals import rms_dbfs
from .errors import TurnTimeoutError
from .synthesis import synthesize

__all__ = ["CallPerson", "HeardTurn", "Surroundings"]

_T = TypeVar("_T")

_SILENCE_MS = 700.0
"""Silence that ends a turn: longer than the pauses between read sentences, 400 to 600 ms."""
_HANGOVER_MS = 300.0
"""Shortest silence that ends a turn: that by which a person tells one speech from the next."""
_LONGEST_S = 60.0


@dataclass(frozen=True, eq=False)
class HeardTurn:
    """An utterance of the bot as a person heard it, from its first to its last audible sample.

    Attributes:
        pcm: int16 mono, 48 kHz, shape (n,); pauses inside the turn are silence.
        started_at: When its first audible sample arrived, in seconds on the person's clock.
        ended_at: When its last audible frame of 20 ms ended, on the same clock.
        rate: Rate of `pcm` in Hz.
    """

    pcm: NDArray[np.int16]
    started_at: float
    ended_at: float
    rate: int = SAMPLE_RATE

    @property
    def duration(self) -> float:
        """Return its length in seconds."""
        return self.ended_at - self.started_at

    @property
    def level_dbfs(self) -> float:
        """Return its RMS level in dBFS."""
        return rms_dbfs(self.pcm)


class Surroundings(Protocol):
    """Facts of the call that a person depends on."""

    def check_bot(self, when: str, *, may_have_ended: bool = False) -> None:
        """Raise BotExitedError if the bot has failed, or has ended and must not have."""

    def is_person(self, user_id: str) -> bool:
        """Return whether a user is one of the people of the call."""

    def diagnosis(self) -> str:
        """Describe the state of the call for a message."""

    def note_said(self, text: str) -> None:
        """Take note of the text of an utterance that begins."""


class CallPerson(Person):
    """Somebody in a `LocalCall`, made by `LocalCall.person`.

    A `Person` who can also say a text, and hear a whole turn of the bot. Every wait ends with
    `BotExitedError` as soon as the bot has failed.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        call_id: str,
        user_id: str,
        *,
        call_type: str = "default",
        voice: str = "en",
        sends: Literal["as_sdk", "as_browser"] = "as_sdk",
        receive_video: bool = False,
        threshold_dbfs: float = -50.0,
    ) -> None:
        """Create a person.

        Args:
            surroundings: The call.
            call_id: Id of the call.
            user_id: Who the person is.
            call_type: Type of the call.
            voice: Voice of espeak-ng for texts.
            sends: See `Person`.
            receive_video: See `Person`.
            threshold_dbfs: See `Person`.
        """
        super().__init__(
            call_id,
            user_id,
            call_type=call_type,
            sends=sends,
            receive_video=receive_video,
            threshold_dbfs=threshold_dbfs,
        )
        self.voice = voice
        self.lines: list[tuple[float, str]] = []
        """Start in `time.monotonic()` seconds, and text, of each utterance."""
        self._surroundings = surroundings
        self._turn_end = -math.inf
        self._spoke_at = -math.inf

    async def say(
        self, speech: NDArray[np.int16] | str | os.PathLike[str], rate: int = SAMPLE_RATE
    ) -> Utterance:
        """Say something, and return when its last sample has left.

        Args:
            speech: A text, which espeak-ng speaks; the path of a WAV file (a `Path`, or a str that
                ends with `.wav`); or int16, shape (n,) or (n, channels).
            rate: Sample rate of the array in Hz.

        Raises:
            SpeechSynthesisError: espeak-ng is not installed, or failed.
            CallError: The person is not in the call, or muted.
            AudioError: The file or the array is no 16-bit PCM.
            OSError: The file cannot be read.
        """
        sound: NDArray[np.int16] | str | os.PathLike[str] = speech
        if isinstance(speech, str) and not speech.lower().endswith(".wav"):
            text = speech
            sound, rate = await synthesize(speech, self.voice)
        elif isinstance(speech, (str, os.PathLike)):
            text = f"[{Path(speech).name}]"
        else:
            text = f"[{len(speech) / rate:.1f} seconds of speech]"
        self._surroundings.note_said(text)
        before = len(self._said)
        try:
            return await super().say(sound, rate)
        finally:
            for start, _ in self._said[before:]:  # nothing, if it did not begin
                self.lines.append((start, text))
                self._spoke_at = start - self.started_at

    async def hear_turn(
        self,
        timeout: float = 30.0,
        *,
        silence_ms: float = _SILENCE_MS,
        longest_s: float = _LONGEST_S,
    ) -> HeardTurn:
        """Wait for the next turn of the bot that this person has not been given, to its end.

        A turn that began, or ended, before this is called counts, so that none is missed; but not
        one that had ended when this person last began to speak. Speech of the other people of the
        call is not listened to.

        Args:
            timeout: Seconds to wait for its first audible sample.
            silence_ms: Milliseconds of silence that end it, 300 or more.
            longest_s: Seconds that it may last.

        Raises:
            TurnTimeoutError: It did not begin, or not end, in time; says what was seen instead.
            BotExitedError: The bot has ended, and there is no such turn.
            CallError: The call has ended meanwhile.
            ConfigError: `silence_ms` is too short.
        """
        if silence_ms < _HANGOVER_MS:
            raise ConfigError(f"silence_ms is {silence_ms:g}; it is {_HANGOVER_MS:g} or more")
        gap = silence_ms / 1000.0
        past = self._spoke_at  # what is said from now on changes nothing about this turn
        try:
            await self._until_or_failed(
                lambda: self._next_turn(gap, past),
                timeout,
                "a turn of the bot",
                may_have_ended=False,
            )
        except TimeoutError as error:
            raise TurnTimeoutError(f"{error}. {self._surroundings.diagnosis()}") from None
        what = f"the end of a turn of the bot ({silence_ms:g} ms of silence)"
        limit = longest_s + gap
        try:
            start, end = await self._until(lambda: self._finished_turn(gap, past), limit, what)
        except TimeoutError as error:
            raise TurnTimeoutError(f"{error}. It lasts longer than {longest_s:g} s") from None
        self._turn_end = end
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        return HeardTurn(self._heard_of_bot()[first:last].copy(), start, end)

    def answers(self) -> list[tuple[float, float]]:
        """Return (end of an utterance, onset of the bot's answer) of each answered utterance.

        In `time.monotonic()` seconds.
        """
        said = [event for event in self.events if event["event"] in ("say_started", "say_stopped")]
        ends = [event["t"] for event in said if event["event"] == "say_stopped"]
        starts = [event["t"] for event in said if event["event"] == "say_started"][1:]
        onsets = sorted(start for start, _, _ in self._bot_speeches())
        found = []
        for end, following in zip(ends, [*starts, math.inf], strict=False):
            onset = next((onset for onset in onsets if onset > end), math.inf)
            if onset < following:
                found.append((self.started_at + end, self.started_at + onset))
        return found

    def turns_heard(self, silence_ms: float = _SILENCE_MS) -> list[tuple[float, float]]:
        """Return start and end of every turn of the bot until now, on the person's clock."""
        return _grouped(self._bot_speeches(), silence_ms / 1000.0)

    # -- inside -------------------------------------------------------------

    def _bots(self) -> list[str]:
        return [name for name in self.speakers if not self._surroundings.is_person(name)]

    def _bot_speeches(self) -> list[tuple[float, float, str]]:
        """Return start, end and speaker of all speech of the bot, in order."""
        bots = self._bots()
        begun: dict[str, float] = {}
        speeches = []
        for event in self.events:
            user_id = event.get("user_id", "")
            if user_id not in bots:
                continue
            if event["event"] == "speech_started":
                begun[user_id] = event["t"]
            elif event["event"] == "speech_stopped" and user_id in begun:
                speeches.append((begun.pop(user_id), event["t"], user_id))
        for user_id, start in begun.items():
            speech = self._receiver(user_id).speech
            assert speech is not None, "a receiver reports a speech that it holds"
            speeches.append((start, speech.end - self.started_at, user_id))
        return sorted(speeches)

    def _next_turn(self, gap: float, past: float) -> tuple[float, float] | None:
        """Return the first turn that was not given yet and ended after `past`, as far as it got."""
        later = [speech for speech in self._bot_speeches() if speech[0] > self._turn_end]
        return next((turn for turn in _grouped(later, gap) if turn[1] > past), None)

    def _finished_turn(self, gap: float, past: float) -> tuple[float, float] | None:
        """Return that turn once `gap` seconds of silence have followed, or the call is over."""
        turn = self._next_turn(gap, past)
        if turn is None or self._over is not None:
            return turn
        end = self.started_at + turn[1]
        silent = all(self._was_silent(self._receiver(name), end, gap) for name in self._bots())
        return turn if silent else None

    def _heard_of_bot(self) -> NDArray[np.int16]:
        tracks = [self.heard_from(name) for name in self._bots()]
        count = min(map(len, tracks))
        mixed = np.sum([track[:count] for track in tracks], axis=0, dtype=np.int32)
        return np.clip(mixed, -32768, 32767).astype(np.int16)

    async def _until(self, condition: Callable[[], _T | None], timeout: float, what: str) -> _T:
        return await self._until_or_failed(condition, timeout, what, may_have_ended=True)

    async def _until_or_failed(
        self,
        condition: Callable[[], _T | None],
        timeout: float,
        what: str,
        *,
        may_have_ended: bool,
    ) -> _T:
        """Wait for a condition while the bot has not failed, or, if it must run, not ended."""

        def checked() -> _T | None:
            result = condition()
            if not result:
                when = f"while {self.user_id} waited for {what}"
                self._surroundings.check_bot(when, may_have_ended=may_have_ended)
            return result

        return await super()._until(checked, timeout, what)


def _grouped(speeches: Sequence[tuple[float, float, str]], gap: float) -> list[tuple[float, float]]:
    """Join speeches less than `gap` seconds apart; return start and end of each group."""
    groups: list[tuple[float, float]] = []
    for start, end, _ in sorted(speeches):
        if groups and start - groups[-1][1] < gap:
            groups[-1] = (groups[-1][0], max(end, groups[-1][1]))
        else:
            groups.append((start, end))
    return groups
