"""Check what is believed of Gemini Live."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._beliefs import believed
from ...audio import Resampler
from ...errors import GeminiError, ModelNotFoundError
from ...live._telemetry.prices import AUDIO_IN_PER_MINUTE_USD, AUDIO_OUT_PER_MINUTE_USD
from ...testing.signals import read_wav
from .. import clips
from .access import raise_unless_version
from .findings import Finding, fails, holds, redacted, unclear
from .wire_client import WIRE_RATE, Line, Received, RefusedError, Service

__all__ = ["LONG_PROMPT", "PROBES", "Probe", "check_gemini", "estimated_cost", "find_access"]

THINKING_MODEL = "gemini-3.8-live-extended-thinking"
UNKNOWN_MODEL = "gemini-0.0-live-that-nobody-has"
WRONG_KEY = "AIzaSy" + "0" * 33
UNKNOWN_HANDLE = "a-handle-that-nobody-has-issued"

INSTRUCTIONS = (
    "This is a technical test of the connection. Answer everything that you hear or read at once "
    "and aloud, also when it is no question, in a few words unless you are asked for more."
)
SHORT_PROMPT = "Say: hello, I can hear you."
COUNT_PROMPT = "Count aloud from one to twelve, slowly."
LONG_PROMPT = "Count aloud from one to one hundred, slowly."

SILENCE_S = 2.0
"""Silence that the package sends after speech (`Capture`, `tail_ms`)."""

MORE_SILENCE_S = 4.0
"""Silence that is sent after that, to see how much it takes."""

LARGEST_CHUNK_S = 0.5
"""Half of what a listener may have in hand; logs have 0.34 s at most."""

EARLY_S, SHORT_NOTICE_S = 60.0, 60.0
"""A goAway of a connection younger than the one leaves at least the other."""

RESUME_ATTEMPTS, RESUME_DELAY_S = 4, 0.5
"""A handle may be refused for a moment after its connection was closed (sip-to-ai #14)."""

# Fields of google-genai 3.6: LiveServerMessage and LiveServerContent.
_MESSAGE_FIELDS = """\
setupComplete serverContent toolCall toolCallCancellation usageMetadata goAway
sessionResumptionUpdate voiceActivity voiceActivityDetectionSignal interactionStatus"""
_CONTENT_FIELDS = """\
modelTurn generationComplete turnComplete turnCompleteReason interrupted waitingForInput
interactionStatus inputTranscription outputTranscription interimInputTranscription
groundingMetadata urlContextMetadata"""
KNOWN_MESSAGE = frozenset(_MESSAGE_FIELDS.split())
KNOWN_CONTENT = frozenset(_CONTENT_FIELDS.split())

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Probe:
    """Check the beliefs that one or two connections show.

    Attributes:
        names: The beliefs.
        run: Makes the connections and judges what comes.
        spoken_s: Seconds of audio that it sends.
        heard_s: Seconds of audio that it makes the model say.
    """

    names: tuple[str, ...]
    run: Callable[[Service], Awaitable[list[Finding]]]
    spoken_s: float = 0.0
    heard_s: float = 0.0


# -- what a message is -------------------------------------------------------------------------


def _has(name: str) -> Callable[[Received], object]:
    return lambda each: each.content.get(name)


def _has_audio(each: Received) -> object:
    return each.audio


def _is_end(each: Received) -> object:
    return each.content.get("turnComplete") or each.content.get("generationComplete")


def _is_answer(each: Received) -> object:
    return each.audio or each.content.get("generationComplete")


def _has_handle(each: Received) -> object:
    return each.handle


def _setup(**more: Any) -> dict[str, Any]:
    """Return the fields of a setup as the package sends it, with instructions for the test."""
    return {
        "systemInstruction": {"parts": [{"text": INSTRUCTIONS}]},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        **more,
    }


def question() -> Samples:
    """Return the recorded question at the wire's rate, from its first word to its last."""
    return _clip("question.wav")


def _clip(name: str) -> Samples:
    samples, rate = read_wav(clips.data_file(name))
    span = clips.loud_span(samples, rate)
    assert span is not None, "it comes with the package, and is speech"
    spoken = np.ascontiguousarray(samples[span[0] : span[1]])
    if rate == WIRE_RATE:
        return spoken
    resampler = Resampler(rate, WIRE_RATE)
    return np.concatenate((resampler.push(spoken), resampler.flush()))


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * WIRE_RATE), np.int16)


# -- getting in --------------------------------------------------------------------------------


async def find_access(service: Service) -> list[Finding]:
    """Connect once, and chooses the API version that all further checks use.

    Raises:
        AuthError: The key is refused.
        ModelNotFoundError: The model is refused.
        QuotaError: The quota is used up.
        SessionError: The service refuses for another reason.
        ConnectError: It cannot be reached.
    """
    believed_version = str(believed("api_version"))
    refusals: list[RefusedError] = []
    for version in (believed_version, "v1"):
        service.version = version
        try:
            async with service.session(deflate=True, **_setup()) as line:
                extensions = line.extensions
        except RefusedError as error:
            raise_unless_version(service, error)
            refusals.append(error)
            continue
        seen = f"connected with {version}"
        right = version == believed_version
        found = [holds("api_version", seen) if right else fails("api_version", seen)]
        negotiated = "permessage-deflate" in extensions
        seen = "was negotiated" if negotiated else "was offered and not negotiated"
        found.append(fails("deflate", seen) if negotiated else holds("deflate", seen))
        return found
    reason = redacted(refusals[0].reason, [service.key])
    raise ModelNotFoundError(
        f"Gemini Live has no model {service.model!r} ({refusals[0].code}: {reason})",
        code=refusals[0].code,
        remedy="Choose a current Live model with --model.",
    )


# -- refusals ----------------------------------------------------------------------------------


async def _key_refused(service: Service) -> list[Finding]:
    name = "key_refused"
    refused = await service.refusal(key=WRONG_KEY, **_setup())
    if refused is None:
        return [fails(name, "a wrong key was accepted")]
    seen = _shown(service, refused)
    return [holds(name, seen) if "api key" in refused[1].lower() else fails(name, seen)]


async def _model_unknown(service: Service) -> list[Finding]:
    code, words = believed("model_unknown")
    refused = await service.refusal(model=UNKNOWN_MODEL)
    return [_judge_refusal(service, "model_unknown", refused, [(code, words)])]


async def _handle_refused(service: Service) -> list[Finding]:
    refused = await service.refusal(**_setup(sessionResumption={"handle": UNKNOWN_HANDLE}))
    known = believed("handle_refused")
    return [_judge_refusal(service, "handle_refused", refused, known)]


async def _thinking_refused(service: Service) -> list[Finding]:
    setup = {"responseModalities": ["AUDIO"], "thinkingConfig": {"thinkingLevel": "LOW"}}
    refused = await service.refusal(model="gemini-3.8-live", generationConfig=setup)
    code = believed("thinking_refused")
    return [_judge_refusal(service, "thinking_refused", refused, [(code, "")])]


def _judge_refusal(
    service: Service,
    name: str,
    refused: tuple[int, str] | None,
    known: Iterable[tuple[int, str]],
) -> Finding:
    if refused is None:
        return fails(name, "it was accepted")
    seen = _shown(service, refused)
    right = any(refused[0] == code and words in refused[1] for code, words in known)
    return holds(name, seen) if right else fails(name, seen)


def _shown(service: Service, refused: tuple[int, str]) -> str:
    return f"{refused[0]}: {redacted(refused[1], [service.key])}"


# -- extended thinking -------------------------------------------------------------------------


async def _thinking(service: Service) -> list[Finding]:
    level, place = "thinking_level_required", "interaction_status_place"
    refused = await service.refusal(model=THINKING_MODEL)
    low = {"responseModalities": ["AUDIO"], "thinkingConfig": {"thinkingLevel": "LOW"}}
    try:
        async with service.session(model=THINKING_MODEL, **_setup(generationConfig=low)) as line:
            found = [_judge_refusal(service, level, refused, [(1007, "")])]
            await line.send_text(SHORT_PROMPT)
            end = await line.wait(_has("turnComplete"), service.patience.turn_s)
            if end is None:
                return [*found, *unclear("no answer was complete in time", place)]
            await line.wait(lambda _: False, service.patience.late_s)
    except RefusedError as error:
        seen = (
            f"the control with LOW was refused, too ({_shown(service, (error.code, error.reason))})"
        )
        return unclear(seen, level, place)
    return [*found, _judge_status_place(line, place)]


def _judge_status_place(line: Line, name: str) -> Finding:
    inside = any("interactionStatus" in each.content for each in line.received)
    on_top = any("interactionStatus" in each.message for each in line.received)
    if inside and not on_top:
        return holds(name, "in serverContent")
    if on_top:
        return fails(name, "in both places" if inside else "at the top level of the message")
    return fails(name, "none came with an answer")


# -- a conversation ----------------------------------------------------------------------------

_OF_CONVERSATION = (
    "speech_is_answered",
    "interrupted_unprovoked",
    "handles_in_turns",
    "input_transcript_first",
    "output_transcript_in_time",
    "handle_after_turn",
    "handle_needs_closed",
)


async def _conversation(service: Service) -> list[Finding]:
    """Speak, be answered, and go on with another connection."""
    patience = service.patience
    found: list[Finding] = []
    async with service.session(**_setup(sessionResumption={})) as line:
        await line.wait(_has_handle, patience.handle_s)  # some services send one at once
        start = len(line.received)
        answer = await _ask_aloud(service, line)
        if answer is None:
            reason = "recorded speech was not answered"
            rest = unclear(reason, *_OF_CONVERSATION[1:])
            return [fails("speech_is_answered", "no answer, with silence after it"), *rest]
        found.append(holds("speech_is_answered", "it was"))
        first = line.position(answer)
        found.append(_judge_unprovoked(line.received[start:first]))
        end = await line.wait(_has("turnComplete"), patience.turn_s, first)
        last = _last_audio(line, first)
        found.append(_judge_handles_in_turns(line.received[start : last + 1]))
        found.append(_judge_input_transcript(line.received[start:], line.received[first]))
        if end is None:
            found += unclear("the answer had no turnComplete", "output_transcript_in_time")
        else:
            found.append(await _judge_late_transcript(service, line, line.position(end) + 1))
        handle = await line.wait(_has_handle, patience.handle_s, last + 1)
        if handle is None:
            none = "none came after the answer"
            return [*found, fails("handle_after_turn", none), *unclear(none, "handle_needs_closed")]
        found.append(holds("handle_after_turn", "one came"))
        resuming = _setup(sessionResumption={"handle": handle.handle})
        beside = await service.refusal(**resuming)
    try:
        async with _resumed(service, **resuming):
            after = None
    except RefusedError as error:
        after = (error.code, error.reason)
    found.append(_judge_needs_closed(service, beside, after))
    return found


@contextlib.asynccontextmanager
async def _resumed(service: Service, **setup: Any) -> AsyncIterator[Line]:
    """Resume a session whose connection was closed just now: the service may not know it yet."""
    async with contextlib.AsyncExitStack() as stack:
        for attempt in range(RESUME_ATTEMPTS):
            try:
                line = await stack.enter_async_context(service.session(**setup))
            except RefusedError:
                if attempt == RESUME_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(RESUME_DELAY_S)
            else:
                break
        yield line


async def _ask_aloud(service: Service, line: Line) -> Received | None:
    """Ask the recorded question, and send silence until the answer begins, or time is up."""
    start = len(line.received)

    def answered() -> bool:
        return any(map(_has_audio, line.received[start:]))

    await line.speak(question())
    silence = asyncio.ensure_future(
        line.speak(_silence(service.patience.answer_s * service.speed), answered)
    )
    try:
        return await line.wait(_has_audio, service.patience.answer_s, start)
    finally:
        silence.cancel()
        await asyncio.gather(silence, return_exceptions=True)


def _last_audio(line: Line, start: int) -> int:
    return max(i for i in range(start, len(line.received)) if line.received[i].audio)


def _judge_unprovoked(received: Sequence[Received]) -> Finding:
    count = sum(1 for each in received if each.content.get("interrupted"))
    name = "interrupted_unprovoked"
    return fails(name, "one came", count=count) if count else holds(name, "none came")


def _judge_handles_in_turns(received: Sequence[Received]) -> Finding:
    count = sum(1 for each in received if each.handle)
    name = "handles_in_turns"
    return fails(name, "handles came", count=count) if count else holds(name, "none came")


def _judge_input_transcript(received: Sequence[Received], answer: Received) -> Finding:
    name = "input_transcript_first"
    first = next((each for each in received if each.transcript("inputTranscription")), None)
    if first is None:
        return unclear("the user's speech was not transcribed", name)[0]
    delay_s = first.at - answer.at
    order = [each is first for each in received if each is first or each is answer]
    if order[0]:
        return holds(name, "before the answer", transcript_after_answer_s=delay_s)
    return fails(name, "after the answer had begun", transcript_after_answer_s=delay_s)


async def _judge_late_transcript(service: Service, line: Line, start: int) -> Finding:
    name = "output_transcript_in_time"
    if not any(each.transcript("outputTranscription") for each in line.received):
        return unclear("the answer was not transcribed", name)[0]
    late = await line.wait(
        lambda each: each.transcript("outputTranscription"), service.patience.late_s, start
    )
    if late is None:
        return holds(name, "nothing came after turnComplete")
    delay_s = late.at - line.received[start - 1].at
    return fails(name, "a part came after turnComplete", late_by_s=delay_s)


def _judge_needs_closed(
    service: Service, beside: tuple[int, str] | None, after: tuple[int, str] | None
) -> Finding:
    name = "handle_needs_closed"
    if after is not None:
        seen = f"refused also after the connection was closed ({_shown(service, after)})"
        return unclear(seen, name)[0]
    if beside is None:
        return fails(name, "accepted while the connection was open")
    return holds(name, _shown(service, beside))


# -- a long answer -----------------------------------------------------------------------------


async def _long_answer(service: Service) -> list[Finding]:
    """Ask by a text for an answer of some seconds, and watch how it comes."""
    patience = service.patience
    async with service.session(**_setup()) as line:
        pong = await line.ping()
        await line.send_text(COUNT_PROMPT)
        answer = await line.wait(_has_audio, patience.answer_s)
        if answer is None:
            rest = unclear("a text was not answered", "pace", "turn_complete_time", "turn_end")
            found = [fails("text_is_answered", "no audio came"), *rest]
        else:
            start = line.position(answer)
            await line.wait(_is_end, patience.turn_s, start)
            # A turnComplete that is held comes when the answer would have been played.
            held_s = sum(each.audio_s for each in line.received[start:])
            end = await line.wait(_has("turnComplete"), held_s + patience.quiet_s, start)
            found = [holds("text_is_answered", "it was"), *_judge_long(line, start, end)]
        found.append(await _judge_pong(service, line, pong))
    return found


def _judge_long(line: Line, start: int, end: Received | None) -> list[Finding]:
    generated = next(filter(_has("generationComplete"), line.received[start:]), None)
    first = line.received[start]
    last = line.received[_last_audio(line, start)]
    length_s = sum(each.audio_s for each in line.received[start:])
    sent_s = last.at - first.at
    numbers = {"length_s": length_s, "sent_in_s": sent_s}
    found = []
    if length_s < 1.0:
        found += unclear("the answer was too short to tell", "pace", "turn_complete_time")
    else:
        # The last chunk is there when it came, and is played after that.
        ahead = sent_s < length_s - last.audio_s
        seen = f"{length_s:.1f} s of speech came in {sent_s:.1f} s"
        found.append(holds("pace", seen, **numbers) if ahead else fails("pace", seen, **numbers))
        if end is not None:
            found.append(_judge_turn_complete_time(first, last, length_s, end))
    if end is None:
        found.append(fails("turn_end", "no turnComplete came"))
        found += unclear("no turnComplete came", "turn_complete_time")
    elif generated is None:
        found.append(fails("turn_end", "no generationComplete came"))
    elif line.position(generated) > line.position(end):
        found.append(fails("turn_end", "generationComplete came after turnComplete"))
    else:
        gap_s = end.at - generated.at
        found.append(holds("turn_end", "both came, in order", turn_complete_after_s=gap_s))
    return found


def _judge_turn_complete_time(
    first: Received, last: Received, length_s: float, end: Received
) -> Finding:
    name = "turn_complete_time"
    after_audio_s = end.at - last.at
    before_playback_s = first.at + length_s - end.at
    numbers = {"after_last_audio_s": after_audio_s, "before_end_of_playback_s": before_playback_s}
    if first.at + length_s - last.at < 0.5:
        return unclear("the audio itself came no faster than it is played", name)[0]
    held = before_playback_s < 0.25 * (length_s - (last.at - first.at))
    if held:
        return fails(name, "it was held until the playback would be over", **numbers)
    return holds(name, f"{after_audio_s:.1f} s after the last audio", **numbers)


async def _judge_pong(service: Service, line: Line, pong: asyncio.Future[float]) -> Finding:
    name = "pong_delay"
    left = line.opened_at + service.patience.pong_s - time.monotonic()
    done, _ = await asyncio.wait([pong], timeout=max(0.0, left))
    if not done:
        pong.cancel()
        return fails(name, f"no pong within {service.patience.pong_s:g} s")
    if pong.exception() is not None:
        return unclear("the connection ended before", name)[0]
    return holds(name, f"after {pong.result():.2f} s", pong_after_s=pong.result())


# -- interruption ------------------------------------------------------------------------------


async def _interruption(service: Service) -> list[Finding]:
    """Speak into a very long answer, and do not stop before it was heard."""
    names = ("interruption", "after_interruption")
    patience = service.patience
    async with service.session(**_setup()) as line:
        await line.send_text(LONG_PROMPT)
        answer = await line.wait(_has_audio, patience.answer_s)
        if answer is None:
            return unclear("a text was not answered", *names)
        start = line.position(answer)
        talking = asyncio.ensure_future(line.speak(_clip("speech.wav")))
        try:
            heard = await line.wait(
                lambda each: each.content.get("interrupted") or each.content.get("turnComplete"),
                patience.answer_s,
                start,
            )
            if heard is None:
                return [fails(names[0], "no interrupted came"), *unclear("as above", names[1])]
            if not heard.content.get("interrupted"):
                return unclear("the answer was complete before it could be interrupted", *names)
            cut = line.position(heard)
            end = heard if heard.content.get("turnComplete") else await line.wait(
                _has("turnComplete"), patience.quiet_s, cut
            )  # fmt: skip
            # Whoever still speaks is not answered: audio that comes now is of the cut turn.
            until = len(line.received)
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
    after = line.received[cut:until]
    return [_judge_interruption(line.received[start:until], heard, end), _judge_after(after)]


def _judge_interruption(
    received: Sequence[Received], heard: Received, end: Received | None
) -> Finding:
    if end is None:
        return fails("interruption", "no turnComplete came after interrupted")
    gap_s = end.at - heard.at
    after = received[[each is heard for each in received].index(True) :]
    if any(each.content.get("generationComplete") for each in after):
        seen = "generationComplete came after interrupted"
        return fails("interruption", seen, turn_complete_after_s=gap_s)
    return holds("interruption", "interrupted, turnComplete", turn_complete_after_s=gap_s)


def _judge_after(received: Sequence[Received]) -> Finding:
    late_s = sum(each.audio_s for each in received)
    if late_s:
        return fails("after_interruption", "audio came", audio_s=late_s)
    return holds("after_interruption", "no audio came")


# -- the end of the user's turn ----------------------------------------------------------------


async def _silence_ends(service: Service) -> list[Finding]:
    name = "silence_ends_turn"
    patience = service.patience
    async with service.session(**_setup()) as line:
        await line.speak(np.concatenate((question(), _silence(SILENCE_S))))
        if await line.wait(_is_answer, patience.quiet_s) is not None:
            return [holds(name, f"{SILENCE_S:g} s were enough")]
        before = len(line.received)

        def answered() -> bool:
            return any(map(_is_answer, line.received[before:]))

        await line.speak(_silence(MORE_SILENCE_S), answered)
        if await line.wait(_is_answer, patience.quiet_s, before) is None:
            most = SILENCE_S + MORE_SILENCE_S
            return unclear(f"no answer after {most:g} s of silence either", name)
    return [fails(name, f"more than {SILENCE_S:g} s were needed")]


async def _stream_end(service: Service) -> list[Finding]:
    name = "stream_end_ends_turn"
    ends = _generation(service.model) not in believed(name)
    async with service.session(**_setup()) as line:
        await line.speak(question())
        await line.send({"realtimeInput": {"audioStreamEnd": True}})
        answer = await line.wait(_is_answer, service.patience.quiet_s)
    seen = "no answer" if answer is None else "it was answered"
    return [holds(name, seen) if (answer is not None) is ends else fails(name, seen)]


def _generation(model: str) -> str:
    match = re.search(r"gemini-(?:live-)?(\d+\.\d+)", model)
    return match[1] if match else ""


async def _handle_holds_audio(service: Service) -> list[Finding]:
    """Leave in mid-speech where a handle comes, and ask the next connection what it has heard."""
    name = "handle_holds_audio"
    async with service.session(**_setup(sessionResumption={})) as line:
        await line.wait(_has_handle, service.patience.handle_s)
        await line.speak(question())
        start = len(line.received)
        # Speech goes on until a handle comes, or for one more sentence.
        await line.speak(question(), lambda: any(map(_has_handle, line.received[start:])))
        handle = next((each for each in line.received[start:] if each.handle), None)
        if handle is None:
            return unclear("no handle came in mid-speech", name)
    async with _resumed(service, **_setup(sessionResumption={"handle": handle.handle})) as line:
        await line.speak(_silence(SILENCE_S + MORE_SILENCE_S), lambda: any(
            map(_is_answer, line.received)
        ))  # fmt: skip
        answer = await line.wait(
            lambda each: _is_answer(each) or each.transcript("inputTranscription"),
            service.patience.quiet_s,
        )
    if answer is None:
        return [fails(name, "what was said before the handle was forgotten")]
    return [holds(name, "what was said before the handle was answered")]


PROBES: tuple[Probe, ...] = (
    Probe(("key_refused",), _key_refused),
    Probe(("model_unknown",), _model_unknown),
    Probe(("handle_refused",), _handle_refused),
    Probe(("thinking_refused",), _thinking_refused),
    Probe(_OF_CONVERSATION, _conversation, spoken_s=8, heard_s=4),
    Probe(
        ("text_is_answered", "pace", "turn_complete_time", "turn_end", "pong_delay"),
        _long_answer,
        heard_s=15,
    ),
    Probe(("interruption", "after_interruption"), _interruption, spoken_s=7, heard_s=60),
    Probe(("silence_ends_turn",), _silence_ends, spoken_s=9, heard_s=4),
    Probe(("stream_end_ends_turn",), _stream_end, spoken_s=3),
    Probe(("handle_holds_audio",), _handle_holds_audio, spoken_s=12, heard_s=4),
    Probe(("thinking_level_required", "interaction_status_place"), _thinking, heard_s=4),
)
"""The checks that need connections of their own. What is seen in all of them is judged after."""


def estimated_cost() -> float:
    """Return what the checks cost, in US dollars, at most, by the price list in `prices`."""
    spoken = sum(probe.spoken_s for probe in PROBES)
    heard = sum(probe.heard_s for probe in PROBES)
    return spoken / 60 * AUDIO_IN_PER_MINUTE_USD + heard / 60 * AUDIO_OUT_PER_MINUTE_USD


async def check_gemini(
    service: Service, *, at_once: int = 2, on_found: Callable[[Finding], None] = lambda _: None
) -> list[Finding]:
    """Check every automatic belief about Gemini Live.

    Args:
        service: Where; its `version` is what `find_access` has found.
        at_once: Probes at the same time; keys of the free tier have had three sessions.
        on_found: Called with each finding as it is made.

    Returns:
        The findings, in no order. A probe that fails on the way leaves its beliefs unclear.
    """
    found: list[Finding] = []
    free = asyncio.Semaphore(at_once)

    def take(findings: Iterable[Finding]) -> None:
        for finding in findings:
            found.append(finding)
            on_found(finding)

    async def run(probe: Probe) -> None:
        async with free:
            try:
                take(await probe.run(service))
            except RefusedError as error:
                take(
                    unclear(
                        f"the session ended: {_shown(service, (error.code, error.reason))}",
                        *probe.names,
                    )
                )
            except GeminiError as error:
                take(unclear(redacted(str(error), [service.key]), *probe.names))

    await asyncio.gather(*map(run, PROBES))
    take(_judge_all(service.lines, service))
    return found


# -- what is seen in all connections -----------------------------------------------------------


def _judge_all(lines: Sequence[Line], service: Service) -> list[Finding]:
    received = [each for line in lines for each in line.received]
    plain = [line for line in lines if THINKING_MODEL not in line.setup["model"]]
    unasked = [line for line in lines if "sessionResumption" not in line.setup]
    status = _count(plain, lambda each: "interactionStatus" in {**each.message, **each.content})
    handles = _count(unasked, lambda each: "sessionResumptionUpdate" in each.message)
    return [
        _none("binary_frames", sum(1 for each in received if not each.binary), "text frames"),
        _none("empty_messages", sum(map(_is_empty, received)), "empty messages"),
        _judge_known_fields(received),
        _none(
            "voice_activity_unasked",
            sum(1 for each in received if "voiceActivity" in each.message),
            "voiceActivity",
        ),
        _none("interaction_status_absent", status, "messages with a status"),
        _none("handles_unasked", handles, "sessionResumptionUpdate"),
        _judge_rate(received),
        _judge_chunks(received),
        _judge_reason(lines),
        _judge_text_parts(lines),
        _judge_go_away(lines),
    ]


def _count(lines: Iterable[Line], holds: Callable[[Received], bool]) -> int:
    return sum(1 for line in lines for each in line.received if holds(each))


def _none(name: str, count: int, what: str) -> Finding:
    return fails(name, f"{what} came", count=count) if count else holds(name, f"no {what} came")


def _is_empty(each: Received) -> bool:
    return not each.message or each.message.get("serverContent") == {}


def _judge_known_fields(received: Iterable[Received]) -> Finding:
    unknown: set[str] = set()
    for each in received:
        unknown |= set(each.message) - KNOWN_MESSAGE
        unknown |= set(each.content) - KNOWN_CONTENT
    # Names of fields are no secrets; whatever does not look like one is not shown.
    shown = sorted(name for name in unknown if re.fullmatch(r"[A-Za-z][A-Za-z_]{0,39}", name))
    if unknown:
        return fails("known_fields", "also: " + ", ".join(shown[:10]), count=len(unknown))
    return holds("known_fields", "no others")


def _judge_rate(received: Iterable[Received]) -> Finding:
    rate = believed("output_rate")
    kinds = {mime for each in received for mime, _ in each.audio}
    if not kinds:
        return unclear("no audio came", "output_rate")[0]
    wrong = [mime for mime in kinds if mime.replace(" ", "") != f"audio/pcm;rate={rate}"]
    if wrong:
        return fails("output_rate", redacted(", ".join(sorted(wrong))))
    return holds("output_rate", f"audio/pcm;rate={rate}")


def _judge_chunks(received: Iterable[Received]) -> Finding:
    sizes = sorted(each.audio_s * 1000 for each in received if each.audio)
    if not sizes:
        return unclear("no audio came", "chunk_size")[0]
    numbers = {"min_ms": sizes[0], "median_ms": sizes[len(sizes) // 2], "max_ms": sizes[-1]}
    seen = "{min_ms:.0f} to {max_ms:.0f} ms, mostly {median_ms:.0f} ms".format(**numbers)
    if sizes[-1] > LARGEST_CHUNK_S * 1000:
        return fails("chunk_size", seen, **numbers)
    return holds("chunk_size", seen, **numbers)


def _judge_reason(lines: Iterable[Line]) -> Finding:
    name = "turn_complete_reason"
    reasons: set[str] = set()
    turns = 0
    for line in lines:
        audible = False
        for each in line.received:
            audible = audible or bool(each.audio)
            if each.content.get("turnComplete"):
                if audible:
                    turns += 1
                if audible and each.content.get("turnCompleteReason"):
                    reasons.add(redacted(str(each.content["turnCompleteReason"])))
                audible = False
    if not turns:
        return unclear("no turn with audio was complete", name)[0]
    return fails(name, ", ".join(sorted(reasons))) if reasons else holds(name, "none came")


def _judge_text_parts(lines: Iterable[Line]) -> Finding:
    name = "text_parts"
    count = 0
    for line in lines:
        written = [
            str(part["text"])
            for each in line.received
            for part in each.parts
            if part.get("text") and not part.get("thought")
        ]
        count += len(written)
        said = _words("".join(each.transcript("outputTranscription") for each in line.received))
        if said and written and said in _words(" ".join(written)):
            return fails(name, "they say what is said", parts=len(written))
    return holds(name, "they are not what is said" if count else "none came", parts=count)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _judge_go_away(lines: Iterable[Line]) -> Finding:
    name = "early_go_away"
    notices = []
    for line in lines:
        for each in line.received:
            going = each.message.get("goAway")
            if isinstance(going, dict) and each.at - line.opened_at < EARLY_S:
                notices.append(_seconds(going.get("timeLeft")))
    if not notices:
        return holds(name, "none came")
    seen = f"{len(notices)} came, the earliest with {min(notices):.0f} s left"
    if min(notices) < SHORT_NOTICE_S:
        return fails(name, seen, least_left_s=min(notices))
    return holds(name, seen, least_left_s=min(notices))


def _seconds(duration: object) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)s", str(duration))
    return float(match[1]) if match else 0.0
