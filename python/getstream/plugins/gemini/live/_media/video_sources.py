"""Chooses what the model sees, and when: sources, policies and rhythm, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...errors import ConfigError
from .._events import SourceKind, VideoSource, ViewChanged

MAX_FPS = 60.0
MIN_FPS = 0.01

LARGEST_SIDE = 4096
"""Longest side that may be asked for, in pixels. The model scales what it gets to 768 x 768."""

SMALLEST_BUDGET = 2_000
"""Smallest byte budget of one image that may be asked for: a 320 px photograph at the coarsest
quality."""

MIN_VIEW_S = 2.0
"""Seconds for which a view stays when only speech asks for another one: an "mhm" from elsewhere
changes nothing. A source that ends or begins changes the view at once."""

NO_FRAMES_S = 10.0
"""Seconds without a single frame from which a source counts as blind: a keyframe was lost, or the
SDK cannot decode its codec. A late joiner's first frame takes 0.1 s, and 2 s on a bad network."""

TRY_AGAIN_S = 30.0
"""Seconds after which a source that was blind, or failed, is looked at again."""

TOKENS_PER_IMAGE = {"MEDIA_RESOLUTION_LOW": 64}
"""Tokens that Gemini counts for one image, by `media_resolution`; 256 for every other value
(google-genai, `MediaResolution`)."""

DEFAULT_TOKENS_PER_IMAGE = 256


SourceKey = tuple[str, SourceKind]
"""Session of the participant, and the kind."""

VideoPolicy = Callable[[Sequence[VideoSource]], Sequence[VideoSource]]
"""Orders sources, the most important first; those it leaves out are not looked at."""


def screen_first(sources: Sequence[VideoSource]) -> list[VideoSource]:
    """Order sources: shared screens, the newest first; then cameras, the oldest first."""
    screens = [source for source in sources if source.kind == "screen"]
    others = [source for source in sources if source.kind != "screen"]
    return [
        *sorted(screens, key=lambda source: -source.added_at),
        *sorted(others, key=lambda source: source.added_at),
    ]


def active_speaker(sources: Sequence[VideoSource]) -> list[VideoSource]:
    """Order sources by who spoke last; those of one participant as `screen_first` does."""
    return sorted(
        screen_first(sources),
        key=lambda source: (not source.speaking, -(source.spoke_at or float("-inf"))),
    )


_POLICIES: dict[str, VideoPolicy] = {
    "screen_first": screen_first,
    "active_speaker": active_speaker,
}


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """Options of video: sources, rates, size and quality.

    await gemini.attach(connection, video=True)                        # these defaults
    await gemini.attach(connection, video=VideoOptions(fps=0.5))       # every two seconds
    await gemini.attach(connection, video=VideoOptions(policy="active_speaker", sources=2))
    """

    fps: float = 1.0
    """Images per second of each source, 0.01 to 60, while somebody speaks. Gemini looks at one."""

    fps_idle: float | None = 0.3
    """Images per second while nobody speaks; None is `fps`. Models from 3.1 on bill every image,
    whether somebody speaks or not."""

    skip_unchanged: bool = True
    """Whether an image that looks as the one before is not sent. One is sent all the same when
    somebody begins to speak, after `refresh_s`, and on a new connection."""

    refresh_s: float = 30.0
    """Seconds after which an unchanged image is sent again: old ones slide out of the context."""

    max_side: int = 768
    """Longest side of an image in pixels. The model sees 768 x 768 (ai.google.dev, Live API best
    practices); `subscription_config` asks the call for the same."""

    quality: int = 75
    """Quality of the JPEG, 1 to 100, about as libjpeg counts: at 75 a 768 px photograph has 45 kB,
    and a screen of text 55 kB."""

    max_bytes: int | None = None
    """Byte budget of one image; quality goes first, then size. None has no limit but the network:
    an image must not delay the audio behind it."""

    kinds: tuple[Literal["camera", "screen"], ...] = ("screen", "camera")
    """Kinds of sources of the call that are looked at."""

    sources: int = 1
    """Sources that are looked at, at the same time, each at `fps`."""

    policy: Literal["screen_first", "active_speaker"] | VideoPolicy = "screen_first"
    """Order of the sources: shared screens, then cameras; or whoever speaks; or a function that
    orders a list of `VideoSource`, the most important first, without what is not to be seen."""

    announce: bool | Callable[[ViewChanged], str] = False
    """Tells the model in text when the view changes; a function makes the text, and none is sent if
    it is empty. The model may answer it."""

    def __post_init__(self) -> None:
        check_fps("fps", self.fps)
        if self.fps_idle is not None:
            check_fps("fps_idle", self.fps_idle)
        _check_number("refresh_s", self.refresh_s, 1, 3600)
        _check_integer("max_side", self.max_side, 16, LARGEST_SIDE)
        _check_integer("quality", self.quality, 1, 100)
        _check_integer("sources", self.sources, 1, 16)
        if self.max_bytes is not None:
            _check_integer("max_bytes", self.max_bytes, SMALLEST_BUDGET, 1 << 30)
        if self.skip_unchanged not in (True, False):
            raise ConfigError(f"skip_unchanged must be True or False, not {self.skip_unchanged!r}")
        kinds = self.kinds
        if not isinstance(kinds, tuple) or not kinds or {*kinds} - {"camera", "screen"}:
            raise ConfigError(f'kinds must be a tuple of "camera" and "screen", not {kinds!r}')
        if not callable(self.policy) and self.policy not in _POLICIES:
            raise ConfigError(
                f"policy must be {' or '.join(map(repr, _POLICIES))} or a function, "
                f"not {self.policy!r}"
            )
        if not callable(self.announce) and self.announce not in (True, False):
            raise ConfigError(f"announce must be True, False or a function, not {self.announce!r}")


def resolve_track_options(fps: object, options: object) -> VideoOptions:
    """Return the options of `start_video_sender`.

    Raises:
        ConfigError: one of them cannot be used.
    """
    if options is None:
        check_fps("fps", fps)
        assert isinstance(fps, (int, float))
        # What was documented first: so many images per second, whatever they show.
        return VideoOptions(fps=fps, fps_idle=None, skip_unchanged=False)
    if not isinstance(options, VideoOptions):
        raise ConfigError(f"options must be VideoOptions(...), not {options!r}")
    if fps != 1:
        raise ConfigError("Give the rate in the options: VideoOptions(fps=...)")
    return options


def resolve_call_options(video: object, fps: object, *, hears: bool) -> VideoOptions | None:
    """Return the options of `attach`, or None if nothing is to be seen.

    Args:
        video: `True`, `False` or the options.
        fps: images per second, or None.
        hears: whether speech is heard, so that there is a time when nobody speaks.

    Raises:
        ConfigError: one of them cannot be used.
    """
    if fps is not None:
        check_fps("fps", fps)
    if isinstance(video, VideoOptions):
        if fps is not None:
            raise ConfigError("Give the rate in the options: VideoOptions(fps=...)")
        options = video
    elif video is True or video is False:
        if not video:
            return None
        options = VideoOptions()
        if fps is not None:
            assert isinstance(fps, (int, float))
            options = VideoOptions(fps=fps, fps_idle=None)
    else:
        raise ConfigError(f"video must be True, False or VideoOptions(...), not {video!r}")
    return options if hears else replace(options, fps_idle=None)


def check_fps(name: str, fps: object) -> None:
    """Raise ConfigError unless `fps` is a number from `MIN_FPS` to `MAX_FPS`."""
    _check_number(name, fps, MIN_FPS, MAX_FPS)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # type: ignore[operator]
        raise ConfigError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} must be an integer from {low} to {high}, not {value!r}")


def describe_view(change: ViewChanged) -> str:
    """Return the text that tells the model about a new view."""
    if not change.sources:
        return "[No video is shown any more.]"
    names = " and ".join(source.name for source in change.sources)
    return f"[The video now shows {names}.]"


@dataclass
class _Entry:
    """Source of the call, and what is known of it."""

    key: SourceKey
    name: str
    user_id: str
    added_at: float
    track: Any
    number: int
    muted: bool = False
    blocked_until: float = float("-inf")


@dataclass
class _Voice:
    speaking: bool = False
    spoke_at: float | None = None


@dataclass
class SourceTable:
    """Sources of one call, and the order in which they are worth looking at.

    Args:
        options: of the attachment.

    Attributes:
        policy_error: what the user's policy has raised, or why its answer cannot be used; None if
            it never has.
    """

    options: VideoOptions
    policy_error: Exception | None = None
    _entries: dict[SourceKey, _Entry] = field(default_factory=dict)
    _voices: dict[str, _Voice] = field(default_factory=dict)
    _view: list[SourceKey] = field(default_factory=list)
    _view_since: float = float("-inf")
    _added: int = 0
    _view_number: int = 0  # of the newest source then

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, kind: SourceKind, user_id: str, session_id: str, track: Any, now: float
    ) -> VideoSource | None:
        """Take a track; one of the same session and kind replaces the older one.

        Returns:
            The source, or None if its kind is not looked at.
        """
        if kind not in self.options.kinds:
            return None
        key = (session_id, kind)
        name = f"{user_id}'s {kind}"
        taken = {entry.name for entry in self._entries.values() if entry.key != key}
        number = 2
        while name in taken:
            name = f"{user_id}'s {kind} ({number})"
            number += 1
        self._added += 1
        self._entries[key] = _Entry(key, name, user_id, now, track, self._added)
        return self._source(self._entries[key])

    def track_of(self, source: VideoSource) -> Any:
        """Return the track of a source; None if it is gone."""
        entry = self._entries.get((source.session_id, source.kind))
        return entry.track if entry is not None else None

    def set_muted(self, kind: SourceKind, session_id: str, muted: bool) -> None:
        """Note that a source sends nothing for a while, or sends again."""
        entry = self._entries.get((session_id, kind))
        if entry is not None:
            entry.muted = muted
            entry.blocked_until = float("-inf")

    def is_muted(self, source: VideoSource) -> bool:
        """Tell whether a source is known, and muted."""
        entry = self._entries.get((source.session_id, source.kind))
        return entry is not None and entry.muted

    def remove(self, source: VideoSource, track: Any) -> None:
        """Forget a source whose track has ended, unless it has another track by now."""
        entry = self._entries.get((source.session_id, source.kind))
        if entry is not None and entry.track is track:
            del self._entries[entry.key]

    def leave(self, session_id: str) -> None:
        """Forget what a participant has published."""
        for key in [key for key in self._entries if key[0] == session_id]:
            del self._entries[key]

    def block(self, source: VideoSource, now: float) -> None:
        """Do not look at a source for `TRY_AGAIN_S`: it has no frames, or none that can be used."""
        entry = self._entries.get((source.session_id, source.kind))
        if entry is not None:
            entry.blocked_until = now + TRY_AGAIN_S

    def note_speech(self, user_id: str, speaking: bool, now: float) -> None:
        """Note that a participant begins or ends to speak."""
        voice = self._voices.setdefault(user_id, _Voice())
        if speaking and not voice.speaking:
            voice.spoke_at = now
        voice.speaking = speaking

    def look(self, now: float) -> tuple[list[VideoSource], float | None]:
        """Choose what to look at.

        Returns:
            The sources, at most as many as the options say, the most important first; and when to
            look again even if nothing happens, in seconds of the event loop's clock.
        """
        there = {
            entry.key: self._source(entry)
            for entry in self._entries.values()
            if not entry.muted and now >= entry.blocked_until
        }
        again = [
            entry.blocked_until
            for entry in self._entries.values()
            if not entry.muted and now < entry.blocked_until
        ]
        chosen = self._ordered(list(there.values()))[: self.options.sources]
        keys = [(source.session_id, source.kind) for source in chosen]
        if keys != self._view:
            stays_until = self._view_since + MIN_VIEW_S
            if self._only_speech_asks(there, keys) and now < stays_until:
                keys = self._view
                again.append(stays_until)
            else:
                self._view, self._view_since, self._view_number = keys, now, self._added
        return [there[key] for key in keys], min(again, default=None)

    def _only_speech_asks(self, there: dict[SourceKey, VideoSource], keys: list[SourceKey]) -> bool:
        """Tell whether the view is full, all of it is still there, and nothing in it is new."""
        if len(keys) != len(self._view) or any(key not in there for key in self._view):
            return False
        return all(self._entries[key].number <= self._view_number for key in keys)

    def _ordered(self, sources: list[VideoSource]) -> list[VideoSource]:
        policy = self.options.policy
        order = policy if callable(policy) else _POLICIES[policy]
        try:
            answer = list(order(tuple(sources)))
            known = {(source.session_id, source.kind): source for source in sources}
            ordered = [known[source.session_id, source.kind] for source in answer]
            return list(dict.fromkeys(ordered))
        except Exception as error:
            if order is screen_first:
                raise
            self.policy_error = self.policy_error or error
            return screen_first(sources)

    def _source(self, entry: _Entry) -> VideoSource:
        voice = self._voices.get(entry.user_id, _Voice())
        session_id, kind = entry.key
        return VideoSource(
            name=entry.name,
            kind=kind,
            user_id=entry.user_id,
            session_id=session_id,
            added_at=entry.added_at,
            speaking=voice.speaking,
            spoke_at=voice.spoke_at,
        )


class Rhythm:
    """Tells when the next image of a source is due, by the clock and not by frames.

    Times are in seconds of the event loop's clock. The first image is due at once.

    Args:
        options: rates, and when an unchanged image is repeated.
    """

    def __init__(self, options: VideoOptions) -> None:
        self._options = options
        self._looked_at = float("-inf")  # on the grid
        self._sent_at = float("-inf")
        self._forced = False

    def due_at(self, speaking: bool) -> float:
        """Return when the next image is due."""
        return self._looked_at + self._interval(speaking)

    def looked(self, now: float, speaking: bool) -> None:
        """Note that a frame was looked at. The grid is kept; after a gap a new one begins."""
        due = self.due_at(speaking)
        self._looked_at = due if now < due + self._interval(speaking) else now

    def sent(self, now: float) -> None:
        """Note that an image went to the model."""
        self._sent_at = now
        self._forced = False

    def force(self) -> None:
        """Have the next image sent even if it is unchanged."""
        self._forced = True

    def may_skip(self, now: float) -> bool:
        """Tell whether an unchanged image need not be sent."""
        options = self._options
        recent = now < self._sent_at + options.refresh_s
        return options.skip_unchanged and recent and not self._forced

    def _interval(self, speaking: bool) -> float:
        options = self._options
        fps = options.fps if speaking or options.fps_idle is None else options.fps_idle
        return 1 / fps


MAX_AUDIO_DELAY_S = 0.005
"""Longest delay of the next audio frame by an image, in seconds: a quarter of a frame."""

MAX_SILENCE_DELAY_S = 0.1
"""The same while nobody speaks. What waits then is silence, which is written in pieces as long."""

FIRST_BUDGET_BYTES = 12 << 10
"""Size of a message before the path is known: Linux sends ten segments, 14 kB, before the first
acknowledgement (RFC 6928)."""

LARGEST_BUDGET_BYTES = 4 << 20

SMALLEST_MESSAGE_BYTES = 4 << 10
"""Below that an image shows nothing: it waits for a silence instead."""


LONGEST_POSTPONEMENT_S = 10.0
"""Seconds for which an image waits for a silence. Then a small one is sent: somebody who speaks all
the time, or a noise that is taken for speech, must not leave the model blind."""


class DelayBudget:
    """Learns how many bytes a message may have so that the audio after it is not late."""

    def __init__(self) -> None:
        self._bytes = float(FIRST_BUDGET_BYTES)

    def max_bytes(self, *, speaking: bool, waited_s: float = 0.0) -> int | None:
        """Return the most bytes that a message may have now.

        Args:
            speaking: whether somebody speaks, so that the audio matters.
            waited_s: for how long the image has waited, in seconds.

        Returns:
            A number of bytes, or None if the image has to wait for a silence.
        """
        if not speaking:
            scale = MAX_SILENCE_DELAY_S / MAX_AUDIO_DELAY_S
            return max(SMALLEST_MESSAGE_BYTES, int(self._bytes * scale))
        if self._bytes >= SMALLEST_MESSAGE_BYTES:
            return int(self._bytes)
        return SMALLEST_MESSAGE_BYTES if waited_s >= LONGEST_POSTPONEMENT_S else None

    def sent(self, size: int, delay_s: float) -> None:
        """Note that a message of `size` bytes has kept the path busy for `delay_s`."""
        if delay_s > MAX_AUDIO_DELAY_S:
            # By half at most: a busy machine looks like a slow path for a moment.
            fitting = size * MAX_AUDIO_DELAY_S / delay_s
            self._bytes = max(fitting, self._bytes / 2)
        elif delay_s <= MAX_AUDIO_DELAY_S / 4:
            # Buffers on the way take the first bytes at once, so that twice the size takes more
            # than twice the time: hence a quarter.
            self._bytes = max(self._bytes, min(2.0 * size, float(LARGEST_BUDGET_BYTES)))
