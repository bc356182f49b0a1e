"""A Stream video backend on loopback: coordinator, SFU signalling, and media forwarding.

=================  =========================================================================
`server`           `LocalStream`: life, addresses, state, waits and faults
`coordinator`      users, calls, join credentials; REST and WebSocket
`sfu`              signalling socket, Twirp methods, sessions
`call`             the participants of a call
`participant`      one session: a `publisher` and a `subscriber`
`tracks`           published tracks and their forwarded copies, keyframe requests
`peer`             one peer connection: `ice` (with `stun`), `dtls`, `sdp`
`network`          what happens to media packets on their way
`rtp`              the fields of RTP and RTCP that are read and rewritten
`state`            snapshots; `notifier`: waits for one; `control`: both and faults over HTTP
`redirect`         leads the SDK of this process, or of a child, to the backend
=================  =========================================================================
"""

from __future__ import annotations

from .network import LinkState, Network
from .server import LocalStream
from .state import CallState, ParticipantState, PublishedState, StreamState, SubscribedState

__all__ = [
    "CallState",
    "LinkState",
    "LocalStream",
    "Network",
    "ParticipantState",
    "PublishedState",
    "StreamState",
    "SubscribedState",
]
