"""Describe the backend at one moment as plain data, which is also sent as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .call import Call
from .network import LinkState
from .participant import Participant
from .tracks import kind_of

__all__ = ["CallState", "ParticipantState", "PublishedState", "StreamState", "SubscribedState"]


@dataclass(frozen=True)
class PublishedState:
    """A track that a participant publishes.

    Attributes:
        kind: "audio", "video", "screen_share" or "screen_share_audio".
        codec: As in SDP, for example "opus/48000/2".
        muted: True while the others do not see the track.
        packets: RTP packets that came from the publisher.
    """

    kind: str
    codec: str
    muted: bool
    packets: int


@dataclass(frozen=True)
class SubscribedState:
    """A track that a participant receives.

    Attributes:
        user_id: Who publishes it.
        kind: As in `PublishedState`.
        active: True while packets are forwarded.
        packets: RTP packets sent to the receiver.
    """

    user_id: str
    kind: str
    active: bool
    packets: int


@dataclass(frozen=True)
class ParticipantState:
    """A participant.

    Attributes:
        user_id: The user.
        session_id: The session. A rejoin makes a new one, a fast reconnect and a migration do not.
        joined_at: Unix time in seconds; a fast reconnect keeps it.
        sdk: What the client says it is.
        connected: True while the signalling socket is open.
        publisher: DTLS state of the publisher connection: "new", "connecting", "connected",
            "failed" or "closed".
        subscriber: The same of the subscriber connection.
        published: The tracks it publishes.
        subscribed: The tracks it receives.
        from_link: What `impair` did to the packets that it sent in this session.
        to_link: What `impair` did to the packets on their way to it.
    """

    user_id: str
    session_id: str
    joined_at: float
    sdk: str
    connected: bool
    publisher: str
    subscriber: str
    published: tuple[PublishedState, ...]
    subscribed: tuple[SubscribedState, ...]
    from_link: LinkState
    to_link: LinkState

    @classmethod
    def of(cls, participant: Participant) -> ParticipantState:
        """The state of `participant` now."""
        return cls(
            user_id=participant.user_id,
            session_id=participant.session_id,
            joined_at=participant.joined_at,
            sdk=participant.sdk,
            connected=participant.outbox is not None,
            publisher=participant.publisher.peer.state,
            subscriber=participant.subscriber.peer.state,
            published=tuple(
                PublishedState(kind_of(t.track_type), t.codec.rtpmap, not t.announced, t.packets)
                for t in participant.publisher.tracks.values()
            ),
            subscribed=tuple(
                SubscribedState(
                    f.track.owner.user_id, kind_of(f.track.track_type), f.flowing, f.packets
                )
                for f in participant.subscriber.forwarded.values()
                if f.track is not None
            ),
            from_link=participant.links["from"].state,
            to_link=participant.links["to"].state,
        )


@dataclass(frozen=True)
class CallState:
    """A call.

    Attributes:
        call_type: For example "default".
        call_id: The id.
        ended: True once it has been ended for everybody.
        participants: Who is in it.
    """

    call_type: str
    call_id: str
    ended: bool
    participants: tuple[ParticipantState, ...]


@dataclass(frozen=True)
class StreamState:
    """Everything.

    Attributes:
        calls: All calls that were created.
        requests: Requests by route since the start.
    """

    calls: tuple[CallState, ...]
    requests: Mapping[str, int]

    @classmethod
    def of(cls, calls: Iterable[Call], requests: Mapping[str, int]) -> StreamState:
        """The state of `calls` now."""
        return cls(
            calls=tuple(
                CallState(
                    call.type,
                    call.id,
                    call.ended_at is not None,
                    tuple(ParticipantState.of(p) for p in call.participants.values()),
                )
                for call in calls
            ),
            requests=dict(requests),
        )

    @property
    def participants(self) -> tuple[ParticipantState, ...]:
        """The participants of all calls."""
        return tuple(p for call in self.calls for p in call.participants)

    def __str__(self) -> str:
        """One line for an error message."""
        if not self.calls:
            return "there is no call"
        return "; ".join(
            f"call {call.call_type}:{call.call_id}{' (ended)' if call.ended else ''}: "
            + (", ".join(_describe(p) for p in call.participants) or "nobody")
            for call in self.calls
        )


def _describe(participant: ParticipantState) -> str:
    tracks = ", ".join(
        f"{t.kind}{' muted' if t.muted else ''} {t.packets} packets" for t in participant.published
    )
    return (
        f"{participant.user_id} [publisher {participant.publisher}, "
        f"subscriber {participant.subscriber}; {tracks or 'no tracks'}]"
    )
