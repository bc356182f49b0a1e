"""Write the state of a fleet in the text format of Prometheus.

The format is version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from ._calls import FleetStatus, WorkerStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[Mapping[str, str], float]


def metrics_text(status: FleetStatus) -> str:
    """Return a status as metrics; a worker without a report has those of the control alone."""
    lines: list[str] = []

    def add(
        name: str, kind: Literal["counter", "gauge"], text: str, samples: Iterable[_Sample]
    ) -> None:
        lines.append(f"# HELP {name} {_escape_help(text)}")
        lines.append(f"# TYPE {name} {kind}")
        lines.extend(f"{name}{_labels(labels)} {value:.10g}" for labels, value in samples)

    def gauge(name: str, text: str, value: float) -> None:
        add(name, "gauge", text, [({}, value)])

    gauge("gemini_fleet_calls", "Calls that have a worker.", status.calls)
    gauge(
        "gemini_fleet_calls_unplaced",
        "Calls that wait for a worker, theirs having died or given way.",
        status.unplaced,
    )
    gauge("gemini_fleet_room_calls", "Calls that could be taken now.", status.room)
    gauge("gemini_fleet_workers", "Workers that run.", len(status.workers))
    gauge("gemini_fleet_workers_wanted", "Workers that there should be.", status.wanted)
    gauge("gemini_fleet_workers_starting", "Workers that are being started.", status.starting)
    add("gemini_fleet_events_total", "counter", "Events since the control began, by kind.",
        [({"event": name}, count) for name, count in sorted(status.counts.items())])  # fmt: skip
    for name, text, samples in _worker_gauges(status.workers):
        add(name, "gauge", text, samples)
    return "\n".join(lines) + "\n"


def _worker_gauges(
    workers: Mapping[str, WorkerStatus],
) -> Iterable[tuple[str, str, list[_Sample]]]:
    known = [({"worker": name}, worker) for name, worker in sorted(workers.items())]
    yield (
        "gemini_fleet_worker_accepting",
        "Whether a worker takes calls: 1 or 0.",
        [(labels, float(worker.accepting)) for labels, worker in known],
    )
    yield (
        "gemini_fleet_worker_calls",
        "Calls that a worker is assigned.",
        [(labels, len(worker.calls)) for labels, worker in known],
    )
    yield (
        "gemini_fleet_worker_silent_seconds",
        "Seconds since a worker was last heard of.",
        [(labels, worker.silent_s) for labels, worker in known],
    )
    reports = [(labels, worker.report) for labels, worker in known if worker.report is not None]
    yield (
        "gemini_fleet_worker_cpu_cores",
        "Cores that the process of a worker uses, smoothed.",
        [(labels, report.cpu) for labels, report in reports],
    )
    yield (
        "gemini_fleet_worker_loop_lag_seconds",
        "Worst delay of the event loop of a worker since its last report.",
        [(labels, report.lag_ms / 1000) for labels, report in reports],
    )
    yield (
        "gemini_fleet_worker_resident_memory_bytes",
        "Memory of the process of a worker.",
        [(labels, report.resident_mb * 1e6) for labels, report in reports],
    )
    yield (
        "gemini_fleet_worker_busy_calls",
        "Calls of a worker in which somebody speaks or an answer is on its way.",
        [(labels, len(report.busy)) for labels, report in reports],
    )


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return (
        "{" + ",".join(f'{name}="{_escape_label(value)}"' for name, value in labels.items()) + "}"
    )


def _escape_label(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
