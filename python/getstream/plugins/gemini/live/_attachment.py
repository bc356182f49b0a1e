"""Wire an assistant to one call after the other: publish, hear, see, and leave nothing behind."""

from __future__ import annotations

from typing import Any

from ..errors import CallError
from . import _call
from ._call_audio import CallAudio
from ._media.video_input import VideoInput
from ._media.video_sources import VideoOptions
from ._supervisor import Supervisor


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
        supervisor.on_closed.append(self.detach)

    async def attach(
        self, connection: Any, *, audio: bool, video: VideoOptions | None, target_rate: int
    ) -> None:
        """Wire the assistant to a connection, as `GeminiLive.attach` says."""
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
        self._attached = attached = _call.Attachment(connection)
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
                self._lifecycle.check_open()  # publishing takes a while
            attached.add(_call.on_ended(connection, lambda: self._call_over(attached)))
            watch = self._supervisor.spawn(self._watch_call(attached, connection))
            attached.add(watch.cancel)
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

    def _call_over(self, attached: _call.Attachment) -> None:
        """Leave nothing of a call behind: neither its people nor what was being said to them."""
        if self._attached is not attached:
            return
        self._attached = None
        attached.detach()
        if self._lifecycle.is_closed:
            return
        self._audio.leave_all()
        self._supervisor.turns.leave_call()
