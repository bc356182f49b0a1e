"""Trial: a webhook comes fifty times at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from .stage import Served, Stage, reporting
from .verdicts import Goal, Result, none_of

COPIES = 50

SETTLED_S = 3.0
"""Time after the first assistant has joined in which a second one would."""


async def webhooks(
    stage: Stage, served: Served, times: int, on_done: Callable[[int], None]
) -> Result:
    """Send one webhook fifty times at once, and count the assistants that come."""
    calls = [f"webhook-{number}" for number in range(times)]
    answers: Counter[str] = Counter()
    started, ever, at_once = [], [], []
    async with stage.people(*calls) as people, stage.presence() as presence:
        for number, call in enumerate(calls):
            found = await asyncio.gather(*(served.webhook(call) for _ in range(COPIES)))
            answers.update(str(code) for code, _ in found)
            started.append(sum(code == 201 for code, _ in found))
            await people.wait_reports("heard_from", 1, call=call)
            await asyncio.sleep(SETTLED_S)
            ever.append(len(presence.sessions[call]))
            at_once.append(len(stage.assistants(call)))
            on_done(number + 1)
        holders = [
            sum(f"default:{call}" in each["report"]["calls"] for each in workers.values())
            for workers in [reporting(await served.status())]
            for call in calls
        ]
        await served.end_calls(*calls)
    refused = sum(count for code, count in answers.items() if not code.startswith("2"))
    return Result(
        "webhooks",
        f"The same webhook comes {COPIES} times at once, in {times} calls",
        (
            Goal("assistants in a call, most", max(at_once), 1, kind="exactly"),
            Goal("assistants that ever published in a call, most", max(ever), 1, kind="exactly"),
            Goal("workers that hold a call, most", max(holders), 1, kind="exactly"),
            none_of("webhooks refused", refused, COPIES * times),
        ),
        (f"answers: {', '.join(f'{n} times {code}' for code, n in sorted(answers.items()))}",),
        {"answers": dict(answers), "started": started, "ever": ever, "at_once": at_once},
    )
