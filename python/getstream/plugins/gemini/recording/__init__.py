"""Recordings of sessions: make one, read it, and turn it into a page to look at and listen to.

    gemini.add_observer(Recorder("recordings/monday"))
    write_page(read_recording("recordings/monday"), "monday.html")

The format is described in docs/how-to/record.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._analysis import Analysis, Delay, Mark, Span, Tool, Turn
from ._format import FORMAT_VERSION
from .page import write_page
from .reader import Entry, Recording, read_recording, recording_files

if TYPE_CHECKING:
    from .recorder import Recorder

__all__ = [
    "FORMAT_VERSION",
    "Analysis",
    "Delay",
    "Entry",
    "Mark",
    "Recorder",
    "Recording",
    "Span",
    "Tool",
    "Turn",
    "read_recording",
    "recording_files",
    "write_page",
]


def __getattr__(name: str) -> Any:
    # A recorder observes a session, whose SDKs take 0.7 s to import; a reader does not need them.
    if name == "Recorder":
        from .recorder import Recorder

        return Recorder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
