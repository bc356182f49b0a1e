#!/usr/bin/env python3
"""Measure turn-taking end to end: latency of giving way, and the heard share of replies.

    python benches/barge_in.py [--quick] [--only PART,...] [--trials N] [--minutes M] [--repeats R]
                               [--results DIR]

Both local servers run here, the assistant and the person each in a process of its own, with the
real Stream SDK and the real google-genai SDK. Prints Markdown tables, and writes them to
`barge_in.md`, and a chart of an interrupted turn to `barge_in.svg`: a whole run (about 30 minutes)
with `PUBLISH=1` to `benches/results`, otherwise to `target/bench-results`. A quick run takes about
two minutes.

This package ("ours") is compared with a model of the earlier plugin's rules of turn-taking on the
same SDKs ("earlier rules"), which `turn_taking/earlier.py` describes. It is a model of those rules,
not that plugin.

Parts:

* `latency`: barge-in latency. From the time at which the talker's SDK has the first loud sample of
  an opening (`sounds.py` says what is loud) to the assistant being ducked and silent at the
  listener (`hearing.py` says when it is). The talker and the listener are one process. The time in
  between is cut at: the frame with the first loud sample is with the assistant's handler; the
  detector gives a first sign (our duck); it pauses; the time for which the SDK has the first frame
  with the pause. A microphone would add its own frame of 10 or 20 ms.
* `first-barge-in`: the same latency for the first barge-in of a call, by a person who sends no
  echo: after the assistant has been heard for half a second over a quiet microphone, and before
  that. Each is a call of its own.
* `peer`: Vision-Agents, unchanged, on the SDK that it asks for, in an environment of its own,
  beside this package: the way to the service and back, and barge-ins, with a service that
  interrupts, and with one that hears nothing. Left out where it is not installed
  (`make bench-barge-in` installs it).
* `conversation`: a long call in which the person speaks and the model replies, 0 to 1000 ms after
  the last loud sample. The share of each reply that is heard. And for each reply the one-way delay:
  from the time of `playback_started` to the reply's first sample at the listener.
* `stalls`: the assistant's event loop computes for 30, 60 and 120 ms in the middle of a reply.
* `small-sounds`: a click, a synthesized cough and a short recorded word in a reply of 5 s. How much
  of the reply is never heard, and by how much its end is later than its beginning. With the
  service's turn open (it says `turnComplete` when the reply would have been played), and complete
  (it says so when all is sent); and with a service that itself takes each of them for speech.
* `cuts`: the application cuts a reply at full level. With the edges of `latency`.
* `trouble`: loss, jitter, and a service that sends in bursts, stalls, or is slow.
* `people`: two and five people in the call, one of whom has a network with jitter, or sends Opus
  DTX: what of the words of another one is sent to the service, and barge-in.
* `picture`: one turn that was interrupted by a short word, and resumed.

A trial during which the machine stood still (a process that wants to run every 2 ms was 10 ms late)
is left out of the latencies, and counted.
"""

from __future__ import annotations

import asyncio
import datetime
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from command_line import parser_of, parts_of, publish, results_folder, versions
from progress import Progress
from report import machine
from turn_taking import tables, trials
from turn_taking.call import PEER, PEER_PYTHON
from turn_taking.picture import picture
from turn_taking.trials import BOTH, CASES, COMPANIES, FIRST_AT_S, TROUBLES, Plan

PACKAGES = ("getstream-plugins-gemini", "getstream", "getstream-rtc", "google-genai", "numpy")

PARTS = {
    "latency": 300.0,
    "first-barge-in": 220.0,
    "peer": 280.0,
    "conversation": 680.0,
    "small-sounds": 400.0,
    "stalls": 80.0,
    "cuts": 30.0,
    "trouble": 180.0,
    "people": 150.0,
    "picture": 20.0,
}
"""Parts, with the seconds that each takes, roughly: for the time that is left."""

SHORT_CALL_S = 46.0
"""Length of the conversation with the earlier rules: one reply per possible start."""

QUICK_PARTS = ("latency", "conversation", "picture")


async def measure(plan: Plan, parts: list[str]) -> tuple[list[str], str]:
    """Measure the parts, one after the other; return the lines of the report, and the chart."""
    lines: list[str] = []
    barge_ins: dict[Any, Any] = {}
    drawn = ""
    progress = Progress({part: PARTS[part] for part in parts})
    if "latency" in parts:
        for who in BOTH:
            count = plan.barge_ins if who == "ours" else -(-plan.barge_ins // 3)
            barge_ins[who] = await trials.barge_in_latency(plan, who, count)
            share = 0.75 if who == "ours" else 0.25
            progress.done("latency", share, f"barge-in latency, {who}: {count} trials")
        lines += tables.barge_in_latency(barge_ins)
    if "first-barge-in" in parts:
        firsts = {}
        for moment in FIRST_AT_S:
            firsts[moment] = await trials.first_barge_ins(plan, moment, 6 * plan.repeats)
            progress.done("first-barge-in", 1 / len(FIRST_AT_S), f"first barge-in, {moment}")
        lines += tables.first_barge_ins(firsts)
    if "peer" in parts:
        lines += await measure_peer(plan, progress)
    if "conversation" in parts:
        exchanges = {"ours": await trials.conversation(plan, "ours", plan.minutes * 60)}
        progress.done("conversation", 0.9, f"conversation, ours: {len(exchanges['ours'])} turns")
        seconds = min(plan.minutes * 60, SHORT_CALL_S)
        exchanges["earlier"] = await trials.conversation(plan, "earlier", seconds)
        turns = len(exchanges["earlier"])
        progress.done("conversation", 0.1, f"conversation, earlier: {turns} turns")
        lines += tables.way(exchanges["ours"])
        lines += tables.share_after_speech(exchanges)
    if "small-sounds" in parts:
        small = await for_both(
            CASES,
            lambda who, case: trials.small_sounds(plan, who, case),
            lambda share, text: progress.done("small-sounds", share, text),
        )
        lines += tables.small_sounds(small)
    if "stalls" in parts:
        stalled = {}
        for who in BOTH:
            stalled[who] = await trials.stalls(plan, who)
            progress.done("stalls", 0.5, f"stalls, {who}: {len(stalled[who])} trials")
        lines += tables.stalls(stalled)
    if "cuts" in parts:
        cuts = await trials.cuts(plan)
        progress.done("cuts", 1.0, f"cuts: {len(cuts)}")
        lines += tables.edges(barge_ins, cuts)
    if "trouble" in parts:
        troubled = await for_both(
            TROUBLES,
            lambda who, name: trials.trouble(plan, who, name),
            lambda share, text: progress.done("trouble", share, text),
        )
        lines += tables.trouble(troubled)
    if "people" in parts:
        companies = {}
        for name in COMPANIES:
            companies[name] = await trials.company(plan, name)
            progress.done("people", 1 / len(COMPANIES), name)
        lines += tables.company(companies)
    if "picture" in parts:
        drawn = await picture(plan)
        progress.done("picture", 1.0, "picture")
    return lines, drawn


async def measure_peer(plan: Plan, progress: Progress) -> list[str]:
    """Measure this package and the peer; only a line that says so if the peer is not there."""
    if not PEER_PYTHON.exists():
        progress.done("peer", 1.0, f"{tables.PEER_NAME} is left out: no {PEER_PYTHON}")
        return [f"{tables.PEER_NAME} was left out: it is not installed.", ""]
    found = {}
    pairs = [(who, interrupts) for interrupts in (True, False) for who in ("ours", PEER)]
    for who, interrupts in pairs:
        found[who, interrupts] = await trials.beside_peer(plan, who, interrupts, 8 * plan.repeats)
        name = "the service interrupts" if interrupts else "the service hears nothing"
        progress.done("peer", 1 / len(pairs), f"beside a peer, {who}: {name}")
    return tables.beside_peer(found)


async def for_both(
    cases: Any,
    run: Callable[[Any, str], Awaitable[Any]],
    done: Callable[[float, str], None],
) -> dict[tuple[Any, str], Any]:
    """Run each case with each assistant; `done` is told the share and the name of each run."""
    found = {}
    for case in cases:
        for who in BOTH:
            found[who, case] = await run(who, case)
            done(1 / len(cases) / len(BOTH), f"{case}, {who}")
    return found


def head(plan: Plan, seconds: float) -> list[str]:
    still = "It never stood still for 10 ms."
    if plan.stalls:
        longest = max(plan.stalls) * 1000
        still = (
            f"It stood still {len(plan.stalls)} times for 10 ms and more, {longest:.0f} ms at most."
        )
    return [
        "# Turn-taking, end to end",
        "",
        f"{datetime.date.today()}, {machine()}; {seconds / 60:.0f} minutes. {still} "
        f"{versions(PACKAGES)}.",
        "",
        "“Ours” is this package. “Earlier rules” is a model of the earlier plugin's rules of "
        "turn-taking on the same SDKs, with their sources in `benches/turn_taking/earlier.py`. A "
        "ratio is the number of the earlier rules over ours. Everything is measured at a listener "
        "in another process, through the real SDKs and local servers: no distance is in it."
        + peer_versions(),
        "",
    ]


def peer_versions() -> str:
    """Return a sentence with the versions of the peer's environment; empty without one."""
    if not PEER_PYTHON.exists():
        return ""
    program = (
        "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in %r), sep=', ')"
    )
    names = ("vision-agents", "vision-agents-plugins-gemini", "getstream", "google-genai")
    ran = subprocess.run(
        [str(PEER_PYTHON), "-c", program % (names,)], capture_output=True, text=True, check=True
    )
    return f" {tables.PEER_NAME}: {ran.stdout.strip()}."


def main() -> None:
    parser = parser_of(__doc__, [*PARTS])
    add = parser.add_argument
    add("--quick", action="store_true", help=f"few trials of {', '.join(QUICK_PARTS)}")
    add("--trials", type=int, help="barge-ins whose latency is measured")
    add("--minutes", type=float, help="length of the long call")
    add("--repeats", type=int, help="how often everything else is repeated")
    add("--seed", type=int, default=1, help="chooses the moments")
    options = parser.parse_args()
    parts = parts_of(parser, options.only, [*PARTS])
    if options.quick and not options.only:
        parts = list(QUICK_PARTS)
    whole = not (
        options.only or options.quick or options.trials or options.minutes or options.repeats
    )

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="barge-in-") as temporary:
        plan = Plan(Path(temporary), seed=options.seed)
        if options.quick:
            plan.barge_ins, plan.minutes, plan.repeats = 8, 0.5, 1
        plan.barge_ins = options.trials or plan.barge_ins
        plan.minutes = options.minutes or plan.minutes
        plan.repeats = options.repeats or plan.repeats
        lines, drawn = asyncio.run(measure(plan, parts))
    lines = head(plan, time.monotonic() - began) + lines
    lines.append(
        "How it is measured: `benches/barge_in.py`. Run it yourself: `make bench-barge-in`."
    )
    publish(lines, drawn, "barge_in", results_folder(options.results, whole))


if __name__ == "__main__":
    main()
