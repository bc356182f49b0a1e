"""`join`: the assistant in a call, as a program."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from getstream import AsyncStream, Stream
from getstream.models import UserRequest
from getstream.video import rtc

from .._terminal import TerminalFormatter, one_line
from ..errors import CallError, ConfigError
from ..live import (
    Disconnected,
    GeminiLive,
    Interrupted,
    Resumed,
    Speech,
    Stalled,
    TurnComplete,
)
from ..recording import Recorder

__all__ = ["JoinOptions", "browser_link", "require_stream_keys", "run_join"]

GUEST_ID = "browser-guest"
GUEST_NAME = "Guest"

LINK_SECONDS = 900
"""Lifetime of the link's token: time to open it, and to join again after a lost connection. Whoever
is in the call stays in it: the SFU has credentials of its own."""

# Stream's public page for trying a call; the page and its parameters are those that the examples
# of stream-py and of Vision Agents use, and so is the variable that names another page.
DEMO_PAGE = "https://getstream.io/video/demos"
DEMO_PAGE_VARIABLE = "EXAMPLE_BASE_URL"


@dataclass(frozen=True)
class JoinOptions:
    """The command line of `join`; None leaves the choice to `GeminiLive`."""

    call_id: str
    call_type: str = "default"
    user_id: str = "assistant-bot"
    model: str | None = None
    voice: str | None = None
    language: str | None = None
    instructions: str | None = None
    greeting: str = ""
    video: bool = False
    events_json: bool = False
    record: Path | None = None
    verbose: bool = False


class Reporter(Protocol):
    """Receiver of events."""

    def __call__(self, event: str, *, t: float | None = None, **details: Any) -> None: ...


def report_json(event: str, *, t: float | None = None, **details: Any) -> None:
    """Print an event as one line of JSON; `t` is the monotonic time in seconds, now unless given.

    On Linux and macOS all processes of a machine share that clock.
    """
    at = time.monotonic() if t is None else t
    line = {"t": round(at, 4), "event": event, **details}
    print(json.dumps(line), flush=True)


class TextReporter:
    """Prints what happens as lines for people, with seconds since the join."""

    def __init__(self) -> None:
        self._joined_at = time.monotonic()

    def __call__(self, event: str, *, t: float | None = None, **details: Any) -> None:
        at = time.monotonic() if t is None else t
        if event == "joined":
            self._joined_at = at
        line = _describe(event, details)
        if line:
            print(f"{at - self._joined_at:7.1f} s  {line}", flush=True)


def _describe(event: str, details: Mapping[str, Any]) -> str:
    """Return an event in words, on one printable line; "" for those that only programs want.

    Names, transcripts and close reasons come from others, so the whole line is cleaned.
    """
    return one_line(_words(event, details))


def _words(event: str, details: Mapping[str, Any]) -> str:
    if event == "connected":
        return "connected to Gemini Live"
    if event == "joined":
        return "in the call {call_type}:{call_id} as {user_id}; Ctrl-C leaves it".format(**details)
    if event == "speech_started":
        return f"{details['user_id'] or 'somebody'} speaks"
    if event == "turn_complete":
        return f"assistant: {details['text'].strip() or '(no transcript)'}"
    if event == "interrupted":
        return f"interrupted after {details['heard_ms'] / 1000:.1f} s"
    if event == "stalled":
        return f"no answer for {details['waited_ms'] / 1000:.0f} s"
    if event == "disconnected":
        return details["reason"] or "Gemini Live ends this connection; moving to another one"
    if event == "resumed":
        return f"connected again after {details['gap_ms'] / 1000:.1f} s"
    if event == "left":
        return f"left: {details['reason']}"
    if event == "stats":
        return (
            "{turns} turns, {interruptions} interrupted; {spoken:.1f} s spoken; "
            "{underruns} underruns; {cpu:.1f} % of a core"
        ).format(
            turns=details["turns"],
            interruptions=details["interruptions"],
            spoken=details["played_ms"] / 1000,
            underruns=details["underruns"] + details["playout_underruns"],
            cpu=details["cpu_percent"],
        )
    return ""


def run_join(options: JoinOptions) -> int:
    """Hold the call; returns when it has ended, or was left because of SIGINT or SIGTERM.

    Raises:
        ConfigError: a key is missing, or an option cannot be used.
        SessionError: Gemini Live refused, or the session was lost.
        CallError: the call could not be joined.
    """
    _set_up_logging(options.verbose)
    asyncio.run(_stoppable(_Assistant(options)))
    return 0


def _set_up_logging(verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        handlers=[handler],
    )
    if verbose:
        return
    # The SDK warns of each network interface and each relay that ICE cannot use.
    logging.getLogger("getstream").setLevel(logging.ERROR)
    ours = logging.getLogger("getstream.plugins.gemini")
    ours.setLevel(logging.WARNING)
    # How the session ended is logged; here it is the last line on stderr anyway.
    ours.addFilter(lambda record: record.msg != "Gemini Live: %s")


async def _stoppable(assistant: _Assistant) -> None:
    conversation = asyncio.ensure_future(assistant.converse())
    stopped_by: list[signal.Signals] = []

    def stop(signum: signal.Signals) -> None:
        stopped_by.append(signum)
        assistant.reason = signum.name
        conversation.cancel()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(signum, stop, signum)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead
            break
    try:
        await conversation
    except asyncio.CancelledError:
        if not stopped_by:
            raise


class _Assistant:
    """One call, from its keys to its numbers."""

    def __init__(self, options: JoinOptions) -> None:
        self.reason = "the call has ended"
        self._options = options
        self._report: Reporter = report_json if options.events_json else TextReporter()
        self._over = asyncio.Event()
        self._failure: Exception | None = None
        self._turn = 0  # the newest turn of which audio has arrived
        self._joined_at = self._joined_cpu = 0.0

    async def converse(self) -> None:
        """Connect, join, talk until it is over, leave, and report the numbers."""
        options = self._options
        require_stream_keys(os.environ)
        client = Stream.from_env().as_async()  # getstream 6 joins with an async client only
        try:
            gemini = GeminiLive(
                model=options.model,
                instructions=options.instructions,
                voice=options.voice,
                language=options.language,
            )
            if options.record is not None:
                gemini.add_observer(
                    Recorder(options.record, config=self._config(), stats=gemini.stats)
                )
            self._listen(gemini)
            try:
                async with gemini:
                    await self._hold_call(client, gemini)
            finally:
                self._report_stats(gemini)
        finally:
            await client.aclose()
        if self._failure is not None:
            raise self._failure

    def _config(self) -> dict[str, Any]:
        """Return the configuration for the first line of a recording."""
        options = asdict(self._options)
        names = ("model", "voice", "language", "instructions", "video", "call_type", "call_id")
        return {name: options[name] for name in names}

    async def _hold_call(self, client: AsyncStream, gemini: GeminiLive) -> None:
        options = self._options
        async with AsyncExitStack() as stack:
            stack.callback(lambda: self._report("left", reason=str(self._failure or self.reason)))
            connection = await self._join(client, stack)
            # Somebody is at the terminal, and may take their time to open the link.
            await gemini.attach(
                connection,
                video=options.video,
                leave_when_alone_s=None,
                first_participant_timeout_s=None,
            )
            self._joined_at, self._joined_cpu = time.monotonic(), time.process_time()
            self._report(
                "joined",
                call_type=options.call_type,
                call_id=options.call_id,
                user_id=options.user_id,
            )
            if options.greeting.strip():
                await gemini.send_text(options.greeting)
            await self._over.wait()

    async def _join(self, client: AsyncStream, stack: AsyncExitStack) -> Any:
        """Join the call, and leave it when the stack is closed; returns the connection."""
        options = self._options
        try:
            if not options.events_json:
                await self._print_link(client)
            call = client.video.call(options.call_type, options.call_id)
            subscription = (
                {"subscription_config": GeminiLive.subscription_config()} if options.video else {}
            )
            connection = await rtc.join(call, options.user_id, **subscription)
            connection.on("call_ended", lambda *_: self._over.set())
            connection.on("audio_level_changed", self._report_levels)
            return await stack.enter_async_context(connection)
        except Exception as error:
            raise CallError(
                f"The call {options.call_type}:{options.call_id} could not be joined "
                f"({type(error).__name__}: {error}). Do STREAM_API_KEY and STREAM_API_SECRET "
                "belong together, is the call type known to your app, and is the network up?"
            ) from error

    async def _print_link(self, client: AsyncStream) -> None:
        options = self._options
        page = os.environ.get(DEMO_PAGE_VARIABLE, "").strip()
        if not page and is_loopback(client.base_url):
            print(
                "The call is on a Stream backend of this machine: there is no link, because "
                "Stream's page for browsers does not reach it.\n",
                flush=True,
            )
            return
        await client.upsert_users(UserRequest(id=GUEST_ID, name=GUEST_NAME))
        cid = f"{options.call_type}:{options.call_id}"
        link = browser_link(
            options.call_id,
            options.call_type,
            api_key=client.api_key,
            token=client.create_call_token(GUEST_ID, call_cids=[cid], expiration=LINK_SECONDS),
            page=page,
        )
        print(
            f"Join the call in a browser:\n\n    {link}\n\n"
            f'For your eyes only: whoever opens the link joins this call as the user "{GUEST_ID}" '
            f"of your Stream app. It is good for the next {LINK_SECONDS // 60} minutes.\n",
            flush=True,
        )

    def _listen(self, gemini: GeminiLive) -> None:
        report = self._report

        @gemini.on("connected")
        def on_connected() -> None:
            report("connected")

        @gemini.on("speech_started")
        def on_speech_started(speech: Speech) -> None:
            report("speech_started", user_id=speech.user_id)

        @gemini.on("speech_stopped")
        def on_speech_stopped(speech: Speech) -> None:
            report("speech_stopped", user_id=speech.user_id)

        loop = asyncio.get_running_loop()

        def note_turn(arrived_at: float) -> None:
            turn = gemini.stats().turns
            if turn != self._turn:
                self._turn = turn
                report("audio_started", t=arrived_at, turn=turn)

        @gemini.on("audio")
        def on_audio() -> None:
            # The event fires on receipt; a moment later it is known to which turn it belongs.
            loop.call_soon(note_turn, time.monotonic())

        @gemini.on("text")
        def on_text(text: str) -> None:
            report("text", text=text)

        @gemini.on("turn_complete")
        def on_turn_complete(turn: TurnComplete) -> None:
            report("turn_complete", turn=turn.turn, text=turn.text)

        @gemini.on("interrupted")
        def on_interrupted(cut: Interrupted) -> None:
            heard: dict[str, Any] = {
                "heard_ms": round(cut.heard_ms, 1),
                "heard_text": cut.heard_text,
            }
            report("interrupted", turn=cut.turn, cause=cut.cause, **heard)

        @gemini.on("user_text")
        def on_user_text(text: str) -> None:
            report("user_text", text=text)

        @gemini.on("stalled")
        def on_stalled(stalled: Stalled) -> None:
            report("stalled", **asdict(stalled))

        @gemini.on("disconnected")
        def on_disconnected(lost: Disconnected) -> None:
            report("disconnected", reason=str(lost.reason) if lost.reason else "")

        @gemini.on("resumed")
        def on_resumed(resumed: Resumed) -> None:
            report("resumed", **asdict(resumed))

        @gemini.on("error")
        def on_error(error: Exception) -> None:
            report("error", message=str(error), type=type(error).__name__)

        @gemini.on("closed")
        def on_closed(error: Exception | None) -> None:
            self._failure = error
            self._over.set()
            report("closed", message=str(error) if error else "")

    def _report_levels(self, event: Any) -> None:
        """Report the level of everybody, 0 to 1, as Stream says several times a second."""
        levels = {each.user_id: round(each.level, 3) for each in event.audio_levels}
        self._report("levels", levels=levels)

    def _report_stats(self, gemini: GeminiLive) -> None:
        seconds = time.monotonic() - self._joined_at if self._joined_at else 0.0
        cpu = time.process_time() - self._joined_cpu if self._joined_at else 0.0
        stats = gemini.stats()
        numbers = {
            name: round(value, 1) if isinstance(value, float) else value
            for name, value in asdict(stats).items()
        }
        numbers["tokens"] = stats.tokens.total
        numbers["cost_usd"] = None if stats.cost is None else round(stats.cost.usd, 6)
        del numbers["cost"]
        self._report(
            "stats",
            **numbers,
            call_seconds=round(seconds, 3),
            cpu_seconds=round(cpu, 3),
            cpu_percent=round(100 * cpu / seconds, 2) if seconds else 0.0,
        )


def is_loopback(url: str) -> bool:
    """Return whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, section 6.3


def require_stream_keys(environment: Mapping[str, str]) -> None:
    """Check that the variables that `Stream.from_env()` reads are there.

    Raises:
        ConfigError: one of them is missing; names it, and says where to get it.
    """
    names = ("STREAM_API_KEY", "STREAM_API_SECRET")
    missing = [name for name in names if not environment.get(name, "").strip()]
    if missing:
        raise ConfigError(
            f"No keys for Stream: set the environment variable{'s' * (len(missing) > 1)} "
            f"{' and '.join(missing)}. Both are on the dashboard of your app: "
            "https://dashboard.getstream.io (free). `demo` needs no key at all."
        )


def browser_link(
    call_id: str, call_type: str, *, api_key: str, token: str, page: str = DEMO_PAGE
) -> str:
    """The address at which a browser joins a call as the user of `token`.

    Args:
        call_id: the call.
        call_type: its type.
        api_key: the key of the Stream app, which is public.
        token: a user token.
        page: the page that has `/join/CALL_ID`; empty for Stream's own.
    """
    query = {
        "api_key": api_key,
        "token": token,
        "skip_lobby": "true",
        "user_name": GUEST_NAME,
        # What getstream 7 (VP8, VP9) and 6 (VP8, H264) both decode.
        "video_encoder": "vp8",
    }
    if call_type != "default":
        query["type"] = call_type
    base = (page or DEMO_PAGE).rstrip("/")
    return f"{base}/join/{quote(call_id, safe='')}?{urlencode(query)}"
