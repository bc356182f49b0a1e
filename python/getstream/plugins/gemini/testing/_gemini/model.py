"""The model of a session: it takes turns of the user and makes its own, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed

from .log import Recording, SpokenTurn
from .options import Outgoing, SessionOptions
from .replies import OUTPUT_RATE, FunctionCall, ReplyPolicy, Stall, Turn, Turns, UserTurn
from .wire import Endpoint, Message, model_generation

__all__ = ["Model"]

_TOKENS_PER_AUDIO_SECOND = 25
_CHARACTERS_PER_TOKEN = 4


class Model:
    """Makes the turns of the model of one session.

    Args:
        index: The session's number, which is part of the ids of its function calls.
        endpoint: What the client dialled.
        options: How turns are sent.
        policy: What is said.
        recording: Where turns are noted, and the user's audio is counted.
        context: What was said by both sides; it is added to.
        transmit: Sends a message, in order.
        post: Sends a message without waiting, in order.
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
        *,
        transmit: Callable[[Outgoing], Awaitable[None]],
        post: Callable[[Message], None],
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
        self._transmit = transmit
        self._post = post
        self._announce_handle = announce_handle
        self._notify = notify
        self._fail = fail
        self._setup: Message = {}
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._generation: asyncio.Task[None] | None = None
        self._resumable = False
        self._pending_calls: dict[str, FunctionCall] = {}
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
        answered, silent = [], True
        for response in content.get("functionResponses") or []:
            call = self._pending_calls.get(response.get("id", ""))
            if call is None:  # cancelled, or never asked
                continue
            if not response.get("willContinue"):
                del self._pending_calls[call.id]
            if response.get("scheduling") == "INTERRUPT":
                self.interrupt()
            silent = silent and response.get("scheduling") == "SILENT"
            answered.append(response)
        if answered and not silent:
            responses = tuple(answered)
            self.answer(UserTurn("tool_response", tool_responses=responses, session=self._index))

    def interrupt_on_speech(self) -> None:
        """Interrupts because the user speaks, unless the setup says otherwise."""
        realtime = self._setup.get("realtimeInputConfig") or {}
        if realtime.get("activityHandling") != "NO_INTERRUPTION":
            self.interrupt()

    def interrupt(self) -> None:
        """Drops what is being said and what was going to be said."""
        while not self._jobs.empty():
            self._jobs.get_nowait()
        cancelled = [call.id for call in self._pending_calls.values() if self._blocking(call)]
        for call_id in cancelled:
            del self._pending_calls[call_id]
        if cancelled:
            self._post({"toolCallCancellation": {"ids": cancelled}})
        if self._generation is not None:
            self._generation.cancel()

    def _blocking(self, call: FunctionCall) -> bool:
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
        if user.kind == "audio" and "inputAudioTranscription" in self._setup and user.text:
            await self._transmit({"serverContent": {"inputTranscription": {"text": user.text}}})
        async for turn in _each(job.turns):
            await self._speak(turn)

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
        if text_only:
            for word in _deltas(turn.text):
                await self._transmit({"serverContent": {"modelTurn": {"parts": [{"text": word}]}}})
        else:
            if turn.written:
                part = {"text": turn.written}
                await self._transmit({"serverContent": {"modelTurn": {"parts": [part]}}})
            await self._send_audio(turn, spoken, pcm)
        if turn.function_calls:
            await self._call_functions(turn.function_calls)
        else:
            await self._transmit({"serverContent": {"generationComplete": True}})
            if self._options.turn_complete_after == "playback":
                ends = started + pcm.size / OUTPUT_RATE
                await asyncio.sleep(ends - asyncio.get_running_loop().time())
            await self._transmit(self._turn_complete(turn, spoken))
        self._resumable = not turn.function_calls
        spoken.outcome, spoken.ended_at = "complete", time.monotonic()
        self._notify()

    async def _send_audio(self, turn: Turn, spoken: SpokenTurn, pcm: NDArray[np.int16]) -> None:
        loop = asyncio.get_running_loop()
        chunk = max(1, round(self._options.chunk_ms * OUTPUT_RATE / 1000.0))
        step = chunk * self._options.parts_per_message
        messages = -(-pcm.size // step)
        deltas = _deltas(turn.text) if "outputAudioTranscription" in self._setup else []
        stall = turn.stall
        next_at = loop.time()
        for number in range(messages):
            start = number * step
            if stall and start >= stall.at_ms * OUTPUT_RATE / 1000.0:
                await self._stall(stall)
                stall, next_at = None, loop.time()
            block = pcm[start : start + step]
            said = deltas[number * len(deltas) // messages : (number + 1) * len(deltas) // messages]
            content: Message = {"modelTurn": {"parts": _audio_parts(block, chunk)}}
            if said and self._options.bundle_fields:
                content["outputTranscription"] = {"text": "".join(said)}
            await self._transmit({"serverContent": content})
            spoken._sent = start + block.size
            self._notify()
            if said and not self._options.bundle_fields:
                delta = {"outputTranscription": {"text": "".join(said)}}
                await self._transmit({"serverContent": delta})
            next_at += block.size / OUTPUT_RATE / self._options.speed
            if next_at > loop.time():
                await asyncio.sleep(next_at - loop.time())
        if not messages and deltas:
            content = {"outputTranscription": {"text": "".join(deltas)}}
            await self._transmit({"serverContent": content})

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
            identified = FunctionCall(
                call.name, call.args, call.id or f"function-call-{self._index}-{self._calls}"
            )
            self._pending_calls[identified.id] = identified
            described.append(
                {"name": identified.name, "args": identified.args, "id": identified.id}
            )
        await self._transmit({"toolCall": {"functionCalls": described}})

    def _turn_complete(self, turn: Turn, spoken: SpokenTurn) -> Message:
        content: Message = {"turnComplete": True}
        message: Message = {"serverContent": content}
        if self._setup["model"].endswith("-extended-thinking"):
            place = content if self._options.interaction_status_in == "content" else message
            place["interactionStatus"] = "IN_PROGRESS" if turn.in_progress else "IDLE"
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

    async def _send_interrupted(self) -> None:
        for turn in self._recording.turns:
            if turn.outcome == "speaking":
                turn.outcome, turn.ended_at = "interrupted", time.monotonic()
        await self._transmit({"serverContent": {"interrupted": True}})
        await self._transmit({"serverContent": {"turnComplete": True}})
        self.interruptions += 1
        self._notify()
        await self._announce_handle(True)


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
