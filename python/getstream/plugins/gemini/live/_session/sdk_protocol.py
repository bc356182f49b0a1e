"""Messages as the SDK reads them, for a release that does not show its websocket."""

from __future__ import annotations

import contextlib
from typing import Any

from google.genai import types

from .protocol import (
    ServerMessage,
    note_complete_reason,
    note_status,
    rate_of,
    seconds_of,
    usage_of,
)


def from_sdk(message: types.LiveServerMessage) -> ServerMessage:
    """Convert a message of the SDK into what `protocol.read` makes of it."""
    result = ServerMessage()
    if message.usage_metadata is not None:
        usage = message.usage_metadata.model_dump(mode="json", by_alias=True, exclude_none=True)
        result.usage = usage_of(usage)
    if message.go_away is not None:
        result.time_left = seconds_of(message.go_away.time_left)
    update = message.session_resumption_update
    if update is not None:
        result.handle = update.new_handle or ""
        result.resumable = bool(update.resumable)
        result.consumed = update.last_consumed_client_message_index
    if message.tool_call is not None:
        calls = message.tool_call.function_calls or ()
        result.tool_calls = [call.model_dump(include={"id", "name", "args"}) for call in calls]
    if message.tool_call_cancellation is not None:
        result.cancelled_calls = list(message.tool_call_cancellation.ids or ())
    if message.server_content is not None:
        _read_content(message.server_content, result)
    return result


def _read_content(content: types.LiveServerContent, result: ServerMessage) -> None:
    result.interrupted = bool(content.interrupted)
    result.generation_complete = bool(content.generation_complete)
    result.turn_complete = bool(content.turn_complete)
    reason: Any = getattr(content, "turn_complete_reason", None)
    note_complete_reason(getattr(reason, "value", reason), result)
    status: Any = getattr(content, "interaction_status", None)
    note_status(getattr(status, "value", status), result)
    if content.output_transcription is not None:
        result.output_transcription = content.output_transcription.text or ""
        result.output_transcription_finished = bool(content.output_transcription.finished)
    if content.input_transcription is not None:
        result.input_transcription = content.input_transcription.text or ""
    parts = content.model_turn.parts if content.model_turn is not None else None
    for part in parts or ():
        blob = part.inline_data
        if blob is not None and blob.data and (blob.mime_type or "").startswith("audio/"):
            result.audio.append((blob.data, rate_of(blob.mime_type or "")))
        elif part.thought:
            result.at_work = True
        elif part.text:
            result.text.append(part.text)


def warm_up() -> None:
    """Build the SDK's lazy models. The first messages cost 30 ms otherwise, on the event loop."""
    # What the SDK itself calls for the answer to the setup, and for each message that it reads;
    # not public, and not needed for anything else.
    parse = getattr(types.LiveServerMessage, "_from_response", None)
    for message in _MESSAGES:
        parsed = types.LiveServerMessage.model_validate(message)
        if parse is not None:
            with contextlib.suppress(Exception):  # of another release: then it is only slower
                parse(response=message, kwargs=types.LiveServerMessage().model_dump())
        from_sdk(parsed)
    types.LiveConnectConfig.model_validate({})
    types.LiveClientRealtimeInput(audio=types.Blob(data=b"", mime_type="audio/pcm"))


_MESSAGES: tuple[dict[str, Any], ...] = (
    {"setup_complete": {}},
    {
        "server_content": {
            "model_turn": {"parts": [{"inline_data": {"data": "", "mime_type": "audio/pcm"}}]},
            "output_transcription": {"text": ""},
        }
    },
    {"server_content": {"model_turn": {"parts": [{"text": ""}]}, "generation_complete": True}},
    {
        "server_content": {"turn_complete": True},
        "usage_metadata": {
            "total_token_count": 0,
            "prompt_tokens_details": [{"modality": "AUDIO", "token_count": 0}],
        },
    },
    {"tool_call": {"function_calls": [{"id": "0", "name": "f", "args": {}}]}},
    {"session_resumption_update": {"new_handle": "", "resumable": True}},
)
