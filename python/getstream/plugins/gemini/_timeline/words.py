"""Words of the picture: summary, description, tooltips."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator

from .axis import Event
from .model import SIDES, Latency, Span, Timeline, Who
from .text import clean, clock_text, count_text, delay_text, length_text


def summary_of(timeline: Timeline) -> str:
    """Return the key numbers in one line."""
    turns = Counter(span.who for span in timeline.spans)
    facts = [length_text(timeline.length)]
    if timeline.spans:
        each = " + ".join(f"{turns[who]} {who}" for who in SIDES if turns[who])
        facts.append(f"{count_text(len(timeline.spans), 'turn')} ({each})")
    by_label: dict[str, list[float]] = {}
    for latency in timeline.latencies:
        by_label.setdefault(clean(latency.label) or "latency", []).append(latency.seconds)
    for label, seconds in by_label.items():
        text = f"{label} {delay_text(statistics.median(seconds))}"
        if len(seconds) > 1:
            text += f" (median of {len(seconds)}, longest {delay_text(max(seconds))})"
        facts.append(text)
    return " · ".join(facts)


def description(timeline: Timeline, summary: str) -> str:
    """Return the picture in words, for those who cannot see it."""
    names = " and ".join(name_of(timeline, who) for who in SIDES)
    kinds = ", ".join(f"{kind} {number}" for kind, number in Counter(kinds_of(timeline)).items())
    text = f"Waveforms of {names} on one time axis. {summary}."
    return f"{text} Events: {kinds}." if kinds else text


def name_of(timeline: Timeline, who: Who) -> str:
    """Return the name of a side: that of its track, or the side's own."""
    return clean(timeline.track(who).name) or who.capitalize()


def kinds_of(timeline: Timeline) -> Iterator[str]:
    """Yield the kinds of all marks in order of time."""
    return (clean(mark.kind) for mark in sorted(timeline.marks, key=lambda mark: mark.time))


def interval_title(event: Event[Span] | Event[Latency], *facts: str) -> str:
    """Return the tooltip of a turn or a latency: a fact, its times, more facts."""
    item = event.item
    outside = " (reaches outside the recording)" if event.clamped else ""
    times = (
        f"{clock_text(item.start)} to {clock_text(item.end)}, {delay_text(item.end - item.start)}"
    )
    return ", ".join(filter(None, (facts[0], f"{times}{outside}", *facts[1:])))
