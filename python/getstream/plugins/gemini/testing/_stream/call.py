"""A call: its participants and what the coordinator stores about it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

from getstream.video.rtc.pb.stream.video.sfu.event import events_pb2 as events
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2 as models

from .participant import Participant
from .tracks import PublishedTrack

__all__ = ["Call"]


class Call:
    """One call, named by its type and id.

    Attributes:
        settings: What the client overrode.
        participants: By session id.
        members: The members as the client named them, by user id.
        ended_at: Unix time in nanoseconds at which the call was ended, else None.
    """

    def __init__(self, call_type: str, call_id: str) -> None:
        self.type = call_type
        self.id = call_id
        self.cid = f"{call_type}:{call_id}"
        self.session_id = secrets.token_hex(8)
        self.created_at = time.time_ns()
        self.created_by = "system"
        self.custom: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.members: dict[str, dict[str, Any]] = {}
        self.ended_at: int | None = None
        self.participants: dict[str, Participant] = {}

    def update(self, body: dict[str, Any]) -> None:
        """Apply the body of a create, update or join request."""
        data = body.get("data") or body
        self.custom.update(data.get("custom") or {})
        self.settings.update(data.get("settings_override") or {})
        creator = data.get("created_by_id") or (data.get("created_by") or {}).get("id")
        if creator:
            self.created_by = creator
        for member in data.get("members") or []:
            self.members[member["user_id"]] = member

    def tracks(self) -> Iterator[PublishedTrack]:
        """All tracks of all participants."""
        for participant in self.participants.values():
            yield from participant.publisher.tracks.values()

    def state(self) -> models.CallState:
        """The state that a participant gets when it joins."""
        return models.CallState(
            participants=[p.to_proto() for p in self.participants.values()],
            participant_count=models.ParticipantCount(total=len(self.participants)),
        )

    def broadcast(self, skip: Participant | None = None, **event: Any) -> None:
        """Send one `SfuEvent` to every participant but `skip`."""
        for participant in self.participants.values():
            if participant is not skip:
                participant.send(**event)

    def refresh_subscriptions(self) -> None:
        """Forward to everybody the tracks that they should get now."""
        for participant in self.participants.values():
            participant.subscriber.refresh()

    def add(self, participant: Participant) -> None:
        """Let a participant in; `announce` tells the others."""
        self.participants[participant.session_id] = participant

    def announce(self, participant: Participant) -> None:
        """Tell the others about a new participant, and forward what there is."""
        joined = events.ParticipantJoined(call_cid=self.cid, participant=participant.to_proto())
        self.broadcast(skip=participant, participant_joined=joined)
        self.refresh_subscriptions()

    def remove(self, participant: Participant) -> None:
        """A participant left: tell the others and close its connections."""
        if self.participants.get(participant.session_id) is not participant:
            return
        del self.participants[participant.session_id]
        participant.present = False
        left = events.ParticipantLeft(call_cid=self.cid, participant=participant.to_proto())
        self.broadcast(participant_left=left)
        self.refresh_subscriptions()
        participant.close()
