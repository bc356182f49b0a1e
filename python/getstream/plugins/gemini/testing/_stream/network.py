"""Lose, delay and reorder media packets between a participant and the backend."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, fields

__all__ = ["Link", "LinkState", "Network"]

_QUEUE = 4096
"""Packets that a link holds back at most: 80 s of one audio track, 8 s of audio and video."""
_LONGEST_MS = 60_000.0
"""Longest delay of each kind, in milliseconds: what is later is a loss for everybody."""
_SHARES = ("loss", "reorder", "duplicate")


@dataclass(frozen=True)
class Network:
    """Describe what a network does to the RTP of one participant in one direction.

    What a packet meets is drawn from `seed` alone, with as many numbers for each packet whatever
    the conditions are: the same seed and the same packets give the same losses, with and without
    jitter. Without `reorder` packets keep their order. Nothing but RTP is touched: handshakes,
    STUN and RTCP pass at once.

    Attributes:
        loss: Share of packets that are lost, 0 to 1.
        delay_ms: Added to each packet.
        jitter_ms: A further random delay of each packet, uniform from 0 to this. A packet does not
            overtake another for it, so it may wait for the one before; never longer than this.
        reorder: Share of packets that come `reorder_ms` late and behind their successors, 0 to 1.
        reorder_ms: By how much; 30 ms puts a packet of 20 ms behind the next one.
        duplicate: Share of packets that come twice, 0 to 1.
        burst_ms: Nothing passes for so long, then everything that has been held back, at once.
        burst_every_ms: From the begin of one such stall to the next. 0: one stall only, which
            begins with the next packet; so does the first one of many.
        seed: Of the random numbers.

    Raises:
        ValueError: A share is not from 0 to 1, a time is negative, above a minute or not a number,
            or stalls follow each other without a gap.
    """

    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    reorder: float = 0.0
    reorder_ms: float = 30.0
    duplicate: float = 0.0
    burst_ms: float = 0.0
    burst_every_ms: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _SHARES and not 0 <= value <= 1:
                raise ValueError(f"{field.name} is {value}; it is a share from 0 to 1")
            if field.name.endswith("_ms") and not 0 <= value <= _LONGEST_MS:
                raise ValueError(f"{field.name} is {value}; it is from 0 to {_LONGEST_MS:g} ms")
        if 0 < self.burst_every_ms <= self.burst_ms:
            raise ValueError(
                f"burst_every_ms is {self.burst_every_ms} and burst_ms {self.burst_ms}; "
                "between two stalls something must pass"
            )


@dataclass(frozen=True)
class LinkState:
    """Count what a link has done, in packets.

    Attributes:
        packets: Media packets that came to it while it had a `Network`.
        lost: Lost by chance.
        reordered: Sent behind their successors.
        duplicated: Sent twice.
        overflowed: Lost because too many were held back.
        waiting: Held back at this moment.
    """

    packets: int = 0
    lost: int = 0
    reordered: int = 0
    duplicated: int = 0
    overflowed: int = 0
    waiting: int = 0


class Link:
    """Carry one direction of a peer connection, with one bounded queue and one timer."""

    def __init__(self, then: Callable[[bytes], None]) -> None:
        """Create a link without conditions: everything passes at once.

        Args:
            then: Gets each datagram when it has passed.
        """
        self._then = then
        self._network: Network | None = None
        self._random = random.Random()
        self._began: float | None = None
        self._last_due = -math.inf
        self._queue: list[tuple[float, int, bytes]] = []
        self._order = 0
        self._timer: asyncio.TimerHandle | None = None
        self._packets = self._lost = self._reordered = self._duplicated = self._overflowed = 0

    @property
    def network(self) -> Network | None:
        """Return the conditions, None if there are none."""
        return self._network

    @property
    def state(self) -> LinkState:
        """Return the counters."""
        return LinkState(
            self._packets,
            self._lost,
            self._reordered,
            self._duplicated,
            self._overflowed,
            len(self._queue),
        )

    def set(self, network: Network | None, key: str = "") -> None:
        """Change the conditions; what the old ones have held back passes now, in order.

        Args:
            network: The conditions, None for none.
            key: Mixed into the seed, so that two links with one seed differ.
        """
        self._release(math.inf)
        self._network = network
        self._began, self._last_due = None, -math.inf
        if network is not None:
            self._random = random.Random(f"{network.seed}:{key}")

    def send(self, datagram: bytes) -> None:
        """Take one media packet."""
        network = self._network
        if network is None:
            self._then(datagram)
            return
        self._packets += 1
        lost, late, behind, twice = (self._random.random() for _ in range(4))
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        if lost < network.loss:
            self._lost += 1
            return
        due = now + (network.delay_ms + late * network.jitter_ms) / 1000
        due = max(self._after_stall(network, due), self._last_due)
        if behind < network.reorder:
            self._reordered += 1
            self._hold(due + network.reorder_ms / 1000, datagram)
        else:
            self._last_due = due
            self._hold(due, datagram)
            if twice < network.duplicate:
                self._duplicated += 1
                self._hold(due, datagram)
        self._release(now)

    def close(self) -> None:
        """Forget what is held back."""
        self._queue.clear()
        self._stop_timer()

    def _after_stall(self, network: Network, due: float) -> float:
        """Return when a packet that is due passes: after the stall, if it falls into one."""
        assert self._began is not None, "set by the first packet"
        since = due - self._began
        if network.burst_every_ms:
            since %= network.burst_every_ms / 1000
        stall = network.burst_ms / 1000
        return due - since + stall if since < stall else due

    def _hold(self, due: float, datagram: bytes) -> None:
        if len(self._queue) >= _QUEUE:
            self._overflowed += 1
            return
        heapq.heappush(self._queue, (due, self._order, datagram))
        self._order += 1

    def _release(self, until: float) -> None:
        """Pass on what is due, and wake up for the next."""
        self._stop_timer()
        try:
            while self._queue and self._queue[0][0] <= until:
                self._then(heapq.heappop(self._queue)[2])
        finally:
            if self._queue:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_at(self._queue[0][0], self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        # A timer may ring early by the resolution of its clock.
        due = self._queue[0][0] if self._queue else 0.0
        self._release(max(asyncio.get_running_loop().time(), due))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
