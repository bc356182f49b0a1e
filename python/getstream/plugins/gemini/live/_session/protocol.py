"""Messages of Gemini Live as they are on the wire: JSON, camelCase, base64.

Read and written here without the SDK, whose own path costs six times the socket's. Standard library
only, and no state. Whatever arrives is read: unknown fields are passed over, and a field of an
unexpected type counts as absent.

Protocol: ai.google.dev/api/live (BidiGenerateContent).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .._tokens import TokenUsage, tokens_by_modality

DEFAULT_RATE = 24000
"""Hz: what the model speaks at when a message does not say."""

MOST_TOKENS = 10**9
"""Tokens in one report that are believed; a context holds 131,072."""


@dataclass(slots=True)
class ServerMessage:
    """Content of one message of the service: every field and every part of it.

    Attributes:
        audio: s16le mono chunks with their sample rates in Hz, in order; as base64 text, or as
            bytes where the SDK has decoded it.
        text: text parts of the model that are not thoughts.
        output_transcription: delta of the transcript of the model's speech.
        output_transcription_finished: that transcript is complete. Some services never say so.
        asked: delta of the transcript of the user's speech.
        interrupted: the user has interrupted the model; `audio` of the same message is void.
        generation_complete: the model has sent all of its turn.
        turn_complete: the service considers the turn over.
        complete_reason: why, where that is not the ordinary reason (`turnCompleteReason`, such as
            "RESPONSE_REJECTED"); else "".
        at_work: a sign that the model is at work without having said anything yet.
        in_progress: whether the service is still at work on what it was asked, turns or not; None
            if the message does not say.
        time_left: the service will end this connection after so many seconds; None if it has not
            said so.
        handle: a handle with which the session can be resumed, or "".
        resumable: whether it can be resumed at this moment; None if the message does not say.
        consumed: index of the newest client message that the handle covers, or None.
        usage: tokens that the service reports with this message, or None.
        tool_calls: the functions that the model calls.
        cancelled_calls: ids of calls that the model no longer waits for.
        unreadable: it was no message at all.
    """

    audio: list[tuple[str | bytes, int]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    output_transcription: str = ""
    output_transcription_finished: bool = False
    input_transcription: str = ""
    interrupted: bool = False
    generation_complete: bool = False
    turn_complete: bool = False
    complete_reason: str = ""
    at_work: bool = False
    in_progress: bool | None = None
    time_left: float | None = None
    handle: str = ""
    resumable: bool | None = None
    consumed: int | None = None
    usage: TokenUsage | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    cancelled_calls: list[str] = field(default_factory=list)
    unreadable: bool = False


_IN_PROGRESS = {"IN_PROGRESS": True, "REQUIRES_ACTION": True, "IDLE": False}
"""`interactionStatus`. `REQUIRES_ACTION` is deprecated: work that waits for a function."""


def note_status(status: Any, result: ServerMessage) -> None:
    """Take over an `interactionStatus`; a status that is not known says nothing."""
    in_progress = _IN_PROGRESS.get(status) if isinstance(status, str) else None
    if in_progress is not None:
        result.in_progress = in_progress
        result.at_work = result.at_work or in_progress


def note_complete_reason(reason: Any, result: ServerMessage) -> None:
    """Take over a `turnCompleteReason`, unless it says nothing."""
    if isinstance(reason, str) and reason != "TURN_COMPLETE_REASON_UNSPECIFIED":
        result.complete_reason = reason


def read(raw: str | bytes) -> ServerMessage:
    """Read one frame of the service. Never raises."""
    result = ServerMessage()
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        result.unreadable = True
        return result
    content = message.get("serverContent")
    if isinstance(content, dict):
        _read_content(content, result)
    if len(message) > 1 or content is None:
        _read_rest(message, result)
    return result


def _read_content(content: dict[str, Any], result: ServerMessage) -> None:
    turn = content.get("modelTurn")
    if turn is not None:
        _read_parts(turn, result)
        if len(content) == 1:
            return
    result.interrupted = content.get("interrupted") is True
    result.generation_complete = content.get("generationComplete") is True
    result.turn_complete = content.get("turnComplete") is True
    note_complete_reason(content.get("turnCompleteReason"), result)
    note_status(content.get("interactionStatus"), result)
    transcription = content.get("outputTranscription")
    if transcription is not None:
        result.output_transcription = _text_of(transcription)
        finished = isinstance(transcription, dict) and transcription.get("finished") is True
        result.output_transcription_finished = finished
    result.input_transcription = _text_of(content.get("inputTranscription"))


def _read_parts(turn: Any, result: ServerMessage) -> None:
    parts = turn.get("parts") if isinstance(turn, dict) else None
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue
        blob = part.get("inlineData")
        if isinstance(blob, dict):
            mime, data = blob.get("mimeType"), blob.get("data")
            if isinstance(mime, str) and mime.startswith("audio/") and isinstance(data, str):
                result.audio.append((data, rate_of(mime)))
        elif not part.get("thought") and isinstance(part.get("text"), str) and part["text"]:
            result.text.append(part["text"])
        elif part.get("thought"):
            result.at_work = True


def _read_rest(message: dict[str, Any], result: ServerMessage) -> None:
    note_status(message.get("interactionStatus"), result)  # beside `toolCall`, in Google's examples
    usage = message.get("usageMetadata")
    if isinstance(usage, dict):
        result.usage = usage_of(usage)
    going = message.get("goAway")
    if isinstance(going, dict):
        result.time_left = seconds_of(going.get("timeLeft"))
    update = message.get("sessionResumptionUpdate")
    if isinstance(update, dict):
        handle = update.get("newHandle")
        result.handle = handle if isinstance(handle, str) else ""
        result.resumable = update.get("resumable") is True
        result.consumed = _whole_number(update.get("lastConsumedClientMessageIndex"))
    call = message.get("toolCall")
    if isinstance(call, dict) and isinstance(call.get("functionCalls"), list):
        result.tool_calls = [each for each in call["functionCalls"] if isinstance(each, dict)]
    cancelled = message.get("toolCallCancellation")
    if isinstance(cancelled, dict) and isinstance(cancelled.get("ids"), list):
        result.cancelled_calls = [each for each in cancelled["ids"] if isinstance(each, str)]


def usage_of(usage: dict[str, Any]) -> TokenUsage:
    """Return the tokens of a `usageMetadata`, whose answer Vertex AI calls its candidates.

    Where there is a total and no prompt, the rest of the total is taken for the prompt.
    """
    said = _count_of(usage.get("responseTokenCount"))
    details = usage.get("responseTokensDetails")
    if said is None and details is None:
        said = _count_of(usage.get("candidatesTokenCount"))
        details = usage.get("candidatesTokensDetails")
    output = tokens_by_modality(said, _details_of(details))
    thoughts = _count_of(usage.get("thoughtsTokenCount")) or 0
    tool_use = _count_of(usage.get("toolUsePromptTokenCount")) or 0
    prompt, total = (_count_of(usage.get(f"{it}TokenCount")) for it in ("prompt", "total"))
    if prompt is None and total is not None:
        prompt = max(0, total - output.total - thoughts - tool_use)
    return TokenUsage(
        tokens_by_modality(prompt, _details_of(usage.get("promptTokensDetails"))),
        output,
        _count_of(usage.get("cachedContentTokenCount")) or 0,
        thoughts,
        tool_use,
    )


def _details_of(details: Any) -> list[tuple[str, int]]:
    """Return the modalities of a list of `ModalityTokenCount`, with their tokens."""
    found = []
    for each in details if isinstance(details, list) else ():
        modality = each.get("modality") if isinstance(each, dict) else None
        tokens = _count_of(each.get("tokenCount")) if isinstance(each, dict) else None
        if isinstance(modality, str) and tokens is not None:
            found.append((modality, tokens))
    return found


def _count_of(value: Any) -> int | None:
    """Return a number of tokens, or None: more than a context holds is no such number."""
    count = _whole_number(value)
    return count if count is not None and 0 <= count <= MOST_TOKENS else None


def _text_of(transcription: Any) -> str:
    text = transcription.get("text") if isinstance(transcription, dict) else None
    return text if isinstance(text, str) else ""


def _whole_number(value: Any) -> int | None:
    """An integer, which protobuf's JSON may write as a string."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return None


@lru_cache(maxsize=32)
def rate_of(mime_type: str) -> int:
    """The sample rate in `audio/pcm;rate=24000`; `DEFAULT_RATE` when none is stated."""
    for parameter in mime_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        rate = _whole_number(value.strip())
        if name.strip() == "rate" and rate is not None:
            return rate
    return DEFAULT_RATE


def seconds_of(duration: Any) -> float:
    """The seconds of a protobuf Duration such as `"50s"`; 0 for anything else."""
    if not isinstance(duration, str) or not duration.endswith("s"):
        return 0.0
    try:
        seconds = float(duration[:-1])
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < 1e9 else 0.0


def audio_envelope(sample_rate: int) -> tuple[bytes, bytes]:
    """Return what stands before and after the base64 of s16le mono audio in a client message."""
    before = f'{{"realtimeInput":{{"audio":{{"mimeType":"audio/pcm;rate={sample_rate}","data":"'
    return before.encode("ascii"), b'"}}}'


def read_audio(message: bytes) -> tuple[bytes, int]:
    """Return the s16le samples of a client message with audio, and their rate in Hz."""
    audio = json.loads(message)["realtimeInput"]["audio"]
    return base64.b64decode(audio["data"]), rate_of(audio["mimeType"])


def image_message(encoded: bytes, mime_type: str = "image/jpeg") -> bytes:
    """Return a client message with one image, given as base64."""
    before = f'{{"realtimeInput":{{"video":{{"mimeType":"{mime_type}","data":"'
    return before.encode("ascii") + encoded + b'"}}}'
