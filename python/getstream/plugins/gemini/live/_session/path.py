"""Notice that the network path under a connection no longer carries what is sent.

A path can die without a word: nothing is acknowledged, nothing is reset, and whoever waits to send
waits for ever. Two signs tell, and a late answer of the service is none of them:

- The kernel has sent something again and again, and it is not acknowledged (`UNACKNOWLEDGED_S`).
- Bytes wait in this process, and none of them leaves (`STUCK_S`). This one needs no help of the
  kernel, but enough to send: audio fills the buffers below in two or three seconds. Where the
  kernel tells what is acknowledged (Linux), whatever is counts as having left.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("getstream.plugins.gemini")

STUCK_S = 10.0
"""Seconds for which bytes wait to be sent, and none leaves, until the path counts as dead. With the
time in which audio fills the buffers below it makes less than 15 s."""

UNACKNOWLEDGED_S = 12.0
"""Seconds for which the kernel goes on without any acknowledgement (`TCP_USER_TIMEOUT`, RFC 5482;
Linux). Its own patience is 924 s and more (`tcp_retries2` of 15)."""

UNSENT_BYTES = 16 << 10
"""Bytes that the kernel takes beyond those on their way (`TCP_NOTSENT_LOWAT`): without it, buffers
of megabytes hide that nothing leaves, or that little does. It is 0.4 s of audio at 16 kHz."""

SEND_BUFFER_BYTES = 64 << 10
"""The kernel's send buffer where it does not know `TCP_NOTSENT_LOWAT` (Windows)."""

LOOK_S = 1.0
"""Seconds from one look at a path to the next."""

LONGEST_LOOK_S = 2 * LOOK_S
"""Most seconds that the time since the look before counts for: an event loop that was held up has
seen nothing of the path."""


class PathWatch:
    """Tells for how long bytes have waited to be sent while none of them left.

    Args:
        now: the time of the event loop, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._looked_at = now
        self._waiting = 0
        self._sent = 0
        self._stuck_s = 0.0

    def look(self, now: float, waiting: int, sent: int) -> float:
        """Look at the path.

        Args:
            now: the time of the event loop, in seconds.
            waiting: bytes that wait to be sent.
            sent: how much has been sent; it only grows, and in whatever unit.

        Returns:
            For how many seconds nothing has left although bytes wait.
        """
        moves = waiting < self._waiting or sent != self._sent
        if moves or not waiting or not self._waiting:
            self._stuck_s = 0.0
        else:
            self._stuck_s += min(now - self._looked_at, LONGEST_LOOK_S)
        self._looked_at, self._waiting, self._sent = now, waiting, sent
        return self._stuck_s


def watch_socket(transport: Any) -> None:
    """Have the kernel tell early when the path of a connection is dead, as far as it can."""
    # asyncio's TLS transport knows nothing any more once it was closed twice.
    connected = None if transport.is_closing() else transport.get_extra_info("socket")
    if connected is None:
        return
    options = [
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", round(UNACKNOWLEDGED_S * 1000)),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", UNSENT_BYTES),
    ]
    if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
        options.append((socket.SOL_SOCKET, "SO_SNDBUF", SEND_BUFFER_BYTES))
    for level, name, value in options:
        option = getattr(socket, name, None)
        if option is None:
            continue
        try:
            connected.setsockopt(level, option, value)
        except OSError as error:  # not a TCP socket, or a kernel that does not know it
            logger.debug("%s cannot be set: %s", name, error)


# In `struct tcp_info` of linux/tcp.h, which only ever grows at its end.
_BYTES_ACKED = struct.Struct("=Q")
_BYTES_ACKED_AT = 120


def acknowledged(transport: Any) -> int:
    """Return how many bytes of a connection were acknowledged; 0 where that is not known.

    What the layers of asyncio hold back (64 KiB below TLS) hides for ten seconds that a path of
    5 kB/s carries something.
    """
    connected = transport.get_extra_info("socket")
    if connected is None or sys.platform != "linux":
        return 0
    try:
        size = _BYTES_ACKED_AT + _BYTES_ACKED.size
        info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        (count,) = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)
    except (OSError, struct.error):  # not a TCP socket, closed, or a kernel before 4.1
        return 0
    return int(count)


_NOTSENT_AND_MIN_RTT = struct.Struct("=II")
_NOTSENT_AT = 144
_SND_MSS = struct.Struct("=I")
_SND_MSS_AT = 16


@dataclass(frozen=True)
class PathState:
    """Bytes that are on their way on a connection, and its round trip.

    Attributes:
        unsent: bytes that wait to be sent, here and in the kernel.
        acknowledged: bytes that were acknowledged; 0 where that is not known.
        segment: bytes of one segment; 0 where that is not known.
        min_rtt_s: the shortest round trip, in seconds; 0 where that is not known.
    """

    unsent: int
    acknowledged: int = 0
    segment: int = 0
    min_rtt_s: float = 0.0


def path_state(transport: Any) -> PathState:
    """Return the state of a path, as far as the system tells (Linux 4.6)."""
    if transport.is_closing():
        return PathState(0)
    waiting = transport.get_write_buffer_size()
    connected = transport.get_extra_info("socket")
    if connected is None or sys.platform != "linux":
        return PathState(waiting)
    try:
        size = _NOTSENT_AT + _NOTSENT_AND_MIN_RTT.size
        info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        (count,) = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)
        unsent, min_rtt_us = _NOTSENT_AND_MIN_RTT.unpack_from(info, _NOTSENT_AT)
        (segment,) = _SND_MSS.unpack_from(info, _SND_MSS_AT)
    except (OSError, struct.error):  # not a TCP socket, closed, or an older kernel
        return PathState(waiting)
    return PathState(waiting + unsent, count, segment, min_rtt_us / 1e6)


# What a kernel says that gives up: that, or the last it has heard of the path.
_GIVEN_UP = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)


def is_unacknowledged(error: BaseException | None) -> bool:
    """Tell whether a connection has ended because the kernel gave its path up."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _GIVEN_UP:
            return True
        error = error.__cause__
    return False
