"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .reconnect import KINDS, Trial

GOAL_SEND, GOAL_SEND_SDK, GOAL_RECEIVE = 1.6, 3.5, 1.5
GOAL_SESSION, GOAL_CALL, GOAL_MEMORY_MB = 0.65, 1.3, 2.0
NOTHING = "–"

Times = Mapping[str, Sequence[float]]


def all_of(found: Mapping[str, Any]) -> list[str]:
    """The tables of the parts that were measured."""
    makers = {
        "wire": wire,
        "paced": paced,
        "call": call,
        "reconnect": reconnect,
        "memory": memory,
    }
    return [line for name, make in makers.items() if name in found for line in make(found[name])]


# -- numbers ---------------------------------------------------------------------------------------


def net(times: Times) -> dict[str, Any]:
    """µs of each path in each round, without the empty turn of the event loop."""
    empty = np.array(times.get("turn", 0.0))
    return {name: np.array(values) - empty for name, values in times.items() if name != "turn"}


def ratio(times: Mapping[str, Any], over: str, under: str) -> float:
    return float(np.median(times[over] / times[under]))


def shares(runs: Sequence[Mapping[str, Any]], sessions: int) -> float | None:
    """% of a core for each of so many sessions."""
    found = [run["share"] * 100 for run in runs if run["sessions"] == sessions]
    return float(np.median(found)) if found else None


def call_ratio(calls: Sequence[Mapping[str, Any]], kind: str) -> float:
    return float(np.median([each[kind]["share"] / each["ready"]["share"] for each in calls]))


def call_share(calls: Sequence[Mapping[str, Any]], kind: str) -> float:
    return float(np.median([each[kind]["share"] for each in calls])) * 100


# -- the parts -------------------------------------------------------------------------------------


def wire(found: Mapping[str, Times]) -> list[str]:
    sending = net(found["sending"])
    send_goal = f"≤ {GOAL_SEND} × floor, SDK ≥ {GOAL_SEND_SDK} ×"
    names = {
        "floor": ("floor: `ws.send` of a frame that is ready", NOTHING),
        "bare": ("ours, `Session.send_audio` of a frame that is ready", NOTHING),
        "resampled": ("floor, with the resampler and base64 of this package", NOTHING),
        "ours": ("**ours, `GeminiLive.send_audio_pcm`**, without the detector", send_goal),
        "ours with detector": ("ours, with the detector", NOTHING),
        "sdk": ("SDK, `send_realtime_input` of bytes that are ready", NOTHING),
        "sdk resampled": ("SDK, with the same resampler", NOTHING),
    }
    rows = []
    for name, (title, goal) in names.items():
        met = ""
        if name == "ours":
            reached = (
                ratio(sending, "ours", "floor") <= GOAL_SEND
                and ratio(sending, "sdk resampled", "ours") >= GOAL_SEND_SDK
            )
            met = _met(reached)
        rows.append(
            [
                title,
                goal,
                _micros(sending[name]),
                f"{ratio(sending, name, 'floor'):.2f}",
                f"{ratio(sending, 'sdk resampled', name):.1f}",
                met,
            ]
        )
    lines = [
        "## One frame of 20 ms to the service, CPU",
        "",
        "48 kHz stereo as `PcmData` to mono, 16 kHz, base64, websocket.",
        "",
        *_table(["", "goal", "µs", "× floor", "SDK / this", "met"], rows),
    ]
    for name, title in (
        ("receiving", "as fast as the service sends them"),
        ("receiving alone", "one by one, a millisecond apart"),
    ):
        times = net(found[name])
        rows = []
        for who, what in (
            ("floor", "floor: `ws.recv`"),
            ("bare", "ours, `Session.next`: the message as it is read in"),
            ("ours", "**ours, into playback**"),
            ("sdk", "SDK, `receive()`"),
        ):
            goal = f"≤ {GOAL_RECEIVE} × floor" if who == "ours" else NOTHING
            met = _met(ratio(times, "ours", "floor") <= GOAL_RECEIVE) if who == "ours" else ""
            rows.append(
                [
                    what,
                    goal,
                    _micros(times[who]),
                    f"{ratio(times, who, 'floor'):.2f}",
                    f"{ratio(times, 'sdk', who):.1f}",
                    met,
                ]
            )
        lines += [
            f"## One message with 40 ms of speech, CPU: {title}",
            "",
            *_table(["", "goal", "µs", "× floor", "SDK / this", "met"], rows),
        ]
    return lines


def paced(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    names = {
        "driver": "the clock of the frames alone",
        "floor": "floor: the websocket alone",
        "ours": "**ours**, without the detector",
        "ours with detector": "ours, with the detector",
        "sdk": "SDK, with the same resampler",
    }
    counts = sorted({run["sessions"] for runs in found.values() for run in runs})
    cpu, late, missing = [], [], 0
    for who, title in names.items():
        shown = [shares(found[who], count) for count in counts]
        cells = [NOTHING if share is None else f"{share:.2f}" for share in shown]
        measured = [share for share in shown if share is not None]
        goal, met = (NOTHING, "")
        if who == "ours":
            goal, met = f"≤ {GOAL_SESSION}", _met(measured[0] <= GOAL_SESSION)
        cpu.append([title, goal, *cells, f"{100 / measured[-1]:.0f}", met])
        missing += sum(run["missing"] for run in found[who])
        if who != "driver":
            late.append([title, *(_lateness(found[who], count) for count in counts)])
    head = [f"{count} sessions" for count in counts]
    return [
        "## Sessions in real time in one process",
        "",
        "50 frames in and 25 messages out per second for each session. CPU of one session, % of a "
        "core; the goal is for the first column. “Sessions per core” is how many a core would "
        "carry at the price of the last one.",
        "",
        *_table(["", "goal", *head, "sessions per core", "met"], cpu),
        f"“{NOTHING}”: more than one core carries. Lateness of the frames at the service, "
        "p50 / p99 in ms:",
        "",
        *_table(["", *head], late),
        f"Frames that did not come: {missing}.",
        "",
    ]


def _lateness(runs: Sequence[Mapping[str, Any]], sessions: int) -> str:
    late = [run["late_ms"] for run in runs if run["sessions"] == sessions]
    if not late:
        return NOTHING
    p50, p99, _ = np.median(np.array(late), axis=0)
    return f"{p50:.1f} / {p99:.1f}"


def call(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    names = {
        "ready": "a handler that does nothing, and ready frames",
        "ours": "**ours**, with the detector",
        "plain": "plain wiring of the two SDKs",
    }
    rows = []
    for kind, title in names.items():
        goal = f"≤ {GOAL_CALL}" if kind == "ours" else NOTHING
        met = _met(call_ratio(calls, kind) <= GOAL_CALL) if kind == "ours" else ""
        each = [measured[kind]["share"] * 100 for measured in calls]
        cells = [f"{call_share(calls, kind):.1f}", f"{min(each):.1f} to {max(each):.1f}"]
        rows.append([title, goal, *cells, f"{call_ratio(calls, kind):.2f}", met])
    return [
        "## A whole call, CPU of the assistant's process",
        "",
        "Through both local servers and the real Stream SDK, which takes most of it. "
        f"Calls of each: {len(calls)}.",
        "",
        *_table(["", "goal, ratio", "% of a core", "from, to", "ratio", "met"], rows),
    ]


def reconnect(trials: Sequence[Trial]) -> list[str]:
    rows = []
    for kind in KINDS:
        these = [trial for trial in trials if trial.kind == kind]
        gaps = [gap for trial in these for gap in trial.gap_ms]
        user = sum(trial.user_lost for trial in these) * 20
        assistant = sum(trial.assistant_lost_ms for trial in these)
        resumed = sum(trial.same_session for trial in these)
        rows.append(
            [
                kind,
                _spread(gaps),
                _spread([trial.to_audio_ms for trial in these]),
                f"{user}",
                f"{assistant:.0f}",
                f"{resumed} of {len(these)}",
                _met(user == 0 and assistant == 0 and resumed == len(these)),
            ]
        )
    said = sum(trial.user_frames for trial in trials) * 20 / 1000
    return [
        "## When a connection ends",
        "",
        "In ms, p50 / p95. The service speaks again as soon as it has the assistant back. With "
        "`goAway` the connection is left when the conversation has rested for two seconds: the "
        "time to the audio is that of the rest. Goal: nothing is lost.",
        "",
        *_table(
            [
                "",
                "without a connection",
                "to the first audio after it",
                "user audio lost",
                "assistant audio lost",
                "resumed",
                "met",
            ],
            rows,
        ),
        f"Trials: {len(trials)}, with {said:.0f} s of the person's speech around the second end of "
        "a connection in each.",
        "",
    ]


def memory(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for suffix, title in (("", "a client for each"), (" shared", "one client for all")):
        sdk = found[f"sdk{suffix}"]
        idle, queued = found[f"ours{suffix}"], found[f"ours{suffix}, queued"]
        rows.append(
            [
                title,
                f"< {GOAL_MEMORY_MB:g}",
                *(f"{value / 1e6:.2f}" for value in (sdk, idle, queued, queued - sdk)),
                _met(queued - sdk < GOAL_MEMORY_MB * 1e6),
            ]
        )
    turns, every = found["turns"]["turns"], found["turns"]["every"]
    held = np.array(found["turns"]["bytes"]) / 1e3
    behind = held[len(held) // 2 :]
    slope = float(np.polyfit(np.arange(len(behind)) * every / 1000, behind, 1)[0])
    return [
        "## Memory of a session",
        "",
        "Private pages of the process, in MB, for each session more.",
        "",
        *_table(
            ["", "goal", "SDK", "ours", "ours, 20 s of speech queued", "beyond the SDK", "met"],
            rows,
        ),
        f"Over {turns} turns of 2 s in one session the process went from {held[0] / 1e3:.1f} to "
        f"{held[-1] / 1e3:.1f} MB; over the second half of them it grew by {slope:+.0f} kB per "
        "1000 turns.",
        "",
    ]


# -- cells -----------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first column is text and whose others are numbers."""
    return [
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _met(reached: bool) -> str:
    return "yes" if reached else "no"


def _micros(values: Any) -> str:
    return f"{np.median(values):.1f}"


def _spread(values: Sequence[float]) -> str:
    return f"{np.percentile(values, 50):.0f} / {np.percentile(values, 95):.0f}"
