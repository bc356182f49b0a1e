"""`LightPerson`: somebody who talks with an assistant, at a fraction of the cost of `Person`.

A `Person` is on the real SDK: it decodes, resamples, paces and records. One of many needs less:
Opus packets that were encoded once for all, a decoder for what is heard, and two numbers for each
packet that arrives. Signalling, media connections and packets are those of any client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models
from getstream.video.rtc.pb.stream.video.sfu.signal_rpc import signal_pb2 as signal

from ...errors import CallError
from .._person.opus import FRAME_SAMPLES, OpusDecoder
from .._stream.auth import Credentials
from .._stream.dtls import Certificate
from .._stream.rtp import AUDIO_LEVEL_URI, RtpHeader
from .media_link import MediaLink
from .speech import SILENT_LEVEL, Clip, is_loud

__all__ = ["Backend", "HeardTrack", "LightPerson"]

logger = logging.getLogger(__name__)

FRAME_S = 0.02
HELD_UP_S = 1.0
"""Seconds after which a sender that was held up goes on with the time instead of catching up."""

PAUSE_MS = 700.0
"""Silence that ends a turn of the assistant: longer than the pauses within read sentences."""

ANSWER_S = 10.0
"""Longest wait for an answer; a person has asked again long before."""

TURN_S = 60.0
"""Longest turn of the assistant that a person listens to before speaking all the same."""

GREETING_S = 3.0
"""Time for an assistant to begin to greet, from its first packet on; not all of them greet."""

THINKING_S = (0.3, 1.3)
"""Shortest and longest time from the end of an answer to the next question, evenly spread."""

_LEVEL_EXTENSION = 1
_PAYLOAD_TYPE = 111
_RTP = struct.Struct("!BBHIIHHBBH")
_ONE_BYTE_PROFILE = 0xBEDE  # RFC 8285, section 4.2


@dataclass(frozen=True)
class Backend:
    """Tells how people reach the local Stream backend.

    Attributes:
        url: Address of the REST API.
        credentials: Its key and secret; they sign the tokens of people.
        http: Shared by all.
        certificate: Shared by the media connections of all.
    """

    url: str
    credentials: Credentials
    http: aiohttp.ClientSession
    certificate: Certificate


@dataclass
class HeardTrack:
    """Keeps when the packets of one RTP stream came.

    Attributes:
        arrivals: Monotonic times in seconds.
        timestamps: RTP timestamps, 48 kHz, modulo 2**32.
        numbers: RTP sequence numbers, modulo 2**16.
    """

    arrivals: list[float] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


class LightPerson:
    """Somebody in a call who asks, listens to the answer, thinks, and asks again.

    Attributes:
        latencies_s: From the last word of a question to the first sound of its answer, with the
            monotonic time of that last word.
        unanswered: Monotonic times of the last words of questions without an answer.
        lateness_s: How much later than its time each packet was sent.
        onset_at: When the first sound since the last word of this person was heard, monotonic.
    """

    def __init__(
        self,
        call_id: str,
        user_id: str,
        backend: Backend,
        clip: Clip,
        *,
        on_heard: Callable[[], None] = lambda: None,
        seed: int = 0,
    ) -> None:
        """Create a person, who joins with `join`.

        Args:
            call_id: The call, of type `default`; created if there is none.
            user_id: Who the person is.
            backend: The local Stream backend.
            clip: What the person says.
            on_heard: Called at the first packet of anybody else.
            seed: Chooses the times of thinking.
        """
        self.call_id = call_id
        self.user_id = user_id
        self.latencies_s: list[tuple[float, float]] = []
        self.unanswered: list[float] = []
        self.lateness_s: list[float] = []
        self.onset_at = 0.0
        self._backend = backend
        self._clip = clip
        self._on_heard = on_heard
        self._random = random.Random(seed)
        self._session_id = secrets.token_hex(16)
        self._ssrc = secrets.randbits(31) | 1
        self._url = ""
        self._token = ""
        self._socket: Any = None  # aiohttp.ClientWebSocketResponse, generic in some versions
        self._reading: asyncio.Task[None] | None = None
        self._publisher = MediaLink(backend.certificate, lambda _: None)
        self._subscriber = MediaLink(backend.certificate, self._on_rtp)
        self._decoders: dict[int, OpusDecoder] = {}
        self._tracks: dict[int, HeardTrack] = {}
        self._sent = 0
        self._skipped = 0
        self._due = 0.0
        self._ticking: asyncio.TimerHandle | None = None
        self._position = len(clip.packets)
        self._said: asyncio.Future[float] | None = None
        self._packet_came = asyncio.Event()
        self._sound_came = asyncio.Event()
        self._loud_at = 0.0

    # -- life --------------------------------------------------------------------------------------

    async def join(self) -> None:
        """Join the call, and send from now on.

        Raises:
            CallError: The backend refuses, or there is no media connection.
        """
        try:
            await self._join()
        except BaseException as error:
            await self.leave()
            if isinstance(error, (aiohttp.ClientError, OSError)):
                raise CallError(f"{self.user_id} could not join {self.call_id}: {error}") from error
            raise

    async def leave(self) -> None:
        """Leave the call. May be called twice."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        socket, self._socket = self._socket, None
        if socket is not None:
            leaving = events.LeaveCallRequest(session_id=self._session_id)
            with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
                request = events.SfuRequest(leave_call_request=leaving)
                await socket.send_bytes(request.SerializeToString())
                await socket.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._publisher.close()
        self._subscriber.close()
        for decoder in self._decoders.values():
            decoder.close()
        self._decoders.clear()

    async def converse(self) -> None:
        """Hear a greeting, if there is one, and then ask and listen until this is cancelled."""
        await self._packet_came.wait()
        if await self.sound_within(GREETING_S):
            await self._wait_pause(TURN_S)
        while True:
            await asyncio.sleep(self._random.uniform(*THINKING_S))
            asked_at = await self.say()
            if await self.sound_within(ANSWER_S):
                self.latencies_s.append((asked_at, self.onset_at - asked_at))
                await self._wait_pause(TURN_S)
            else:
                self.unanswered.append(asked_at)

    def take_tracks(self) -> list[HeardTrack]:
        """Return the packets that have come since the last time this was called."""
        tracks, self._tracks = self._tracks, {}
        return list(tracks.values())

    # -- signalling --------------------------------------------------------------------------------

    async def _join(self) -> None:
        backend = self._backend
        address = f"{backend.url}/api/v2/video/call/default/{self.call_id}/join"
        token = backend.credentials.sign(user_id=self.user_id)
        async with backend.http.post(
            address,
            params={"api_key": backend.credentials.api_key},
            headers={"Authorization": token, "stream-auth-type": "jwt"},
            json={"location": "local", "create": True, "data": {"created_by_id": self.user_id}},
        ) as response:
            if response.status >= 400:
                raise CallError(f"{self.user_id} may not join: {await response.text()}")
            granted = (await response.json())["credentials"]
        self._url = f"{granted['server']['url']}/stream.video.sfu.signal.SignalServer"
        self._token = granted["token"]
        self._socket = await backend.http.ws_connect(granted["server"]["ws_endpoint"])
        details = models.ClientDetails(os=models.OS(name="load"))
        join = events.JoinRequest(
            token=self._token, session_id=self._session_id, client_details=details
        )
        await self._socket.send_bytes(events.SfuRequest(join_request=join).SerializeToString())
        self._reading = asyncio.create_task(self._read(self._socket))
        await self._publish()

    async def _publish(self) -> None:
        offer = self._publisher.offer(self._ssrc, (_LEVEL_EXTENSION, AUDIO_LEVEL_URI))
        opus = models.Codec(name="opus", clock_rate=48_000, encoding_parameters="2")
        track = models.TrackInfo(
            track_id=secrets.token_hex(8),
            track_type=models.TRACK_TYPE_AUDIO,
            mid="0",
            codec=opus,
        )
        response = await self._ask(
            "SetPublisher",
            signal.SetPublisherRequest(sdp=offer, session_id=self._session_id, tracks=[track]),
            signal.SetPublisherResponse(),
        )
        await self._publisher.connect(response.sdp)
        loop = asyncio.get_running_loop()
        # Not all at once: the phases of people who are in calls of their own are unrelated.
        self._due = loop.time() + self._random.uniform(0, FRAME_S)
        self._ticking = loop.call_at(self._due, self._tick)

    async def _read(self, socket: Any) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                continue
            event = events.SfuEvent.FromString(message.data)
            if event.WhichOneof("event_payload") == "subscriber_offer":
                try:
                    await self._on_offer(event.subscriber_offer.sdp)
                except (CallError, aiohttp.ClientError, OSError) as error:
                    # The generator notices that no assistant is heard; this says why.
                    logger.warning("%s hears nobody: %s", self.user_id, error)

    async def _on_offer(self, offer: str) -> None:
        answer = self._subscriber.answer(offer)
        await self._ask(
            "SendAnswer",
            signal.SendAnswerRequest(
                peer_type=models.PEER_TYPE_SUBSCRIBER, sdp=answer, session_id=self._session_id
            ),
            signal.SendAnswerResponse(),
        )
        await self._subscriber.connect(offer)

    async def _ask(self, method: str, request: Any, response: Any) -> Any:
        headers = {"Authorization": self._token, "Content-Type": "application/protobuf"}
        async with self._backend.http.post(
            f"{self._url}/{method}", data=request.SerializeToString(), headers=headers
        ) as answer:
            body = await answer.read()
            if answer.status >= 400:
                raise CallError(f"the SFU answers {method} with {answer.status}")
        response.ParseFromString(body)
        if response.HasField("error") and response.error.code:
            raise CallError(f"the SFU refuses {method}: {response.error.message}")
        return response

    # -- speaking ----------------------------------------------------------------------------------

    async def say(self) -> float:
        """Say the clip; returns the monotonic time at which its last word has left."""
        self._said = asyncio.get_running_loop().create_future()
        self._position = 0
        return await self._said

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late_s = now - self._due
        self.lateness_s.append(late_s)
        if late_s > HELD_UP_S:
            frames = int(late_s / FRAME_S)
            self._skipped += frames
            self._due += frames * FRAME_S
        payload, level = self._clip.silence, SILENT_LEVEL
        if self._position < len(self._clip.packets):
            payload, level = self._clip.packets[self._position]
            if self._position == self._clip.last_word and self._said is not None:
                if not self._said.done():
                    self._said.set_result(now)
                self._sound_came.clear()
            self._position += 1
        header = _RTP.pack(
            0x90,  # version 2, with a header extension
            _PAYLOAD_TYPE,
            self._sent & 0xFFFF,
            (self._sent + self._skipped) * FRAME_SAMPLES & 0xFFFFFFFF,
            self._ssrc,
            _ONE_BYTE_PROFILE,
            1,
            _LEVEL_EXTENSION << 4,
            level,
            0,
        )
        self._publisher.send(header + payload)
        self._sent += 1
        self._due += FRAME_S
        self._ticking = loop.call_at(self._due, self._tick)

    # -- listening ---------------------------------------------------------------------------------

    async def sound_within(self, seconds: float) -> bool:
        """Wait for a loud frame; False if none comes."""
        try:
            await asyncio.wait_for(self._sound_came.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def _wait_pause(self, longest_s: float) -> None:
        """Wait until nothing loud has come for `PAUSE_MS`."""
        deadline = time.monotonic() + longest_s
        while (now := time.monotonic()) < deadline:
            quiet_s = now - self._loud_at
            if quiet_s >= PAUSE_MS / 1000:
                return
            await asyncio.sleep(PAUSE_MS / 1000 - quiet_s)

    def _on_rtp(self, packet: bytes) -> None:
        now = time.monotonic()
        header = RtpHeader.parse(packet)
        if header is None:
            return
        track = self._tracks.get(header.ssrc)
        if track is None:
            track = self._tracks[header.ssrc] = HeardTrack()
        track.arrivals.append(now)
        track.numbers.append(int.from_bytes(packet[2:4], "big"))
        track.timestamps.append(int.from_bytes(packet[4:8], "big"))
        if not self._packet_came.is_set():
            self._packet_came.set()
            self._on_heard()
        decoder = self._decoders.get(header.ssrc)
        if decoder is None:
            decoder = self._decoders[header.ssrc] = OpusDecoder()
        if is_loud(decoder.decode(packet[header.payload :])):
            self._loud_at = now
            if not self._sound_came.is_set():
                self.onset_at = now
                self._sound_came.set()
