"""Make the turns of a session's model, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed

from ..._beliefs import believed
from .log import Recording, SpokenTurn
from .options import Outgoing, SessionOptions
from .replies import OUTPUT_RATE, FunctionCall, ReplyPolicy, Stall, Turn, Turns, UserTurn
from .tools import ToolCallRecord, ToolLog, is_empty_result
from .wire import Endpoint, Message, model_generation

__all__ = ["Model"]

_TOKENS_PER_AUDIO_SECOND = 25
_CHARACTERS_PER_TOKEN = 4
_IGNORES_JSON_SCHEMA: bool = believed("json_schema_ignored")
_LATE_AUDIO = OUTPUT_RATE // 5  # samples of a cut turn that come late, see `InterruptionOptions`


class Model:
    """Makes the turns of the model of one session.

    Args:
        index: The session's number, which is part of the ids of its function calls.
        endpoint: What the client dialled.
        options: How turns are sent.
        policy: What is said.
        recording: Where turns are noted, and the user's audio is counted.
        context: What was said by both sides; it is added to.
        tools: Where calls of functions and their answers are noted.
        transmit: Sends a message, in order.
        post: Sends messages without waiting, in order, after so many seconds.
        announce_handle: Tells whether the session can be resumed now.
        notify: Called when something has happened that somebody may wait for.
        fail: Ends the session because the policy or a hook raised.
    """

    def __init__(
        self,
        index: int,
        endpoint: Endpoint,
        options: SessionOptions,
        policy: ReplyPolicy,
        recording: Recording,
        context: deque[str],
        tools: ToolLog,
        *,
        transmit: Callable[[Outgoing], Awaitable[None]],
        post: Callable[[Sequence[Message], float], None],
        announce_handle: Callable[[bool], Awaitable[None]],
        notify: Callable[[], None],
        fail: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self._index = index
        self._endpoint = endpoint
        self._options = options
        self._policy = policy
        self._recording = recording
        self._context = context
        self._tools = tools
        self._transmit = transmit
        self._post = post
        self._announce_handle = announce_handle
        self._notify = notify
        self._fail = fail
        self._setup: Message = {}
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._generation: asyncio.Task[None] | None = None
        self._resumable = False
        self._late_transcript = ""  # of the user's turn that is being answered
        self._current: _Progress | None = None  # the turn that is being sent, as far as it got
        self.waiting_calls: dict[str, ToolCallRecord] = {}
        self._tool_results: list[Message] = []  # that wait for those of the other blocking calls
        self._repeats: dict[str, int] = {}  # by name, of calls whose result was empty
        self._calls = 0
        self._billed_audio_ms = 0.0
        self._release = asyncio.Event()
        self.stalled = False
        self.user_turns = 0
        self.interruptions = 0

    @property
    def generating(self) -> bool:
        """True while a turn is being made, from the thinking to `turnComplete`."""
        return self._generation is not None

    def begin(self, setup: Message) -> None:
        """Follows a setup that was accepted."""
        self._setup = setup

    def release(self) -> None:
        """Ends a `Stall` without a duration."""
        self._release.set()

    # What makes it speak, or stop

    def say(self, turn: Turn) -> None:
        """Speaks without being asked, after what is being said now."""
        self._jobs.put_nowait(_Say(turn))

    def answer(self, turn: UserTurn) -> None:
        """Takes a turn of the user."""
        self.user_turns += 1
        if turn.text and turn.kind == "audio":
            self._context.append(turn.text)
        # The policy is asked at once, so that it sees every turn of the user and in order, also
        # those that are interrupted before they are answered.
        self._jobs.put_nowait(_Answer(turn, self._policy.reply(turn)))
        self._notify()

    def take_tool_response(self, content: Message) -> None:
        """Takes the `toolResponse` of the client."""
        silent = True
        for response in content.get("functionResponses") or []:
            call = self._tools.responded(self._index, response, self.waiting_calls)
            if call is None:  # cancelled, or never asked
                continue
            if not response.get("willContinue"):
                del self.waiting_calls[call.id]
                if self._repeat_call(call, response):
                    continue
            if response.get("scheduling") == "INTERRUPT":
                self.interrupt(cancel_calls=False)
            silent = silent and response.get("scheduling") == "SILENT"
            self._tool_results.append(response)
        self._notify()
        if any(map(self._blocking, self.waiting_calls.values())):
            return  # it goes on when the last one is answered
        responses, self._tool_results = tuple(self._tool_results), []
        if responses and not silent:
            self.answer(UserTurn("tool_response", tool_responses=responses, session=self._index))

    def cancel_calls(self, ids: Sequence[str]) -> None:
        """Tells the client that calls are cancelled, whose answers are no longer wanted."""
        for call_id in ids:
            self.waiting_calls.pop(call_id).state = "cancelled"
        if ids:
            self._post([{"toolCallCancellation": {"ids": list(ids)}}], 0.0)

    def _repeat_call(self, call: ToolCallRecord, response: Message) -> bool:
        """Calls again where the result says nothing, as 3.8 is reported to do."""
        if model_generation(self._setup["model"]) != "3.8":
            return False
        if not is_empty_result(response.get("response")):
            self._repeats.pop(call.name, None)
            return False
        repeated = self._repeats.get(call.name, 0)
        if repeated >= self._options.repeats_empty_calls:
            return False
        self._repeats[call.name] = repeated + 1
        self.say(Turn(function_calls=(FunctionCall(call.name, call.args),)))
        return True

    def interrupt_on_speech(self) -> None:
        """Interrupts because the user speaks, unless the setup says otherwise."""
        realtime = self._setup.get("realtimeInputConfig") or {}
        if realtime.get("activityHandling") == "NO_INTERRUPTION":
            return
        if self._options.interruption.unprovoked and not self.generating:
            ended: list[Message] = [{"interrupted": True}, {"turnComplete": True}]
            self._post([{"serverContent": content} for content in ended], 0.0)
            self.interruptions += 1
            self._notify()
        self.interrupt()

    def interrupt(self, *, cancel_calls: bool = True) -> None:
        """Drops what is being said and what was going to be said.

        Args:
            cancel_calls: Also cancel the blocking calls that wait for their answers.
        """
        while not self._jobs.empty():
            self._jobs.get_nowait()
        if cancel_calls:
            self._tool_results.clear()
            waiting = self.waiting_calls.values()
            self.cancel_calls([call.id for call in waiting if self._blocking(call)])
        if self._generation is not None:
            self._generation.cancel()

    def _blocking(self, call: ToolCallRecord) -> bool:
        """New input cancels blocking calls only; 3.8 does not block unless it is told to."""
        for tool in self._setup.get("tools") or []:
            for declaration in tool.get("functionDeclarations") or []:
                if declaration.get("name") == call.name and declaration.get("behavior"):
                    return bool(declaration["behavior"] == "BLOCKING")
        return model_generation(self._setup["model"]) != "3.8"

    # Its turns

    async def run(self) -> None:
        """Makes the turns of the model, one after the other."""
        while True:
            job = await self._jobs.get()
            self._generation = asyncio.create_task(self._perform(job))
            try:
                await asyncio.wait([self._generation])
            except asyncio.CancelledError:
                self._generation.cancel()
                await asyncio.gather(self._generation, return_exceptions=True)
                raise
            generation, self._generation = self._generation, None
            try:
                if generation.cancelled():
                    await self._send_interrupted()
                else:
                    generation.result()
                    if self._resumable:
                        await self._announce_handle(True)
            except ConnectionClosed:
                return
            except Exception as error:
                await self._fail(error)
                return

    async def _perform(self, job: _Job) -> None:
        if isinstance(job, _Say):
            await self._speak(job.turn)
            return
        user = job.user
        if user.kind == "audio" and "inputAudioTranscription" in self._setup:
            self._late_transcript = user.text
        if self._options.transcripts == "in_time":
            await self._tell_late_transcript()
        async for turn in _each(job.turns):
            await self._speak(turn)
        await self._tell_late_transcript()

    async def _tell_late_transcript(self) -> None:
        text, self._late_transcript = self._late_transcript, ""
        if text:
            await self._transmit({"serverContent": {"inputTranscription": {"text": text}}})

    async def _speak(self, turn: Turn) -> None:
        if turn.delay_ms:
            await asyncio.sleep(turn.delay_ms / 1000.0)
        self._resumable = False
        await self._announce_handle(False)
        text_only = self._setup.get("generationConfig", {}).get("responseModalities") == ["TEXT"]
        pcm = np.zeros(0, dtype=np.int16) if text_only else turn.pcm
        spoken = self._recording.begin_turn(turn.text, pcm)
        if turn.text:
            self._context.append(turn.text)
        started = asyncio.get_running_loop().time()
        if turn.thought:
            await self._write({"text": turn.thought, "thought": True})
        if text_only:
            for word in _deltas(turn.text):
                await self._write({"text": word})
        else:
            if turn.written:
                await self._write({"text": turn.written})
            await self._send_audio(turn, spoken, pcm)
        if turn.function_calls:
            await self._call_functions(turn.function_calls)
        else:
            await self._complete(turn, spoken, started + pcm.size / OUTPUT_RATE)
        self._current = None
        self._resumable = not turn.function_calls
        spoken.outcome, spoken.ended_at = "complete", time.monotonic()
        self._notify()

    async def _write(self, part: Message) -> None:
        await self._transmit({"serverContent": {"modelTurn": {"parts": [part]}}})

    async def _complete(self, turn: Turn, spoken: SpokenTurn, played_at: float) -> None:
        if not turn.turn_complete_reason:
            await self._transmit({"serverContent": {"generationComplete": True}})
        if self._options.turn_complete_after == "playback":
            await asyncio.sleep(played_at - asyncio.get_running_loop().time())
        if turn.turn_complete:
            await self._transmit(self._turn_complete(turn, spoken))
        if self._current is not None and self._current.deltas:
            await self._say_words(self._current.deltas)  # late

    async def _send_audio(self, turn: Turn, spoken: SpokenTurn, pcm: NDArray[np.int16]) -> None:
        loop = asyncio.get_running_loop()
        blocks = self._blocks(pcm.size)
        deltas = _deltas(turn.text) if "outputAudioTranscription" in self._setup else []
        late = self._options.transcripts == "late" and not turn.function_calls
        in_time = max(0, len(deltas) - 1) if late else len(deltas)
        progress = self._current = _Progress(pcm, deltas)
        stall = turn.stall
        next_at = loop.time()
        for number, block in enumerate(blocks):
            if stall and block.start >= stall.at_ms * OUTPUT_RATE / 1000.0:
                await self._stall(stall)
                stall, next_at = None, loop.time()
            count = (number + 1) * in_time // len(blocks) - number * in_time // len(blocks)
            said = "".join(progress.deltas[:count])
            del progress.deltas[:count]
            samples = pcm[block.start : block.stop]
            content: Message = {"modelTurn": {"parts": _audio_parts(samples, block.part)}}
            if said and self._options.bundle_fields:
                content["outputTranscription"] = {"text": said}
            await self._transmit({"serverContent": content})
            progress.sent = spoken._sent = block.stop
            self._notify()
            if said and not self._options.bundle_fields:
                await self._say_words([said])
            await self._tell_late_transcript()
            next_at += block.wait_s
            if next_at > loop.time():
                await asyncio.sleep(next_at - loop.time())
        if not blocks and in_time:
            said_at_once = progress.deltas[:in_time]
            del progress.deltas[:in_time]
            await self._say_words(said_at_once)

    def _blocks(self, size: int) -> list[_Block]:
        """Cuts the audio of a turn into messages, each with the time until the next one."""
        options = self._options
        blocks: list[_Block] = []
        start = 0
        while start < size:
            if options.chunks:
                chunk = options.chunks[min(len(blocks), len(options.chunks) - 1)]
                part = step = max(1, round(chunk.ms * OUTPUT_RATE / 1000.0))
                stop = min(start + step, size)
                wait_s = chunk.pause_ms / 1000.0
            else:
                part = max(1, round(options.chunk_ms * OUTPUT_RATE / 1000.0))
                stop = min(start + part * options.parts_per_message, size)
                wait_s = (stop - start) / OUTPUT_RATE / options.speed
            blocks.append(_Block(start, stop, part, wait_s))
            start = stop
        return blocks

    async def _say_words(self, words: Sequence[str]) -> None:
        delta = {"outputTranscription": {"text": "".join(words)}}
        await self._transmit({"serverContent": delta})

    async def _stall(self, stall: Stall) -> None:
        self.stalled = True
        self._notify()
        try:
            if stall.seconds is None:
                self._release.clear()
                await self._release.wait()
            else:
                await asyncio.sleep(stall.seconds)
        finally:
            self.stalled = False

    async def _call_functions(self, calls: tuple[FunctionCall, ...]) -> None:
        described = []
        for call in calls:
            self._calls += 1
            call_id = call.id or f"function-call-{self._index}-{self._calls}"
            args = {} if self._has_hidden_parameters(call.name) else call.args
            self.waiting_calls[call_id] = self._tools.called(self._index, call_id, call.name, args)
            described.append({"name": call.name, "args": args, "id": call_id})
        message: Message = {"toolCall": {"functionCalls": described}}
        await self._transmit(self._with_status(message, "IN_PROGRESS"))

    def _has_hidden_parameters(self, name: str) -> bool:
        """Whether a function is declared by a JSON schema alone, which Live does not read."""
        for tool in self._setup.get("tools") or []:
            for declaration in tool.get("functionDeclarations") or []:
                if declaration.get("name") == name and "parametersJsonSchema" in declaration:
                    return _IGNORES_JSON_SCHEMA and "parameters" not in declaration
        return False

    def _turn_complete(self, turn: Turn, spoken: SpokenTurn) -> Message:
        content: Message = {"turnComplete": True}
        if turn.turn_complete_reason:
            content["turnCompleteReason"] = turn.turn_complete_reason
        status = "IN_PROGRESS" if turn.in_progress else "IDLE"
        message = self._with_status({"serverContent": content}, status)
        heard = self._recording.audio_ms - self._billed_audio_ms
        self._billed_audio_ms = self._recording.audio_ms
        prompt_text = 10 + sum(map(len, self._context)) // _CHARACTERS_PER_TOKEN
        prompt_audio = round(heard / 1000.0 * _TOKENS_PER_AUDIO_SECOND)
        response_audio = round(spoken.sent_ms / 1000.0 * _TOKENS_PER_AUDIO_SECOND)
        response_text = 0 if response_audio else -(-len(turn.text) // _CHARACTERS_PER_TOKEN)
        response = response_audio or response_text
        answer = "candidates" if self._endpoint.vertex else "response"
        usage = {
            "promptTokenCount": prompt_text + prompt_audio,
            f"{answer}TokenCount": response,
            "totalTokenCount": prompt_text + prompt_audio + response,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": prompt_text},
                {"modality": "AUDIO", "tokenCount": prompt_audio},
            ],
            f"{answer}TokensDetails": [
                {"modality": "AUDIO" if response_audio else "TEXT", "tokenCount": response}
            ],
        }
        return {**message, "usageMetadata": usage}

    def _with_status(self, message: Message, status: str) -> Message:
        """Adds the `interactionStatus` of extended thinking, where the options want it."""
        if not self._setup["model"].endswith("-extended-thinking"):
            return message
        if self._options.interaction_status_in in ("content", "both"):
            content = {**message.get("serverContent", {}), "interactionStatus": status}
            message = {**message, "serverContent": content}
        if self._options.interaction_status_in in ("message", "both"):
            message = {**message, "interactionStatus": status}
        return message

    async def _send_interrupted(self) -> None:
        cut, self._current = self._current, None
        self._late_transcript = ""
        for turn in self._recording.turns:
            if turn.outcome == "speaking":
                turn.outcome, turn.ended_at = "interrupted", time.monotonic()
        await self._transmit({"serverContent": {"interrupted": True}})
        late = self._late_messages(cut)
        if "turn_complete" not in self._options.interruption.late:
            await self._transmit({"serverContent": {"turnComplete": True}})
        if self._options.interruption.late_ms:
            self._post(late, self._options.interruption.late_ms / 1000.0)
        else:
            for message in late:
                await self._transmit(message)
        self.interruptions += 1
        self._notify()
        await self._announce_handle(True)

    def _late_messages(self, cut: _Progress | None) -> list[Message]:
        """Returns the messages that still come of a turn that was interrupted."""
        late = self._options.interruption.late
        contents: list[Message] = []
        if cut is not None and "audio" in late and cut.sent < cut.pcm.size:
            rest = cut.pcm[cut.sent : cut.sent + _LATE_AUDIO]
            contents.append({"modelTurn": {"parts": _audio_parts(rest, _LATE_AUDIO)}})
        if cut is not None and "transcript" in late and cut.deltas:
            contents.append({"outputTranscription": {"text": cut.deltas[0]}})
        if "turn_complete" in late:
            contents.append({"turnComplete": True})
        return [{"serverContent": content} for content in contents]


@dataclass
class _Progress:
    """Tells how far a turn was sent.

    Attributes:
        pcm: Its audio.
        deltas: The words of its transcript that were not sent.
        sent: Samples that were sent.
    """

    pcm: NDArray[np.int16]
    deltas: list[str]
    sent: int = 0


class _Block(NamedTuple):
    """Describes one message with audio: its samples, those of a part, the time until the next."""

    start: int
    stop: int
    part: int
    wait_s: float


@dataclass(frozen=True)
class _Answer:
    user: UserTurn
    turns: Turns


@dataclass(frozen=True)
class _Say:
    turn: Turn


_Job = _Answer | _Say


async def _each(turns: Turns) -> AsyncIterator[Turn]:
    if isinstance(turns, AsyncIterable):
        async for turn in turns:
            yield turn
    else:
        for turn in turns:
            yield turn


def _audio_parts(block: NDArray[np.int16], chunk: int) -> list[Message]:
    mime = f"audio/pcm;rate={OUTPUT_RATE}"
    return [
        {
            "inlineData": {
                "mimeType": mime,
                "data": block[start : start + chunk].astype("<i2").tobytes(),
            }
        }
        for start in range(0, block.size, chunk)
    ]


def _deltas(text: str) -> list[str]:
    """Words as the service sends them: each but the first with the space before it."""
    return [word if i == 0 else f" {word}" for i, word in enumerate(text.split())]
