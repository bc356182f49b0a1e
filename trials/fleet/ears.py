"""Trial: what a person hears when the assistant's worker is killed in mid-sentence.

It leaves a recording in the folder `ears`: `audio.wav` (left what the person said, right what the
person heard), `events.jsonl` and `report.html`. The format is that of a `Recorder`, so that
`python -m getstream.plugins.gemini report ears` reads it, too.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from getstream.plugins.gemini.recording import FORMAT_VERSION, read_recording, write_page
from getstream.plugins.gemini.testing.signals import read_wav

from .crashes import (
    KILL_S,
    MID_SPEECH_S,
    TAIL_S,
    begin,
    calm,
    of_worker,
    reach_mid_speech,
    settled,
    strike,
)
from .hearing import RATE, Gap, Span, gap_after, sounds
from .people import LONG
from .stage import Served, Stage
from .verdicts import Goal, Result

CALL = "ears"

TURN_S = 1.0
"""Silence that separates two turns of the assistant: it pauses for less within a sentence."""

BEFORE_S = 3.0
"""Sound that the page shows before the person's question."""


async def ears(stage: Stage, served: Served, times: int, on_done: Callable[[int], None]) -> Result:
    """Record a call whose worker is killed in mid-sentence, and measure it in the recording."""
    del times  # there is one recording
    folder = stage.out / "ears"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    async with stage.people(CALL) as people, stage.presence() as presence:
        await begin(served, people, [CALL])
        _, pid, _ = of_worker(await settled(served, [CALL]), [CALL])
        # A long sentence: it is broken off, and what comes back can be told from its rest.
        await reach_mid_speech(people, [CALL], random.Random(1), file=LONG)
        fault, struck = await strike(
            stage, people, [CALL], lambda: os.kill(pid, signal.SIGKILL), "struck"
        )
        # The conversation goes on as if nothing had been.
        people.tell(do="ask", call=CALL)
        await people.wait_reports("answer", 2, call=CALL)
        await calm(people, [CALL], "after")
        people.tell(do="keep", path=str(folder / "audio.wav"))
        (kept,) = await people.wait_reports("kept", 1)
        overlap = presence.overlap_s(CALL)
        await served.end_calls(CALL)
    gap = measure(folder, fault - kept["started_at"])
    texts = [turn.text for session in stage.sessions(CALL) for turn in session.spoken]
    asked = people.found("asked", call=CALL)
    write_events(folder, asked, texts, kept["started_at"], fault, gap)
    write_page(read_recording(folder), folder / "report.html")
    on_done(1)
    stopped = None if gap is None else gap.stopped - (fault - kept["started_at"])
    again = None if gap is None or gap.back is None else gap.back - (fault - kept["started_at"])
    return Result(
        "ears",
        "A person's ears: the worker is killed in mid-sentence, measured in the recording",
        (
            Goal("the voice is back after", again, KILL_S, "s"),
            Goal("two assistants publish at once, longest", overlap, 0.0, "s"),
            Goal("it was in mid-sentence: from its last sound to the fault",
                 None if stopped is None else abs(stopped), MID_SPEECH_S, "s"),
        ),
        (
            "the recording and its page are in the output folder: `ears/report.html`",
            f"the conversation was {struck[0].memory.how}, and the next question was answered",
        ),
        {
            "stopped_s": stopped,
            "again_s": again,
            "silence_s": None if gap is None else gap.seconds,
        },
    )  # fmt: skip


def measure(folder: Path, fault_s: float) -> Gap | None:
    """Return where the voice stops and comes back in the recording, in seconds from its start."""
    samples, rate = read_wav(folder / "audio.wav")
    assert rate == RATE
    return gap_after(sounds(samples[:, 1].copy()), fault_s, TAIL_S)


def turns_of(heard: Sequence[Span], gap: Gap | None) -> list[tuple[Span, bool]]:
    """Return the assistant's turns, and whether each was broken off by the fault.

    Args:
        heard: sounds, in order.
        gap: the silence after the fault.
    """
    turns: list[Span] = []
    for start, end in heard:
        breaks = gap is not None and start == gap.back
        if turns and start - turns[-1][1] < TURN_S and not breaks:
            turns[-1] = turns[-1][0], end
        else:
            turns.append((start, end))
    return [(turn, gap is not None and turn[1] == gap.stopped) for turn in turns]


def write_events(
    folder: Path,
    asked: Sequence[Mapping[str, float]],
    texts: Sequence[str],
    zero: float,
    fault: float,
    gap: Gap | None,
) -> None:
    """Write `events.jsonl` beside the audio: who spoke when, the fault, and the voice that is back.

    Args:
        folder: where `audio.wav` is.
        asked: what the person said: `start` and `end` of each.
        texts: what the model said, turn by turn.
        zero: the time of the first sample.
        fault: when the worker was killed.
        gap: the silence after it, in seconds of the recording.
    """
    samples, _ = read_wav(folder / "audio.wav")
    events: list[tuple[float, dict[str, Any]]] = []
    for said in asked:
        events.append((said["start"] - zero, {"event": "speech_started", "user_id": "person"}))
        events.append((said["end"] - zero, {"event": "speech_stopped", "user_id": "person"}))
    turns = turns_of(sounds(samples[:, 1].copy()), gap)
    for number, ((start, end), broken) in enumerate(turns, 1):
        events.append((start, {"event": "playback_started", "turn": number}))
        if number <= len(texts):
            text = {"text": texts[number - 1]}
            events.append((start, {"event": "turn_complete", "turn": number, **text}))
        if broken:
            why = {"cause": "its worker was killed", "heard_text": ""}
            events.append((end, {"event": "interrupted", "turn": number, **why}))
        else:
            events.append((end, {"event": "playback_finished", "turn": number}))
    reason = "the assistant's worker was killed (SIGKILL)"
    events.append((fault - zero, {"event": "disconnected", "reason": reason}))
    if gap is not None and gap.back is not None:
        events.append((gap.back, {"event": "resumed"}))
    events.sort(key=lambda each: each[0])
    began = datetime.now(timezone.utc).timestamp() - (time.monotonic() - zero)
    header = {
        "format": "getstream-gemini-recording",
        "version": FORMAT_VERSION,
        "rate": RATE,
        "channels": 2,
        "frames_per_file": len(samples),
        "wall_clock": datetime.fromtimestamp(began, timezone.utc).isoformat(),
        "clock": zero,
        "versions": {},
        "config": {},
    }
    last = {"at": len(samples), "event": "end", "reason": "closed"}
    lines = [header, *({"at": round(at * RATE), **event} for at, event in events), last]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (folder / "events.jsonl").write_text(text, encoding="utf-8")
