"""The steps of a conversation, as the program takes them on its command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .person import Person

__all__ = ["STEPS", "WITHOUT_ARGUMENT", "ScriptError", "Step", "parse_script", "run_script"]

STEPS: dict[str, str] = {
    "hear": "wait until somebody speaks",
    "silence": "wait until nobody has spoken for N milliseconds",
    "wait_heard": "wait until somebody has been speaking for N milliseconds (for a barge-in)",
    "say": "say the --speech file number N, counted from 0, to its end",
    "share": "play the --speech file number N as the sound of a shared tab, to its end",
    "stop_sharing": "take the shared sound back",
    "mute": "mute the microphone",
    "unmute": "unmute the microphone",
    "pause": "do nothing for N milliseconds",
    "leave": "leave the call",
}
WITHOUT_ARGUMENT = ("hear", "stop_sharing", "mute", "unmute", "leave")


class ScriptError(Exception):
    """A script cannot be read, or a step failed; the message names the step."""


@dataclass(frozen=True)
class Step:
    """One step: its name and its number (0 where it takes none)."""

    name: str
    argument: int = 0

    def __str__(self) -> str:
        return self.name if self.name in WITHOUT_ARGUMENT else f"{self.name}:{self.argument}"


def parse_script(text: str, speeches: int) -> list[Step]:
    """Read a script such as "hear;silence:600;say:0;leave".

    Args:
        text: Steps, separated by semicolons.
        speeches: How many speeches there are to say.

    Raises:
        ScriptError: A step is unknown, its number is missing or wrong, or there is no such speech.
    """
    steps = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, argument = part.partition(":")
        if name not in STEPS:
            raise ScriptError(f"step {part!r} is unknown; the steps are {', '.join(STEPS)}")
        if (name in WITHOUT_ARGUMENT) == bool(colon):
            needs = "takes no number" if colon else f"needs a number, for example {name}:500"
            raise ScriptError(f"step {part!r} {needs}")
        if colon and not argument.isdigit():
            raise ScriptError(f"step {part!r}: {argument!r} is not a number without a sign")
        step = Step(name, int(argument or 0))
        if name in ("say", "share") and step.argument >= speeches:
            raise ScriptError(f"step {part!r}: there are {speeches} speeches, counted from 0")
        steps.append(step)
    return steps


async def run_script(
    person: Person,
    steps: Sequence[Step],
    speeches: Sequence[NDArray[np.int16]],
    *,
    timeout: float,
    on_step: Callable[[Step], None],
) -> None:
    """Do the steps, one after the other.

    Args:
        person: Has joined.
        steps: From `parse_script`.
        speeches: int16 mono 48 kHz.
        timeout: Seconds that a step may wait for the others.
        on_step: Called before each step.

    Raises:
        ScriptError: A step failed; its cause is the error.
    """
    actions: dict[str, Callable[[int], Awaitable[object]]] = {
        "hear": lambda _: person.hear_speech(timeout),
        "silence": lambda ms: person.hear_silence(ms, timeout + ms / 1000),
        "wait_heard": lambda ms: person.hear_for(ms, timeout + ms / 1000),
        "say": lambda index: person.say(speeches[index]),
        "share": lambda index: person.share(speeches[index]),
        "stop_sharing": lambda _: person.stop_sharing(),
        "mute": lambda _: person.mute(),
        "unmute": lambda _: person.unmute(),
        "pause": lambda ms: asyncio.sleep(ms / 1000),
        "leave": lambda _: person.leave(),
    }
    for number, step in enumerate(steps, 1):
        on_step(step)
        try:
            await actions[step.name](step.argument)
        except Exception as error:
            raise ScriptError(f"step {number} ({step}) failed: {error}") from error
