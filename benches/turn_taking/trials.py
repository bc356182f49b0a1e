"""Parts of the measurement. Each holds one or two calls, and evaluates their records.

Times are seconds on the clock that all programs share. "Ours" is this package, "earlier" the model
of the earlier plugin's rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from getstream.plugins.gemini.testing import LocalServers, Person, Stall

from .call import Bystander, Call, Impair, Service, Who, hold_call
from .hearing import STEADY_FROM_S, Heard, find_reply
from .sounds import (
    FRAME,
    FULL_SCALE,
    LOUD_DBFS,
    RATE,
    Int16,
    Sound,
    click,
    cough,
    openings,
    phrase,
    reply,
    short_word,
)

REPLY_DBFS = -20.0

AUDIBLE_DBFS = -26.0
"""Least level before a barge-in in dBFS: below it, the reply was not audible."""

BARGE_IN_MS = 1000
BARGE_IN_AT_S = 0.42
"""Length of interrupted replies, and time of the barge-in: half of it, less 0.1 s of latency."""

REST_S = {"ours": 1.15, "earlier": 1.2}
"""Time from the end of the person's sound to the next trial, in seconds.

The assistant speaks again 400 ms and 1000 ms after the speech; the rest of a reply takes another
half second."""

TRIALS_IN_A_CALL = 8

BOTH: tuple[Who, ...] = ("ours", "earlier")


@dataclass
class Plan:
    """Extent of the measurement.

    Attributes:
        folder: Folder for the files of the calls' programs.
        barge_ins: Number of trials of the barge-in latency.
        minutes: Length of the long call.
        repeats: Number of trials of every other kind.
        seed: Seed of the random times.
        stalls: Stalls of the machine, in seconds each.
    """

    folder: Path
    barge_ins: int = 51
    minutes: float = 10.0
    repeats: int = 2
    seed: int = 1
    stalls: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._calls = itertools.count()

    @contextlib.asynccontextmanager
    async def call(
        self, who: Who, service: Service, impair: Impair | None = None, **options: Any
    ) -> AsyncIterator[Call]:
        """Hold a call, and record its stalls; see `hold_call`."""
        folder = self.folder / f"call-{next(self._calls)}"
        async with hold_call(who, service, folder, impair, **options) as call:
            yield call
        self.stalls += [ended - began for began, ended in call.stalls]


async def sleep_until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - time.monotonic()))


# -- barge-in --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BargeIn:
    """Result of one barge-in.

    Attributes:
        sound: Name of the person's sound.
        silent: Time from the SDK's first loud sample until the assistant was silent; None if it was
            not within 600 ms, or had not been speaking.
        ducked: Time until it was ducked; None for rules without a duck.
        parts: Parts of `silent`, in order; empty if one of them is not known.
        duck_parts: Parts of `ducked`.
        steps: Largest step around each edge, by the name of the edge.
        undisturbed: Largest step of the same reply when nobody disturbs it.
        disturbed: True if the machine stood still meanwhile.
    """

    sound: str
    silent: float | None = None
    ducked: float | None = None
    parts: tuple[float, ...] = ()
    duck_parts: tuple[float, ...] = ()
    steps: dict[str, int] = field(default_factory=dict)
    undisturbed: int = 0
    disturbed: bool = False


async def barge_in_latency(plan: Plan, who: Who, count: int) -> list[BargeIn]:
    """Measure barge-ins into replies, with many different first words.

    The service detects no speech, so only the assistant itself can stop its reply. The clocks of
    the two SDKs, which send a frame each 20 ms, have one phase in a call: hence several calls.
    """
    sounds = _shuffled(openings(), count, plan.random)
    found = []
    for first in range(0, len(sounds), TRIALS_IN_A_CALL):
        async with plan.call(who, Service()) as call:
            whole = call.reply(reply(BARGE_IN_MS, seed=1))
            await sleep_until(whole + BARGE_IN_MS / 1000 + 0.4)
            said = await _barge_in(call, who, plan, sounds[first : first + TRIALS_IN_A_CALL])
        found += _barge_ins(call, said, whole)
    return found


async def _barge_in(
    call: Call, who: Who, plan: Plan, sounds: Sequence[Sound]
) -> list[tuple[Sound, float]]:
    """Say each sound into a reply of its own; return the sounds with their times."""
    answer = reply(BARGE_IN_MS, seed=1)
    said = []
    for sound in sounds:
        began = call.reply(answer)
        await sleep_until(began + BARGE_IN_AT_S + plan.random.uniform(0, 0.02))
        at = await call.say(sound)
        said.append((sound, at))
        rest = REST_S[who] + plan.random.uniform(0, 0.02)
        await sleep_until(at + len(sound.samples) / RATE + rest)
    return said


def _barge_ins(
    call: Call, said: Sequence[tuple[Sound, float]], whole: float | None = None
) -> list[BargeIn]:
    """Evaluate barge-ins; `whole` is the time at which an undisturbed reply began to be sent."""
    heard, loud = call.heard(), _loud_arrivals(call.arrivals())
    undisturbed = 0
    if whole is not None:
        undisturbed = heard.largest_step(whole + STEADY_FROM_S, whole + BARGE_IN_MS / 1000 + 0.3)
    return [_one_barge_in(call, heard, loud, sound, at, undisturbed) for sound, at in said]


def _one_barge_in(
    call: Call,
    heard: Heard,
    loud: Sequence[float],
    sound: Sound,
    at: float,
    undisturbed: int,
    within: float = 0.6,
) -> BargeIn:
    before = heard.level(at - 0.2, at - 0.02)
    silent = heard.silent_from(at, at + within, before)
    if silent is None or before < AUDIBLE_DBFS:
        return BargeIn(sound.name)
    since = [event for event in call.events("duck", "pause", "resume", "flush") if event["t"] > at]
    decided = [event for event in since if event["t"] < silent]
    arrived = next((t for t in loud if t > at), at)
    pause = next((event for event in decided if event["event"] == "pause"), None)
    resume = next((event for event in since if event["event"] == "resume"), None)
    ducked, parts, duck_parts, steps = None, (), (), {}
    if decided and decided[0]["event"] == "flush":
        flushed = decided[0]["t"]
        parts = _differences(at, arrived, flushed, flushed, flushed, silent)
        steps["flush"] = heard.largest_step(flushed, silent + 0.02)
    elif pause is not None:
        due, _ = call.handed()
        evidence = decided[0]  # the duck; or the pause, if one frame of the call brought both
        ducked = heard.ducked_from(at, silent, before)
        to_duck, to_pause = float(due[evidence["frame"]]), float(due[pause["frame"]])
        parts = _differences(at, arrived, evidence["t"], pause["t"], to_pause, silent)
        duck_parts = _differences(at, arrived, evidence["t"], to_duck, ducked)
        steps["duck"] = heard.largest_step(ducked - 0.02, ducked + 0.01)
        steps["pause"] = heard.largest_step(pause["t"], silent + 0.02)
    if resume is not None:
        steps["resume"] = heard.largest_step(resume["t"], resume["t"] + 0.15)
    return BargeIn(
        sound.name,
        silent - at,
        None if ducked is None else ducked - at,
        parts,
        duck_parts,
        steps,
        undisturbed,
        call.disturbed(at - 0.03, silent),
    )


def _loud_arrivals(arrivals: Heard) -> list[float]:
    """Return the arrival time of each frame with a loud sample at the assistant."""
    loud = FULL_SCALE * 10 ** (LOUD_DBFS / 20)
    frames = zip(arrivals.starts, arrivals.came, strict=True)
    return [
        float(came)
        for start, came in frames
        if np.abs(arrivals.samples[start : start + FRAME].astype(int)).max(initial=0) >= loud
    ]


def _differences(*times: float) -> tuple[float, ...]:
    return tuple(later - earlier for earlier, later in itertools.pairwise(times))


# -- the first barge-in of a call ------------------------------------------------------------------

FIRST_AT_S = {
    "after the assistant was heard for half a second": (0.75, 0.95),
    "before that": (0.32, 0.42),
}
"""Time of the person's speech, from and to, in seconds after the start of the first reply.

The service begins to send the reply at 0; it is heard from about 0.1 s on."""

FIRST_REPLY_MS = 3000
FIRST_WITHIN_S = 1.2
"""Longest time until the assistant is silent, in seconds: it checks for an echo first."""


@dataclass(frozen=True)
class FirstBargeIn:
    """First barge-in of a call.

    Attributes:
        barge_in: Its result.
        heard: Time for which the assistant had been playing when the person spoke, in seconds.
        disturbed: True if the machine stood still meanwhile.
    """

    barge_in: BargeIn
    heard: float

    @property
    def disturbed(self) -> bool:
        return self.barge_in.disturbed


async def first_barge_ins(plan: Plan, moment: str, count: int) -> list[FirstBargeIn]:
    """Measure barge-ins into the first words of a call, by a person who sends no echo.

    Each is a call of its own, without any speech before.
    """
    earliest, latest = FIRST_AT_S[moment]
    found = []
    for sound in _shuffled(openings(), count, plan.random):
        async with plan.call("ours", Service(), warm_up=False) as call:
            began = call.reply(reply(FIRST_REPLY_MS, seed=700))
            await sleep_until(began + plan.random.uniform(earliest, latest))
            at = await call.say(sound)
            await sleep_until(at + FIRST_WITHIN_S + 0.3)
        heard, loud = call.heard(), _loud_arrivals(call.arrivals())
        started = [event["t"] for event in call.events("playback_started") if event["t"] < at]
        barge_in = _one_barge_in(call, heard, loud, sound, at, 0, FIRST_WITHIN_S)
        found.append(FirstBargeIn(barge_in, at - started[0] if started else 0.0))
    return found


# -- beside a peer ---------------------------------------------------------------------------------

PEER_REPLY_MS = 3000
PEER_AT_S = (0.9, 1.1)
PEER_WITHIN_S = 1.2
"""Longest time until the assistant is silent, in seconds: its reply ends 0.7 s later."""


@dataclass(frozen=True)
class PeerTrial:
    """Reply and barge-in of any assistant, seen from outside only.

    Attributes:
        said: Time from the person's first loud sample to the arrival of the frame that holds it at
            the service, in seconds; None if that did not come within `PEER_WITHIN_S`.
        answer: Time from the beginning of the service's reply to its first sample at the listener,
            in seconds; None if that was not heard.
        silent: Time from the person's first loud sample until the assistant was silent, in seconds;
            None if it was not within `PEER_WITHIN_S`.
        disturbed: True if the machine stood still meanwhile.
    """

    said: float | None
    answer: float | None
    silent: float | None
    disturbed: bool


async def beside_peer(plan: Plan, who: Who, interrupts: bool, count: int) -> list[PeerTrial]:
    """Measure replies, and barge-ins into them, by what the listener hears.

    Args:
        plan: Extent of the measurement.
        who: The assistant.
        interrupts: True if the service detects the person's speech, and interrupts.
        count: Number of barge-ins.
    """
    answer = reply(PEER_REPLY_MS, seed=800)
    sounds = _shuffled(openings(), count, plan.random)
    found = []
    for first in range(0, len(sounds), TRIALS_IN_A_CALL):
        said = []
        async with plan.call(who, Service(interrupts=interrupts)) as call:
            for sound in sounds[first : first + TRIALS_IN_A_CALL]:
                began = call.reply(answer)
                await sleep_until(began + plan.random.uniform(*PEER_AT_S))
                at = await call.say(sound)
                said.append((began, at))
                ended = max(began + PEER_REPLY_MS / 1000, at + len(sound.samples) / RATE)
                await sleep_until(ended + REST_S["earlier"] + plan.random.uniform(0, 0.02))
        heard, loud = call.heard(), _loud_frames(call)
        for began, at in said:
            arrived = next((t for t in loud if at < t < at + PEER_WITHIN_S), None)
            before = heard.level(at - 0.2, at - 0.02)
            silent = None
            if before >= AUDIBLE_DBFS:
                silent = heard.silent_from(at, at + PEER_WITHIN_S, before)
            begin = find_reply(heard, answer, began, at).begin
            found.append(
                PeerTrial(
                    None if arrived is None else arrived - at,
                    None if begin is None else begin - began,
                    None if silent is None else silent - at,
                    call.disturbed(began, at + PEER_WITHIN_S),
                )
            )
    return found


def _loud_frames(call: Call) -> list[float]:
    """Return the arrival time of each frame with a loud sample at the service."""
    loud = FULL_SCALE * 10 ** (LOUD_DBFS / 20)
    return [
        frame.at
        for frame in call.session.frames
        if frame.kind == "audio"
        and np.abs(np.frombuffer(frame.data, "<i2").astype(int)).max() > loud
    ]


# -- a conversation --------------------------------------------------------------------------------

ANSWER_DELAYS_MS = tuple(range(0, 1001, 100))
ANSWER_MS = 2400


@dataclass(frozen=True)
class Exchange:
    """Utterance of the person, and the reply of the model.

    Attributes:
        at: Time at which the reply began to be sent.
        delay_ms: Intended delay of that after the person's last loud sample.
        share: Share of the reply that was heard.
        way: Time from `playback_started` to the first sample at the listener; None if unknown.
        disturbed: True if the machine stood still at the beginning of the reply.
    """

    at: float
    delay_ms: int
    share: float
    way: float | None
    disturbed: bool


async def conversation(plan: Plan, who: Who, seconds: float) -> list[Exchange]:
    """Measure a conversation in which the model replies with varying delay after the last word."""
    sounds = itertools.cycle(openings())
    replies = [reply(ANSWER_MS, seed=200 + k) for k in range(8)]
    turns: list[tuple[float, int, Int16]] = []
    async with plan.call(who, Service()) as call:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sound, answer = next(sounds), replies[len(turns) % len(replies)]
            delay = ANSWER_DELAYS_MS[len(turns) % len(ANSWER_DELAYS_MS)]
            at = await call.say(sound)
            await sleep_until(at + sound.loud_until + delay / 1000)
            began = call.reply(answer)
            turns.append((began, delay, answer))
            await sleep_until(began + ANSWER_MS / 1000 + 0.7 + plan.random.uniform(0, 0.04))
    heard = call.heard()
    started = [event["t"] for event in call.events("playback_started")]
    exchanges = []
    for began, delay, answer in turns:
        found = find_reply(heard, answer, began, began + ANSWER_MS / 1000 + 0.6)
        start = next((t for t in started if t > began), None)
        way = None if start is None or found.begin is None else found.begin - start
        disturbed = call.disturbed(began, began + 0.4)
        exchanges.append(Exchange(began, delay, found.share, way, disturbed))
    return exchanges


# -- stalls of the assistant's event loop ----------------------------------------------------------

STALLS_MS = (30, 60, 120)

PLAYBACK_DELAY_S = 0.001375
"""Delay of the resampler between the read head and the frames, in seconds: see `Playback`."""


@dataclass(frozen=True)
class StallTrial:
    """Stall of the event loop in the middle of a reply.

    Attributes:
        ms: Its length.
        hole: Longest hole that was heard, in seconds.
        step: Largest step from the stall to 300 ms after it.
        undisturbed: Largest step of the same reply when nothing stalls.
        later: Delay of the end of the reply, in seconds.
        way: Increase of the delay from the assistant to the listener during the reply, in seconds;
            None if it is not known.
        share: Share of the reply that was heard.
        disturbed: True if the machine stood still meanwhile.
    """

    ms: int
    hole: float
    step: int
    undisturbed: int
    later: float
    way: float | None
    share: float
    disturbed: bool


async def stalls(plan: Plan, who: Who) -> list[StallTrial]:
    """Stall the assistant's event loop in the middle of replies."""
    answer = reply(2000, seed=300)
    lengths = [ms for _ in range(plan.repeats + 1) for ms in STALLS_MS]
    begans = []
    async with plan.call(who, Service()) as call:
        whole = call.reply(answer)
        await sleep_until(whole + 2.5)
        for ms in lengths:
            begans.append(call.reply(answer))
            await sleep_until(begans[-1] + 1.0 + plan.random.uniform(0, 0.02))
            await call.stall_assistant(ms)
            await sleep_until(begans[-1] + 2.6)
    heard, (due, _) = call.heard(), call.handed()
    undisturbed = heard.largest_step(whole + STEADY_FROM_S, whole + 2.4)
    started = [event["t"] for event in call.events("playback_started")]
    stalled = [event["t"] for event in call.events("stall")]
    trials = []
    for number, (ms, began, at) in enumerate(zip(lengths, begans, stalled, strict=True)):
        end = at + ms / 1000 + 0.3
        found = find_reply(heard, answer, began, began + 2.5)
        way = None
        if started:
            frame = int(np.searchsorted(due, started[1 + number] - 0.001))
            first, *_, last = (
                part.at - _handed_at(due, frame, part.place)
                for part in found.parts
                if part.place is not None
            )
            way = last - first
        trials.append(
            StallTrial(
                ms,
                max(heard.holes(at, end, REPLY_DBFS), default=0.0),
                heard.largest_step(at, end),
                undisturbed,
                found.later,
                way,
                found.share,
                call.disturbed(at - 0.1, end),
            )
        )
    return trials


def _handed_at(due: Any, frame: int, place: float) -> float:
    """Return the due time at the SDK of a place in a reply whose first frame is number `frame`."""
    samples = round((place + PLAYBACK_DELAY_S) * RATE)
    return float(due[min(frame + samples // FRAME, len(due) - 1)]) + samples % FRAME / RATE


# -- sounds that are no turn -----------------------------------------------------------------------

SMALL_REPLY_MS = 5000
CASES = {
    "open, and the service is not disturbed": Service(),
    "open, and the service interrupts": Service(interrupts=True),
    "complete": Service(complete_after="generation"),
}


CLICK_AFTER_SPEECH = "click, 2 s after the person's words"


@dataclass(frozen=True)
class SmallSound:
    """Sound in the middle of a reply.

    Attributes:
        sound: Name of the sound.
        lost: Length of the reply that was never heard, in seconds.
        later: Delay of its end, in seconds.
    """

    sound: str
    lost: float
    later: float


async def small_sounds(plan: Plan, who: Who, case: str) -> list[SmallSound]:
    """Measure clicks, coughs and a short word, 1.5 s into replies of 5 s.

    Nobody has spoken before the clicks. A service that interrupts gets another click, into a reply
    that answers something: then the person's words could explain the interruption. Where the turn
    is complete, and this side may cut it, a phrase too short to cut is added.
    """
    service = CASES[case]
    repeats = range(plan.repeats)
    sounds = [click(k) for k in repeats] + [cough(10 * k) for k in repeats]
    sounds += [short_word()] * plan.repeats
    if service.interrupts:
        sounds += [Sound(CLICK_AFTER_SPEECH, click(k).samples) for k in repeats]
    if service.complete_after == "generation":
        sounds += [phrase()] * plan.repeats
    replies = [reply(SMALL_REPLY_MS, seed=400 + k) for k in range(len(sounds))]
    opening = openings()[0]
    spans = []
    async with plan.call(who, service) as call:
        for number, (sound, answer) in enumerate(zip(sounds, replies, strict=True), 1):
            if sound.name == CLICK_AFTER_SPEECH:
                said = await call.say(opening)
                await sleep_until(said + opening.loud_until + 0.5)
            began = call.reply(answer)
            await sleep_until(began + 1.5 + plan.random.uniform(0, 0.02))
            await call.say(sound)
            if who == "ours":
                await call.wait_finished(number, SMALL_REPLY_MS / 1000 + 3)
            else:
                await sleep_until(began + SMALL_REPLY_MS / 1000)
            await asyncio.sleep(0.4)
            spans.append((began, time.monotonic()))
    heard = call.heard()
    found = []
    for sound, answer, (began, ended) in zip(sounds, replies, spans, strict=True):
        each = find_reply(heard, answer, began, ended)
        found.append(SmallSound(sound.name, each.lost, each.later))
    return found


# -- cuts ------------------------------------------------------------------------------------------


async def cuts(plan: Plan) -> list[tuple[int, int]]:
    """Let the application cut replies at full level.

    Returns:
        For each cut, the largest step around it, and that of the same reply uncut.
    """
    answer = reply(1500, seed=500)
    async with plan.call("ours", Service()) as call:
        whole = call.reply(answer)
        await sleep_until(whole + 1.9)
        for _ in range(3 * plan.repeats):
            began = call.reply(answer)
            await sleep_until(began + 0.7 + plan.random.uniform(0, 0.02))
            await call.cut()
            await sleep_until(began + 1.3)
    heard = call.heard()
    undisturbed = heard.largest_step(whole + STEADY_FROM_S, whole + 1.8)
    at = [event["t"] for event in call.events("drop")]
    return [(heard.largest_step(t, t + 0.2), undisturbed) for t in at]


# -- several people --------------------------------------------------------------------------------

JITTER_MS = 60.0
"""Greatest random delay of one participant's packets; half of them have 30 ms or more."""

SAID_MS = 6000

CAN_SEND_DTX = "sends" in inspect.signature(Person).parameters


@dataclass(frozen=True)
class Company:
    """Other participants of a call; `jitters` is true if the first one has a bad network."""

    bystanders: tuple[Bystander, ...] = ()
    jitters: bool = False

    def impair(self, servers: LocalServers) -> None:
        if self.jitters:
            servers.stream.impair("bystander-0", jitter_ms=JITTER_MS, direction="from")


COMPANIES = {
    "one person": Company(),
    "two people": Company(("sending",)),
    "two people, the silent one with jitter": Company(("sending",), jitters=True),
    "five people": Company(("sending",) * 4),
    "five people, a silent one with jitter": Company(("sending",) * 4, jitters=True),
    **({"two people, the silent one in Opus DTX": Company(("dtx",))} if CAN_SEND_DTX else {}),
}


@dataclass(frozen=True)
class CompanyTrial:
    """Results of a person's words and barge-ins among other participants.

    Attributes:
        share: Share of the person's words that is on the wire.
        holes: Lengths of the holes of more than 10 ms in it, in seconds.
        rate: Seconds of audio on the wire per second, from the first word on.
        barge_ins: Barge-ins of that person.
    """

    share: float
    holes: list[float]
    rate: float
    barge_ins: list[BargeIn]


async def company(plan: Plan, name: str) -> CompanyTrial:
    """Measure a person's words and barge-ins while other participants are silent.

    Every moment of the words differs from every other one, so that they can be found in the audio
    that the service received."""
    who = COMPANIES[name]
    said = Sound("a wandering tone", reply(SAID_MS, seed=800))
    async with plan.call("ours", Service(), who.impair, bystanders=who.bystanders) as call:
        await asyncio.sleep(2.0)  # the jitter buffer learns the jitter
        at = await call.say(said)
        await sleep_until(at + SAID_MS / 1000 + 1.5)
        ended = time.monotonic()
        barged = await _barge_in(
            call, "ours", plan, _shuffled(openings(), 4 * plan.repeats, plan.random)
        )
    wire = call.wire()
    found = find_reply(wire, said.samples, at - 0.1, ended)
    holes = []
    if found.parts:
        first, last = found.parts[0].at, found.parts[-1].at + found.parts[-1].seconds
        holes = [hole for hole in wire.holes(first + 0.01, last - 0.01, REPLY_DBFS) if hole > 0.010]
    sent = (wire.came >= at) & (wire.came < ended)
    lengths = np.diff(np.append(wire.starts, len(wire.samples)))
    rate = float(lengths[sent].sum()) / RATE / (ended - at)
    return CompanyTrial(found.share, holes, rate, _barge_ins(call, barged))


# -- trouble ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """Fault of the network, or of the service."""

    service: Service = field(default_factory=Service)
    impair: Impair | None = None
    stall: Stall | None = None


def _loses(direction: Any) -> Impair:
    return lambda servers: servers.stream.impair("assistant", loss=0.1, direction=direction)


TROUBLES = {
    "none": Trouble(),
    "10 % of the packets to the assistant are lost": Trouble(impair=_loses("to")),
    "10 % of the packets from the assistant are lost": Trouble(impair=_loses("from")),
    "packets are 20 to 80 ms late, both ways": Trouble(
        impair=lambda servers: servers.stream.impair(
            "assistant", delay_ms=20, jitter_ms=60, direction="both"
        )
    ),
    "the service sends bursts (8 times real time, 200 ms each)": Trouble(
        Service(speed=8, chunk_ms=200)
    ),
    "the service stalls for 1.5 s after 1 s of the reply": Trouble(stall=Stall(1000, 1.5)),
    "the service is slower than real time (0.9)": Trouble(Service(speed=0.9)),
}


TROUBLE_REPLY_MS = 5000


@dataclass(frozen=True)
class TroubleTrial:
    """Results of a reply and of barge-ins under one fault.

    Attributes:
        share: Share of the reply that was heard.
        holes: Lengths of the holes of more than 10 ms in it, in seconds.
        underruns: Underruns counted by our assistant; None for the other one.
        step: Largest step in it, from half a second on.
        barge_ins: Barge-ins into other replies.
    """

    share: float
    holes: list[float]
    underruns: int | None
    step: int
    barge_ins: list[BargeIn]


async def trouble(plan: Plan, who: Who, name: str) -> TroubleTrial:
    """Measure an undisturbed reply, and several barge-ins, under a fault."""
    what = TROUBLES[name]
    answer = reply(TROUBLE_REPLY_MS, seed=600)
    stalled = (what.stall.seconds or 0.0) if what.stall else 0.0
    takes = TROUBLE_REPLY_MS / 1000 / min(1.0, what.service.speed) + stalled
    async with plan.call(who, what.service, what.impair) as call:
        began = call.reply(answer, what.stall)
        await sleep_until(began + takes + 0.6)
        if who == "ours":
            await call.wait_finished(1, 5)
        ended = time.monotonic()
        counted = await call.stats()
        said = await _barge_in(
            call, who, plan, _shuffled(openings(), 2 * plan.repeats, plan.random)
        )
    heard = call.heard()
    found = find_reply(heard, answer, began, ended)
    first, last = found.parts[0].at, found.parts[-1].at + found.parts[-1].seconds
    return TroubleTrial(
        found.share,
        [hole for hole in heard.holes(first + 0.01, last - 0.01, REPLY_DBFS) if hole > 0.010],
        counted["underruns"] + counted["playout_underruns"] if who == "ours" else None,
        heard.largest_step(first + STEADY_FROM_S, last + 0.1),
        _barge_ins(call, said),
    )


def _shuffled(sounds: list[Sound], count: int, chance: random.Random) -> list[Sound]:
    """Return `count` sounds, all of them equally often, in a random order."""
    many = [sounds[k % len(sounds)] for k in range(count)]
    chance.shuffle(many)
    return many
