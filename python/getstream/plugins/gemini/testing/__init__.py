"""Run an assistant without keys and without a network: local servers, true to the wire.

    from getstream.plugins.gemini.testing import LocalCall

    async def test_the_bot_answers():
        async with LocalCall("my_bot.py") as call:
            anna = await call.person("anna")
            greeting = await anna.hear_turn()
            await anna.say("question.wav")
            answer = await anna.hear_turn()

- `LocalCall`: a bot under test in a call with people, with one owner for all of it; in pytest, the
  fixture `local_call` makes one.
- `LocalGemini`: a Gemini Live server (TLS WebSocket). What it says is decided by a reply policy:
  `Parrot` answers with the user's own words, `Script` with turns that you write, or your own.
- `LocalStream`: a Stream backend (coordinator, SFU signalling, ICE, DTLS-SRTP forwarding).
- `LocalServers`: both, and the environment in which an unchanged program runs against them.
- `Person`: somebody in the call who plays recorded speech and records what is heard.
- `signals`: test signals, and measures of them.
- `BELIEFS`: what is believed of the services, from which `LocalGemini` takes its defaults.

From a shell, `python -m getstream.plugins.gemini.testing -- python my_bot.py` runs a program
against fresh local servers.
"""

from __future__ import annotations

from .._beliefs import BELIEFS, Belief
from . import signals
from ._gemini import (
    ENTITY_NOT_FOUND,
    INVALID_HANDLE,
    IRREGULAR_CHUNKS,
    QUOTA_EXCEEDED,
    SESSION_NOT_FOUND,
    Abort,
    ActivityOptions,
    Chunk,
    Close,
    EphemeralToken,
    Frame,
    FunctionCall,
    InterruptionOptions,
    LiveSession,
    LocalGemini,
    NeverAnswer,
    Parrot,
    Reject,
    ReplyPolicy,
    ResumptionOptions,
    Script,
    SessionEndedError,
    SetupFault,
    SpokenTurn,
    Stall,
    ToolCallRecord,
    ToolResponseRecord,
    ToolViolation,
    Turn,
    UserAudio,
    UserTurn,
)
from ._kit import (
    BotExitedError,
    CallPerson,
    CallTools,
    HeardTurn,
    Latency,
    LocalCall,
    LocalCallFactory,
    SaidLine,
    ScenarioError,
    ScenarioOutcome,
    SpeechSynthesisError,
    ToolCall,
    TurnTimeoutError,
    run_scenarios,
)
from ._person import Camera, Person, SeenFrame, Speech, Utterance, read_frame_number
from ._servers import LocalServers
from ._stream import (
    CallState,
    LinkState,
    LocalStream,
    Network,
    ParticipantState,
    PublishedState,
    StreamState,
    SubscribedState,
)
from ._tls import Authority

__all__ = [
    "BELIEFS",
    "ENTITY_NOT_FOUND",
    "INVALID_HANDLE",
    "IRREGULAR_CHUNKS",
    "QUOTA_EXCEEDED",
    "SESSION_NOT_FOUND",
    "Abort",
    "ActivityOptions",
    "Authority",
    "Belief",
    "BotExitedError",
    "CallPerson",
    "CallState",
    "CallTools",
    "Camera",
    "Chunk",
    "Close",
    "EphemeralToken",
    "Frame",
    "FunctionCall",
    "HeardTurn",
    "InterruptionOptions",
    "Latency",
    "LinkState",
    "LiveSession",
    "LocalCall",
    "LocalCallFactory",
    "LocalGemini",
    "LocalServers",
    "LocalStream",
    "Network",
    "NeverAnswer",
    "Parrot",
    "ParticipantState",
    "Person",
    "PublishedState",
    "Reject",
    "ReplyPolicy",
    "ResumptionOptions",
    "SaidLine",
    "ScenarioError",
    "ScenarioOutcome",
    "Script",
    "SeenFrame",
    "SessionEndedError",
    "SetupFault",
    "Speech",
    "SpeechSynthesisError",
    "SpokenTurn",
    "Stall",
    "StreamState",
    "SubscribedState",
    "ToolCall",
    "ToolCallRecord",
    "ToolResponseRecord",
    "ToolViolation",
    "Turn",
    "TurnTimeoutError",
    "UserAudio",
    "UserTurn",
    "Utterance",
    "read_frame_number",
    "run_scenarios",
    "signals",
]
