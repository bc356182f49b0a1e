"""Wire an assistant to one call after the other: publish, hear, see, and leave nothing behind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ..errors import CallError
from . import _call
from ._call_audio import CallAudio
from ._events import Left, LeftReason
from ._media.video_input import VideoInput
from ._media.video_sources import VideoOptions
from ._options import check_seconds
from ._presence import Presence, Stay
from ._supervisor import Supervisor

logger = logging.getLogger("getstream.plugins.gemini")

LEAVE_S = 5.0
"""Seconds for the SDK to leave a call. It takes one round trip; `getstream` 6 waits for its threads
as well."""


class CallAttachment:
    """Holds what is wired to the call that the assistant is in.

    Args:
        supervisor: the session.
        audio: takes the audio of the call.
        video: takes its pictures.
    """

    def __init__(self, supervisor: Supervisor, audio: CallAudio, video: VideoInput) -> None:
        self._supervisor = supervisor
        self._lifecycle = supervisor.lifecycle
        self._audio = audio
        self._video = video
        self._attached: _call.Attachment | None = None
        self._leaving: asyncio.Task[None] | None = None  # the connection that was left last
        supervisor.on_closed.append(self.detach)

    async def attach(
        self,
        connection: Any,
        *,
        audio: bool,
        video: VideoOptions | None,
        target_rate: int,
        stay: Stay,
    ) -> None:
        """Wire the assistant to a connection, as `GeminiLive.attach` says."""
        for name, seconds in vars(stay).items():
            check_seconds(name, seconds, none_is_never=True)
        if self._attached is not None:
            if self._attached.is_over:
                self._call_over(self._attached)
            elif self._attached.is_to(connection):
                raise CallError("This connection is attached already")
            else:
                raise CallError(
                    "This GeminiLive is in another call, and one assistant can be in one call at a "
                    "time: leave that first, or make another GeminiLive"
                )
        self._supervisor.wake()
        self._attached = attached = _call.Attachment(connection)
        self._supervisor.turns.feed.lines.name_of = _call.names_of(connection)
        try:
            if video is not None:
                attached.add(_call.on_video(connection, self._video))
                self._video.attach(video)
                attached.add(self._video.detach)
            if audio:
                self._listen(attached, connection, target_rate)
            output = self._supervisor.turns.output
            if output.plays:
                await _call.publish(connection, output.track)
                # Publishing takes a while.
                self._lifecycle.check_open()
                if self._attached is not attached:
                    raise CallError("The assistant has left the call while it was being attached")
            attached.add(_call.on_ended(connection, lambda: self._call_over(attached)))
            watch = self._supervisor.spawn(self._watch_call(attached, connection))
            attached.add(watch.cancel)
            self._watch_people(attached, connection, stay)
            await _call.announce_present_tracks(connection)
        except BaseException:
            attached.detach()
            if self._attached is attached:
                self._attached = None
            raise

    def detach(self) -> None:
        """Undo what is wired to a call, if anything is."""
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.detach()

    async def leave(self, reason: LeftReason) -> None:
        """Leave the call that the assistant is in, within `LEAVE_S`; nothing if it is in none."""
        self._begin_to_leave(reason)
        if self._leaving is not None:
            await asyncio.wait([self._leaving], timeout=LEAVE_S)

    def _begin_to_leave(self, reason: LeftReason) -> None:
        attached = self._attached
        if attached is not None:
            connection = attached.connection
            self._call_over(attached, reason)
            if hasattr(connection, "leave") and not _call.has_left(connection):
                self._leaving = self._supervisor.spawn(self._leave(connection))

    async def _leave(self, connection: Any) -> None:
        leaving = self._supervisor.spawn(_call.leave(connection))
        await asyncio.wait([leaving], timeout=LEAVE_S)
        if not leaving.done():
            leaving.cancel()
            logger.error("The call was not left within %g s", LEAVE_S)
        elif not leaving.cancelled() and isinstance(error := leaving.exception(), CallError):
            self._supervisor.report(error)

    def _listen(self, attached: _call.Attachment, connection: Any, target_rate: int) -> None:
        audio = self._audio

        def push(pcm: Any) -> None:
            audio.push_of_call(pcm, target_rate)

        attached.add(_call.on_audio(connection, push))
        attached.add(_call.on_audio_track(connection, audio.expect_track))
        attached.add(_call.on_joined(connection, audio.join))
        attached.add(_call.on_left(connection, audio.leave))

    async def _watch_call(self, attached: _call.Attachment, connection: Any) -> None:
        await _call.wait_left(connection)
        self._call_over(attached)

    def _watch_people(self, attached: _call.Attachment, connection: Any, stay: Stay) -> None:
        """Leave the call when nobody is there any more, and let Gemini rest before that."""
        supervisor = self._supervisor

        def leave(reason: LeftReason) -> None:
            if self._attached is attached:
                self._begin_to_leave(reason)  # now: later it may be in another call

        call, user_id = _call.identity_of(connection)
        presence = Presence(
            call, user_id, stay, leave=leave, rest=supervisor.rest, wake=supervisor.wake
        )
        attached.add(presence.stop)
        if (stop := _call.watch_people(connection, presence.update)) is not None:
            attached.add(stop)

    def _call_over(self, attached: _call.Attachment, reason: LeftReason = "ended") -> None:
        """Leave nothing of a call behind: neither its people nor what was being said to them."""
        if self._attached is not attached:
            return
        self._attached = None
        attached.detach()
        if self._lifecycle.is_closed:
            return
        self._audio.leave_all()
        self._supervisor.turns.leave_call()
        self._supervisor.events.emit(Left, reason=reason)
