"""Serve a local page on which a person talks to the assistant, with microphone and loudspeaker.

It is for the machine that it runs on: it listens on 127.0.0.1 alone, and a page without the random
token of the printed address gets no assistant. `getstream-gemini playground` is this as a program.
The extra `testing` brings what it needs.
"""

from ._server import Playground
from ._service import LocalService

__all__ = ["LocalService", "Playground"]
