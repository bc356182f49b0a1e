"""Hold a call on this machine with a bot and people in it, and own all of it: `LocalCall`."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ...errors import ConfigError
from .._gemini import LocalGemini, ReplyPolicy, UserTurn
from .._gemini.replies import require_policy
from .._servers import LocalServers
from .._stream import LocalStream
from .allow_list import AllowListProxy, trust_bundle
from .bots import Bot, BotFunction, CallableBot, ProgramBot, check_bot
from .observations import CallTools, Latency, SaidLine, model_lines
from .people import CallPerson
from .report import report_sections, write_report

__all__ = ["LocalCall", "LocalCallFactory"]

_END_S = 20.0
_LEAVE_S = 10.0
"""Seconds that people have to leave; they need less than one."""
_LOCATION_HOST = "hint.stream-io-video.com"
"""Asked by the Stream SDK for its location before each join; it does without an answer."""

_current: LocalCall | None = None
"""The open call: it redirects the SDKs of this process, which can lead to one place only."""


class LocalCall:
    """A call on this machine with a bot under test and people who speak and listen::

        async with LocalCall("my_bot.py", reply=Script(["Hello.", "It is noon."])) as call:
            anna = await call.person("anna")
            greeting = await anna.hear_turn()
            await anna.say("What time is it?")
            answer = await anna.hear_turn(timeout=10)
            assert call.latency.p95_ms < 2000

    It owns everything: a local Gemini Live server, a local Stream backend, the redirection of the
    SDKs, the bot, and the people. The bot starts when the first person is in the call, so that its
    greeting is heard. It ends on every way out of the block: it is interrupted as by Ctrl-C, and
    killed with its children if it does not end within 8 s; a callable is cancelled. A program is
    killed, too, when this process is.

    A bot that fails is an error wherever somebody waits for it, and at the end of the block:
    `BotExitedError`, with its stderr.

    One call can be open in a process at a time. Servers, people and a callable bot share its event
    loop; a program has a process of its own.
    """

    def __init__(
        self,
        bot: str | os.PathLike[str] | BotFunction,
        *,
        reply: ReplyPolicy | None = None,
        gemini: LocalGemini | None = None,
        stream: LocalStream | None = None,
        call_id: str = "local-call",
        call_type: str = "default",
        arguments: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        allow_hosts: Iterable[str] = (),
        voice: str = "en",
    ) -> None:
        """Prepare a call, which begins with `async with`.

        Args:
            bot: Path of a Python program, which joins the call with the Stream SDK; or an async
                function, which is called with the id of the call and does the same.
            reply: What the model says; by default `Parrot()`, the person's own words.
            gemini: A Gemini Live server with options, instead of `reply`.
            stream: A Stream backend with options.
            call_id: Id of the call; set it to that of a program with a fixed one.
            call_type: Type of the call.
            arguments: Command line of the program; by default the id of the call.
            env: More environment variables for the bot.
            allow_hosts: Hosts that the bot may reach by HTTPS, such as `api.example.com` or
                `*.example.com`. HTTPS clients that follow `HTTPS_PROXY` are refused others; this
                machine is always reached.
            voice: Voice of espeak-ng in which people say texts.

        Raises:
            ConfigError: An argument cannot be used, or is in the place of another one.
        """
        self._bot_source = check_bot(bot)
        if reply is not None:
            if isinstance(reply, LocalGemini):
                raise ConfigError("reply is a LocalGemini: write LocalCall(bot, gemini=...)")
            require_policy(reply, "LocalCall(reply=)")
        if gemini is not None and not isinstance(gemini, LocalGemini):
            raise ConfigError(
                f"gemini is a {type(gemini).__name__}; it is a LocalGemini. What the model says is "
                "LocalCall(bot, reply=...)"
            )
        if reply is not None and gemini is not None:
            raise ConfigError("reply and gemini are both given: write gemini=LocalGemini(reply)")
        if isinstance(arguments, str):
            raise ConfigError(f"arguments is a str; it is a list: [{arguments!r}]")
        if arguments is not None and not isinstance(self._bot_source, Path):
            raise ConfigError("arguments are for a program; an async function gets the call's id")
        self.call_id = call_id
        self.call_type = call_type
        self.started_at = 0.0
        """Start of the call, `time.monotonic()` in seconds; 0 before."""
        self.gemini = LocalGemini(reply, transcribe=self._transcribe) if gemini is None else gemini
        self.stream = LocalStream() if stream is None else stream
        self.tools = CallTools(self.gemini, self.check_bot)
        self._arguments = [call_id] if arguments is None else [str(each) for each in arguments]
        self._env = dict(env or {})
        self._proxy = AllowListProxy(allow_hosts)
        self._voice = voice
        self._people: dict[str, CallPerson] = {}
        self._untold: list[str] = []
        self._bot: Bot | None = None
        self._bot_env: dict[str, str] = {}
        self._end_is_known = False  # the caller was given the bot's exit code or error
        self._stack = AsyncExitStack()
        self._state: Literal["new", "open", "closed"] = "new"

    # -- life ---------------------------------------------------------------

    async def __aenter__(self) -> LocalCall:
        global _current
        if self._state != "new":
            raise ConfigError("this LocalCall was entered before; make a new one")
        if _current is not None:
            raise ConfigError(
                "another LocalCall is open: it redirects the SDKs of this process, so there is one "
                "at a time. Leave its block first; pytest-xdist runs tests in several processes"
            )
        _current = self
        try:
            async with AsyncExitStack() as stack:
                servers = await stack.enter_async_context(LocalServers(self.gemini, self.stream))
                await stack.enter_async_context(self._proxy)
                environment = self._own_environment(stack)
                self._bot_env = {**servers.environment(), **environment}
                stack.enter_context(self.stream.redirected())
                stack.enter_context(_changed_environment({**self.gemini.env, **environment}))
                self._stack = stack.pop_all()
        except BaseException:
            _current = None
            raise
        self.started_at = time.monotonic()
        self._state = "open"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        global _current
        bot = self._bot
        failed = bot is not None and bot.failed and not self._end_is_known
        try:
            try:
                if bot is not None:
                    await bot.stop()
            finally:
                await self._let_people_leave()
        finally:
            self._state = "closed"
            try:
                suppressed = await self._stack.__aexit__(exc_type, exc, traceback)
            finally:
                _current = None
        if exc is None and bot is not None and failed:
            raise bot.exited_error("during the call, and nobody waited for it")
        return suppressed

    def kill(self) -> None:
        """Kill the process of the bot and its children at once; also without an event loop."""
        if self._bot is not None:
            self._bot.kill()

    # -- who takes part -----------------------------------------------------

    async def person(
        self,
        user_id: str = "anna",
        *,
        start_bot: bool = True,
        sends: Literal["as_sdk", "as_browser"] = "as_sdk",
        receive_video: bool = False,
    ) -> CallPerson:
        """Let a person join the call; the first one is followed by the bot.

        Args:
            user_id: Who the person is.
            start_bot: Start the bot afterwards, unless it was started. False lets more people join
                before it; `start_bot()` starts it then.
            sends: Who makes the packets of the microphone; see `Person`.
            receive_video: Subscribe to video, too.

        Raises:
            ConfigError: There is such a person, or the block was not entered.
            CallError: The call could not be joined.
            BotExitedError: The bot has failed.
        """
        self._require_open()
        if user_id in self._people:
            raise ConfigError(f"there is a person {user_id!r} in the call: take another user_id")
        person = CallPerson(
            self,
            self.call_id,
            user_id,
            call_type=self.call_type,
            voice=self._voice,
            sends=sends,
            receive_video=receive_video,
        )
        self._people[user_id] = person
        try:
            await person.join()
        except BaseException:
            del self._people[user_id]
            raise
        if start_bot:
            await self.start_bot()
        return person

    @property
    def people(self) -> tuple[CallPerson, ...]:
        """Return the people that have joined, also those who have left."""
        return tuple(self._people.values())

    async def start_bot(self) -> None:
        """Start the bot, unless it was started; the first `person` does so.

        Raises:
            ConfigError: The block was not entered.
            BotExitedError: It was started, and has failed.
        """
        self._require_open()
        if self._bot is None:
            if isinstance(self._bot_source, Path):
                self._bot = ProgramBot(self._bot_source, self._arguments, self._bot_env)
            else:
                self._bot = CallableBot(self._bot_source, self.call_id)
            await self._bot.start()
        self.check_bot("before the next person joined", may_have_ended=True)

    async def end(self, timeout: float = _END_S) -> int:
        """End the call for everybody, and wait until the bot has ended by itself.

        Returns:
            The exit code of a program; of a callable 0 if it returned, 1 if it raised.

        Raises:
            TimeoutError: The bot goes on.
            ConfigError: The bot was not started.
        """
        self._require_open()
        if self._bot is None:
            raise ConfigError("the bot was not started: let a person join first")
        with suppress(LookupError):  # nobody has joined, so there is no call
            await self.stream.end_call(self.call_id, self.call_type)
        try:
            await asyncio.wait_for(self._bot.wait(), timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(
                f"the call has ended, and the bot still runs after {timeout:g} s: it does not wait "
                "for the end of the call (`await connection.wait()`)"
            ) from None
        code = self._bot.code
        assert code is not None
        self._end_is_known = True
        return code

    # -- what happened ------------------------------------------------------

    @property
    def bot_code(self) -> int | None:
        """Return the exit code of the bot, as `end` does; None while it runs."""
        return None if self._bot is None else self._bot.code

    @property
    def bot_stderr(self) -> str:
        """Return the last lines of the bot's stderr, or the traceback of a callable."""
        return "" if self._bot is None else self._bot.stderr

    @property
    def refused_hosts(self) -> dict[str, int]:
        """Return the hosts that `allow_hosts` refused, with numbers of attempts.

        Without the host that the Stream SDK asks for its location before each join.
        """
        return {host: n for host, n in self._proxy.refused.items() if host != _LOCATION_HOST}

    @property
    def transcript(self) -> list[SaidLine]:
        """Return what the people and the bot said, in the order in which it began."""
        lines = model_lines(self.gemini, self.started_at)
        for person in self._people.values():
            lines += [
                SaidLine(person.user_id, text, start - self.started_at, "said")
                for start, text in person.lines
            ]
        return sorted(lines, key=lambda line: line.at)

    @property
    def latency(self) -> Latency:
        """Return the delays of the bot's answers until now."""
        return Latency.of([each for person in self._people.values() for each in person.answers()])

    def diagnosis(self) -> str:
        """Describe in one sentence where the bot is, and what it asked the model."""
        where = [
            f"{participant.user_id} is in call {call.call_type}:{call.call_id}"
            for call in self.stream.state().calls
            for participant in call.participants
            if participant.user_id not in self._people
        ]
        elsewhere = [
            call.call_id for call in self.stream.state().calls if call.call_id != self.call_id
        ]
        parts = [", ".join(where) or "the bot has joined no call"]
        if elsewhere:
            parts.append(
                f"the people are in call {self.call_type}:{self.call_id}, so write "
                f"LocalCall(..., call_id={elsewhere[-1]!r})"
            )
        sessions = self.gemini.sessions
        said = sum(len(session.spoken) for session in sessions)
        parts.append(f"the model had {len(sessions)} sessions and said {said} turns")
        if self._bot is not None and self._bot.stderr:
            parts.append(f"the bot's stderr ends: {self._bot.stderr.splitlines()[-1]}")
        return "; ".join(parts)

    def write_report(self, folder: str | os.PathLike[str], **facts: Any) -> Path:
        """Write `report.json`, and for each person a WAV file (left said, right heard).

        Args:
            folder: Where to; it is made if there is none.
            facts: More fields for `report.json`: plain data.

        Returns:
            The path of `report.json`.
        """
        return write_report(self, Path(folder), facts)

    # -- for the people -----------------------------------------------------

    def check_bot(self, when: str, *, may_have_ended: bool = False) -> None:
        """Raise BotExitedError if the bot has failed, or has ended and must not have."""
        bot = self._bot
        if bot is not None and (bot.failed or (bot.ended and not may_have_ended)):
            self._end_is_known = True
            raise bot.exited_error(when)

    def is_person(self, user_id: str) -> bool:
        """Return whether a user is one of the people of the call."""
        return user_id in self._people

    def note_said(self, text: str) -> None:
        """Take note of the text of an utterance, which is the transcript of the user's turn."""
        self._untold.append(text)

    # -- inside -------------------------------------------------------------

    async def _let_people_leave(self) -> None:
        leaving = [asyncio.create_task(person.leave()) for person in self._people.values()]
        if not leaving:
            return
        try:
            # Errors of the SDK on the way out are of no interest: the servers go next.
            await asyncio.wait(leaving, timeout=_LEAVE_S)
        finally:
            for each in leaving:
                each.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)

    def _require_open(self) -> None:
        if self._state != "open":
            raise ConfigError("the call is not open: use `async with LocalCall(...) as call`")

    def _transcribe(self, turn: UserTurn) -> str:
        """Return the transcript of a user's turn: what the people have said since the last one."""
        texts, self._untold = self._untold, []
        return " ".join(texts) or f"[{turn.audio.size / turn.rate:.1f} seconds of speech]"

    def _own_environment(self, stack: AsyncExitStack) -> dict[str, str]:
        environment = dict(self._proxy.env)
        if self._proxy.hosts:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gemini-testing-"))
            bundle = trust_bundle(Path(folder), self.gemini.ca_file)
            environment["SSL_CERT_FILE"] = str(bundle)
        return {**environment, **self._env}


class LocalCallFactory:
    """Makes the calls of one test, and keeps them for its report; see the fixture `local_call`.

    Args:
        make_folder: Makes the folder for the recordings of a test that failed.
    """

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self.calls: list[LocalCall] = []
        self._make_folder = make_folder

    def __call__(self, bot: str | os.PathLike[str] | BotFunction, **options: Any) -> LocalCall:
        """Make a call; the arguments are those of `LocalCall`."""
        call = LocalCall(bot, **options)
        self.calls.append(call)
        return call

    def kill(self) -> None:
        """Kill the bots that still run, at once; also without an event loop."""
        for call in self.calls:
            call.kill()

    def report_sections(self) -> list[tuple[str, str]]:
        """Return titles and texts for the report of a failed test; recordings are written."""
        sections: list[tuple[str, str]] = []
        for number, call in enumerate(self.calls, 1):
            title = "local call" if len(self.calls) == 1 else f"local call {number}"
            # An exception in here would end the whole run of pytest.
            try:
                folder = call.write_report(self._make_folder()).parent
                sections += report_sections(call, title, folder)
            except Exception as error:
                sections.append((title, f"no report could be made: {error!r}"))
        return sections


@contextmanager
def _changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process for a block; the second Gemini key is left out of it."""
    names = [*changes, "GEMINI_API_KEY"]
    before = {name: os.environ.get(name) for name in names}
    os.environ.pop("GEMINI_API_KEY", None)  # it would only make the SDK warn
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
