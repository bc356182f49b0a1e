"""What a session exports, by the in-memory exporters of the real OpenTelemetry SDK."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from getstream.plugins.gemini.errors import AuthError, ConfigError, QuotaError
from getstream.plugins.gemini.live import (
    Closed,
    Connected,
    Disconnected,
    ErrorEvent,
    Event,
    GeminiLive,
    ModalityTokens,
    Resumed,
    Stalled,
    TokenUsage,
    TurnMetrics,
    _telemetry,
)
from getstream.plugins.gemini.testing import Script, Turn
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from room import TEXT, Local, Room, hold, voice, words

MODEL = "gemini-3.8-live"
KEY = "AIza-marked-secret"


class Exports:
    """What has been exported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer = TracerProvider()
        self.tracer.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter = MeterProvider([self._reader])

    def spans(self, operation: str) -> list[ReadableSpan]:
        return [
            span for span in self._spans.get_finished_spans() if span.name.startswith(operation)
        ]

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def text(self) -> str:
        data = self._reader.get_metrics_data()
        spans = "\n".join(span.to_json() for span in self._spans.get_finished_spans())
        return spans + (data.to_json() if data else "")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exports]:
    """The providers of the program, for this test: those of the API can be set only once."""
    exports = Exports()
    monkeypatch.setattr(trace, "get_tracer", exports.tracer.get_tracer)
    monkeypatch.setattr(metrics, "get_meter", exports.meter.get_meter)
    yield exports
    exports.tracer.shutdown()
    exports.meter.shutdown()


def at_s(time_ns: int | None) -> float:
    assert time_ns is not None
    return time_ns / 1e9


def took_s(span: ReadableSpan) -> float:
    return at_s(span.end_time) - at_s(span.start_time)


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# -- a conversation ------------------------------------------------------------------------------


def test_a_conversation_is_a_session_with_its_turns(local: Local, exports: Exports) -> None:
    turns: list[TurnMetrics] = []

    async def scenario(room: Room) -> None:
        room.gemini.on("turn_metrics", turns.append)
        await room.gemini.send_text("Go.")
        await room.until(4)
        room.say(words(1.5), at=4.2)
        await room.until(9)

    replies = Script([Turn(audio=voice(2.0), text=TEXT), Turn(audio=voice(1.2), text=TEXT)])
    hold(local, scenario, replies, model=MODEL, api_key=KEY)

    (session,) = exports.spans("invoke_agent")
    assert session.name == f"invoke_agent {MODEL}"
    assert session.kind is trace.SpanKind.CLIENT
    assert session.status.is_ok or session.status.status_code is trace.StatusCode.UNSET
    greeting, answer = exports.spans("generate_content")
    assert session.context is not None
    for span, turn in zip((greeting, answer), turns, strict=True):
        assert span.parent is not None
        assert span.parent.span_id == session.context.span_id
        found = attributes_of(span)
        assert (
            found.items()
            >= {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.model": MODEL,
                "gen_ai.output.type": "speech",
                "gen_ai.conversation.id": attributes_of(session)["gen_ai.conversation.id"],
                "gen_ai.usage.input_tokens": turn.tokens.input.total,
                "gen_ai.usage.output_tokens": turn.tokens.output.total,
                "getstream.gemini.usage.output.audio_tokens": turn.tokens.output.audio,
                "getstream.gemini.turn": turn.turn,
                "getstream.gemini.interrupted": False,
                "getstream.gemini.heard": turn.heard_ms / 1000,
                "getstream.gemini.cost": turn.cost_usd,
            }.items()
        )
    assert "gen_ai.response.time_to_first_chunk" not in attributes_of(greeting)
    first_audio_ms = turns[1].first_audio_ms
    assert first_audio_ms is not None
    found = attributes_of(answer)
    assert found["gen_ai.response.time_to_first_chunk"] == first_audio_ms / 1000
    assert turns[1].speech_ended_at is not None
    assert took_s(answer) == pytest.approx(turns[1].at - turns[1].speech_ended_at, abs=0.001)
    assert TEXT[:20] not in exports.text()
    assert KEY not in exports.text()

    (first_audio,) = exports.points("gen_ai.client.operation.time_to_first_chunk")
    assert (first_audio.count, first_audio.sum) == (1, first_audio_ms / 1000)
    assert first_audio.explicit_bounds[0] == 0.01
    (duration,) = exports.points("gen_ai.client.operation.duration")
    assert (duration.count, duration.sum) == (2, pytest.approx(took_s(greeting) + took_s(answer)))
    used = {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in exports.points("gen_ai.client.token.usage")
    }
    assert used == {
        "input": sum(turn.tokens.input.total for turn in turns),
        "output": sum(turn.tokens.output.total for turn in turns),
    }


async def test_the_current_span_of_the_program_is_the_parent(
    local: Local, exports: Exports
) -> None:
    with exports.tracer.get_tracer("program").start_as_current_span("program") as program:
        async with local(Script([])), GeminiLive():
            pass
    (session,) = exports.spans("invoke_agent")
    assert session.parent is not None
    assert session.parent.span_id == program.get_span_context().span_id


async def test_a_session_that_fails_is_an_error(local: Local, exports: Exports) -> None:
    async with local(Script([]), accepted_keys=["another"]):
        with pytest.raises(AuthError):
            async with GeminiLive(KEY):
                pass
    (session,) = exports.spans("invoke_agent")
    assert session.status.status_code is trace.StatusCode.ERROR
    assert attributes_of(session)["error.type"] == "AuthError"
    assert KEY not in exports.text()


async def test_two_sessions_share_the_histograms(
    local: Local, exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    async with local(Script([])), GeminiLive(), GeminiLive():
        pass
    first, second = exports.spans("invoke_agent")
    ids = [attributes_of(span)["gen_ai.conversation.id"] for span in (first, second)]
    assert ids[0] != ids[1]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


# -- tools, by their events alone ----------------------------------------------------------------


@dataclass(frozen=True)
class ToolCall(Event):
    name: ClassVar[str] = "tool_call"
    id: str
    tool: str


@dataclass(frozen=True)
class ToolResult(Event):
    name: ClassVar[str] = "tool_result"
    id: str
    tool: str
    error: str | None = None


@dataclass(frozen=True)
class ToolCancelled(Event):
    name: ClassVar[str] = "tool_cancelled"
    id: str
    tool: str


def a_turn(*tool_calls: str, turn: int = 1, **fields: Any) -> TurnMetrics:
    known: dict[str, Any] = {
        "began_at": 10.0,
        "speech_ended_at": 9.5,
        "first_audio_ms": 500.0,
        "first_sample_ms": 560.0,
        "barge_in_ms": None,
        "tool_ms": None,
        "interrupted": False,
        "heard_ms": 1000.0,
        "tokens": TokenUsage(),
        "cost_usd": None,
    }
    return TurnMetrics(turn=turn, tool_calls=tool_calls, at=12.0, **(known | fields))


@pytest.fixture
def observer(exports: Exports) -> Any:
    observer = _telemetry.observer_for(True, model=MODEL, vertexai=True)
    assert observer is not None
    observer.on_event(Connected())
    return observer


def test_tools_are_the_children_of_their_turn(observer: Any, exports: Exports) -> None:
    observer.on_event(ToolCall("1", "book"))
    observer.on_event(ToolCall("2", "fail"))
    observer.on_event(ToolCall("3", "slow"))
    observer.on_event(ToolCall("4", "cancelled"))
    observer.on_event(ToolResult("1", "book"))
    observer.on_event(ToolResult("2", "fail", "It has failed: secret."))
    observer.on_event(ToolCancelled("4", "cancelled"))
    observer.on_event(a_turn("1", "2", "3", "4"))
    observer.on_event(ToolResult("3", "slow"))  # after its turn
    observer.on_event(ToolResult("3", "slow"))
    observer.on_event(ToolCall("5", "unanswered"))
    observer.on_close()
    (turn,), (session,) = exports.spans("generate_content"), exports.spans("invoke_agent")
    tools = {
        attributes_of(span)["gen_ai.tool.name"]: span for span in exports.spans("execute_tool")
    }
    assert set(tools) == {"book", "fail", "slow", "cancelled", "unanswered"}
    assert turn.context is not None
    assert session.context is not None
    for name, span in tools.items():
        parent = session if name == "unanswered" else turn
        assert span.parent is not None
        assert parent.context is not None
        assert span.parent.span_id == parent.context.span_id
        assert span.name == f"execute_tool {name}"
        assert span.kind is trace.SpanKind.INTERNAL
    assert attributes_of(tools["book"])["gen_ai.tool.call.id"] == "1"
    assert at_s(turn.start_time) <= at_s(tools["book"].start_time)
    errors = {name: attributes_of(span).get("error.type") for name, span in tools.items()}
    assert errors == {
        "book": None,
        "fail": "tool_error",
        "slow": None,
        "cancelled": "cancelled",
        "unanswered": "unanswered",
    }
    durations = exports.points("gen_ai.execute_tool.duration")
    assert sum(point.count for point in durations) == 4
    assert attributes_of(turn)["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert "secret" not in exports.text()


def test_calls_that_nobody_answers_are_bounded(observer: Any, exports: Exports) -> None:
    for number in range(1000):
        observer.on_event(ToolCall(str(number), "book"))
    observer.on_close()
    assert len(exports.spans("execute_tool")) == 256


def test_what_happens_to_the_session_is_on_its_span(observer: Any, exports: Exports) -> None:
    observer.on_event(Stalled(waited_ms=4000, unfinished=False))
    observer.on_event(Disconnected(reason=QuotaError(f"key={KEY}")))
    observer.on_event(Disconnected(reason=None))
    observer.on_event(Resumed(gap_ms=250.0, attempts=1, same_session=True, retransmitted_ms=0.0))
    observer.on_event(ErrorEvent(error=QuotaError(f"key={KEY}")))
    observer.on_event(Closed(cause=None))
    observer.on_close()
    observer.on_close()
    (session,) = exports.spans("invoke_agent")
    assert [(event.name, dict(event.attributes or {})) for event in session.events] == [
        ("stalled", {"reason": "unanswered"}),
        ("disconnected", {"reason": "QuotaError"}),
        ("disconnected", {"reason": "planned"}),
        ("resumed", {"gap_s": 0.25, "same_session": True}),
        ("error", {"error.type": "QuotaError"}),
    ]
    assert KEY not in exports.text()


def test_tokens_cost_and_barge_in_have_histograms(observer: Any, exports: Exports) -> None:
    tokens = TokenUsage(ModalityTokens(audio=100), ModalityTokens(audio=40), 7, 3, 5)
    observer.on_event(a_turn(tokens=tokens, cost_usd=0.5, barge_in_ms=90.0, interrupted=True))
    observer.on_close()
    (turn,) = exports.spans("generate_content")
    found = attributes_of(turn)
    assert found["gen_ai.usage.input_tokens"] == 105
    assert found["gen_ai.usage.output_tokens"] == 43
    assert found["gen_ai.usage.cache_read.input_tokens"] == 7
    assert found["gen_ai.usage.reasoning.output_tokens"] == 3
    assert found["getstream.gemini.interrupted"] is True
    for name, value in (
        ("getstream.gemini.barge_in_to_silence", 0.09),
        ("getstream.gemini.time_to_first_sample", 0.56),
        ("getstream.gemini.heard", 1.0),
        ("getstream.gemini.cost", 0.5),
    ):
        (point,) = exports.points(name)
        assert (point.count, point.sum) == (1, pytest.approx(value))


# -- whether to export ---------------------------------------------------------------------------


async def test_telemetry_can_be_switched_off(local: Local, exports: Exports) -> None:
    async with local(Script([])), GeminiLive(telemetry=False):
        pass
    assert exports.spans("") == []


@pytest.mark.parametrize("telemetry", [1, "yes"])
def test_telemetry_is_a_choice(telemetry: Any) -> None:
    with pytest.raises(ConfigError, match="telemetry must be True or False or None"):
        GeminiLive("key", telemetry=telemetry)


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize(
    ("before", "telemetry", "imports"),
    [(WITHOUT, None, False), ("", None, True), ("", False, False), ("", True, True)],
    ids=["not installed", "installed", "switched off", "asked for"],
)
def test_the_exporter_is_imported_where_it_is_used(
    before: str, telemetry: bool | None, imports: bool
) -> None:
    program = f"""{before}
import sys
from getstream.plugins.gemini.live import GeminiLive

ours = "getstream.plugins.gemini.live._telemetry.otel"
assert ours not in sys.modules, "nobody has asked for it"
GeminiLive("key", telemetry={telemetry})
assert (ours in sys.modules) is {imports}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_asked_for_and_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, f"{_telemetry.__name__}.otel", None)
    folder = tmp_path / "recording"
    with pytest.raises(ConfigError, match=r"getstream-plugins-gemini\[otel\]"):
        GeminiLive("key", telemetry=True, record=folder)
    assert not folder.exists(), "an assistant that was not made records nothing"


def test_one_that_cannot_be_used_does_not_hinder_the_session(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    otel = importlib.import_module(f"{_telemetry.__name__}.otel")
    monkeypatch.setattr(otel.metrics, "get_meter", lambda *args: None)
    GeminiLive("key")
    assert "OpenTelemetry cannot be used" in caplog.text
