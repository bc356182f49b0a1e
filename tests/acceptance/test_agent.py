"""A conversation with tools, a cut, a lost connection and a second call that goes on with it.

Everything that the assistant tells of it is checked by content: events, transcript, numbers,
OpenTelemetry, its recording, and what is on the wire.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from call_trial import DATA, assert_no_complaint
from getstream.plugins.gemini.live import Resumption
from getstream.plugins.gemini.recording import read_recording
from getstream.plugins.gemini.testing import (
    Authority,
    FunctionCall,
    LiveSession,
    LocalGemini,
    LocalServers,
    LocalStream,
    Person,
    Script,
    signals,
)
from getstream.video import rtc
from websockets.asyncio.server import ServerConnection, serve

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        not hasattr(rtc, "RemoteTrack"),
        reason="getstream 6 blocks the event loop when it leaves, and the people are in this one",
    ),
]

PROGRAM = Path(__file__).with_name("agent_program.py")
CALL_ID = "a-call"
MODEL = "gemini-3.8-live"

WELCOME = "Welcome. How may I help?"
TIMES = "There is a table at half past six."
BOOKED = " ".join(f"word{number}" for number in range(60))  # 18 s
NEVER_MIND = "Never mind."
AGAIN = "Welcome back, your table is still booked."


# -- the program, run ----------------------------------------------------------------------------


@dataclass
class Run:
    """A program that runs, and then what it has printed."""

    code: int | None = None
    report: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def of(self, *names: str) -> list[dict[str, Any]]:
        """Return the events of these names, in order."""
        return [event for event in self.report["events"] if event["name"] in names]

    def spans(self, operation: str) -> list[dict[str, Any]]:
        """Return the spans whose names begin like that, in order of their begin."""
        found = [span for span in self.report["spans"] if span["name"].startswith(operation)]
        return sorted(found, key=lambda span: span["began"])

    def points(self, name: str) -> list[tuple[dict[str, Any], int, float]]:
        """Return attributes, count and sum of each point of a histogram."""
        points = self.report["histograms"].get(name, [])
        return [(point["attributes"], point["count"], point["sum"]) for point in points]


@asynccontextmanager
async def running(
    stream: LocalStream, env: dict[str, str], folder: Path, call_id: str
) -> AsyncIterator[Run]:
    """Run the program in a call; at the end, end the call, which ends the program."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), str(folder), call_id),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output = asyncio.ensure_future(process.communicate())
    run = Run()
    try:
        await stream.wait_track("assistant-bot", "audio", timeout=30)
        yield run
        await stream.end_call(call_id)
        out, err = await asyncio.wait_for(output, 20)
    finally:
        if process.returncode is None:
            process.kill()
        if not output.done():
            await output
            print(output.result()[1].decode())
    run.code, run.printed = process.returncode, out.decode() + err.decode()
    print(err.decode())
    assert run.code == 0, err.decode()
    assert_no_complaint(err.decode())
    run.report = json.loads(out)


# -- on the local servers ------------------------------------------------------------------------


@dataclass
class Conversation:
    """Two calls of one conversation, and what the servers have seen of them."""

    first: Run
    second: Run
    sessions: list[LiveSession]
    calls: list[tuple[str, str, str]]
    violations: list[Any]
    answers: list[dict[str, Any]]
    stored: list[Resumption]
    folder: Path
    key: str


async def hold_conversation(folder: Path) -> Conversation:
    script = Script(
        [
            WELCOME,
            FunctionCall("free_times", {"seats": 2}, id="call-times"),
            TIMES,
            FunctionCall("book_table", {"seats": 2, "time_of_day": "18:30"}, id="call-book"),
            BOOKED,
            FunctionCall("ask_kitchen", {"question": "Is there soup?"}, id="call-kitchen"),
            NEVER_MIND,
            AGAIN,
        ]
    )
    said, rate = signals.read_wav(DATA / "question.wav")
    said = said[: round(1.6 * rate)]
    stored: list[Resumption] = []

    def load() -> None:
        stored.append(Resumption.from_json((folder / "resumption.json").read_text()))

    async with LocalServers(LocalGemini(script)) as servers:
        server, stream = servers.gemini, servers.stream
        env = servers.environment(PYTHONUNBUFFERED=1)
        with stream.redirected():
            async with Person(CALL_ID, "anna") as anna:
                async with running(stream, env, folder, CALL_ID) as first:
                    session = await server.wait_session()
                    await anna.hear_speech(timeout=15)
                    await anna.hear_silence(600, timeout=20)

                    await anna.say(said, rate)  # a fast tool
                    await server.wait_tool_responses(1, timeout=20)
                    await anna.hear_speech(timeout=20)
                    await anna.hear_silence(600, timeout=20)

                    await anna.say(said, rate)  # a slow one, during which the connection is lost
                    await server.wait_tool_calls(2, timeout=20)
                    await anna.hear_speech(timeout=20)  # the tool's sound
                    assert server.drop(1006) == 1
                    session = await server.wait_session(1, timeout=20)
                    (folder / "released").touch()
                    await server.wait_tool_responses(2, timeout=20)

                    await session.wait_turns(1, timeout=20)  # sent, and far from heard
                    await anna.hear_for(2000, timeout=20)
                    await anna.say(said, rate)  # over the assistant
                    await server.wait_tool_calls(3, timeout=20)
                    await anna.hear_speech(timeout=20)  # the tool's sound
                    await anna.say(said, rate)  # nobody waits for the kitchen any more
                    await session.wait_turns(3, timeout=20)
                    await anna.hear_silence(1500, timeout=20)
            load()
            async with Person("another-call", "anna") as anna:
                async with running(stream, env, folder, "another-call") as second:
                    await server.wait_session(2, timeout=20)
                    await anna.hear_speech(timeout=20)
                    await anna.hear_silence(1000, timeout=20)
            load()
        return Conversation(
            first,
            second,
            server.sessions,
            [(call.id, call.name, call.state) for call in server.tool_calls],
            server.tool_violations,
            [
                {"session": each.session, "id": each.id, "response": each.response}
                for each in server.tool_responses
            ],
            stored,
            folder,
            server.api_key,
        )


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Conversation:
    """The conversation, held once for all tests of what came of it."""
    return asyncio.run(hold_conversation(tmp_path_factory.mktemp("agent")))


def told(event: dict[str, Any]) -> Any:
    """Return an event as its name and what tells it apart."""
    name = event["name"]
    details = {
        "playback_started": ("turn",),
        "playback_finished": ("turn", "cut"),
        "interrupted": ("turn", "cause"),
        "turn_complete": ("turn", "text"),
        "turn_metrics": ("turn", "tool_calls", "interrupted"),
        "tool_call": ("tool", "args"),
        "tool_result": ("tool", "result", "error"),
        "tool_cancelled": ("tool", "reason"),
        "disconnected": ("reason",),
        "reconnecting": ("attempt", "resuming"),
        "resumed": ("same_session",),
        "left": ("reason",),
        "closed": ("cause",),
    }.get(name, ())
    return (name, *(event[each] for each in details)) if details else name


def test_the_events_of_the_first_call(conversation: Conversation) -> None:
    run = conversation.first
    kinds = (
        *("connected", "playback_started", "interrupted", "playback_finished"),
        *("turn_metrics", "tool_call", "tool_result", "tool_cancelled", "disconnected"),
        *("reconnecting", "resumed", "stalled", "error", "left", "closed"),
    )
    booking = {"seats": 2, "at": "18:30", "guest": "anna"}
    assert [told(event) for event in run.of(*kinds)] == [
        "connected",
        ("playback_started", 1),
        ("playback_finished", 1, False),
        ("turn_metrics", 1, [], False),
        ("tool_call", "free_times", {"seats": 2}),
        ("tool_result", "free_times", ["18:30", "20:00"], None),
        ("playback_started", 2),
        ("playback_finished", 2, False),
        ("turn_metrics", 2, ["call-times"], False),
        ("tool_call", "book_table", {"seats": 2, "time_of_day": "18:30"}),
        ("disconnected", "ConnectionLostError"),
        ("reconnecting", 1, True),
        ("resumed", True),
        ("tool_result", "book_table", booking, None),
        ("playback_started", 3),
        ("interrupted", 3, "speech"),
        ("playback_finished", 3, True),
        ("turn_metrics", 3, ["call-book"], True),
        ("tool_call", "ask_kitchen", {"question": "Is there soup?"}),
        ("tool_cancelled", "ask_kitchen", "model"),
        ("playback_started", 4),
        ("playback_finished", 4, False),
        ("turn_metrics", 4, ["call-kitchen"], False),
        ("left", "ended"),
        ("closed", None),
    ]
    # A turn comes faster than it is spoken: it may be complete before it begins to be heard.
    assert [told(event) for event in run.of("turn_complete")] == [
        ("turn_complete", 1, WELCOME),
        ("turn_complete", 2, TIMES),
        ("turn_complete", 3, BOOKED),
        ("turn_complete", 4, NEVER_MIND),
    ]
    times = [event["at"] for event in run.report["events"]]
    assert times == sorted(times)
    assert {event["user_id"] for event in run.of("speech_started")} == {"anna"}


def test_the_tools_are_answered_in_the_session_that_waits(conversation: Conversation) -> None:
    assert conversation.calls == [
        ("call-times", "free_times", "answered"),
        ("call-book", "book_table", "answered"),
        ("call-kitchen", "ask_kitchen", "cancelled"),
    ]
    booking = {"seats": 2, "at": "18:30", "guest": "anna"}
    assert conversation.answers == [
        {
            "session": 0,
            "id": "call-times",
            "response": {"status": "ok", "result": ["18:30", "20:00"]},
        },
        {"session": 1, "id": "call-book", "response": {"status": "ok", "result": booking}},
    ]
    assert conversation.violations == []


def test_the_transcript_of_the_first_call(conversation: Conversation) -> None:
    run = conversation.first
    lines = run.report["transcript"]
    assert [(line["who"], line["user_id"], line["turn"]) for line in lines] == [
        ("application", "", 1),
        ("assistant", "", 1),
        ("user", "anna", 2),
        ("assistant", "", 2),
        ("user", "anna", 3),
        ("assistant", "", 3),
        ("user", "anna", 4),
        ("assistant", "", 4),
    ]
    texts = [line["text"] for line in lines]
    assert texts[0::2][0] == "Welcome the guest."
    assert texts[1::2] == [WELCOME, TIMES, BOOKED, NEVER_MIND]
    for text, count in ((texts[2], 1), (texts[4], 1), (texts[6], 2)):
        assert text.count(" seconds of speech]") == count, text
    assert all(line["final"] for line in lines)

    (cut,) = run.of("interrupted")
    heard = [line["heard_text"] for line in lines]
    assert heard[5] == cut["heard_text"]
    assert BOOKED.startswith(heard[5])
    # Words of 300 ms, to within a piece of text.
    assert len(heard[5].split()) == pytest.approx(cut["heard_ms"] / 300, abs=2)
    assert [*heard[:5], *heard[6:]] == [*texts[:5], *texts[6:]]

    # She spoke when the assistant had finished, and the third time over it.
    for question, before in ((2, 1), (4, 3)):
        assert lines[question]["started_at"] > lines[before]["ended_at"]
        assert lines[question]["ended_at"] < lines[question + 1]["started_at"]
    assert lines[5]["started_at"] < lines[6]["started_at"] < lines[5]["ended_at"]

    # Each line was told as it is now.
    events = [event["line"] for event in run.of("line")]
    for line in lines:
        same = {name: line[name] for name in ("who", "user_id", "text", "heard_text", "turn")}
        assert any(event.items() >= same.items() for event in events), same


def test_the_numbers_of_the_first_call(conversation: Conversation) -> None:
    run = conversation.first
    stats, turns = run.report["closed_stats"], run.of("turn_metrics")
    assert (stats["turns"], stats["interruptions"], stats["disconnects"]) == (4, 1, 1)
    assert (stats["stalls"], stats["events_lost"], stats["unreadable_messages"]) == (0, 0, 0)

    # Tokens: what the service has reported, of each turn and of all.
    reported = [
        message["usageMetadata"]
        for session in conversation.sessions[:2]
        for message in session.sent
        if "usageMetadata" in message
    ]
    for direction, counter in (("input", "promptTokenCount"), ("output", "responseTokenCount")):
        total = sum(stats["tokens"][direction].values())
        assert total == sum(usage[counter] for usage in reported) > 0
        assert total == sum(sum(turn["tokens"][direction].values()) for turn in turns)
    assert stats["cost"]["usd"] == pytest.approx(sum(turn["cost_usd"] for turn in turns))
    assert stats["cost"]["usd"] > 0

    # Delays: of the turns that answer speech, of the tools that have answered, of the cut.
    latency = stats["latency"]
    answers = turns[1:]
    assert turns[0]["first_audio_ms"] is turns[0]["speech_ended_at"] is None
    for name in ("first_audio_ms", "first_sample_ms"):
        assert latency[name] == ranked([turn[name] for turn in answers])
        assert all(turn[name] > 0 for turn in answers)
    assert all(turn["first_sample_ms"] >= turn["first_audio_ms"] for turn in answers)
    results = run.of("tool_result")
    took_ms = [result["duration_ms"] for result in results]
    assert latency["tool_ms"] == ranked(took_ms)
    assert [turn["tool_ms"] for turn in turns] == [None, *took_ms, None]
    assert latency["barge_in_ms"] == ranked([turns[2]["barge_in_ms"]])
    assert [turn["barge_in_ms"] is None for turn in turns] == [True, True, False, True]
    assert latency["send_queue_ms"]["count"] > 200, "four times 1.5 s of speech in frames of 20 ms"

    finished = run.of("playback_finished")
    assert [turn["heard_ms"] for turn in turns] == [each["heard_ms"] for each in finished]
    assert finished[2]["heard_ms"] < 60 * 300 / 2
    assert stats["played_ms"] == sum(each["heard_ms"] for each in finished)


def ranked(values: list[float]) -> dict[str, Any]:
    """Return count and percentiles, by nearest rank."""
    values = sorted(values)

    def rank(share: float) -> float:
        return values[max(0, math.ceil(share * len(values)) - 1)]

    return {"count": len(values), "p50": rank(0.5), "p95": rank(0.95)}


def test_the_spans_and_histograms_of_the_first_call(conversation: Conversation) -> None:
    run = conversation.first
    metrics = run.of("turn_metrics")
    (session,) = run.spans("invoke_agent")
    turns, tools = run.spans("generate_content"), run.spans("execute_tool")
    assert len(run.report["spans"]) == 1 + len(turns) + len(tools)
    assert {span["trace"] for span in run.report["spans"]} == {session["trace"]}
    assert session["parent"] is None
    assert session["name"] == f"invoke_agent {MODEL}"
    ((lost, lost_details), (resumed, resumed_details)) = session["events"]
    assert (lost, lost_details) == ("disconnected", {"reason": "ConnectionLostError"})
    assert (resumed, resumed_details["same_session"]) == ("resumed", True)

    assert [span["parent"] for span in turns] == [session["id"]] * 4
    for span, turn in zip(turns, metrics, strict=True):
        found = span["attributes"]
        assert found["getstream.gemini.turn"] == turn["turn"]
        assert found["getstream.gemini.interrupted"] is turn["interrupted"]
        assert found["getstream.gemini.heard"] == turn["heard_ms"] / 1000
        assert found["getstream.gemini.cost"] == turn["cost_usd"]
        assert found["gen_ai.usage.input_tokens"] == sum(turn["tokens"]["input"].values())
        assert found["gen_ai.usage.output_tokens"] == sum(turn["tokens"]["output"].values())
        assert session["began"] <= span["began"] <= span["ended"] <= session["ended"]

    assert [
        (span["name"], span["parent"], span["attributes"].get("error.type")) for span in tools
    ] == [
        ("execute_tool free_times", turns[1]["id"], None),
        ("execute_tool book_table", turns[2]["id"], None),
        ("execute_tool ask_kitchen", turns[3]["id"], "cancelled"),
    ]
    for span, turn in zip(tools, turns[1:], strict=True):
        assert turn["began"] <= span["began"] <= span["ended"] <= turn["ended"]

    (duration,) = run.points("gen_ai.client.operation.duration")
    assert duration[1:] == (4, pytest.approx(sum(s["ended"] - s["began"] for s in turns) / 1e9))
    (heard,) = run.points("getstream.gemini.heard")
    assert heard[1:] == (4, pytest.approx(sum(turn["heard_ms"] for turn in metrics) / 1000))
    for name, field_name in (
        ("gen_ai.client.operation.time_to_first_chunk", "first_audio_ms"),
        ("getstream.gemini.time_to_first_sample", "first_sample_ms"),
        ("getstream.gemini.barge_in_to_silence", "barge_in_ms"),
    ):
        values = [turn[field_name] for turn in metrics if turn[field_name] is not None]
        (point,) = run.points(name)
        assert point[1:] == (len(values), pytest.approx(sum(values) / 1000))
    used = {
        attributes["gen_ai.token.type"]: (count, total)
        for attributes, count, total in run.points("gen_ai.client.token.usage")
    }
    tokens = run.report["closed_stats"]["tokens"]
    assert used == {kind: (4, sum(tokens[kind].values())) for kind in ("input", "output")}
    called = {
        (attributes["gen_ai.tool.name"], attributes.get("error.type")): count
        for attributes, count, _ in run.points("gen_ai.execute_tool.duration")
    }
    assert called == {
        ("free_times", None): 1,
        ("book_table", None): 1,
        ("ask_kitchen", "cancelled"): 1,
    }


def test_the_second_call_goes_on_with_the_first(conversation: Conversation) -> None:
    before, after = conversation.stored
    run, session = conversation.second, conversation.sessions[2]
    assert len(conversation.sessions) == 3
    assert session.setup["sessionResumption"] == {"handle": before.handle}
    assert session.resumed_from == before.handle
    kinds = [frame.kind for frame in session.frames]
    assert "clientContent" not in kinds, "what a resumed session knows is not told again"
    assert session.context[: len(before.lines)], "the service knows what was said"

    names = ("connected", "turn_complete", "playback_finished", "turn_metrics", "error", "left")
    assert [told(event) for event in run.of(*names, "closed")] == [
        "connected",
        ("turn_complete", 1, AGAIN),
        ("playback_finished", 1, False),
        ("turn_metrics", 1, [], False),
        ("left", "ended"),
        ("closed", None),
    ]
    assert [(line["who"], line["heard_text"]) for line in run.report["transcript"]] == [
        ("application", "Go on."),
        ("assistant", AGAIN),
    ]
    # What is stored holds both calls; of the turn that was cut, what was heard.
    said = [
        ("model" if line["who"] == "assistant" else "user", line["heard_text"])
        for call in (conversation.first, run)
        for line in call.report["transcript"]
    ]
    assert list(before.lines) == said[:8]
    assert list(after.lines) == said
    assert after.handle != before.handle
    assert after.model == MODEL
    (first,), (second,) = (each.spans("invoke_agent") for each in (conversation.first, run))
    assert first["trace"] != second["trace"]


def test_the_recording_has_the_tools_and_the_connection(conversation: Conversation) -> None:
    """And neither a key nor a handle is in it, nor in anything that was printed."""
    folders = list(conversation.folder.glob("recording-*"))
    assert len(folders) == 2
    tools = []
    for folder in folders:
        recording = read_recording(folder)
        assert recording.is_complete
        assert recording.unreadable_lines == 0
        assert recording.seconds > 2
        tools.append(sorted({e.event for e in recording.entries if "tool_" in e.event}))
    assert sorted(tools) == [[], ["tool_call", "tool_cancelled", "tool_result"]]
    written = [path.read_text() for folder in folders for path in folder.glob("*.jsonl")]
    secrets = (conversation.key, *(each.handle for each in conversation.stored))
    for text in (*written, conversation.first.printed, conversation.second.printed):
        assert not any(secret in text for secret in secrets)


# -- against a server that only records ----------------------------------------------------------

PLAIN_KEY = "a-key-that-must-not-be-in-a-frame"
PLAIN_HANDLE = "a-handle-of-another-process"


class FrameRecorder:
    """A WebSocket server that says the same to everybody, and keeps each frame that comes."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.requests: list[Any] = []
        self._changed = asyncio.Condition()

    async def serve(self, connection: ServerConnection) -> None:
        """Answer the setup, and the first text with two calls; nothing else."""
        self.requests.append(connection.request)
        async for raw in connection:
            frame = _camel_case(json.loads(raw))
            async with self._changed:
                self.frames.append(frame)
                self._changed.notify_all()
            if "setup" in frame:
                await connection.send(json.dumps({"setupComplete": {}}))
            elif "text" in frame.get("realtimeInput", {}):
                calls = [
                    {"id": "1", "name": "free_times", "args": {"seats": 4, "room": "garden"}},
                    {"id": "2", "name": "book_table", "args": {"seats": "many"}},
                    {"id": "3", "name": "book_a_table", "args": {}},
                ]
                await connection.send(json.dumps({"toolCall": {"functionCalls": calls}}))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the content of the frames of a kind."""
        return [frame[kind] for frame in self.frames if kind in frame]

    def answers(self) -> dict[str, dict[str, Any]]:
        """Return the answers to calls, by id."""
        answers = [each for frame in self.of("toolResponse") for each in frame["functionResponses"]]
        assert len({each["id"] for each in answers}) == len(answers), "each call is answered once"
        return {each["id"]: each for each in answers}

    async def wait_answers(self, count: int) -> None:
        """Wait until so many calls are answered."""
        async with self._changed:
            await asyncio.wait_for(
                self._changed.wait_for(lambda: len(self.answers()) >= count), timeout=20
            )


def _camel_case(value: Any) -> Any:
    """Return a message with its keys in camelCase: Live reads both forms, and the SDK mixes them.

    Names that are the program's own stay: of parameters, and in arguments and results.
    """
    if isinstance(value, list):
        return [_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    converted = {}
    for key, inner in value.items():
        if key == "properties":
            inner = {name: _camel_case(each) for name, each in inner.items()}
        elif key not in ("args", "response"):
            inner = _camel_case(inner)
        converted[re.sub(r"_(\w)", lambda match: match[1].upper(), key)] = inner
    return converted


async def test_the_same_program_on_the_wire(tmp_path: Path) -> None:
    stored = Resumption(PLAIN_HANDLE, MODEL, (("user", "Hello."),), time.time())
    (tmp_path / "resumption.json").write_text(stored.to_json())
    recorder = FrameRecorder()
    with Authority() as authority:
        async with (
            serve(recorder.serve, "127.0.0.1", 0, ssl=authority.server_context()) as server,
            LocalStream() as stream,
        ):
            port = next(iter(server.sockets)).getsockname()[1]
            env = {name: text for name, text in os.environ.items() if name != "GEMINI_API_KEY"}
            env |= {
                **stream.env,
                "GOOGLE_GEMINI_BASE_URL": f"https://127.0.0.1:{port}",
                "GOOGLE_API_KEY": PLAIN_KEY,
                "SSL_CERT_FILE": str(authority.ca_file),
            }
            async with running(stream, env, tmp_path, CALL_ID) as run:
                await recorder.wait_answers(3)

    (setup,) = recorder.of("setup")
    assert "setup" in recorder.frames[0]
    assert setup["model"] == f"models/{MODEL}"
    assert setup["sessionResumption"] == {"handle": PLAIN_HANDLE}
    (tools,) = setup["tools"]
    assert tools == {
        "functionDeclarations": [
            {
                "name": "free_times",
                "description": "List the times at which a table is free today.",
                "parameters": {
                    "type": "OBJECT",
                    "properties": {
                        "seats": {"type": "INTEGER", "description": "how many people come"},
                        "room": {
                            "type": "STRING",
                            "enum": ["garden", "hall"],
                            "description": "(default: 'hall')",
                        },
                    },
                    "required": ["seats"],
                },
            },
            {
                "name": "book_table",
                "description": "Book a table for today.",
                "behavior": "BLOCKING",
                "parameters": {
                    "type": "OBJECT",
                    "properties": {
                        "seats": {"type": "INTEGER", "description": "How many people come."},
                        "time_of_day": {
                            "type": "STRING",
                            "description": "One of the free times.",
                        },
                    },
                    "required": ["seats", "time_of_day"],
                },
            },
            {
                "name": "ask_kitchen",
                "description": "Ask the kitchen something; nobody comes to the phone.",
                "behavior": "BLOCKING",
                "parameters": {
                    "type": "OBJECT",
                    "properties": {"question": {"type": "STRING"}},
                    "required": ["question"],
                },
            },
        ]
    }
    inputs = recorder.of("realtimeInput")
    assert [each["text"] for each in inputs if "text" in each] == ["Go on."]
    assert recorder.of("clientContent") == [], "the service that is resumed knows what was said"

    answers = recorder.answers()
    assert answers["1"]["name"] == "free_times"
    assert answers["1"]["response"] == {"status": "ok", "result": ["18:30", "20:00"]}
    for call_id, name, words in (
        ("2", "book_table", ("seats", "time_of_day")),
        ("3", "book_a_table", ("no function", "did you mean 'book_table'?")),
    ):
        assert answers[call_id]["name"] == name
        response = answers[call_id]["response"]
        assert response["status"] == "error"
        assert all(word in response["message"] for word in words), response
        assert response["retryable"] is True
    assert all(set(each) <= {"id", "name", "response", "scheduling"} for each in answers.values())

    # The key is where the service reads it, and nowhere else.
    (request,) = recorder.requests
    assert request.headers["x-goog-api-key"] == PLAIN_KEY
    assert PLAIN_KEY not in request.path
    frames = json.dumps(recorder.frames)
    assert PLAIN_KEY not in frames
    assert stream.api_secret not in frames
    assert frames.count(PLAIN_HANDLE) == 1
    for secret in (PLAIN_KEY, PLAIN_HANDLE):
        assert secret not in run.printed
        (record,) = tmp_path.glob("recording-*/events.jsonl")
        assert secret not in record.read_text()
    assert [told(event) for event in run.of("tool_call", "closed")] == [
        ("tool_call", "free_times", {"seats": 4, "room": "garden"}),
        ("tool_call", "book_table", {"seats": "many"}),
        ("tool_call", "book_a_table", {}),
        ("closed", None),
    ]
