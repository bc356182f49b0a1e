"""A track that is published, and the copies of it that are forwarded."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models

from .rtp import SILENT_LEVEL, picture_loss_indication
from .sdp import Codec

if TYPE_CHECKING:
    from .participant import Participant

__all__ = ["AUDIO_TYPES", "KINDS", "ForwardedTrack", "PublishedTrack", "TrackKey", "kind_of"]

TrackKey = tuple[str, int]
"""Session id of the publisher, and the protobuf track type."""

KINDS: dict[str, int] = {
    "audio": models.TRACK_TYPE_AUDIO,
    "video": models.TRACK_TYPE_VIDEO,
    "screen_share": models.TRACK_TYPE_SCREEN_SHARE,
    "screen_share_audio": models.TRACK_TYPE_SCREEN_SHARE_AUDIO,
}
_KIND_NAMES = {number: name for name, number in KINDS.items()}

AUDIO_TYPES = (models.TRACK_TYPE_AUDIO, models.TRACK_TYPE_SCREEN_SHARE_AUDIO)

_KEYFRAME_INTERVAL = 0.2
"""Seconds between two keyframe requests to one publisher; a keyframe is many packets."""


def kind_of(track_type: int) -> str:
    """The name of a protobuf track type, a key of `KINDS`."""
    return _KIND_NAMES.get(track_type, f"track type {track_type}")


class PublishedTrack:
    """A track as its publisher sends it.

    Attributes:
        announced: True while the others see it, that is, while it is not muted.
        level: RFC 6464 level of the newest audio packet: 0 the loudest, 127 silence.
        packets: RTP packets received.
    """

    def __init__(
        self,
        owner: Participant,
        track_type: models.TrackType.ValueType,
        mid: str,
        media: str,
        codec: Codec,
    ):
        self.owner = owner
        self.track_type = track_type
        self.mid = mid
        self.media = media
        self.codec = codec
        self.ssrcs: list[int] = []
        self.level_extension = 0
        self.level = SILENT_LEVEL
        self.announced = False
        self.packets = 0
        self.forwarded: list[ForwardedTrack] = []
        self._next_keyframe = 0.0
        self._keyframe_timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> TrackKey:
        """Identifies the track in its call."""
        return (self.owner.session_id, self.track_type)

    @property
    def is_audio(self) -> bool:
        """True for the microphone and the audio of a shared screen."""
        return self.media == "audio"

    def request_keyframe(self, *, urgent: bool = False) -> None:
        """Ask the publisher for a keyframe; does nothing for audio.

        Requests of receivers are limited to one per 0.2 s, but none is lost: one that comes too
        early is sent at the end of the interval. An urgent one, for a receiver that has just been
        connected and saw no earlier keyframe, is sent at once and does not count: if that receiver
        was not quite ready, its own request a moment later must not wait.
        """
        if self.is_audio:
            return
        loop = asyncio.get_running_loop()
        wait = self._next_keyframe - loop.time()
        if urgent:
            self._send_keyframe_request()
        elif wait <= 0:
            self._send_limited_request()
        elif self._keyframe_timer is None:
            self._keyframe_timer = loop.call_later(wait, self._send_limited_request)

    def close(self) -> None:
        """The track is gone: ask for nothing any more."""
        self._cancel_timer()

    def _send_limited_request(self) -> None:
        self._cancel_timer()
        self._next_keyframe = asyncio.get_running_loop().time() + _KEYFRAME_INTERVAL
        self._send_keyframe_request()

    def _send_keyframe_request(self) -> None:
        for ssrc in self.ssrcs:
            self.owner.publisher.send(picture_loss_indication(ssrc))

    def _cancel_timer(self) -> None:
        if self._keyframe_timer is not None:
            self._keyframe_timer.cancel()
            self._keyframe_timer = None


class ForwardedTrack:
    """One m-line of a receiver, and the published track that it carries.

    Attributes:
        track: What it carries; None once that track is gone (the m-line stays, inactive).
        active: False while the track is muted or the receiver does not want it.
        negotiated: True once the receiver has accepted the m-line.
        packets: RTP packets sent.
    """

    def __init__(self, receiver: Participant, track: PublishedTrack, mid: str) -> None:
        self.receiver = receiver
        self.track: PublishedTrack | None = track
        self.mid = mid
        self.media = track.media
        self.codec = track.codec
        self.ssrc = secrets.randbits(31) | 1
        self.active = True
        self.negotiated = False
        self.packets = 0
        track.forwarded.append(self)

    @property
    def flowing(self) -> bool:
        """True if packets of the track are to be sent to the receiver."""
        return self.active and self.negotiated and self.track is not None

    def detach(self) -> None:
        """The published track is gone, or this receiver gets it under another m-line."""
        if self.track is not None:
            self.track.forwarded.remove(self)
            self.track = None
        self.active = False
