"""Write the results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from command_line import table

from .reconnect import KINDS, Trial
from .windows import BUSY, Ratio

GOAL_SEND, GOAL_SEND_SDK, GOAL_RECEIVE = 1.25, 3.5, 1.5
GOAL_SESSION, GOAL_CALL, GOAL_MEMORY_MB = 1.25, 1.12, 2.0
NOTHING = "–"
BARE = "ours without detector"

Times = Mapping[str, Sequence[float]]


def all_of(found: Mapping[str, Any]) -> list[str]:
    """Return the tables of the parts that were measured."""
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
    """Return the µs of each path in each round, without the empty turn of the event loop.

    Where the detector's own cost was measured there is `BARE`: this package without it.
    """
    empty = np.array(times.get("turn", 0.0))
    found = {name: np.array(values) - empty for name, values in times.items() if name != "turn"}
    if "detected" in found:
        found[BARE] = found["ours"] - (found["detected"] - found["audio"])
    return found


def percent(shares: Sequence[float]) -> float:
    """Return the median of shares of a core, in %."""
    return float(np.median(shares)) * 100


def verdict(control: Ratio, busy: float, window: str) -> str:
    """Describe the windows, and whether the ratios of a table can be trusted.

    Args:
        control: Ratios of the floor to itself.
        busy: Share of the machine's CPU that was in use.
        window: Description of one window.
    """
    text = (
        f"Windows: {control.windows}, each {window}. Control: {control}. "
        f"CPU of the machine in use: {busy * 100:.0f} %."
    )
    if not control.steady:
        text += " **Not to be trusted: the floor beside itself was too far from 1.**"
    elif busy > BUSY:
        text += " **Not to be trusted: the machine was too busy, processes waited for a core.**"
    return text


# -- the parts -------------------------------------------------------------------------------------


def wire(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the tables of one frame and of one message."""
    sending = net(found["sending"]["times"])
    send_goal = f"≤ {GOAL_SEND} × floor, SDK ≥ {GOAL_SEND_SDK} ×"
    names = {
        "floor": ("floor: `ws.send` of a frame that is ready", NOTHING),
        "floor again": ("the same again, as a control", NOTHING),
        "audio": ("floor, with the resampler and base64 of this package", NOTHING),
        "detected": ("floor, with its resampler, base64 and detector", NOTHING),
        BARE: ("**ours, `GeminiLive.send_audio_pcm`**, less the detector", send_goal),
        "ours": ("ours, with the detector", NOTHING),
        "sdk": ("SDK, `send_realtime_input` of bytes that are ready", NOTHING),
        "sdk resampled": ("SDK, with the same resampler", NOTHING),
    }
    reached = (
        Ratio.of(sending[BARE], sending["floor"]).median <= GOAL_SEND
        and Ratio.of(sending["sdk resampled"], sending[BARE]).median >= GOAL_SEND_SDK
    )
    rows = [
        [
            title,
            goal,
            _micros(sending[name]),
            str(Ratio.of(sending[name], sending["floor"])),
            f"{Ratio.of(sending['sdk resampled'], sending[name]).median:.1f}",
            _met(reached) if name == BARE else "",
        ]
        for name, (title, goal) in names.items()
    ]
    lines = [
        "## One frame of 20 ms to the service, CPU",
        "",
        "48 kHz stereo as `PcmData` to mono, 16 kHz, base64, websocket.",
        "",
        *table(["", "goal", "µs", "× floor", "SDK / this", "met"], rows),
        _wire_verdict(found["sending"]),
        "",
    ]
    for name, title in (
        ("receiving", "as fast as the service sends them"),
        ("receiving alone", "one by one, a millisecond apart"),
    ):
        times = net(found[name]["times"])
        rows = []
        for who, what in (
            ("floor", "floor: `ws.recv`"),
            ("floor again", "the same again, as a control"),
            ("ours", "**ours, into playback**"),
            ("sdk", "SDK, `receive()`"),
        ):
            ratio = Ratio.of(times[who], times["floor"])
            goal = f"≤ {GOAL_RECEIVE} × floor" if who == "ours" else NOTHING
            met = _met(ratio.median <= GOAL_RECEIVE) if who == "ours" else ""
            to_sdk = Ratio.of(times["sdk"], times[who]).median
            rows.append([what, goal, _micros(times[who]), str(ratio), f"{to_sdk:.1f}", met])
        lines += [
            f"## One message with 40 ms of speech, CPU: {title}",
            "",
            *table(["", "goal", "µs", "× floor", "SDK / this", "met"], rows),
            _wire_verdict(found[name]),
            "",
        ]
    return lines


def _wire_verdict(found: Mapping[str, Any]) -> str:
    times = net(found["times"])
    control = Ratio.of(times["floor again"], times["floor"])
    return verdict(control, found["busy"], "some rounds of turns of some milliseconds")


def paced(found: Mapping[str, Any]) -> list[str]:
    """Return the tables of sessions in real time."""
    names = {
        "driver": "the clock of the frames alone",
        "floor": "floor: the websocket alone",
        "floor again": "the same again, as a control",
        "ours": "**ours**, with the detector",
        "sdk": "SDK, with the same resampler",
    }
    together = found["together"]
    floor = together["floor"]["shares"]
    rows = []
    for who, title in names.items():
        run = together[who]
        ratio = Ratio.of(run["shares"], floor)
        goal = f"≤ {GOAL_SESSION}" if who == "ours" else NOTHING
        met = _met(ratio.median <= GOAL_SESSION) if who == "ours" else ""
        late = [NOTHING] if who == "driver" else [_lateness([run])]
        rows.append([title, goal, f"{percent(run['shares']):.2f}", str(ratio), *late, met])
    control = Ratio.of(together["floor again"]["shares"], floor)
    missing = sum(run["missing"] for run in together.values())
    sessions = together["floor"]["sessions"]
    lines = [
        "## Sessions in real time in one process",
        "",
        f"{sessions} sessions of each contender at the same time, with 50 frames in and 25 "
        "messages out per second for each session. CPU of one session, % of a core. Lateness of "
        "the frames at the service, p50 / p99 in ms.",
        "",
        *table(["", "goal, ratio", "% of a core", "× floor", "lateness", "met"], rows),
        verdict(control, found["busy"], f"{found['seconds']:g} s, the same for all"),
        "",
    ]
    counts = found["in turns"]
    rows = []
    for who, title in names.items():
        if who not in next(iter(counts.values()), {}):
            continue
        cells, last = [], percent(together[who]["shares"])
        for runs in counts.values():
            shares = [run["shares"][0] for run in runs[who]]
            last = percent(shares) if shares else last
            under = [run["shares"][0] for run in runs["floor"]]
            ratio_text = str(Ratio.of(shares, under)) if shares else NOTHING
            cells += [
                f"{last:.2f}" if shares else NOTHING,
                ratio_text,
                _lateness(runs[who]) if shares else NOTHING,
            ]
            missing += sum(run["missing"] for run in runs[who])
        rows.append([title, *cells, f"{100 / last:.0f}"])
    heads = [
        text for count in counts for text in (f"{count} sessions, %", "× floor", "lateness, ms")
    ]
    repeats = max((len(runs["floor"]) for runs in counts.values()), default=0)
    return [
        *lines,
        f"More sessions, one contender after the other: {repeats} windows of "
        f"{found['alone seconds']:g} s for each, a ratio is of two in the same round of them. "
        "“Sessions per core” is how many a core would carry at the price of the "
        f"last ones; “{NOTHING}”: more than one core carries.",
        "",
        *table(["", *heads, "sessions per core"], rows),
        f"Frames that did not come: {missing}.",
        "",
    ]


def _lateness(runs: Sequence[Mapping[str, Any]]) -> str:
    p50, p99 = np.median(np.array([run["late_ms"] for run in runs]), axis=0)
    return f"{p50:.1f} / {p99:.1f}"


def call(found: Mapping[str, Any]) -> list[str]:
    """Return the table of whole calls."""
    names = {
        "ready": "floor: a handler that does nothing, and ready frames",
        "ready again": "the same again, as a control",
        "ours": "**ours**, with the detector",
        "plain": "plain wiring of the two SDKs",
    }
    shares = found["shares"]
    rows = []
    for kind, title in names.items():
        ratio = Ratio.of(shares[kind], shares["ready"])
        goal = f"≤ {GOAL_CALL}" if kind == "ours" else NOTHING
        met = _met(ratio.median <= GOAL_CALL) if kind == "ours" else ""
        rows.append([title, goal, f"{percent(shares[kind]):.1f}", str(ratio), met])
    control = Ratio.of(shares["ready again"], shares["ready"])
    return [
        "## A whole call, CPU of the assistant's process",
        "",
        "Through both local servers and the real Stream SDK, which takes most of it. All calls at "
        "the same time.",
        "",
        *table(["", "goal, ratio", "% of a core", "× floor", "met"], rows),
        verdict(control, found["busy"], f"a round of {found['seconds']:g} s, the same for all"),
        "",
    ]


def reconnect(trials: Sequence[Trial]) -> list[str]:
    """Return the table of connections that end."""
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
        *table(
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
    """Return the table of the memory of sessions."""
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
        *table(
            ["", "goal", "SDK", "ours", "ours, 20 s of speech queued", "beyond the SDK", "met"],
            rows,
        ),
        f"Over {turns} turns of 2 s in one session the process went from {held[0] / 1e3:.1f} to "
        f"{held[-1] / 1e3:.1f} MB; over the second half of them it grew by {slope:+.0f} kB per "
        "1000 turns.",
        "",
    ]


# -- cells -----------------------------------------------------------------------------------------


def _met(reached: bool) -> str:
    return "yes" if reached else "no"


def _micros(values: Any) -> str:
    return f"{np.median(values):.1f}"


def _spread(values: Sequence[float]) -> str:
    return f"{np.percentile(values, 50):.0f} / {np.percentile(values, 95):.0f}"
