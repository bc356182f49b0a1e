"""Format the results as Markdown. A ratio is the figure of the earlier rules over ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from command_line import table

from .call import Who
from .trials import (
    ANSWER_DELAYS_MS,
    ANSWER_MS,
    CAN_SEND_DTX,
    CASES,
    FIRST_AT_S,
    FIRST_WITHIN_S,
    JITTER_MS,
    PEER_REPLY_MS,
    PEER_WITHIN_S,
    SAID_MS,
    SMALL_REPLY_MS,
    STALLS_MS,
    TROUBLE_REPLY_MS,
    TROUBLES,
    BargeIn,
    CompanyTrial,
    Exchange,
    FirstBargeIn,
    PeerTrial,
    SmallSound,
    StallTrial,
    TroubleTrial,
)

GOAL_FIRST_MS = 150
GOALS_MS = {("ducked", 50): 120, ("silent", 50): 150, ("silent", 95): 220}
"""Goal in milliseconds for each figure and percentile."""

BARGE_IN_PARTS = (
    "talker's SDK and network: said, to the assistant's handler",
    "detector: arrival to the first evidence",
    "detector: evidence to the pause",
    "read head and lead: decision, to the time for which the SDK has it",
    "SDK and network to the listener, with the fade",
)

NAMES: dict[Who, str] = {"ours": "ours", "earlier": "earlier rules"}
PEER_NAME = "Vision-Agents"
NOTHING = "–"

Edges = Sequence[tuple[int, int]]


# -- the parts -------------------------------------------------------------------------------------


def barge_in_latency(results: Mapping[Who, Sequence[BargeIn]]) -> list[str]:
    ours, earlier = (_quiet(results.get(who, ())) for who in NAMES)
    openings = len({trial.sound for trial in ours})
    return [
        "## Barge-in latency",
        "",
        "From the first loud sample leaving the talker to the assistant being ducked and silent at "
        f"the listener, in ms. Clean speech, {openings} different openings.",
        "",
        *table(
            ["", "goal", "ours", "earlier rules", "ratio"],
            [
                *_latency_rows("ducked", [trial.ducked for trial in ours], []),
                *_latency_rows(
                    "silent", [trial.silent for trial in ours], [trial.silent for trial in earlier]
                ),
            ],
        ),
        f"Trials: {', '.join(f'{_measured(t)} ({NAMES[who]})' for who, t in results.items())}. "
        "Left out are those during which the machine stood still, and those in which the assistant "
        "was not silent within 600 ms: "
        + ", ".join(f"{_missed(trials)} ({NAMES[who]})" for who, trials in results.items())
        + ".",
        "",
        "Where the time goes, p50 / p95 in ms:",
        "",
        *table(
            ["", "ours, to the duck", "ours, to silence", "earlier rules, to silence"],
            _barge_in_parts(ours, earlier),
        ),
    ]


def _missed(trials: Sequence[BargeIn]) -> int:
    return sum(trial.silent is None for trial in trials)


def _latency_rows(
    what: str, ours: Sequence[float | None], earlier: Sequence[float | None]
) -> list[list[str]]:
    rows = []
    for name, percent in (("p50", 50), ("p95", 95), ("max", 100)):
        mine, other = _percentile(ours, percent), _percentile(earlier, percent)
        goal = GOALS_MS.get((what, percent))
        aim = NOTHING if goal is None else f"≤ {goal}"
        rows.append([f"{what}, {name}", aim, _ms(mine), _ms(other), _ratio(other, mine)])
    return rows


def _barge_in_parts(ours: Sequence[BargeIn], earlier: Sequence[BargeIn]) -> list[list[str]]:
    to_duck = [trial.duck_parts for trial in ours]
    to_silence = [trial.parts for trial in ours]
    rows = []
    for number, name in enumerate(BARGE_IN_PARTS):
        # The path to the duck has no pause, and that of the earlier rules has only the SDK and the
        # network after the flush.
        before = None if number == 2 else number - (number > 2)
        flush = None if number in (2, 3) else number
        rows.append(
            [
                name,
                _spread(to_duck, before),
                _spread(to_silence, number),
                _spread([trial.parts for trial in earlier], flush),
            ]
        )
    return rows


def _spread(parts: Sequence[Sequence[float]], number: int | None) -> str:
    if number is None:
        return NOTHING
    values = [each[number] for each in parts if each]
    return f"{_ms(_percentile(values, 50))} / {_ms(_percentile(values, 95))}"


def first_barge_ins(results: Mapping[str, Sequence[FirstBargeIn]]) -> list[str]:
    """Return the table of the first barge-ins of calls."""
    rows = []
    for moment, trials in results.items():
        kept = _quiet(trials)
        ducked = [trial.barge_in.ducked for trial in kept]
        silent = [trial.barge_in.silent for trial in kept]
        heard = [trial.heard for trial in kept]
        goal = NOTHING if moment != next(iter(FIRST_AT_S)) else f"≤ {GOAL_FIRST_MS}"
        rows.append(
            [
                moment,
                f"{min(heard, default=math.nan):.2f} to {max(heard, default=math.nan):.2f}",
                f"{_ms(_percentile(ducked, 50))} / {_ms(_percentile(ducked, 95))}",
                goal,
                f"{_ms(_percentile(silent, 50))} / {_ms(_percentile(silent, 95))}",
                _ms(_percentile(silent, 100)),
                f"{sum(value is None for value in silent)} of {len(silent)}",
            ]
        )
    return [
        "## The first barge-in of a call",
        "",
        "A person who sends no echo speaks into the first words of the call; each trial is a call "
        "of its own. In ms; the assistant had been playing for so many seconds. Goal: p50 of the "
        "first row, to silence.",
        "",
        *table(
            [
                "the person speaks",
                "assistant played for, s",
                "ducked, p50 / p95",
                "goal",
                "silent, p50 / p95",
                "max",
                f"not silent within {FIRST_WITHIN_S:g} s",
            ],
            rows,
        ),
        f"Trials: {', '.join(f'{len(_quiet(t))} of {len(t)}' for t in results.values())}; the "
        "others are those during which the machine stood still.",
        "",
    ]


def beside_peer(results: Mapping[tuple[Who, bool], Sequence[PeerTrial]]) -> list[str]:
    """Return the table of this package beside a peer; keys: assistant, whether it interrupts."""
    assistants = list(dict.fromkeys(who for who, _ in results))
    rows = []

    def row(name: str, values: Mapping[Who, Sequence[float | None]]) -> None:
        medians = {who: _percentile(values[who], 50) for who in assistants}
        cells = [
            f"{_ms(medians[who])} / {_ms(_percentile(values[who], 95))} / "
            f"{_ms(_percentile(values[who], 100))}"
            for who in assistants
        ]
        rows.append([name, *cells, _ratio(medians[assistants[-1]], medians["ours"])])

    def of_all(value: Callable[[PeerTrial], float | None]) -> dict[Who, list[float | None]]:
        return {
            who: [
                value(t) for (by, _), trials in results.items() if by == who for t in _quiet(trials)
            ]
            for who in assistants
        }

    row("the person's first loud sample, to the service", of_all(lambda trial: trial.said))
    row("a reply, from the service to the listener", of_all(lambda trial: trial.answer))
    for interrupts, service in ((True, "the service interrupts"), (False, "it hears nothing")):
        kept = {who: _quiet(results[who, interrupts]) for who in assistants}
        row(f"barge-in to silence, {service}", {w: [t.silent for t in kept[w]] for w in kept})
        never = [
            f"{sum(t.silent is None for t in kept[who])} of {len(kept[who])}" for who in assistants
        ]
        rows.append([f"not silent within {PEER_WITHIN_S:g} s, {service}", *never, NOTHING])
    return [
        f"## Beside {PEER_NAME}",
        "",
        f"{PEER_NAME} as it is published, on the Stream SDK that it asks for, in an environment of "
        "its own, with the same local servers. It has no detector of its own with Gemini: it stops "
        f"when the service interrupts. Replies of {PEER_REPLY_MS / 1000:.0f} s, at four times real "
        "time; in ms, p50 / p95 / max.",
        "",
        *table(["", "ours", PEER_NAME, "ratio of p50"], rows),
        "Trials: "
        + ", ".join(
            f"{len(_quiet(trials))} of {len(trials)} "
            f"({NAMES.get(who, PEER_NAME)}, {'interrupts' if interrupts else 'hears nothing'})"
            for (who, interrupts), trials in results.items()
        )
        + "; the others are those during which the machine stood still.",
        "",
    ]


def company(results: Mapping[str, CompanyTrial]) -> list[str]:
    """Return the table of calls with several people."""
    rows = [
        [
            name,
            _percent(trial.share),
            f"{len(trial.holes)} / {_ms(max(trial.holes, default=0.0))}",
            _plain(trial.rate, 3),
            _ms(_percentile([each.silent for each in _quiet(trial.barge_ins)], 50)),
            _ms(_percentile([each.silent for each in _quiet(trial.barge_ins)], 100)),
            f"{len(_quiet(trial.barge_ins)) - _missed(_quiet(trial.barge_ins))} of "
            f"{len(_quiet(trial.barge_ins))}",
        ]
        for name, trial in results.items()
    ]
    lines = [
        "## Several people",
        "",
        f"One person says {SAID_MS / 1000:.0f} s of a tone of which each 200 ms are at one place "
        "only, and then barges in; the others have their microphones on and say nothing. Jitter "
        f"delays each packet by up to {JITTER_MS:.0f} ms. Holes are those of more than 10 ms in "
        "what was sent to the service, their number and the longest one in ms; goal: none, all of "
        "it, and one second of audio in a second.",
        "",
        *table(
            [
                "",
                "of the person's words on the wire",
                "holes in them",
                "seconds of audio per second",
                "barge-in to silence, p50, ms",
                "max",
                "silent within 600 ms",
            ],
            rows,
        ),
        "Barge-ins during which the machine stood still are left out: "
        + ", ".join(
            f"{len(trial.barge_ins) - len(_quiet(trial.barge_ins))} of {len(trial.barge_ins)}"
            for trial in results.values()
        )
        + ".",
        "",
    ]
    if not CAN_SEND_DTX:
        lines += ["Opus DTX was not measured: the local backend cannot send it.", ""]
    return lines


def way(exchanges: Sequence[Exchange]) -> list[str]:
    kept = [each for each in _quiet(exchanges) if each.way is not None]
    if len(kept) < 4:
        return []
    minutes = (np.array([each.at for each in kept]) - kept[0].at) / 60
    ways = np.array([each.way for each in kept], np.float64) * 1000
    (slope, _), covariance = np.polyfit(minutes, ways, 1, cov=True)
    numbers = {
        "first turn": ways[0],
        "last turn": ways[-1],
        "p50 of the first minute": np.median(ways[minutes <= 1]),
        "p50 of the last minute": np.median(ways[minutes >= minutes[-1] - 1]),
        "p50": np.percentile(ways, 50),
        "p95": np.percentile(ways, 95),
        "max": ways.max(),
    }
    error = 2 * math.sqrt(covariance[0, 0])
    return [
        f"## One-way delay over a call of {minutes[-1]:.1f} minutes",
        "",
        "From `playback_started` to the first sample at the listener, in ms. The SDK sends a frame "
        "each 20 ms; a turn begins at random against that, which is the spread. Goal: it does not "
        "creep.",
        "",
        *table(
            ["", "ours"],
            [
                *([name, f"{value:.1f}"] for name, value in numbers.items()),
                ["slope, ms per minute (± two standard errors)", f"{slope:+.2f} ± {error:.2f}"],
            ],
        ),
        _counted("Turns", {"ours": exchanges}),
        "",
    ]


def share_after_speech(results: Mapping[Who, Sequence[Exchange]]) -> list[str]:
    rows = []
    for delay in ANSWER_DELAYS_MS:
        ours, earlier = (
            [each.share for each in results.get(who, ()) if each.delay_ms == delay] for who in NAMES
        )
        rows.append(
            [
                f"{delay} ms",
                _percent(min(ours, default=math.nan)),
                _percent(_percentile(ours, 50)),
                f"{_percent(_percentile(earlier, 50))} ({_percent(min(earlier, default=math.nan))} "
                f"to {_percent(max(earlier, default=math.nan))})",
                _ratio(_percentile(earlier, 50), _percentile(ours, 50)),
            ]
        )
    counts = ", ".join(f"{len(each)} ({NAMES[who]})" for who, each in results.items())
    return [
        "## The share of a reply that is heard, by when it begins",
        "",
        f"A reply of {ANSWER_MS / 1000:.1f} s is sent at four times real time, so long after the "
        f"person's last loud sample. Goal: 100 %. Replies: {counts}.",
        "",
        *table(
            [
                "begins after",
                "ours, least",
                "ours, p50",
                "earlier rules, p50 (least to greatest)",
                "ratio",
            ],
            rows,
        ),
    ]


def small_sounds(results: Mapping[tuple[Who, str], Sequence[SmallSound]]) -> list[str]:
    rows = []
    for case in CASES:
        ours, earlier = (results.get((who, case), ()) for who in NAMES)
        for sound in dict.fromkeys(trial.sound for trial in (*ours, *earlier)):
            mine, other = ([t for t in each if t.sound == sound] for each in (ours, earlier))
            lost = [[trial.lost for trial in each] for each in (mine, other)]
            later = [[trial.later for trial in each] for each in (mine, other)]
            medians = [_percentile(values, 50) for values in lost]
            rows.append(
                [
                    f"{sound}; turn {case}",
                    _median_and_range(lost[0]),
                    _median_and_range(lost[1]),
                    _ratio(*(value if value > EDGE_S else 0.0 for value in reversed(medians))),
                    _median_and_range(later[0]),
                    _median_and_range(later[1]),
                ]
            )
    names = [trial.sound for trial in next(iter(results.values()), ())]
    count = names.count(names[0]) if names else 0
    return [
        f"## What a sound that is no turn costs in a reply of {SMALL_REPLY_MS / 1000:.0f} s",
        "",
        "In ms, the median of so many trials of each, with the least and the greatest: "
        f"{count}. The sound comes 1.5 s after the service began to send. A reply whose rest is "
        f"lost has no delay. Edges are found to within {1000 * EDGE_S:.0f} ms: less counts as "
        "nothing in the ratio.",
        "",
        *table(
            [
                "",
                "never heard, ours",
                "never heard, earlier rules",
                "ratio",
                "delay, ours",
                "delay, earlier rules",
            ],
            rows,
        ),
    ]


EDGE_S = 0.005


def stalls(results: Mapping[Who, Sequence[StallTrial]]) -> list[str]:
    rows = []
    for length in STALLS_MS:
        for who, trials in results.items():
            these = [each for each in _quiet(trials) if each.ms == length]
            holes = [trial.hole for trial in these]
            ways = [each.way for each in these if each.way is not None]
            rows.append(
                [
                    f"{length} ms, {NAMES[who]}",
                    f"{_ms(_percentile(holes, 50))} / {_ms(_percentile(holes, 100))}",
                    _plain(max((t.step / t.undisturbed for t in these), default=math.nan), 2),
                    _ms(_percentile([trial.later for trial in these], 50)),
                    f"{_ms(min(ways))} to {_ms(max(ways))}" if ways else NOTHING,
                    _percent(min((trial.share for trial in these), default=math.nan)),
                ]
            )
    return [
        "## Stalls of the assistant's event loop, in the middle of a reply",
        "",
        "In ms; the largest step is that around the hole, against the largest one of the same "
        "reply undisturbed. The earlier rules hand the SDK all that they have: a stall is not "
        "heard, and whatever makes them flush costs all of it.",
        "",
        *table(
            [
                "stall",
                "hole, p50 / max",
                "largest step, ×",
                "the reply ends later by, p50",
                "the way to the listener after it, less before",
                "share heard, least",
            ],
            rows,
        ),
        _counted("Trials", results),
        "",
    ]


def edges(barge_ins: Mapping[Who, Sequence[BargeIn]], cuts: Edges) -> list[str]:
    def around(who: Who, edge: str) -> Edges:
        trials = barge_ins.get(who, ())
        return [(t.steps[edge], t.undisturbed) for t in trials if edge in t.steps]

    rows = {
        "duck": around("ours", "duck"),
        "pause": around("ours", "pause"),
        "resume": around("ours", "resume"),
        "cut by the application": cuts,
        "earlier rules: flush": around("earlier", "flush"),
    }
    return [
        "## Edges",
        "",
        "The largest step between two samples at the listener around each edge, against the "
        "largest one of the same reply undisturbed: much above 1 it is a click.",
        "",
        *table(
            ["", "edges", "p50, ×", "largest, ×"],
            [[name, *_steps(steps)] for name, steps in rows.items() if steps],
        ),
    ]


def _steps(steps: Edges) -> list[str]:
    ratios = [step / max(1, undisturbed) for step, undisturbed in steps]
    return [f"{len(ratios)}", f"{np.median(ratios):.2f}", f"{max(ratios):.2f}"]


def trouble(results: Mapping[tuple[Who, str], TroubleTrial]) -> list[str]:
    replies, barge_ins = [], []
    for name in TROUBLES:
        ours, earlier = (results.get((who, name)) for who in NAMES)
        if ours is None or earlier is None:
            continue
        replies.append(
            [
                name,
                _percent(ours.share),
                _percent(earlier.share),
                _ratio(earlier.share, ours.share),
                _holes(ours),
                _holes(earlier),
                f"{ours.underruns}",
                _plain(ours.step / results["ours", "none"].step, 2),
                _plain(earlier.step / results["earlier", "none"].step, 2),
            ]
        )
        mine, other = _silent_p50(ours), _silent_p50(earlier)
        barge_ins.append(
            [
                name,
                _ms(mine),
                _ms(other),
                _ratio(other, mine),
                _measured(ours.barge_ins),
                _measured(earlier.barge_ins),
            ]
        )
    return [
        "## Trouble",
        "",
        f"A reply of {TROUBLE_REPLY_MS / 1000:.0f} s that nobody disturbs. Holes are those of more "
        "than 10 ms, their number and the length of the longest one in ms; steps are against those "
        "of the same reply without trouble.",
        "",
        *table(
            [
                "",
                "share heard, ours",
                "earlier rules",
                "ratio",
                "holes, ours",
                "earlier rules",
                "underruns, as ours counts them",
                "largest step, ours, ×",
                "earlier rules, ×",
            ],
            replies,
        ),
        "Barge-in to silence, p50 in ms, in the same calls. In one call the phases of the two SDKs "
        "stay as they are: ± 10 ms.",
        "",
        *table(
            ["", "ours", "earlier rules", "ratio", "measured, ours", "measured, earlier rules"],
            barge_ins,
        ),
    ]


def _holes(trial: TroubleTrial) -> str:
    return f"{len(trial.holes)} / {_ms(max(trial.holes, default=0.0))}"


def _silent_p50(trial: TroubleTrial) -> float:
    return _percentile([each.silent for each in _quiet(trial.barge_ins)], 50)


def _measured(trials: Sequence[BargeIn]) -> str:
    """Return the number of trials that count, as text."""
    return f"{sum(trial.silent is not None for trial in _quiet(trials))} of {len(trials)}"


# -- cells -----------------------------------------------------------------------------------------


def _quiet(trials: Sequence[Any]) -> list[Any]:
    """Return the trials during which the machine did not stand still."""
    return [trial for trial in trials if not trial.disturbed]


def _counted(what: str, results: Mapping[Who, Sequence[Any]]) -> str:
    parts = []
    for who, trials in results.items():
        out = len(trials) - len(_quiet(trials))
        left = f"; {out} more left out: the machine stood still" if out else ""
        parts.append(f"{len(trials) - out} ({NAMES[who]}{left})")
    return f"{what}: {', '.join(parts)}."


def _percentile(values: Sequence[float | None], percent: float) -> float:
    known = [value for value in values if value is not None]
    return float(np.percentile(known, percent)) if known else math.nan


def _median_and_range(seconds: Sequence[float]) -> str:
    """Return the median in ms, with the least and the greatest if they differ by 1 ms and more."""
    median, least, most = (_ms(_percentile(seconds, percent)) for percent in (50, 0, 100))
    return median if least == most else f"{median} ({least} to {most})"


def _ms(seconds: float) -> str:
    return NOTHING if math.isnan(seconds) else f"{round(seconds * 1000) + 0}"  # + 0: no minus zero


def _plain(value: float, digits: int) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def _percent(share: float) -> str:
    if math.isnan(share):
        return NOTHING
    return "100 %" if share > 0.9995 else f"{100 * share:.1f} %"


def _ratio(earlier: float, ours: float) -> str:
    if math.isnan(earlier) or math.isnan(ours):
        return NOTHING
    if ours == 0:
        return "∞" if earlier else "1.00"
    return f"{earlier / ours:.2f}"


__all__ = [
    "barge_in_latency",
    "beside_peer",
    "company",
    "edges",
    "first_barge_ins",
    "share_after_speech",
    "small_sounds",
    "stalls",
    "trouble",
    "way",
]
