"""Forward tracks to a participant on its subscriber connection."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events

from .peer import PeerConnection
from .rtp import RtcpFeedback, nack, parse_rtcp
from .sdp import RemoteDescription, other_codecs
from .tracks import ForwardedTrack, PublishedTrack, TrackKey, kind_of

if TYPE_CHECKING:
    from .participant import Participant, Services

__all__ = ["Subscriber"]

logger = logging.getLogger(__name__)

_ANSWER_TIMEOUT = 0.5
"""Seconds; the SDKs answer within 0.05."""


class Subscriber:
    """The connection on which we offer and the SDK answers.

    Attributes:
        wanted: The tracks of the newest UpdateSubscriptions.
    """

    def __init__(self, owner: Participant, services: Services, decodes: frozenset[str]) -> None:
        self.wanted: set[TrackKey] = set()
        self.forwarded: dict[TrackKey, ForwardedTrack] = {}
        self._owner = owner
        self._services = services
        self._decodes = decodes
        self._refused: set[TrackKey] = set()
        self._by_ssrc: dict[int, ForwardedTrack] = {}
        self._sections: list[ForwardedTrack] = []
        self._offered: list[ForwardedTrack] = []
        self._awaiting_answer: asyncio.TimerHandle | None = None
        self._offer_again = False
        self.peer = PeerConnection(
            services.ice,
            services.certificate,
            f"{owner.user_id} subscriber",
            on_rtp=lambda packet: None,  # nothing is sent to us on this connection
            on_rtcp=self._on_rtcp,
            on_state=self._on_state,
        )

    def close(self) -> None:
        """Close the connection."""
        self._stop_awaiting()
        for forwarded in self.forwarded.values():
            forwarded.detach()
        self.forwarded.clear()
        self.peer.close()

    def refresh(self) -> None:
        """Make the forwarded tracks match what is published and wanted; offer if they changed."""
        target = self._target()
        changed = False
        for key, forwarded in list(self.forwarded.items()):
            track = forwarded.track
            if target.get(key) is track:
                continue
            assert track is not None, "detached tracks leave self.forwarded"
            owner = track.owner
            if owner.present and owner.publisher.tracks.get(track.track_type) is track:
                forwarded.active = False  # muted or not wanted: the m-line stays for its return
                continue
            del self.forwarded[key]
            del self._by_ssrc[forwarded.ssrc]
            forwarded.detach()
            changed = True
        for key, track in target.items():
            existing = self.forwarded.get(key)
            if existing is None:
                forwarded = ForwardedTrack(self._owner, track, str(len(self._sections)))
                self._sections.append(forwarded)
                self.forwarded[key] = forwarded
                self._by_ssrc[forwarded.ssrc] = forwarded
                changed = True
            elif not existing.active:
                existing.active = True
                track.request_keyframe(urgent=True)
        if changed:
            self.offer()

    def offer(self, *, ice_restart: bool = False) -> None:
        """Send an offer for all m-lines; one at a time, unless ICE is to be restarted."""
        if self._awaiting_answer is not None and not ice_restart:
            self._offer_again = True
            return
        if not self._sections:
            return
        if ice_restart:
            self.peer.ice.restart()
        self.peer.begin_description()
        for section in self._sections:
            track = section.track
            attributes = []
            if track is not None:
                # The SDK finds the participant by the part before the colon.
                stream = f"{track.owner.track_lookup_prefix}:{track.track_type}"
                msid = f"{stream} {stream}:{section.ssrc}"
                attributes = [
                    f"msid:{msid}",
                    f"ssrc:{section.ssrc} cname:{stream}",
                    f"ssrc:{section.ssrc} msid:{msid}",
                ]
            self.peer.add_media(
                section.media,
                section.mid,
                section.codec,
                setup="actpass",
                direction="inactive" if track is None else "sendonly",
                attributes=attributes,
                others=[each for each in other_codecs(section.codec) if each.name in self._decodes],
            )
        self._offered = list(self._sections)
        self._stop_awaiting()
        self._awaiting_answer = asyncio.get_running_loop().call_later(
            _ANSWER_TIMEOUT, self._on_no_answer
        )
        self._offer_again = False
        self._owner.send(
            subscriber_offer=events.SubscriberOffer(
                sdp=self.peer.finish_description(), ice_restart=ice_restart
            )
        )

    def on_answer(self, sdp: str) -> None:
        """Take the answer to the newest offer: what it accepts is forwarded from now on."""
        answer = RemoteDescription(sdp)
        self.peer.take_answer(answer)
        self._stop_awaiting()
        for section, answered in zip(self._offered, answer.media, strict=False):
            if answered.rejected and section.track is not None:
                logger.warning(
                    "%s refused the %s track (%s) of %s",
                    self._owner.user_id,
                    section.media,
                    section.codec.name,
                    section.track.owner.user_id,
                )
            section.negotiated = not answered.rejected
        self._request_keyframes()
        if self._offer_again:
            self.offer()
        self._services.changed()

    def _on_no_answer(self) -> None:
        """Offer again.

        getstream 6 loses an offer that follows the join response so closely that its handler is
        not there yet. A client that has lost its socket gets a new offer when it is back.
        """
        self._awaiting_answer = None
        if self._owner.outbox is not None:
            logger.debug("%s did not answer an offer; it gets another", self._owner.user_id)
            self.offer()

    def _stop_awaiting(self) -> None:
        if self._awaiting_answer is not None:
            self._awaiting_answer.cancel()
            self._awaiting_answer = None

    def _target(self) -> dict[TrackKey, PublishedTrack]:
        """The tracks that this participant should get: audio unasked, video as it subscribed."""
        target: dict[TrackKey, PublishedTrack] = {}
        for track in self._owner.call.tracks():
            if track.owner is self._owner or not track.announced:
                continue
            if not track.is_audio and track.key not in self.wanted:
                continue
            if self._decodes and not track.is_audio and track.codec.name not in self._decodes:
                self._warn_undecodable(track)
                continue
            target[track.key] = track
        return target

    def _warn_undecodable(self, track: PublishedTrack) -> None:
        if track.key not in self._refused:
            self._refused.add(track.key)
            logger.warning(
                "%s cannot decode the %s of %s (%s; it decodes %s): not forwarded. Video does not "
                "pass between getstream 7 (VP9) and 6 (H264)",
                self._owner.user_id,
                kind_of(track.track_type),
                track.owner.user_id,
                track.codec.name,
                ", ".join(sorted(self._decodes)),
            )

    def _on_state(self) -> None:
        # Only now can a keyframe arrive. One that was asked for earlier is lost, and the next
        # regular one may be many seconds away.
        if self.peer.state == "connected":
            self._request_keyframes()
        self._services.changed()

    def _request_keyframes(self) -> None:
        if self.peer.state != "connected":
            return
        for forwarded in self.forwarded.values():
            if forwarded.flowing and forwarded.track is not None:
                forwarded.track.request_keyframe(urgent=True)

    def _on_rtcp(self, compound: bytes) -> None:
        for feedback in parse_rtcp(compound):
            if not isinstance(feedback, RtcpFeedback):
                continue
            forwarded = self._by_ssrc.get(feedback.media_ssrc)
            track = forwarded.track if forwarded is not None else None
            if track is None:
                continue
            if feedback.keyframe:
                track.request_keyframe()
            else:
                for ssrc in track.ssrcs:
                    track.owner.publisher.send(nack(feedback, ssrc))
