"""Compare what two sessions with the model know. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

How = Literal["resumed", "seeded", "lost", "the same session"]


@dataclass(frozen=True)
class Memory:
    """Tells what a conversation has kept over a change of its session.

    Attributes:
        how: "resumed" by a handle, "seeded" with the lines of before, "lost", or no change at all.
        missing: lines that the session before knew and the next one does not.
    """

    how: How
    missing: int


def compare(before: Sequence[str], after: Sequence[str], *, resumed: bool, same: bool) -> Memory:
    """Return what was kept.

    Args:
        before: lines that the session before knew at its end.
        after: lines that the next one knows.
        resumed: whether it was opened with a handle.
        same: whether it is no other session.
    """
    rest = list(after)
    missing = 0
    for line in before:
        if line in rest:
            rest.remove(line)
        else:
            missing += 1
    if same:
        return Memory("the same session", missing)
    if missing == len(before) and before:
        return Memory("lost", missing)
    return Memory("resumed" if resumed else "seeded", missing)
