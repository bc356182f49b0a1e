"""Booking assistant that keeps its conversation in a file, and prints what became of it.

    python agent_program.py FOLDER CALL_ID

It goes on with the conversation of `FOLDER/resumption.json`, if there is one, and writes the newest
one there. `book_table` blocks its thread until `FOLDER/released` exists.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive, Resumption, ToolContext, tool
from getstream.video import rtc
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

FOLDER, CALL_ID = Path(sys.argv[1]), sys.argv[2]
STORED = FOLDER / "resumption.json"
LONGEST_BOOKING_S = 20.0
SCOPE = "getstream.plugins.gemini"
EVENTS = (
    *("connected", "speech_started", "user_text", "playback_started", "interrupted"),
    *("playback_finished", "turn_complete", "turn_metrics", "line", "stalled"),
    *("tool_call", "tool_result", "tool_cancelled", "disconnected", "reconnecting", "resumed"),
    *("resumption", "left", "error", "closed"),
)


async def free_times(
    seats: Annotated[int, "how many people come"], room: Literal["garden", "hall"] = "hall"
) -> list[str]:
    """List the times at which a table is free today."""
    return ["18:30", "20:00"]


def book_table(seats: int, time_of_day: str, context: ToolContext) -> dict[str, Any]:
    """Book a table for today.

    Args:
        seats: How many people come.
        time_of_day: One of the free times.
    """
    for _ in range(round(LONGEST_BOOKING_S / 0.02)):
        if (FOLDER / "released").exists():
            return {"seats": seats, "at": time_of_day, "guest": context.user_id}
        time.sleep(0.02)  # blocks its thread, as a client of an old booking system does
    raise TimeoutError("the booking system does not answer")


async def ask_kitchen(question: str) -> str:
    """Ask the kitchen something; nobody comes to the phone."""
    await asyncio.Event().wait()
    return "yes"


def described(event: Any) -> dict[str, Any]:
    """Return an event as JSON can hold it."""
    fields: dict[str, Any] = {"name": event.name}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, Resumption):
            value = {"has_handle": bool(value.handle), "lines": value.lines}
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        elif isinstance(value, BaseException):
            value = type(value).__name__
        fields[field.name] = value
    return fields


def exported(spans: InMemorySpanExporter, reader: InMemoryMetricReader) -> dict[str, Any]:
    """Return the spans and the histograms that the plugin has exported; the SDK has its own."""
    data = reader.get_metrics_data()
    histograms: dict[str, list[dict[str, Any]]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in (each for each in resource.scope_metrics if each.scope.name == SCOPE):
            for metric in scope.metrics:
                histograms[metric.name] = [
                    {"attributes": dict(p.attributes), "count": p.count, "sum": p.sum}
                    for p in metric.data.data_points
                ]
    return {
        "spans": [
            {
                "name": span.name,
                "id": span.context.span_id,
                "parent": span.parent and span.parent.span_id,
                "trace": span.context.trace_id,
                "began": span.start_time,
                "ended": span.end_time,
                "attributes": dict(span.attributes or {}),
                "events": [[event.name, dict(event.attributes or {})] for event in span.events],
            }
            for span in spans.get_finished_spans()
            if span.instrumentation_scope.name == SCOPE
        ],
        "histograms": histograms,
    }


async def main() -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([reader]))
    before = Resumption.from_json(STORED.read_text()) if STORED.exists() else None
    ringing = (8000 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)).astype(np.int16)
    gemini = GeminiLive(
        model="gemini-3.8-live",
        instructions="You take bookings for a restaurant.",
        tools=[
            free_times,
            tool(book_table, behavior="BLOCKING", timeout_s=30),
            tool(ask_kitchen, behavior="BLOCKING", timeout_s=None),
        ],
        tool_sound=(ringing, 48000),
        record=FOLDER / f"recording-{os.getpid()}",
        resume=before,
    )
    events: list[dict[str, Any]] = []

    async def collect() -> None:
        events.extend([described(event) async for event in gemini.events(*EVENTS)])

    @gemini.on("resumption")
    def keep(resumption: Resumption) -> None:
        STORED.write_text(resumption.to_json(), encoding="utf-8")

    collecting = asyncio.ensure_future(collect())
    async with AsyncStream(base_url=None) as client, gemini:
        call = client.video.call("default", CALL_ID)
        await call.get_or_create(data={"created_by_id": "assistant-bot"})
        async with await rtc.join(call, user_id="assistant-bot") as connection:
            await gemini.attach(connection)
            await gemini.send_text("Welcome the guest." if before is None else "Go on.")
            await connection.wait()
        latest = gemini.stats()
    await collecting
    report = {
        "events": events,
        "transcript": json.loads(gemini.transcript.to_json())["lines"],
        "stats": dataclasses.asdict(latest),
        "closed_stats": dataclasses.asdict(gemini.stats()),
        **exported(spans, reader),
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
