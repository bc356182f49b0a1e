"""Draw one turn that is interrupted by a short word, and resumed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from getstream.plugins.gemini._timeline import Latency, Mark, Span, Timeline, Track, render_svg
from getstream.plugins.gemini.testing.signals import align

from .call import Call, Service
from .hearing import Heard
from .sounds import RATE, Int16, Sound, clip, faded, short_word
from .trials import Plan, sleep_until

ANSWER = slice(round(0.10 * RATE), round(2.72 * RATE))
ANSWER_TEXT = "Hello everyone. How can I help you today?"
INTERRUPTED_AT_S = 1.48  # "How can I help": it speaks, and after the pause it has something to say
BEFORE_S, SHOWN_S = 0.2, 3.8
DUCK_S, FADE_S = 0.010, 0.005  # see `Playback`
TRIES = 5


async def picture(plan: Plan) -> str:
    """Hold a call, and draw a turn of it, with both sides as they were said and heard.

    In one case of four, the first evidence of speech and its confirmation come in one frame of the
    call, without a duck: the drawn turn is the first one with a duck.
    """
    answer = faded(clip("greeting.wav")[ANSWER], fade_in_ms=5)
    word = short_word()
    turns = []
    async with plan.call("ours", Service()) as call:
        for _ in range(TRIES):
            began = call.reply(answer)
            await sleep_until(began + INTERRUPTED_AT_S + plan.random.uniform(0, 0.02))
            turns.append((began, await call.say(word)))
            await sleep_until(began + SHOWN_S + 0.2)
    drawn = next((turn for turn in turns if _has_duck(call, *turn)), turns[0])
    return render_svg(_timeline(call, word, *drawn))


def _has_duck(call: Call, began: float, said_at: float) -> bool:
    events = call.events("duck", "pause")
    after = [event["event"] for event in events if said_at < event["t"] < began + SHOWN_S]
    return after[:2] == ["duck", "pause"] and not call.disturbed(began, began + SHOWN_S)


def _timeline(call: Call, word: Sound, began: float, said_at: float) -> Timeline:
    heard, zero = call.heard(), began - BEFORE_S
    due, frames = call.handed()
    started = next(event["t"] for event in call.events("playback_started") if event["t"] > began)
    first = int(np.searchsorted(due, started - 0.001))
    way = _way(heard, float(due[first]), frames[first : first + 50].reshape(-1))
    events = [
        (float(due[min(event["frame"], len(due) - 1)]) + way - zero, event)
        for event in call.events("duck", "pause", "resume")
        if said_at < event["t"] < began + SHOWN_S
    ]
    said = np.zeros(round(SHOWN_S * RATE), np.int16)
    at = round((said_at - zero) * RATE)
    said[at : at + len(word.samples)] = word.samples
    seen = heard.between(zero, zero + SHOWN_S)
    loud = np.flatnonzero(np.abs(seen.astype(int)) > 300)
    before = heard.level(said_at - 0.2, said_at - 0.02)
    silent = heard.silent_from(said_at, said_at + 0.6, before)
    says, ends = said_at - zero, said_at - zero + len(word.samples) / RATE
    latencies = []
    if silent is not None:
        latencies = [Latency(says, silent - zero, "from the first loud sample to silence")]
    return Timeline(
        person=Track(said, RATE, "Person"),
        assistant=Track(seen, RATE, "Assistant"),
        spans=[
            Span("person", says, ends, "(a short word)"),
            Span("assistant", started + way - zero, float(loud[-1]) / RATE, ANSWER_TEXT, "resumed"),
        ],
        marks=[Mark(t, event["event"], _label(event)) for t, event in events if _lowers(event)],
        latencies=latencies,
        gain=_gain(events),
        title="A short word: the assistant gives way, and goes on where it stopped",
        subtitle="The person as they spoke, the assistant as the person heard it, on one clock",
    )


def _lowers(event: dict[str, Any]) -> bool:
    """Return whether an event gets a mark: the end of a duck coincides with the resume."""
    return event["event"] != "duck" or event["arguments"][0] < 0


def _label(event: dict[str, Any]) -> str:
    return f"−{-event['arguments'][0]:.0f} dB" if event["event"] == "duck" else ""


def _gain(events: list[tuple[float, dict[str, Any]]]) -> list[tuple[float, float]]:
    """Return the commanded gain of the playback over time."""
    points, paused, duck = [(0.0, 0.0)], False, 0.0
    for time, event in events:
        takes = FADE_S
        if event["event"] == "duck":
            duck, takes = float(event["arguments"][0]), DUCK_S
        else:
            paused = event["event"] == "pause"
        before, after = points[-1][1], -math.inf if paused else duck
        if after != before:
            begin = max(time, points[-1][0])
            points += [(begin, before), (begin + takes, after)]
    return [*points, (SHOWN_S, points[-1][1])]


def _way(heard: Heard, due: float, handed: Int16) -> float:
    """Return the delay in seconds from a sample's due time at the SDK until it is heard."""
    where = align(handed, heard.between(due - 0.1, due + len(handed) / RATE + 0.3), RATE)
    return heard.time_of(heard.index_of(due - 0.1) + round(where.offset_samples)) - due
