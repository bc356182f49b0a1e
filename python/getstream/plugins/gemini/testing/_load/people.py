"""Hold everybody who talks in one process: `python -m ..._load.people`.

Commands, one a line: `join` a call and talk in it; `leave` it; `measure` reports what everybody has
heard since the last one. Reports: `joined`, `heard` at the first packet of the assistant, `failed`,
`left`, `measured`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from importlib.resources import files
from typing import Any

import aiohttp

from ..._terminal import one_line
from ...errors import GeminiError
from .._person.person import to_microphone_rate
from .._stream.auth import Credentials
from .._stream.dtls import Certificate
from .light_person import Backend, LightPerson
from .measure import summarize
from .processes import read_commands, send_report
from .speech import Clip, encode_clip

LEAVE_S = 5.0
"""Longest time for somebody to leave; the backend ends the session of who has vanished."""


class Crowd:
    """Everybody who talks.

    Args:
        backend: The local Stream backend.
        clip: What they say.
    """

    def __init__(self, backend: Backend, clip: Clip) -> None:
        self._backend = backend
        self._clip = clip
        self._people: dict[str, LightPerson] = {}
        self._talking: dict[str, asyncio.Task[None]] = {}

    def join(self, call_id: str) -> None:
        """Let somebody join a call and talk in it."""
        person = LightPerson(
            call_id,
            f"person-{call_id}",
            self._backend,
            self._clip,
            on_heard=lambda: send_report("heard", call=call_id, at=time.monotonic()),
            seed=len(self._people),
        )
        self._people[call_id] = person
        self._talking[call_id] = asyncio.create_task(self._attend(call_id, person))

    async def leave(self, call_id: str) -> None:
        """Let somebody leave."""
        task, person = self._talking.pop(call_id, None), self._people.pop(call_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if person is not None:
            try:
                await asyncio.wait_for(person.leave(), LEAVE_S)
            except asyncio.TimeoutError:
                logging.getLogger(__name__).warning("%s did not leave in time", person.user_id)

    async def close(self) -> None:
        """Let everybody leave."""
        await asyncio.gather(*(self.leave(call_id) for call_id in list(self._people)))

    def measure(self) -> dict[str, Any]:
        """Return what has gathered since the last time, and forget it."""
        tracks, latencies, unanswered, lags = [], [], 0, []
        for person in self._people.values():
            tracks += person.take_tracks()
            latencies += [round(seconds, 4) for _, seconds in person.latencies_s]
            unanswered += len(person.unanswered)
            lags += [round(seconds * 1000, 2) for seconds in person.lateness_s]
            person.latencies_s.clear()
            person.unanswered.clear()
            person.lateness_s.clear()
        return {
            "heard": summarize(tracks).to_dict(),
            "latencies_s": latencies,
            "unanswered": unanswered,
            "lag_ms": lags,
        }

    async def _attend(self, call_id: str, person: LightPerson) -> None:
        try:
            await person.join()
            send_report("joined", call=call_id, at=time.monotonic())
            await person.converse()
        except (GeminiError, aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            send_report("failed", call=call_id, reason=reason)


async def _run() -> None:
    question = files("getstream.plugins.gemini") / "data" / "question.wav"
    clip = encode_clip(to_microphone_rate(str(question), 48_000))
    async with aiohttp.ClientSession() as http:
        credentials = Credentials(os.environ["STREAM_API_KEY"], os.environ["STREAM_API_SECRET"])
        backend = Backend(os.environ["STREAM_BASE_URL"], credentials, http, Certificate())
        crowd = Crowd(backend, clip)
        send_report("ready")
        async for command in read_commands():
            if command["do"] == "join":
                crowd.join(command["call"])
            elif command["do"] == "leave":
                await crowd.leave(command["call"])
                send_report("left", call=command["call"])
            elif command["do"] == "measure":
                send_report("measured", **crowd.measure())
        await crowd.close()


def main() -> None:
    """Run until stdin is closed."""
    logging.getLogger("getstream").setLevel(logging.ERROR)
    asyncio.run(_run())


if __name__ == "__main__":
    main()
