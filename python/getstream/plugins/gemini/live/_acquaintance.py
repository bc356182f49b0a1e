"""Who may be a loudspeaker: the first moments in which the assistant is heard.

The echo guard of `InputStream` has to hear an echo for 0.2 to 0.3 s to know it. In that time the
first reply of a call would pause at its own first syllable, and the service, which hears it too,
would cut it off. So what begins in these moments waits for a verdict: it is an echo, and becomes
silence, or it is speech. Who is silent while the assistant speaks has no loudspeaker, and nothing
of theirs waits any more.
"""

from __future__ import annotations

from typing import Literal, Protocol

Verdict = Literal["echo", "speech", "nothing"]

QUIET_S = 1.5
"""Who is silent for so long while the assistant is heard sends no echo: one comes within 1 s."""

VERDICT_S = 0.4
"""What is no echo after so long is speech. Of the echoes of speech 95 % are known within 0.32 s
(`rust/core/README.md`)."""

SURE_AFTER = 3
"""Pieces in a row, of 20 ms, that the guard takes for an echo: then it knows how loud the echo is.
The delay is known some pieces before."""


class Hearing(Protocol):
    """What is read of an `InputStream`."""

    @property
    def starting(self) -> bool: ...
    @property
    def speaking(self) -> bool: ...
    @property
    def echo(self) -> bool: ...
    @property
    def echo_delay_ms(self) -> float | None: ...


class Acquaintance:
    """Whether what comes from one participant may be the assistant's own voice.

    Attributes:
        known: it is known whether they send an echo. This does not change back: the guard follows
            an echo that changes by itself.
        doubted: something has begun that may be an echo; what comes meanwhile must wait.
    """

    def __init__(self) -> None:
        self.known = False
        self._doubted_for: float | None = None  # seconds
        self._quiet_for = 0.0
        self._started = False
        self._echoes = 0  # pieces in a row that were an echo

    @property
    def doubted(self) -> bool:
        return self._doubted_for is not None

    def listen(
        self, stream: Hearing, seconds: float, *, sounding: bool, silent_before: bool
    ) -> Verdict | None:
        """Look at the stream after each piece, in a doubt or while the assistant is heard.

        Args:
            stream: what the detector and the guard say.
            seconds: the length of the piece.
            sounding: the assistant is heard, or its echo may still be on its way.
            silent_before: nothing was heard in the piece before.

        Returns:
            The end of a doubt, if this is one.
        """
        heard = stream.starting or stream.speaking
        echo = stream.echo_delay_ms is not None
        if self._doubted_for is not None:
            self._doubted_for += seconds
            self._started = self._started or stream.speaking
            return self._verdict(stream, heard, echo, self._doubted_for)
        if echo or (sounding and heard and silent_before):
            self._doubted_for, self._started = 0.0, stream.speaking
        elif not sounding or heard:
            self._quiet_for = 0.0
        else:
            self._quiet_for += seconds
            self.known = self._quiet_for >= QUIET_S
        return None

    def give_up(self) -> None:
        """Nothing comes any more that could end a doubt."""
        self._doubted_for, self._echoes = None, 0

    def _verdict(
        self, stream: Hearing, heard: bool, echo: bool, doubted_for: float
    ) -> Verdict | None:
        verdict: Verdict
        self._echoes = self._echoes + 1 if stream.echo else 0
        if self._echoes >= SURE_AFTER:
            verdict = "echo"
        elif doubted_for < VERDICT_S:
            return None
        elif heard or self._started:
            verdict = "speech"
        else:
            verdict = "echo" if echo else "nothing"
        self._doubted_for, self._echoes = None, 0
        self.known = verdict != "nothing"
        return verdict
