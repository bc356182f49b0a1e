"""Send what a browser sends: DTX, nothing while muted, a shared tab's sound as a second track.

The published tracks of `getstream` have none of this: version 7 sends every frame of silence, and
neither version publishes the audio of a shared screen. So the packets are made here, and travel on
a publisher connection of aiortc (a dependency of `getstream[webrtc]`) that belongs to the session
which the SDK has joined.
"""

from __future__ import annotations

import asyncio
import functools
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import aiortc
import numpy as np
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpsender import RTCEncodedFrame
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models
from getstream.video.rtc.pb.stream.video.sfu.signal_rpc import signal_pb2 as signal
from numpy.typing import NDArray

from ...errors import CallError
from .opus import FRAME_SAMPLES, OpusEncoder
from .receiver import SAMPLE_RATE

if TYPE_CHECKING:
    from getstream import AsyncStream

__all__ = ["BrowserPublisher", "BrowserTrack"]

_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE
_HELD_UP_S = 1.0
"""Seconds after which a sender that was held up goes on with the time instead of catching up."""
_SETTLING_S = 0.5
"""Seconds from publication until the others receive a new track.

`BrowserPublisher.publish` returns when the SFU receives it; nobody tells when the others have
answered its offer (measured: 0.1 to 0.3 s), and what is sent before that nobody hears.
"""
_CONNECT_TIMEOUT = 10.0
_SILENT_DBOV = -127
"""RFC 6464: the level of digital silence."""


class BrowserTrack:
    """Encode and pace one track, with silence where nothing is played.

    The RTP timestamp of a frame is the time since the track began, whatever was sent before: a
    pause of DTX or of a mute is a gap of the timestamps, and none of the sequence numbers.

    Attributes:
        announce: Tells the others that the track is muted, or not; set when it is published.
    """

    latency = 0.0

    def __init__(self, *, dtx: bool) -> None:
        """Create a track, which begins with its first packet.

        Args:
            dtx: Discontinuous transmission, as `OpusEncoder` has it.
        """
        self.track: aiortc.MediaStreamTrack = _NoTrack()
        self.announce: Callable[[bool], Awaitable[None]] | None = None
        self._dtx = dtx
        self._encoder = OpusEncoder(dtx=dtx)
        self._origin: float | None = None
        self._next = 0
        self._samples: NDArray[np.int16] = np.zeros(0, dtype=np.int16)
        self._started: asyncio.Future[float] | None = None
        self._sending = asyncio.Event()
        self._sending.set()

    @property
    def muted(self) -> bool:
        """Tell whether no packet is sent."""
        return not self._sending.is_set()

    async def settle(self) -> None:
        """Wait until the others have been offered the track, as far as one can know."""
        await asyncio.sleep(_SETTLING_S)

    async def play(self, samples: NDArray[np.int16]) -> float:
        """Queue the sound; returns the monotonic time at which its first frame is encoded."""
        self._started = asyncio.get_running_loop().create_future()
        self._samples = np.asarray(samples, dtype=np.int16)
        return await self._started

    async def flush(self) -> None:
        """Send silence from the next frame on."""
        self._samples = self._samples[:0]

    async def set_muted(self, muted: bool) -> None:
        """Stop to send and say so, or say that it comes again and send it.

        What was not sent is dropped. A track that comes again has a new encoder, as a browser's.

        Raises:
            CallError: The SFU refuses.
        """
        if muted:
            self._sending.clear()
            self._samples = self._samples[:0]
            self._begin()
        if self.announce is not None:
            await self.announce(muted)
        if not muted and self.muted:
            self._encoder.close()
            self._encoder = OpusEncoder(dtx=self._dtx)
            self._skip()
            self._sending.set()

    def close(self) -> None:
        """Free the encoder."""
        self._encoder.close()

    async def next_packet(self, codec: Any = None) -> RTCEncodedFrame:
        """Wait for the next packet that is to be sent, and return it when it is due.

        Takes the place of `RTCRtpSender._next_encoded_frame`, whose argument it ignores: aiortc's
        own encoder has no DTX.
        """
        while True:
            await self._sending.wait()
            await self._due()
            if self.muted:
                continue
            number, self._next = self._next, self._next + 1
            frame = self._take()
            payload = self._encoder.encode(frame)
            if payload is not None:
                return RTCEncodedFrame([payload], number * FRAME_SAMPLES, _level(frame))

    async def _due(self) -> None:
        now = time.monotonic()
        if self._origin is None:
            self._origin = now
        due = self._origin + self._next * _FRAME_S
        if now - due > _HELD_UP_S:
            self._skip()
            due = self._origin + self._next * _FRAME_S
        if due > now:
            await asyncio.sleep(due - now)

    def _skip(self) -> None:
        """Go on with the frame that begins next by the clock."""
        if self._origin is not None:
            passed = math.ceil((time.monotonic() - self._origin) / _FRAME_S)
            self._next = max(self._next, passed)

    def _begin(self) -> None:
        """Let `play` return."""
        if self._started is not None and not self._started.done():
            self._started.set_result(time.monotonic())

    def _take(self) -> NDArray[np.int16]:
        self._begin()
        frame = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        taken, self._samples = self._samples[:FRAME_SAMPLES], self._samples[FRAME_SAMPLES:]
        frame[: len(taken)] = taken
        return frame


class BrowserPublisher:
    """Publish tracks of a session of the local backend."""

    def __init__(self, session_id: str, sfu_url: str, token: str) -> None:
        """Create a publisher; `publish` connects it.

        Args:
            session_id: The session that the SDK has joined.
            sfu_url: Base address of the SFU's Twirp methods.
            token: What the SFU asks for.
        """
        self._session_id = session_id
        self._url = f"{sfu_url}/stream.video.sfu.signal.SignalServer"
        self._http = aiohttp.ClientSession(
            headers={"Authorization": token, "Content-Type": "application/protobuf"}
        )
        self._connection = aiortc.RTCPeerConnection()
        self._tracks: dict[models.TrackType.ValueType, BrowserTrack] = {}
        self._track_ids: dict[models.TrackType.ValueType, str] = {}
        self._negotiating = asyncio.Lock()

    @classmethod
    async def for_session(
        cls, client: AsyncStream, call_type: str, call_id: str, user_id: str, session_id: str
    ) -> BrowserPublisher:
        """Create the publisher of a session, with credentials of its own for the SFU.

        Raises:
            CallError: The coordinator gives none.
        """
        token = client.create_token(user_id) if client.has_api_secret else client.token
        address = f"{str(client.base_url).rstrip('/')}/api/v2/video/call/{call_type}/{call_id}/join"
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                address,
                params={"api_key": client.api_key},
                headers={"Authorization": str(token), "stream-auth-type": "jwt"},
                json={"location": "local"},
            ) as response,
        ):
            if response.status >= 400:
                raise CallError(f"no credentials for the SFU: {await response.text()}")
            credentials = (await response.json())["credentials"]
        return cls(session_id, credentials["server"]["url"], credentials["token"])

    async def publish(self, kind: models.TrackType.ValueType, track: BrowserTrack) -> None:
        """Publish a track, or one more; returns when its packets arrive.

        Raises:
            CallError: The SFU refuses, or the media connection does not come up.
        """
        async with self._negotiating:
            sender = self._connection.addTrack(track.track)
            sender._next_encoded_frame = track.next_packet  # type: ignore[method-assign]
            self._tracks[kind], self._track_ids[kind] = track, secrets.token_hex(8)
            track.announce = functools.partial(self._announce, kind)
            await self._connection.setLocalDescription(await self._connection.createOffer())
            response = await self._call(
                "SetPublisher",
                signal.SetPublisherRequest(
                    sdp=self._connection.localDescription.sdp,
                    session_id=self._session_id,
                    tracks=self._describe_tracks(),
                ),
                signal.SetPublisherResponse(),
            )
            answer = aiortc.RTCSessionDescription(sdp=response.sdp, type="answer")
            await self._connection.setRemoteDescription(answer)
            await self._connected()

    async def close(self) -> None:
        """Close the connection. The session belongs to the SDK and goes on."""
        await self._connection.close()
        await self._http.close()
        for track in self._tracks.values():
            track.close()

    def _describe_tracks(self) -> list[models.TrackInfo]:
        mids = {t.sender.track: str(t.mid) for t in self._connection.getTransceivers()}
        opus = models.Codec(name="opus", clock_rate=SAMPLE_RATE, encoding_parameters="2")
        return [
            models.TrackInfo(
                track_id=self._track_ids[kind],
                track_type=kind,
                mid=mids[track.track],
                dtx=kind == models.TRACK_TYPE_AUDIO,
                muted=track.muted,
                codec=opus,
            )
            for kind, track in self._tracks.items()
        ]

    async def _announce(self, kind: models.TrackType.ValueType, muted: bool) -> None:
        state = signal.TrackMuteState(track_type=kind, muted=muted)
        await self._call(
            "UpdateMuteStates",
            signal.UpdateMuteStatesRequest(session_id=self._session_id, mute_states=[state]),
            signal.UpdateMuteStatesResponse(),
        )

    async def _connected(self) -> None:
        changed = asyncio.Event()
        self._connection.on("connectionstatechange", changed.set)
        try:
            while (state := self._connection.connectionState) != "connected":
                if state in ("failed", "closed"):
                    raise CallError(f"the publisher connection is {state}")
                changed.clear()
                await asyncio.wait_for(changed.wait(), _CONNECT_TIMEOUT)
        except asyncio.TimeoutError:
            raise CallError(
                f"the publisher connection was not up within {_CONNECT_TIMEOUT:g} s"
            ) from None
        finally:
            self._connection.remove_listener("connectionstatechange", changed.set)

    async def _call(self, method: str, request: Any, response: Any) -> Any:
        async with self._http.post(
            f"{self._url}/{method}", data=request.SerializeToString()
        ) as answer:
            body = await answer.read()
            if answer.status >= 400:
                raise CallError(f"the SFU answers {method} with {answer.status}: {body!r}")
        response.ParseFromString(body)
        if response.HasField("error") and response.error.code:
            raise CallError(f"the SFU refuses {method}: {response.error.message}")
        return response


class _NoTrack(aiortc.MediaStreamTrack):
    """Stand for a track in a sender whose packets come from a `BrowserTrack`."""

    kind = "audio"

    async def recv(self) -> Any:
        """Refuse; nobody calls it, but a track has to have it."""
        raise MediaStreamError


def _level(frame: NDArray[np.int16]) -> int:
    """Return the RFC 6464 level of a frame in dBov, -127 to 0."""
    x = frame.astype(np.float64)
    power = float(x @ x) / len(x) / 32768**2
    return max(_SILENT_DBOV, round(10 * math.log10(power))) if power > 0 else _SILENT_DBOV
