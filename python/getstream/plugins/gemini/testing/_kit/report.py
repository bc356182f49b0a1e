"""Report a local call: as JSON with recordings in a folder, and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._terminal import one_line, printable_lines
from .._gemini import LiveSession
from .._person.receiver import SAMPLE_RATE
from ..signals import write_wav
from .people import CallPerson

if TYPE_CHECKING:
    from .call import LocalCall

__all__ = ["describe_call", "report_sections", "write_report"]

FORMAT = 1
"""Version of `report.json`: raised when a field changes its meaning or goes away."""


def describe_call(call: LocalCall) -> dict[str, Any]:
    """Return the facts of a call as plain data. It holds no key, no handle, and no audio."""
    latency = call.latency
    answered = bool(latency.turns_ms)
    return {
        "format": FORMAT,
        "call_id": call.call_id,
        "bot": {"code": call.bot_code, "stderr": call.bot_stderr.splitlines()},
        "refused_hosts": call.refused_hosts,
        "transcript": [
            {"who": line.who, "text": line.text, "at_s": round(line.at, 3), "outcome": line.outcome}
            for line in call.transcript
        ],
        "latency": {
            "turns_ms": [round(ms, 1) for ms in latency.turns_ms],
            "p50_ms": round(latency.p50_ms, 1) if answered else None,
            "p95_ms": round(latency.p95_ms, 1) if answered else None,
        },
        "tools": [
            {
                "name": each.name,
                "args": each.args,
                "response": each.response,
                "cancelled": each.cancelled,
            }
            for each in call.tools.calls
        ],
        "people": [_describe_person(call, person) for person in call.people],
        "sessions": [_describe_session(session) for session in call.gemini.sessions],
    }


def _describe_person(call: LocalCall, person: CallPerson) -> dict[str, Any]:
    return {
        "user_id": person.user_id,
        "joined_at_s": round(person.started_at - call.started_at, 3),
        "heard_turns": [
            {"from_s": round(start, 3), "to_s": round(end, 3)}
            for start, end in person.turns_heard()
        ],
        "events": person.events,
    }


def _describe_session(session: LiveSession) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for frame in session.frames:
        counts[frame.kind] = counts.get(frame.kind, 0) + 1
    return {
        "index": session.index,
        "state": session.state,
        "close_code": session.close_code,
        "close_text": session.close_text,
        "model": session.setup.get("model"),
        "resumed": session.resumed_from is not None,
        "received": counts,
        "received_audio_ms": round(session.audio_ms, 1),
        "interruptions": session.interruptions,
        "turns": [
            {"text": turn.text, "outcome": turn.outcome, "sent_ms": round(turn.sent_ms, 1)}
            for turn in session.spoken
        ],
    }


def write_report(call: LocalCall, folder: Path, more: Mapping[str, Any]) -> Path:
    """Write `report.json`, and a WAV file for each person; return the path of the first.

    The WAV files are 48 kHz stereo on the person's clock: left what was said, right what was heard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**more, **describe_call(call)}
    for number, person in enumerate(call.people):
        safe = "".join(char if char.isalnum() or char in "-_" else "_" for char in person.user_id)
        name = f"{number}-{safe}.wav"
        write_wav(folder / name, person.recording(), SAMPLE_RATE)
        facts["people"][number]["recording"] = name
    path = folder / "report.json"
    path.write_text(json.dumps(facts, indent=2, default=repr) + "\n", encoding="utf-8")
    return path


def report_sections(call: LocalCall, title: str, folder: Path) -> list[tuple[str, str]]:
    """Return titles and texts: what was said and heard, the server's view, the bot's stderr."""
    facts = describe_call(call)
    said = [
        f"{line['at_s']:7.2f} s  {one_line(line['who'])}: {one_line(line['text'])}"
        + ("" if line["outcome"] in ("said", "complete") else f"  ({line['outcome']})")
        for line in facts["transcript"]
    ]
    for person in facts["people"]:
        turns = ", ".join(f"{t['from_s']:.2f} to {t['to_s']:.2f}" for t in person["heard_turns"])
        said.append(
            f"{one_line(person['user_id'])} heard the bot (own clock, s): {turns or 'never'}"
        )
    delays = ", ".join(f"{ms:.0f}" for ms in facts["latency"]["turns_ms"])
    said.append(f"answers came after (ms): {delays or 'no answer'}")
    said.append(f"recordings and report.json: {folder}")
    server = [_session_line(session) for session in facts["sessions"]] or ["no session was opened"]
    server += [f"tool {call}" for call in map(str, call.tools.calls)]
    server += [f"refused host {host}: {count} times" for host, count in call.refused_hosts.items()]
    state = "still running" if call.bot_code is None else f"exit code {call.bot_code}"
    stderr = printable_lines(call.bot_stderr) or "(nothing)"
    return [
        (f"{title}: said and heard", "\n".join(said)),
        (f"{title}: local Gemini server", "\n".join(server)),
        (f"{title}: stderr of the bot ({state})", stderr),
    ]


def _session_line(session: dict[str, Any]) -> str:
    received = ", ".join(f"{count} {kind}" for kind, count in session["received"].items())
    end = ""
    if session["close_code"] is not None:
        end = f" {session['close_code']} {one_line(session['close_text'])}".rstrip()
    turns = "; ".join(
        f"{one_line(turn['text'])!r} {turn['outcome']} {turn['sent_ms']:.0f} ms"
        for turn in session["turns"]
    )
    return (
        f"session {session['index']}: {session['state']}{end}, {session['model']}"
        f"{', resumed' if session['resumed'] else ''}; received {received or 'nothing'}; "
        f"said {turns or 'nothing'}; {session['interruptions']} interruptions"
    )
