#!/usr/bin/env python3
"""Measure turn-taking end to end: latency of giving way, and the heard share of replies.

    python benches/barge_in.py [--quick] [--only PART,...] [--trials N] [--minutes M] [--repeats R]

Both local servers run here, the assistant and the person each in a process of its own, with the
real Stream SDK and the real google-genai SDK. Prints Markdown tables. A whole run (about 30
minutes) writes them to `benches/results/barge_in.md`, and a chart of an interrupted turn to
`barge_in.svg`; a part of one, or a quick one (about two minutes), writes only with `--results`.

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
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from command_line import RESULTS, parser_of, parts_of, progress, publish, versions
from report import machine
from turn_taking import tables, trials
from turn_taking.picture import picture
from turn_taking.trials import BOTH, CASES, COMPANIES, FIRST_AT_S, TROUBLES, ReconnectAttempt

PACKAGES = ("getstream-plugins-gemini", "getstream", "getstream-rtc", "google-genai", "numpy")

PARTS = (
    "latency",
    "first-barge-in",
    "conversation",
    "small-sounds",
    "stalls",
    "cuts",
    "trouble",
    "people",
    "picture",
)
SHORT_CALL_S = 46.0
"""Length of the conversation with the earlier rules: one reply per possible start."""

QUICK_PARTS = ("latency", "conversation", "picture")


async def measure(plan: ReconnectAttempt, parts: list[str]) -> tuple[list[str], str]:
    """Measure the parts, one after the other; return the lines of the report, and the chart."""
    lines: list[str] = []
    barge_ins: dict[Any, Any] = {}
    drawn = ""
    if "latency" in parts:
        for who in BOTH:
            count = plan.barge_ins if who == "ours" else -(-plan.barge_ins // 3)
            barge_ins[who] = await trials.barge_in_latency(plan, who, count)
            progress(f"barge-in latency, {who}: {len(barge_ins[who])} trials")
        lines += tables.barge_in_latency(barge_ins)
    if "first-barge-in" in parts:
        firsts = {}
        for moment in FIRST_AT_S:
            firsts[moment] = await trials.first_barge_ins(plan, moment, 6 * plan.repeats)
            progress(f"first barge-in, {moment}: {len(firsts[moment])} trials")
        lines += tables.first_barge_ins(firsts)
    if "conversation" in parts:
        exchanges = {"ours": await trials.conversation(plan, "ours", plan.minutes * 60)}
        progress(f"conversation, ours: {len(exchanges['ours'])} turns")
        seconds = min(plan.minutes * 60, SHORT_CALL_S)
        exchanges["earlier"] = await trials.conversation(plan, "earlier", seconds)
        progress(f"conversation, earlier: {len(exchanges['earlier'])} turns")
        lines += tables.way(exchanges["ours"])
        lines += tables.share_after_speech(exchanges)
    if "small-sounds" in parts:
        lines += tables.small_sounds(
            await for_both(CASES, lambda who, case: trials.small_sounds(plan, who, case))
        )
    if "stalls" in parts:
        stalled = {}
        for who in BOTH:
            stalled[who] = await trials.stalls(plan, who)
            progress(f"stalls, {who}: {len(stalled[who])} trials")
        lines += tables.stalls(stalled)
    if "cuts" in parts:
        cuts = await trials.cuts(plan)
        progress(f"cuts: {len(cuts)}")
        lines += tables.edges(barge_ins, cuts)
    if "trouble" in parts:
        lines += tables.trouble(
            await for_both(TROUBLES, lambda who, name: trials.trouble(plan, who, name))
        )
    if "people" in parts:
        companies = {}
        for name in COMPANIES:
            companies[name] = await trials.company(plan, name)
            progress(name)
        lines += tables.company(companies)
    if "picture" in parts:
        drawn = await picture(plan)
        progress("picture")
    return lines, drawn


async def for_both(
    cases: Any, run: Callable[[Any, str], Awaitable[Any]]
) -> dict[tuple[Any, str], Any]:
    """Run each case with each assistant."""
    found = {}
    for case in cases:
        for who in BOTH:
            found[who, case] = await run(who, case)
            progress(f"{case}, {who}")
    return found


def head(plan: ReconnectAttempt, seconds: float) -> list[str]:
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
        "in another process, through the real SDKs and local servers: no distance is in it.",
        "",
    ]


def main() -> None:
    parser = parser_of(__doc__, PARTS)
    add = parser.add_argument
    add("--quick", action="store_true", help=f"few trials of {', '.join(QUICK_PARTS)}")
    add("--trials", type=int, help="barge-ins whose latency is measured")
    add("--minutes", type=float, help="length of the long call")
    add("--repeats", type=int, help="how often everything else is repeated")
    add("--seed", type=int, default=1, help="chooses the moments")
    options = parser.parse_args()
    parts = parts_of(parser, options.only, PARTS)
    if options.quick and not options.only:
        parts = list(QUICK_PARTS)
    whole = not (options.only or options.quick)

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="barge-in-") as temporary:
        plan = ReconnectAttempt(Path(temporary), seed=options.seed)
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
    publish(lines, drawn, "barge_in", options.results or (RESULTS if whole else None))


if __name__ == "__main__":
    main()
