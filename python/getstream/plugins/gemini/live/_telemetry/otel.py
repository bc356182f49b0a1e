"""Export a session to OpenTelemetry: spans session > turn > tool, and histograms.

Names follow the semantic conventions for generative AI where there are any
(github.com/open-telemetry/semantic-conventions-genai, in development, read in November 2026); the
others begin with `getstream.gemini.`. Nothing that is said and no argument of a tool is in them.

This module needs `opentelemetry-api`; it is imported by `observer_for` alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from opentelemetry import context, metrics, trace
from opentelemetry.trace import SpanKind, StatusCode

from .._events import (
    Closed,
    Connected,
    Disconnected,
    ErrorEvent,
    Event,
    Resumed,
    Stalled,
    TurnMetrics,
)
from .._tokens import MODALITIES
from .observer import Observer

SCOPE = "getstream.plugins.gemini"

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Bounds of the histograms of durations, as the conventions have them."""

TOKENS = tuple(4**power for power in range(14))
"""Bounds of the histogram of tokens, as the conventions have them: 1 to 67,108,864."""

MOST_TOOLS = 256
"""Calls of tools that wait for their turn; the oldest is given up first."""

TOOL_CALL, TOOL_RESULT, TOOL_CANCELLED = "tool_call", "tool_result", "tool_cancelled"


@dataclass
class _Tool:
    """A call of a tool.

    Attributes:
        id: the id of the call, or "".
        name: the name of the tool.
        began_ns: when, in nanoseconds since 1970.
        ended_ns: when its result came; None until then.
        error: a word for the failure, or "".
        span: once its turn has one.
    """

    id: str
    name: str
    began_ns: int
    ended_ns: int | None = None
    error: str = ""
    span: trace.Span | None = None


class OpenTelemetryObserver(Observer):
    """Makes the spans and the measurements of one session.

    A turn is exported when it is over, with its tools as its children; the session when it ends.
    The span that is current where the session begins to connect is the parent of the session's.

    Args:
        model: the name of the model.
        provider: `gcp.gemini` or `gcp.vertex_ai`.
    """

    event_names = frozenset(
        {
            *(Connected.name, TurnMetrics.name, Stalled.name, Disconnected.name, Resumed.name),
            *(ErrorEvent.name, Closed.name, TOOL_CALL, TOOL_RESULT, TOOL_CANCELLED),
        }
    )

    def __init__(self, model: str, provider: str) -> None:
        release = version("getstream-plugins-gemini")
        self._tracer = trace.get_tracer(SCOPE, release)
        meter = metrics.get_meter(SCOPE, release)

        def seconds(name: str, description: str) -> metrics.Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=SECONDS
            )

        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._duration = seconds("gen_ai.client.operation.duration", "GenAI operation duration.")
        self._first_audio = seconds(
            "gen_ai.client.operation.time_to_first_chunk",
            "From the end of the user's speech to the first audio of the answer.",
        )
        self._first_sample = seconds(
            "getstream.gemini.time_to_first_sample",
            "From the end of the user's speech to the first played sample of the answer.",
        )
        self._barge_in = seconds(
            "getstream.gemini.barge_in_to_silence",
            "From the first sign of speech over the assistant until the output is silent.",
        )
        self._heard = seconds("getstream.gemini.heard", "Speech of a turn that was played.")
        self._tool = seconds("gen_ai.execute_tool.duration", "GenAI tool execution duration.")
        self._cost = meter.create_histogram(
            "getstream.gemini.cost", "{USD}", "Estimated cost of a turn in US dollars."
        )
        self._common = {"gen_ai.provider.name": provider, "gen_ai.request.model": model}
        self._model = model
        self._conversation = uuid4().hex
        self._session: trace.Span | None = None
        self._tools: dict[str, _Tool] = {}  # by id, oldest first

    def on_event(self, event: Event) -> None:
        """Export what an event tells."""
        if self._session is None:
            self._session = self._begin_session()
        if isinstance(event, TurnMetrics):
            self._export_turn(event)
        elif event.name == TOOL_CALL:
            self._begin_tool(event)
        elif event.name in (TOOL_RESULT, TOOL_CANCELLED):
            self._end_tool(event)
        elif isinstance(event, Stalled):
            self._session.add_event("stalled", {"reason": event.reason})
        elif isinstance(event, Disconnected):
            reason = "planned" if event.reason is None else type(event.reason).__name__
            self._session.add_event("disconnected", {"reason": reason})
        elif isinstance(event, Resumed):
            resumed = {"gap_s": event.gap_ms / 1000, "same_session": event.same_session}
            self._session.add_event("resumed", resumed)
        elif isinstance(event, ErrorEvent):
            self._session.add_event("error", {"error.type": type(event.error).__name__})
        elif isinstance(event, Closed) and event.cause is not None:
            # Not its text: that is for a log, where its length and its lines do no harm.
            self._session.set_attribute("error.type", type(event.cause).__name__)
            self._session.set_status(StatusCode.ERROR)

    def on_close(self) -> None:
        """End what is open."""
        if self._session is None:
            return
        parent = trace.set_span_in_context(self._session)
        for tool in self._tools.values():
            self._export_tool(tool, parent)
            if tool.span is not None and tool.ended_ns is None:
                tool.span.set_attribute("error.type", "unanswered")
                tool.span.end()
        self._tools.clear()
        self._session.end()
        self._session = None

    def _begin_session(self) -> trace.Span:
        attributes = {
            **self._common,
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.conversation.id": self._conversation,
        }
        return self._tracer.start_span(
            f"invoke_agent {self._model}", kind=SpanKind.CLIENT, attributes=attributes
        )

    # -- turns ---------------------------------------------------------------------------------

    def _export_turn(self, turn: TurnMetrics) -> None:
        assert self._session is not None
        now_ns = time.time_ns()
        answered_from = turn.began_at if turn.speech_ended_at is None else turn.speech_ended_at
        began_ns = now_ns - _ns(turn.at - answered_from)
        tools = [self._tools[each] for each in turn.tool_calls if each in self._tools]
        began_ns = min([began_ns, *(tool.began_ns for tool in tools)])
        name = {**self._common, "gen_ai.operation.name": "generate_content"}
        span = self._tracer.start_span(
            f"generate_content {self._model}",
            context=trace.set_span_in_context(self._session),
            kind=SpanKind.CLIENT,
            attributes={**name, **self._attributes_of(turn)},
            start_time=began_ns,
        )
        parent = trace.set_span_in_context(span)
        for tool in tools:
            self._export_tool(tool, parent)
            if tool.ended_ns is not None:
                del self._tools[tool.id or tool.name]
        span.end(now_ns)
        self._measure(turn, name, (now_ns - began_ns) / 1e9, parent)

    def _attributes_of(self, turn: TurnMetrics) -> dict[str, Any]:
        """Return the attributes of a turn that are known."""
        used = turn.tokens
        found: dict[str, Any] = {
            "gen_ai.conversation.id": self._conversation,
            "gen_ai.output.type": "speech",
            "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": used.input.total + used.tool_use,
            "gen_ai.usage.output_tokens": used.output.total + used.thoughts,
            "gen_ai.usage.cache_read.input_tokens": used.cached,
            "gen_ai.usage.reasoning.output_tokens": used.thoughts,
            "gen_ai.response.time_to_first_chunk": _s(turn.first_audio_ms),
            "getstream.gemini.turn": turn.turn,
            "getstream.gemini.interrupted": turn.interrupted,
            "getstream.gemini.heard": turn.heard_ms / 1000,
            "getstream.gemini.time_to_first_sample": _s(turn.first_sample_ms),
            "getstream.gemini.barge_in_to_silence": _s(turn.barge_in_ms),
            "getstream.gemini.cost": turn.cost_usd,
        }
        for modality in MODALITIES:
            for direction, counted in (("input", used.input), ("output", used.output)):
                name = f"getstream.gemini.usage.{direction}.{modality}_tokens"
                found[name] = getattr(counted, modality) or None
        return {name: value for name, value in found.items() if value is not None}

    def _measure(
        self, turn: TurnMetrics, name: dict[str, str], took_s: float, within: context.Context
    ) -> None:
        """Record the histograms of a turn, within its span: an exemplar may point to it."""
        used = turn.tokens
        for kind, tokens in (
            ("input", used.input.total + used.tool_use),
            ("output", used.output.total + used.thoughts),
        ):
            if tokens:
                self._tokens.record(tokens, {**name, "gen_ai.token.type": kind}, within)
        self._duration.record(took_s, name, within)
        self._heard.record(turn.heard_ms / 1000, name, within)
        for histogram, value_ms in (
            (self._first_audio, turn.first_audio_ms),
            (self._first_sample, turn.first_sample_ms),
            (self._barge_in, turn.barge_in_ms),
        ):
            if value_ms is not None:
                histogram.record(value_ms / 1000, name, within)
        if turn.cost_usd is not None:
            self._cost.record(turn.cost_usd, name, within)

    # -- tools ---------------------------------------------------------------------------------

    def _begin_tool(self, event: Event) -> None:
        tool = _Tool(_text(event, "id"), _text(event, "tool"), time.time_ns())
        self._tools[tool.id or tool.name] = tool
        if len(self._tools) > MOST_TOOLS:
            del self._tools[next(iter(self._tools))]

    def _end_tool(self, event: Event) -> None:
        key = _text(event, "id") or _text(event, "tool")
        tool = self._tools.get(key)
        if tool is None or tool.ended_ns is not None:
            return
        tool.ended_ns = time.time_ns()
        if event.name == TOOL_CANCELLED:
            tool.error = "cancelled"
        elif getattr(event, "error", None):
            tool.error = "tool_error"
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool.name,
            **({"error.type": tool.error} if tool.error else {}),
        }
        self._tool.record((tool.ended_ns - tool.began_ns) / 1e9, attributes)
        if tool.span is not None:  # its turn was over before it
            self._finish_tool(tool)
            del self._tools[key]

    def _export_tool(self, tool: _Tool, parent: context.Context) -> None:
        """Make the span of a tool within that of its turn, and end it if it has a result."""
        if tool.span is not None:
            return
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool.name,
            "gen_ai.tool.type": "function",
            "gen_ai.conversation.id": self._conversation,
            **({"gen_ai.tool.call.id": tool.id} if tool.id else {}),
        }
        tool.span = self._tracer.start_span(
            f"execute_tool {tool.name}",
            context=parent,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=tool.began_ns,
        )
        if tool.ended_ns is not None:
            self._finish_tool(tool)

    def _finish_tool(self, tool: _Tool) -> None:
        assert tool.span is not None
        if tool.error:
            tool.span.set_attribute("error.type", tool.error)
            tool.span.set_status(StatusCode.ERROR)
        tool.span.end(tool.ended_ns)


def _text(event: Event, name: str) -> str:
    return str(getattr(event, name, ""))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _s(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
