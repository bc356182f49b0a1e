"""Frames of the websocket, made and read by the compiled core. Not public.

`websocket_frame` makes a text message ready for the transport, `websocket_payload` reads one back.
`_core.pyi` documents both.
"""

from __future__ import annotations

from ._core import websocket_frame, websocket_payload

__all__ = ["websocket_frame", "websocket_payload"]
