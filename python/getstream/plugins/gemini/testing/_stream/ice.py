"""An ICE-lite agent and STUN server: one UDP socket for every peer connection (RFC 8445).

An ICE-lite agent only answers the checks of its peers. It has one address, so it needs neither
candidates of theirs nor checks of its own; the user name of a check says for which connection it
is.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable

from .network import Link
from .rtp import is_rtcp
from .stun import BindingRequest, binding_response

__all__ = ["IceLite", "IceTransport"]

logger = logging.getLogger(__name__)

_Address = tuple[str, int]
_RECEIVE_BUFFER = 4 << 20


class IceLite(asyncio.DatagramProtocol):
    """The UDP socket that all peer connections share."""

    def __init__(self) -> None:
        self.address: _Address = ("127.0.0.1", 0)
        self._socket: asyncio.DatagramTransport | None = None
        self._by_ufrag: dict[str, IceTransport] = {}
        self._by_address: dict[_Address, IceTransport] = {}

    async def open(self, host: str) -> None:
        """Bind a free UDP port of `host`."""
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        self.address = self._socket.get_extra_info("sockname")[:2]
        # A keyframe comes as a burst; the default buffer is small on some systems.
        sock = self._socket.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, datagram: bytes, address: _Address) -> None:
        """Send one datagram; does nothing once the socket is closed."""
        if self._socket is not None:
            self._socket.sendto(datagram, address)

    def register(self, ufrag: str, transport: IceTransport) -> None:
        """Route the checks for `ufrag` to `transport`."""
        self._by_ufrag[ufrag] = transport

    def forget(self, transport: IceTransport) -> None:
        """Drop every route to `transport`."""
        self._by_ufrag = {k: t for k, t in self._by_ufrag.items() if t is not transport}
        self._by_address = {k: t for k, t in self._by_address.items() if t is not transport}

    # -- asyncio.DatagramProtocol -------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        """Sort by the first byte (RFC 7983): 0 to 3 is STUN, the rest belongs to a connection."""
        address: _Address = (str(addr[0]), int(addr[1]))
        if data and data[0] < 4:
            self._on_stun(data, address)
            return
        transport = self._by_address.get(address)
        if transport is not None:
            transport.on_datagram(data)

    def error_received(self, exc: Exception) -> None:
        """A peer that has gone makes the kernel report ECONNREFUSED; its session expires anyway."""
        logger.debug("UDP: %s", exc)

    def _on_stun(self, data: bytes, address: _Address) -> None:
        request = BindingRequest.parse(data)
        if request is None:
            return
        if not request.username:
            # A plain STUN server. On a machine with nothing but a loopback interface this gives
            # the SDK its only candidate.
            self.send(binding_response(request.transaction_id, address), address)
            return
        ufrag = request.username.split(":")[0]
        transport = self._by_ufrag.get(ufrag)
        if transport is None or transport.blackhole:
            return
        password = transport.password(ufrag)
        if not request.signed_with(password):
            logger.debug("%s: a STUN check with a wrong password", transport.label)
            return
        self.send(binding_response(request.transaction_id, address, password), address)
        self._by_address[address] = transport
        transport.on_check(address, nominated=request.nominated)


class IceTransport:
    """The ICE side of one peer connection.

    Attributes:
        blackhole: While True every datagram of the connection is dropped, both ways.
        inbound: What the media that the peer sends goes through.
        outbound: What the media that the peer receives goes through.
    """

    def __init__(
        self,
        agent: IceLite,
        label: str,
        *,
        on_connected: Callable[[], None],
        on_datagram: Callable[[bytes], None],
    ) -> None:
        self.label = label
        self.blackhole = False
        self.inbound = Link(self._deliver)
        self.outbound = Link(self._transmit)
        self.ufrag = self.pwd = ""
        self._agent = agent
        self._on_connected = on_connected
        self._on_datagram = on_datagram
        self._passwords: dict[str, str] = {}
        self._remote: _Address | None = None
        self._closed = False
        self.restart()

    def restart(self) -> None:
        """New credentials (an ICE restart). The old ones stay valid until the connection closes."""
        self.ufrag, self.pwd = secrets.token_hex(4), secrets.token_hex(16)
        self._passwords[self.ufrag] = self.pwd
        self._agent.register(self.ufrag, self)

    @property
    def address(self) -> _Address:
        """Host and port of our only candidate."""
        return self._agent.address

    @property
    def connected(self) -> bool:
        """True once the peer's address is known."""
        return self._remote is not None

    def password(self, ufrag: str) -> str:
        """The password that belongs to `ufrag`."""
        return self._passwords[ufrag]

    def on_check(self, address: _Address, *, nominated: bool) -> None:
        """A check of the peer came from `address`."""
        if self._remote is None or (nominated and self._remote != address):
            first = self._remote is None
            self._remote = address
            logger.debug("%s: peer at %s:%d", self.label, *address)
            if first:
                self._on_connected()

    def on_datagram(self, datagram: bytes) -> None:
        """A datagram of the peer that is not STUN."""
        if not self.blackhole:
            if _is_media(datagram):
                self.inbound.send(datagram)
            else:
                self._deliver(datagram)

    def send(self, datagram: bytes) -> None:
        """Send a datagram to the peer, if its address is known."""
        if not self.blackhole:
            if _is_media(datagram):
                self.outbound.send(datagram)
            else:
                self._transmit(datagram)

    def close(self) -> None:
        """Send and deliver nothing any more."""
        self._closed = True
        self.inbound.close()
        self.outbound.close()
        self._agent.forget(self)

    def _deliver(self, datagram: bytes) -> None:
        if not self._closed:
            self._on_datagram(datagram)

    def _transmit(self, datagram: bytes) -> None:
        if self._remote is not None and not self._closed:
            self._agent.send(datagram, self._remote)


def _is_media(datagram: bytes) -> bool:
    """Tell RTP, which alone is impaired: a lost handshake makes a run hard to read."""
    return datagram[0] >= 128 and not is_rtcp(datagram)
