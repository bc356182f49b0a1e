"""The SFU: its signalling socket, its Twirp methods and who is in which session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import jwt
from aiohttp import WSCloseCode, WSMsgType, web
from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models
from getstream.video.rtc.pb.stream.video.sfu.signal_rpc import signal_pb2 as signal
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from .auth import Credentials
from .call import Call
from .participant import Outbox, Participant, Services

__all__ = ["Sfu"]

logger = logging.getLogger(__name__)

_FAST_RECONNECT_SECONDS = 10
_LEVEL_INTERVAL = 0.3
_SPEAKING_LEVEL = 60
"""Louder than -60 dBov counts as speaking (RFC 6464 levels grow towards silence)."""
_CLOSE_TIMEOUT = 1.0

_METHODS: dict[str, tuple[type[Any], type[Any]]] = {
    "SetPublisher": (signal.SetPublisherRequest, signal.SetPublisherResponse),
    "SendAnswer": (signal.SendAnswerRequest, signal.SendAnswerResponse),
    "IceTrickle": (models.ICETrickle, signal.ICETrickleResponse),
    "UpdateSubscriptions": (signal.UpdateSubscriptionsRequest, signal.UpdateSubscriptionsResponse),
    "UpdateMuteStates": (signal.UpdateMuteStatesRequest, signal.UpdateMuteStatesResponse),
    "IceRestart": (signal.ICERestartRequest, signal.ICERestartResponse),
    "SendStats": (signal.SendStatsRequest, signal.SendStatsResponse),
    "SendMetrics": (signal.SendMetricsRequest, signal.SendMetricsResponse),
    "StartNoiseCancellation": (
        signal.StartNoiseCancellationRequest,
        signal.StartNoiseCancellationResponse,
    ),
    "StopNoiseCancellation": (
        signal.StopNoiseCancellationRequest,
        signal.StopNoiseCancellationResponse,
    ),
}


class Sfu:
    """Signalling of all calls; the media goes from `Publisher` to `Subscriber` by itself."""

    def __init__(
        self,
        services: Services,
        credentials: Credentials,
        get_call: Callable[[str], Call],
        on_join: Callable[[Participant], None],
        video_codec: str | None,
    ) -> None:
        """Create the SFU.

        Args:
            services: Shared by all participants.
            credentials: Check the tokens.
            get_call: Gives the call with a cid.
            on_join: Called with each new session, before it gets its join response.
            video_codec: Lower-case codec that every participant is told to publish; None chooses
                by what its SDK can encode.
        """
        self._services = services
        self._credentials = credentials
        self._get_call = get_call
        self._on_join = on_join
        self._video_codec = video_codec
        self._sessions: dict[str, Participant] = {}
        self._outboxes: set[Outbox] = set()

    def routes(self) -> list[web.RouteDef]:
        """The HTTP routes."""
        return [
            web.get("/sfu/ws", self._socket),
            web.post("/twirp/stream.video.sfu.signal.SignalServer/{method}", self._twirp),
        ]

    def leave(self, participant: Participant) -> None:
        """End a session."""
        if self._sessions.get(participant.session_id) is participant:
            del self._sessions[participant.session_id]
        if participant.present:
            logger.info("%s left %s", participant.user_id, participant.call.cid)
            participant.call.remove(participant)
            self._services.changed()

    async def close(self) -> None:
        """End all sessions and close their sockets."""
        for participant in list(self._sessions.values()):
            self.leave(participant)
        await asyncio.gather(
            *(o.socket.close(code=WSCloseCode.GOING_AWAY) for o in list(self._outboxes))
        )

    # -- signalling socket --------------------------------------------------

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        # getstream 6 sends its protobufs in TEXT frames: they must not be decoded as UTF-8.
        socket = web.WebSocketResponse(max_msg_size=0, decode_text=False, timeout=_CLOSE_TIMEOUT)
        await socket.prepare(request)
        outbox = Outbox(socket, request)
        self._outboxes.add(outbox)
        participant: Participant | None = None
        try:
            async for message in socket:
                if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                    continue
                try:
                    sfu_request = events.SfuRequest.FromString(message.data)
                except DecodeError:
                    logger.warning("a frame on the SFU socket is no SfuRequest; closing it")
                    await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
                    break
                kind = sfu_request.WhichOneof("request_payload")
                if kind == "join_request" and participant is None:
                    participant = self._join(outbox, sfu_request.join_request)
                    if participant is None:
                        await outbox.drain()
                        await socket.close()
                        break
                elif kind == "health_check_request" and participant is not None:
                    count = models.ParticipantCount(total=len(participant.call.participants))
                    participant.send(
                        health_check_response=events.HealthCheckResponse(participant_count=count)
                    )
                elif kind == "leave_call_request" and participant is not None:
                    self.leave(participant)
        finally:
            self._outboxes.discard(outbox)
            await outbox.close()
            if participant is not None and participant.outbox is outbox:
                participant.outbox = None
                self._expire_later(participant)
        return socket

    def _expire_later(self, participant: Participant) -> None:
        """Keep a session whose socket is lost for the time that a fast reconnect may take."""
        if participant.hung_up:
            self.leave(participant)
        elif participant.present:
            logger.info(
                "%s: SFU socket lost; session kept %d s",
                participant.user_id,
                _FAST_RECONNECT_SECONDS,
            )
            participant.expiry = asyncio.get_running_loop().call_later(
                _FAST_RECONNECT_SECONDS, self.leave, participant
            )

    def _join(self, outbox: Outbox, join: events.JoinRequest) -> Participant | None:
        """Let a client in, or back in; None if its token is refused."""
        try:
            claims = self._credentials.decode(join.token)
            call = self._get_call(claims["call_cid"])
        except (jwt.PyJWTError, KeyError) as error:
            refusal = models.Error(code=models.ERROR_CODE_UNAUTHENTICATED, message=str(error))
            strategy = models.WEBSOCKET_RECONNECT_STRATEGY_DISCONNECT
            outbox.send(
                events.SfuEvent(error=events.Error(error=refusal, reconnect_strategy=strategy))
            )
            return None
        details = join.reconnect_details
        previous = self._sessions.get(join.session_id)
        fast = (
            previous is not None
            and previous.call is call
            and join.HasField("reconnect_details")
            and details.strategy == models.WEBSOCKET_RECONNECT_STRATEGY_FAST
        )
        if fast and previous is not None:
            participant = previous
            if participant.expiry is not None:
                participant.expiry.cancel()
                participant.expiry = None
        else:
            for session_id in {join.session_id, details.previous_session_id}:
                if session_id in self._sessions:
                    self.leave(self._sessions[session_id])
            participant = Participant(self._services, call, claims["user_id"], join)
            self._sessions[participant.session_id] = participant
            call.add(participant)
            self._on_join(participant)
        logger.info(
            "%s %s %s (%s)",
            participant.user_id,
            "is back in" if fast else "joined",
            call.cid,
            participant.sdk,
        )
        participant.outbox = outbox
        participant.send(
            join_response=events.JoinResponse(
                call_state=call.state(),
                reconnected=fast,
                fast_reconnect_deadline_seconds=_FAST_RECONNECT_SECONDS,
                publish_options=_publish_options(self._codec_for(participant)),
            )
        )
        if fast:
            participant.subscriber.offer(ice_restart=True)
        else:
            call.announce(participant)
            if details.strategy == models.WEBSOCKET_RECONNECT_STRATEGY_MIGRATE:
                done = events.ParticipantMigrationComplete()
                participant.send(participant_migration_complete=done)
        self._services.changed()
        return participant

    def _codec_for(self, participant: Participant) -> str:
        """VP9 for getstream 7, which publishes nothing else; H264 for 6, which has no VP9."""
        if self._video_codec is not None:
            return self._video_codec
        for name in ("vp9", "h264", "vp8"):
            if name in participant.encodes:
                return name
        return "vp9"

    # -- Twirp --------------------------------------------------------------

    async def _twirp(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        if method not in _METHODS:
            return web.json_response(
                {"code": "bad_route", "msg": f"this SFU has no method {method}"}, status=404
            )
        request_type, response_type = _METHODS[method]
        message, response = request_type.FromString(await request.read()), response_type()
        participant = self._sessions.get(message.session_id)
        if participant is None:
            if method != "SendMetrics":  # the only response without an error field
                response.error.code = models.ERROR_CODE_PARTICIPANT_NOT_FOUND
                response.error.message = "participant not found"
        elif method == "SetPublisher":
            try:
                response.sdp = participant.publisher.set_publisher(message)
                response.session_id = participant.session_id
            except ValueError as error:  # an offer that makes no sense
                response.error.code = models.ERROR_CODE_REQUEST_VALIDATION_FAILED
                response.error.message = str(error)
        elif method == "SendAnswer":
            participant.subscriber.on_answer(message.sdp)
        elif method == "UpdateSubscriptions":
            participant.subscriber.wanted = {(t.session_id, t.track_type) for t in message.tracks}
            participant.subscriber.refresh()
        elif method == "UpdateMuteStates":
            for state in message.mute_states:
                participant.publisher.set_muted(state.track_type, state.muted)
        elif method == "IceRestart" and message.peer_type == models.PEER_TYPE_SUBSCRIBER:
            participant.subscriber.offer(ice_restart=True)
        # IceTrickle: an ICE-lite agent needs no candidates of its peer. The rest is only counted.
        return web.Response(body=response.SerializeToString(), content_type="application/protobuf")

    # -- who speaks ---------------------------------------------------------

    async def report_levels(self, calls: Callable[[], list[Call]]) -> None:
        """Send audio levels and the dominant speaker of each call, for ever."""
        dominant: dict[str, str] = {}
        while True:
            await asyncio.sleep(_LEVEL_INTERVAL)
            for call in calls():
                levels = [
                    events.AudioLevel(
                        user_id=track.owner.user_id,
                        session_id=track.owner.session_id,
                        level=1 - track.level / 127,
                        is_speaking=True,
                    )
                    for track in call.tracks()
                    if track.track_type == models.TRACK_TYPE_AUDIO
                    and track.announced
                    and track.level < _SPEAKING_LEVEL
                ]
                if not levels:
                    continue
                call.broadcast(audio_level_changed=events.AudioLevelChanged(audio_levels=levels))
                top = max(levels, key=lambda level: level.level)
                if dominant.get(call.cid) != top.session_id:
                    dominant[call.cid] = top.session_id
                    call.broadcast(
                        dominant_speaker_changed=events.DominantSpeakerChanged(
                            user_id=top.user_id, session_id=top.session_id
                        )
                    )


def _publish_options(video_codec: str) -> list[models.PublishOption]:
    """Return the publish options of a client, which publishes no track without one."""
    opus = models.Codec(
        name="opus",
        payload_type=111,
        clock_rate=48000,
        encoding_parameters="2",
        fmtp="minptime=10;useinbandfec=1",
    )
    return [
        models.PublishOption(id=1, track_type=models.TRACK_TYPE_AUDIO, bitrate=64_000, codec=opus),
        models.PublishOption(
            id=2,
            track_type=models.TRACK_TYPE_VIDEO,
            bitrate=1_500_000,
            fps=30,
            max_spatial_layers=1,
            max_temporal_layers=1,
            video_dimension=models.VideoDimension(width=1280, height=720),
            codec=models.Codec(name=video_codec.upper(), clock_rate=90000),
        ),
        models.PublishOption(
            id=3,
            track_type=models.TRACK_TYPE_SCREEN_SHARE,
            bitrate=1_500_000,
            fps=15,
            max_spatial_layers=1,
            max_temporal_layers=1,
            video_dimension=models.VideoDimension(width=1920, height=1080),
            codec=models.Codec(name="VP8", clock_rate=90000),
        ),
        models.PublishOption(
            id=4, track_type=models.TRACK_TYPE_SCREEN_SHARE_AUDIO, bitrate=64_000, codec=opus
        ),
    ]
