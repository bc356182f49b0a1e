"""A participant of a call: its signalling socket, what it publishes and what it receives."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models

from .dtls import Certificate
from .ice import IceLite
from .network import Link
from .notifier import ChangeNotifier
from .publisher import Publisher
from .sdp import RemoteDescription
from .subscriber import Subscriber

if TYPE_CHECKING:
    from .call import Call

__all__ = ["Outbox", "Participant", "Services"]


@dataclass
class Services:
    """Services that all participants share."""

    ice: IceLite
    certificate: Certificate = field(default_factory=Certificate)
    changes: ChangeNotifier = field(default_factory=ChangeNotifier)

    def changed(self) -> None:
        """The state changed: wake those who wait for one."""
        self.changes.notify()


class Outbox:
    """Sends events on one signalling socket, in order, without making the sender wait."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self._request = request
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(), name="stream-sfu-outbox")

    def send(self, event: events.SfuEvent) -> None:
        """Queue one event."""
        self._queue.put_nowait(event.SerializeToString())

    def abort(self) -> None:
        """Reset the TCP connection, without a close frame."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def drain(self) -> None:
        """Wait until everything queued has been handed to the socket, or the socket has failed."""
        joined = asyncio.ensure_future(self._queue.join())
        await asyncio.wait([joined, self._task], return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()

    async def close(self) -> None:
        """Stop sending."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            data = await self._queue.get()
            try:
                await self.socket.send_bytes(data)
            except (ConnectionError, RuntimeError):
                return  # the socket is gone; its handler notices and keeps or ends the session
            finally:
                self._queue.task_done()


class Participant:
    """One session of one user in one call.

    Attributes:
        present: False once the session has left the call.
        sdk: What the client says it is, for example "python 7.0.0".
        expiry: Ends the session if its signalling socket does not come back.
    """

    def __init__(
        self, services: Services, call: Call, user_id: str, join: events.JoinRequest
    ) -> None:
        self.call = call
        self.user_id = user_id
        self.session_id = join.session_id
        self.track_lookup_prefix = secrets.token_hex(6)
        self.joined_at = time.time()
        self.present = True
        self.sdk = _describe_sdk(join.client_details)
        self.encodes = RemoteDescription(join.publisher_sdp).codec_names("video")
        self.outbox: Outbox | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.publisher = Publisher(self, services)
        decodes = RemoteDescription(join.subscriber_sdp).codec_names("video")
        self.subscriber = Subscriber(self, services, decodes)

    def to_proto(self) -> models.Participant:
        """The participant as the others see it."""
        participant = models.Participant(
            user_id=self.user_id,
            session_id=self.session_id,
            track_lookup_prefix=self.track_lookup_prefix,
            name=self.user_id,
            roles=["user"],
            connection_quality=models.CONNECTION_QUALITY_EXCELLENT,
            published_tracks=[t.track_type for t in self.publisher.tracks.values() if t.announced],
        )
        participant.joined_at.FromMilliseconds(int(self.joined_at * 1000))
        return participant

    def send(self, **event: Any) -> None:
        """Send one `SfuEvent`, named as its field: `send(go_away=GoAway(...))`."""
        if self.outbox is not None:
            self.outbox.send(events.SfuEvent(**event))

    @property
    def links(self) -> dict[str, Link]:
        """Return what its media goes through: "from" the participant, and "to" it."""
        return {"from": self.publisher.peer.ice.inbound, "to": self.subscriber.peer.ice.outbound}

    @property
    def hung_up(self) -> bool:
        """True if the client has closed its media connections, as getstream 6 does to leave."""
        states = {self.publisher.peer.state, self.subscriber.peer.state}
        return "closed" in states and not states & {"connecting", "connected"}

    def close(self) -> None:
        """Close both connections. The call has removed the participant before."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        self.publisher.close()
        self.subscriber.close()


def _describe_sdk(details: models.ClientDetails) -> str:
    sdk = details.sdk
    name = models.SdkType.Name(sdk.type).removeprefix("SDK_TYPE_").lower()
    if name == "unspecified":
        name = (details.device.name or details.os.name or "unknown").lower()
    return f"{name} {sdk.major}.{sdk.minor}.{sdk.patch}"
