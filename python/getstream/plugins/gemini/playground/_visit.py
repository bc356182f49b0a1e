"""Hold one visit of the page: its messages, its audio, and the assistant that it talks to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, fields, replace
from typing import Any

from aiohttp import WSMsgType, web

from .._terminal import one_line
from ..errors import ConfigError, GeminiError
from ..live import BargeIn, GeminiLive
from ._audio import PeerLine, SocketLine
from ._faults import FAULT_NAMES
from ._messages import Teller, counters, plain
from ._service import LocalService
from ._trial import SentTurns, Trial, Verdict

__all__ = ["MAX_MESSAGE_BYTES", "MakeAssistant", "Visit"]

MakeAssistant = Callable[[], GeminiLive | Awaitable[GeminiLive]]
"""Makes the assistant of one visit, inside the event loop."""

_Order = Callable[[dict[str, Any]], Awaitable[None]]

MAX_MESSAGE_BYTES = 1 << 20
"""Longest message of the page. A JPEG of 1024 pixels takes 150 kB, a third more as base64; an offer
with its candidates takes 3 to 8 kB."""

LEVEL_S = 0.1
"""Seconds between two figures of what is queued: as often as the picture can show it move."""

LEVELS_PER_STATS = 5
"""All counters come with every fifth of them: twice a second, as fast as one can read."""

ANSWER_S = 5.0
"""Longest time to answer the page's offer of WebRTC; it has given up by then."""

MOST_WAITING = 4096
"""Messages that wait for a page that does not read; more are dropped, and it is told."""

MOST_TASKS = 16
"""Texts and images that wait for the service. More are refused: somebody clicks in vain."""

LONGEST_SENT_TEXT = 4_000

BARGE_IN_OPTIONS = tuple(each.name for each in fields(BargeIn))

CLOSE_REPLACED = 4000
"""Close code for a page whose place another one has taken, or whose playground has ended."""

logger = logging.getLogger("getstream.plugins.gemini")


class Visit:
    """One page and its assistant.

    Args:
        socket: the page's WebSocket, which has shown the token.
        make_assistant: makes the assistant.
        service: the local server that can be made to misbehave; None for the real service.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        make_assistant: MakeAssistant,
        service: LocalService | None,
    ) -> None:
        self._socket = socket
        self._make_assistant = make_assistant
        self._service = service
        self._began = time.monotonic()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self._unsent = 0
        self._assistant: GeminiLive | None = None
        self._line: PeerLine | SocketLine | None = None
        self._trial: Trial | None = None
        self._turns = SentTurns()
        self._gives_way = BargeIn()  # the options, also while it is off
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._orders: dict[str, _Order] = {
            "text": self._send_text,
            "image": self._send_image,
            "hold": self._hold,
            "go_on": self._go_on,
            "drop": self._drop,
            "fault": self._break,
            "barge_in": self._change_barge_in,
        }

    def tell(self, event: str, **fields: Any) -> None:
        """Queue a message for the page; never waits."""
        message = {"event": event, "t": round(time.monotonic() - self._began, 4), **fields}
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self._unsent += 1

    async def run(self) -> None:
        """Serve the page until it is gone."""
        sender = asyncio.ensure_future(self._send())
        try:
            assistant = await self._open()
            if assistant is not None:
                self._start(self._report(assistant))
                await self._listen(assistant)
        finally:
            await self._end(sender)

    async def replace(self, reason: str) -> None:
        """End the visit, tell its page why, and wait until its assistant is closed."""
        # A page that does not answer the close frame is cut off by aiohttp.
        await self._socket.close(code=CLOSE_REPLACED, message=reason.encode())
        await self._over.wait()

    # -- beginning and end -------------------------------------------------------------------------

    async def _open(self) -> GeminiLive | None:
        local = self._service is not None
        self.tell("hello", local=local, faults=FAULT_NAMES if local else ())
        try:
            made = self._make_assistant()
            assistant = await made if inspect.isawaitable(made) else made
            if not isinstance(assistant, GeminiLive):
                raise ConfigError(
                    "the function of the playground must return a GeminiLive, not "
                    f"{type(assistant).__name__}"
                )
        except Exception as error:  # of the application's function
            if not isinstance(error, GeminiError):
                logger.exception("The assistant of the playground cannot be made")
            reason = one_line(f"There is no assistant: {error}")
            await self._socket.close(code=CLOSE_REPLACED, message=reason.encode()[:120])
            return None
        self._assistant = assistant
        self._tell_barge_in()
        assistant.add_observer(Teller(self.tell))
        assistant.add_observer(self._turns)
        return assistant

    async def _end(self, sender: asyncio.Task[None]) -> None:
        try:
            tasks = {sender, *self._tasks}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            if self._trial is not None:
                self._trial.stop()
            await self._hang_up()
            if self._assistant is not None:
                await self._assistant.close()
        finally:
            self._over.set()

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    # -- to the page -------------------------------------------------------------------------------

    async def _send(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                message = await self._outbox.get()
                await self._socket.send_json(message)

    async def _report(self, assistant: GeminiLive) -> None:
        while True:
            for _ in range(LEVELS_PER_STATS):
                self.tell("level", queued_ms=assistant.stats().queued_ms)
                await asyncio.sleep(LEVEL_S)
            figures = counters(assistant)
            figures["messages_unsent"] = self._unsent
            if self._line is not None:
                figures["browser_pieces"] = self._line.pieces
            self.tell("stats", state=assistant.state, counters=figures)

    # -- from the page -----------------------------------------------------------------------------

    async def _listen(self, assistant: GeminiLive) -> None:
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._obey(assistant, message.json())
                elif message.type is WSMsgType.BINARY and isinstance(self._line, SocketLine):
                    await self._line.hear(message.data)
        except (ValueError, KeyError, TypeError) as error:
            # The page is ours: who sends anything else has no business here.
            logger.warning("The playground was sent what is no message: %s", one_line(str(error)))
            await self._socket.close(code=1003, message=b"That was no message.")

    async def _obey(self, assistant: GeminiLive, message: dict[str, Any]) -> None:
        """Do what the page asks for. What may wait is a task: audio goes on meanwhile.

        Raises:
            ValueError, KeyError, TypeError: it is no message.
        """
        order = message["do"]
        if order == "offer":
            await self._take_offer(assistant, str(message["sdp"]))
        elif order == "line":
            await self._hang_up()
            rate = int(message["rate"])
            self._line = SocketLine(assistant, self._socket.send_bytes, rate)
            self.tell("media", state="websocket")
        elif len(self._tasks) >= MOST_TASKS:
            self.tell("refused", what=order, reason="Too much is waiting for the service already.")
        else:
            self._start(self._carry_out(order, self._orders[order], message))

    async def _take_offer(self, assistant: GeminiLive, sdp: str) -> None:
        await self._hang_up()
        line = self._line = PeerLine(assistant, lambda state: self.tell("media", state=state))
        try:
            self.tell("answer", sdp=await asyncio.wait_for(line.answer(sdp), ANSWER_S))
        except Exception as error:  # aiortc raises whatever a description makes it stumble over
            await self._hang_up()
            self.tell("refused", what="offer", reason=one_line(f"WebRTC: {error}"))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, order: str, work: _Order, message: dict[str, Any]) -> None:
        try:
            await work(message)
        except (GeminiError, KeyError, TypeError, ValueError) as error:
            self.tell("refused", what=order, reason=one_line(str(error)))

    def _present(self) -> GeminiLive:
        assert self._assistant is not None
        return self._assistant

    async def _send_text(self, message: dict[str, Any]) -> None:
        await self._present().send_text(str(message["text"])[:LONGEST_SENT_TEXT])

    async def _send_image(self, message: dict[str, Any]) -> None:
        await self._present().send_image(base64.b64decode(message["jpeg"], validate=True))

    async def _hold(self, _: dict[str, Any]) -> None:
        await self._present().interrupt_playback()

    async def _go_on(self, _: dict[str, Any]) -> None:
        await self._present().resume_playback()

    async def _drop(self, _: dict[str, Any]) -> None:
        await self._present().interrupt_playback(drop=True)

    def _tell_barge_in(self) -> None:
        """Tell how the assistant gives way to speech."""
        barge_in = self._present().barge_in
        self._gives_way = barge_in or self._gives_way
        options = {name: plain(value) for name, value in asdict(self._gives_way).items()}
        self.tell("barge_in", on=barge_in is not None, **options)

    async def _change_barge_in(self, message: dict[str, Any]) -> None:
        on = bool(message["on"])
        changed = {name: float(message[name]) for name in BARGE_IN_OPTIONS if name in message}
        options = replace(self._gives_way, **changed)
        await self._present().reconfigure(barge_in=options if on else False)
        self._gives_way = options
        self._tell_barge_in()

    async def _break(self, message: dict[str, Any]) -> None:
        name = str(message["name"])
        if self._service is None:
            raise ConfigError("Only the local server can be made to misbehave.")
        assistant = self._present()
        if self._trial is not None:
            self._trial.stop()
            assistant.remove_observer(self._trial)

        def on_verdict(verdict: Verdict) -> None:
            assistant.remove_observer(trial)
            self.tell("verdict", name=name, text=verdict.text, lossless=verdict.lossless)

        trial = self._trial = Trial(name, assistant.stats, self._turns, on_verdict)
        assistant.add_observer(trial)
        done = await self._service.inject(name)
        if not done:
            trial.stop()
            assistant.remove_observer(trial)
        self.tell("fault", name=name, done=done)
