"""The Stream call, on `getstream` 7 and on 6.1, whose connections differ in shape."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Literal, Protocol

from aiortc.mediastreams import MediaStreamError
from getstream.video.rtc.pb.stream.video.sfu.models import models_pb2
from getstream.video.rtc.tracks import SubscriptionConfig, TrackSubscriptionConfig

from ..errors import CallError, ConfigError

_AUDIO_TYPES = (models_pb2.TRACK_TYPE_AUDIO, models_pb2.TRACK_TYPE_SCREEN_SHARE_AUDIO)
VideoKind = Literal["camera", "screen"]

_VIDEO_KINDS: dict[int, VideoKind] = {
    models_pb2.TRACK_TYPE_VIDEO: "camera",
    models_pb2.TRACK_TYPE_SCREEN_SHARE: "screen",
}


class Attachment:
    """Remembers what `attach` has wired to one connection, and undoes it."""

    def __init__(self, connection: Any) -> None:
        self._connection = weakref.ref(connection)
        self._undo: list[Callable[[], object]] = []

    def is_to(self, connection: Any) -> bool:
        """Whether this is the connection that is attached."""
        return self._connection() is connection

    @property
    def connection(self) -> Any:
        """Return the connection, or None if it is gone."""
        return self._connection()

    @property
    def is_over(self) -> bool:
        """Whether the call is over, as far as the SDK tells."""
        connection = self._connection()
        return connection is None or has_left(connection)

    def add(self, undo: Callable[[], object]) -> None:
        """Remember how to undo something."""
        self._undo.append(undo)

    def detach(self) -> None:
        """Undo all of it."""
        undo, self._undo = self._undo, []
        for each in undo:
            # A connection that is over may have removed its listeners itself.
            with contextlib.suppress(KeyError, ValueError):
                each()


def check_connection(connection: Any) -> None:
    """Check that this is a connection of the Stream SDK.

    Raises:
        ConfigError: it is not.
        CallError: it has left its call.
    """
    if inspect.isawaitable(connection):
        if inspect.iscoroutine(connection):
            connection.close()  # or Python warns that nobody has awaited it
        raise ConfigError("attach takes an entered connection: await rtc.join(...), and enter it")
    needed = ("on", "remove_listener", "add_tracks", "participants_state")
    if not all(hasattr(connection, name) for name in needed):
        raise ConfigError(
            "attach takes the connection that `await rtc.join(...)` gives, entered, not "
            f"{connection!r:.100}"
        )
    if has_left(connection):
        raise CallError("This connection has left its call; join again, and attach the new one")


def has_left(connection: Any) -> bool:
    """Whether a connection has left its call. An SDK that hides it is believed not to have."""
    state = getattr(connection, "connection_state", None)
    left = getattr(type(state), "LEFT", None)
    return left is not None and bool(state == left)


def on_ended(connection: Any, handler: Callable[[], None]) -> Callable[[], None]:
    """Call `handler` when the call has been ended; returns how to stop that."""

    def on_call_ended(*_event: Any) -> None:
        handler()

    connection.on("call_ended", on_call_ended)
    return lambda: connection.remove_listener("call_ended", on_call_ended)


async def wait_left(connection: Any) -> None:
    """Return when a connection is over, as its own `wait` says."""
    if hasattr(connection, "wait"):
        await connection.wait()
    else:
        await asyncio.get_running_loop().create_future()  # only its events can say it


def subscription_config(
    kinds: Collection[VideoKind] = ("screen", "camera"), max_side: int = 768
) -> SubscriptionConfig:
    """Return what to subscribe to so that the assistant hears and sees.

    That is audio, the sound of shared screens, and video of the given kinds. Without a
    configuration the SDKs receive audio only.

    Args:
        kinds: of video; none is audio only.
        max_side: longest side of the images that are sent, in pixels. The SFU chooses the layer of
            a publisher by it.
    """
    # 16:9, as nearly all cameras and screens are; both sides even.
    size = models_pb2.VideoDimension(width=max_side, height=round(max_side * 9 / 32) * 2)
    return SubscriptionConfig(
        default=TrackSubscriptionConfig(
            track_types=[
                *_AUDIO_TYPES,
                *(number for number, kind in _VIDEO_KINDS.items() if kind in kinds),
            ],
            video_dimension=size,
            screenshare_dimension=size,
        )
    )


async def publish(connection: Any, track: Any) -> None:
    """Publish an audio track.

    Raises:
        CallError: the SDK refused.
    """
    try:
        await connection.add_tracks(audio=track)
    except Exception as error:
        raise CallError(
            f"The assistant's voice could not be published ({type(error).__name__}: {error}). "
            "Is the connection entered, and may this user send audio?"
        ) from error


def on_audio(connection: Any, handler: Callable[[Any], None]) -> Callable[[], None]:
    """Call `handler` with each `PcmData` of the other participants; returns how to stop that.

    The SDK calls it from its own loop over a participant's audio, and makes no task for it, as it
    does for each call of an async handler. It should return soon, and must not raise: the SDK would
    log a traceback for each frame.
    """

    def on_pcm(pcm: Any, *_user: Any) -> None:
        handler(pcm)

    connection.on("audio", on_pcm)
    return lambda: connection.remove_listener("audio", on_pcm)


def on_audio_track(
    connection: Any, handler: Callable[[str, str, Literal["voice", "sound"]], None]
) -> Callable[[], None]:
    """Call `handler` for each audio track that is added; returns how to stop that.

    It is given the user id, the session id, and `sound` if it is that of a shared screen. The
    frames of a track do not say which track they are of; they come after this.
    """

    def on_track_added(track: Any, kind: str | None = None, user: Any = None) -> None:
        if kind is None:  # getstream 7 hands over a RemoteTrack, which must not be kept
            track_type = int(track.track_type)
            user = track.participant
        elif kind == "audio":  # 6: ("prefix:TRACK_TYPE_...:n", kind, user)
            shared = "SCREEN_SHARE" in str(track)
            track_type = _AUDIO_TYPES[1] if shared else _AUDIO_TYPES[0]
        else:
            return
        if track_type in _AUDIO_TYPES and user is not None:
            sound = track_type == models_pb2.TRACK_TYPE_SCREEN_SHARE_AUDIO
            handler(user.user_id, user.session_id, "sound" if sound else "voice")

    connection.on("track_added", on_track_added)
    return lambda: connection.remove_listener("track_added", on_track_added)


def identity_of(connection: Any) -> tuple[str, str]:
    """Return which call a connection is to, and the user id with which it is there."""
    call = getattr(connection, "call", None)
    names = [str(getattr(call, name, "")) for name in ("call_type", "id")]
    name = ":".join(names) if any(names) else f"connection {id(connection)}"
    return name, str(getattr(connection, "user_id", None) or "")


def watch_people(
    connection: Any, handler: Callable[[list[str]], None]
) -> Callable[[], object] | None:
    """Call `handler` with the user ids of all participants, now and at each change.

    Whoever is connected counts, the connection's own user included, and without an event: an SDK
    that reconnects replaces the list.

    Returns:
        How to stop that; None with an SDK that hides its list: then nothing is known.
    """
    follow = getattr(connection.participants_state, "map", None)
    if not callable(follow):
        return None

    def on_list(participants: Any) -> None:
        handler([participant.user_id for participant in participants])

    # The SDK holds a weak reference to the handler; the subscription holds the strong one.
    subscription = follow(on_list)
    return lambda: subscription.unsubscribe()


async def leave(connection: Any) -> None:
    """Leave the call.

    Raises:
        CallError: the SDK could not.
    """
    try:
        await connection.leave()
    except Exception as error:
        raise CallError(
            f"The call could not be left ({type(error).__name__}: {error}); its connection may be "
            "there until the program ends"
        ) from error


def on_joined(connection: Any, handler: Callable[[str, str], None]) -> Callable[[], None]:
    """Call `handler` with the user id and the session id of each participant who joins."""
    return _on_participants(connection, "participant_joined", handler)


def on_left(connection: Any, handler: Callable[[str, str], None]) -> Callable[[], None]:
    """Call `handler` with the user id and the session id of each participant who leaves."""
    return _on_participants(connection, "participant_left", handler)


def _on_participants(
    connection: Any, event: str, handler: Callable[[str, str], None]
) -> Callable[[], None]:
    def on_event(participant: Any) -> None:
        handler(participant.user_id, participant.session_id)

    participants = connection.participants_state
    participants.on(event, on_event)
    return lambda: participants.remove_listener(event, on_event)


def names_of(connection: Any) -> Callable[[str], str]:
    """Return a function from the id of a user in the call to the name; "" where it is not known."""
    seen = weakref.ref(connection)

    def name_of(user_id: str) -> str:
        state = getattr(seen(), "participants_state", None)
        participants = getattr(state, "get_participants", lambda: ())()
        found = [each for each in participants if getattr(each, "user_id", None) == user_id]
        return str(getattr(found[0], "name", None) or "") if found else ""

    return name_of


class VideoListener(Protocol):
    """Takes note of the video of a call; `kind` is "camera" or "screen"."""

    def add(self, kind: VideoKind, user_id: str, session_id: str, track: Any) -> None:
        """Take a track."""

    def set_muted(self, kind: VideoKind, session_id: str, muted: bool) -> None:
        """Note that a track is taken back, or is there again."""

    def leave(self, user_id: str, session_id: str) -> None:
        """Forget a participant."""


class LegacyTrack:
    """Video track of `getstream` 6, which is decoded for us while it is read.

    Args:
        connection: of the SDK.
        track_id: as its event `track_added` names it.
    """

    def __init__(self, connection: Any, track_id: str) -> None:
        self._connection = weakref.ref(connection)
        self._track_id = track_id

    async def __aiter__(self) -> AsyncIterator[Any]:
        connection = self._connection()
        subscriber = connection.subscriber_pc if connection is not None else None
        track = subscriber.add_track_subscriber(self._track_id) if subscriber else None
        del connection, subscriber
        if track is None:
            return
        try:
            while True:
                yield await track.recv()
        except MediaStreamError:
            return
        finally:
            track.stop()


def on_video(connection: Any, listener: VideoListener) -> Callable[[], None]:
    """Tell `listener` of the video tracks of the call; returns how to stop that.

    Raises:
        CallError: the connection was made without a subscription to video.
    """
    if not _may_receive_video(connection):
        raise CallError(
            "attach(video=True) needs a connection that subscribes to video: "
            "rtc.join(call, user_id=..., subscription_config=GeminiLive.subscription_config())"
        )

    def on_track_added(track: Any, kind: str | None = None, user: Any = None) -> None:
        if kind is None:  # getstream 7 hands over a RemoteTrack
            video_kind = _VIDEO_KINDS.get(int(track.track_type))
            user = track.participant
        elif kind == "video":  # 6: ("prefix:TRACK_TYPE_...:n", kind, user)
            video_kind = "screen" if "SCREEN_SHARE" in str(track) else "camera"
            track = LegacyTrack(connection, track)
        else:
            return
        if video_kind is not None:
            user_id, session_id = getattr(user, "user_id", ""), getattr(user, "session_id", "")
            listener.add(video_kind, user_id, session_id, track)

    def on_published(event: Any) -> None:
        note_muted(event, muted=False)

    def on_unpublished(event: Any) -> None:
        note_muted(event, muted=True)

    def note_muted(event: Any, *, muted: bool) -> None:
        track_type = getattr(event, "track_type", getattr(event, "type", None))  # 7, 6
        video_kind = _VIDEO_KINDS.get(int(track_type)) if track_type is not None else None
        if video_kind is not None:
            listener.set_muted(video_kind, event.session_id, muted)

    connection.on("track_added", on_track_added)
    connection.on("track_published", on_published)
    connection.on("track_unpublished", on_unpublished)
    unjoin = on_left(connection, listener.leave)

    def stop() -> None:
        unjoin()
        connection.remove_listener("track_added", on_track_added)
        connection.remove_listener("track_published", on_published)
        connection.remove_listener("track_unpublished", on_unpublished)

    return stop


async def announce_present_tracks(connection: Any) -> None:
    """Ask for the tracks of those who were in the call first: `getstream` 6 does not by itself."""
    republish = getattr(connection, "republish_tracks", None)
    if republish is not None:
        await republish()


def _may_receive_video(connection: Any) -> bool:
    """Whether the connection subscribes to video. An SDK that hides it is believed to."""
    manager = getattr(connection, "_subscription_manager", connection)
    if not hasattr(manager, "_subscription_config"):
        return True
    config = manager._subscription_config
    if config is None:
        return False
    rules = [config.default, *config.role_filters.values()]
    return any(kind in _VIDEO_KINDS for rule in rules for kind in rule.track_types)
