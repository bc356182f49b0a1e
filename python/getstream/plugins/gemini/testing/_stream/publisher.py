"""Receive the tracks of a participant on its publisher connection."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models
from getstream.video.rtc.pb.stream.video.sfu.signal_rpc import signal_pb2 as signal

from .peer import PeerConnection
from .rtp import AUDIO_LEVEL_URI, RtpHeader, SenderReport, parse_rtcp, sender_report
from .sdp import Codec, MediaSection, RemoteDescription, other_codecs
from .tracks import AUDIO_TYPES, PublishedTrack, kind_of

if TYPE_CHECKING:
    from .participant import Participant, Services

__all__ = ["Publisher"]

logger = logging.getLogger(__name__)

# The SDK offers us nothing else that forwarding could get wrong: one m-line per track.
_CONSTRAINED_BASELINE = "42e01f"


class Publisher:
    """The connection on which the SDK offers and we answer."""

    def __init__(self, owner: Participant, services: Services) -> None:
        self.tracks: dict[int, PublishedTrack] = {}
        self._owner = owner
        self._services = services
        self._by_ssrc: dict[int, PublishedTrack] = {}
        self.peer = PeerConnection(
            services.ice,
            services.certificate,
            f"{owner.user_id} publisher",
            on_rtp=self._on_rtp,
            on_rtcp=self._on_rtcp,
            on_state=services.changed,
        )

    def send(self, packet: bytes) -> None:
        """Send an RTCP packet to the publisher; lost if the connection is not up."""
        self.peer.send(packet)

    def close(self) -> None:
        """Close the connection; its tracks are gone."""
        for track in self.tracks.values():
            track.close()
        self.peer.close()

    def set_publisher(self, request: signal.SetPublisherRequest) -> str:
        """Answer the offer of a SetPublisher request; returns the SDP of the answer."""
        offer = RemoteDescription(request.sdp)
        self.peer.take_offer(offer)
        infos = _match_sections(offer.media, request.tracks)
        self.peer.begin_description()
        for section in offer.media:
            info = infos.get(section.mid)
            codec = _choose_codec(section, info)
            level_extension = section.extensions.get(AUDIO_LEVEL_URI, 0)
            sends = section.direction in ("sendonly", "sendrecv")
            self.peer.add_media(
                section.kind,
                section.mid,
                codec,
                setup="passive",
                direction="recvonly" if sends else "inactive",
                attributes=[f"extmap:{level_extension} {AUDIO_LEVEL_URI}"]
                if level_extension
                else [],
                others=[each for each in section.codecs if each in other_codecs(codec)],
            )
            if info is not None:
                self._take_track(section, info.track_type, codec, level_extension)
        for info in request.tracks:
            self.set_muted(info.track_type, info.muted)
        return self.peer.finish_description()

    def set_muted(self, track_type: models.TrackType.ValueType, muted: bool) -> None:
        """Announce a track, or take it back; the m-lines of its receivers stay."""
        track = self.tracks.get(track_type)
        if track is None:
            return
        call = self._owner.call
        if track.announced == muted:
            track.announced = not muted
            logger.info(
                "%s %s %s",
                self._owner.user_id,
                "mutes" if muted else "publishes",
                kind_of(track_type),
            )
            common: dict[str, Any] = {
                "user_id": self._owner.user_id,
                "session_id": self._owner.session_id,
                "type": track_type,
                "participant": self._owner.to_proto(),
            }
            if muted:
                cause = models.TRACK_UNPUBLISH_REASON_USER_MUTED
                call.broadcast(track_unpublished=events.TrackUnpublished(cause=cause, **common))
            else:
                call.broadcast(track_published=events.TrackPublished(**common))
        call.refresh_subscriptions()
        self._services.changed()

    def _take_track(
        self,
        section: MediaSection,
        track_type: models.TrackType.ValueType,
        codec: Codec,
        level_extension: int,
    ) -> None:
        """Create the track of an m-line, or update it; a new m-line replaces an old track."""
        old = self.tracks.get(track_type)
        if old is None or old.mid != section.mid:
            track = PublishedTrack(self._owner, track_type, section.mid, section.kind, codec)
            self.tracks[track_type] = track
            if old is not None:
                track.announced = old.announced
                old.close()
        else:
            track = old
        track.codec, track.level_extension = codec, level_extension
        for ssrc in section.ssrcs:
            self._adopt_ssrc(track, ssrc)

    def _adopt_ssrc(self, track: PublishedTrack, ssrc: int) -> None:
        if ssrc not in track.ssrcs:
            track.ssrcs.append(ssrc)
        self._by_ssrc[ssrc] = track

    def _on_rtp(self, packet: bytes) -> None:
        header = RtpHeader.parse(packet)
        if header is None:
            return
        track = self._by_ssrc.get(header.ssrc)
        if track is None:
            # The offer has no a=ssrc line for it: the payload type tells.
            for candidate in self.tracks.values():
                if candidate.codec.payload_type == header.payload_type:
                    track = candidate
                    self._adopt_ssrc(track, header.ssrc)
                    break
            else:
                return
        track.packets += 1
        if track.level_extension:
            level = header.audio_level(packet, track.level_extension)
            if level is not None:
                track.level = level
        for forwarded in track.forwarded:
            if forwarded.flowing and forwarded.receiver.subscriber.peer.send(
                header.forward(packet, forwarded.ssrc)
            ):
                forwarded.packets += 1
                if forwarded.packets == 1:
                    self._services.changed()
        if track.packets == 1:
            self._services.changed()

    def _on_rtcp(self, compound: bytes) -> None:
        for report in parse_rtcp(compound):
            if not isinstance(report, SenderReport):
                continue
            track = self._by_ssrc.get(report.ssrc)
            for forwarded in track.forwarded if track is not None else ():
                if forwarded.flowing:
                    forwarded.receiver.subscriber.peer.send(sender_report(report, forwarded.ssrc))


def _match_sections(
    sections: Sequence[MediaSection], infos: Iterable[models.TrackInfo]
) -> dict[str, models.TrackInfo]:
    """The track of each m-line, by mid.

    getstream 6 counts mids wrongly if video is added after audio and not together with it: it then
    names an m-line of the other kind. The newest m-line of the right kind is meant.
    """
    by_mid = {section.mid: section for section in sections}
    matched = {}
    for info in infos:
        kind = "audio" if info.track_type in AUDIO_TYPES else "video"
        named = by_mid.get(info.mid)
        if named is not None and named.kind == kind:
            matched[info.mid] = info
            continue
        candidates = [section.mid for section in sections if section.kind == kind]
        if not candidates:
            raise ValueError(
                f"the offer has no {kind} m-line for a {kind_of(info.track_type)} track"
            )
        matched[candidates[-1]] = info
    return matched


def _choose_codec(section: MediaSection, info: models.TrackInfo | None) -> Codec:
    """The codec that the track says it uses.

    getstream 6 names none and offers H264 twice (aiortc): constrained baseline is what it sends
    first and what every decoder takes.
    """
    wanted = info.codec.name.lower() if info is not None else ""
    for codec in section.codecs:
        if codec.name == wanted or _CONSTRAINED_BASELINE in codec.fmtp:
            return codec
    if not section.codecs:
        raise ValueError(f"the m-line {section.mid!r} of the offer has no codec")
    return section.codecs[0]
