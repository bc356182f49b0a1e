"""Check all arguments of `GeminiLive`, and resolve them into what its parts are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from ._media.capture import ListenTo
from ._media.video_sources import DEFAULT_TOKENS_PER_IMAGE, TOKENS_PER_IMAGE
from ._models import check_config, default_options, is_proactive, model_of, resolve_model
from ._options import (
    Access,
    Activity,
    AskForKey,
    BargeIn,
    Watchdog,
    build_config,
    check_choice,
    check_tools,
    is_only_speech,
    resolve_access,
    resolve_activity,
    resolve_handle,
    resolve_switch,
)
from ._resumption import Line, check_lines
from ._session import HistoryMode, Resume, check_resume
from ._timing import VAD_DELAY_MS, VAD_HANGOVER_MS
from ._tools.registry import ToolRegistry
from ._turns.policy import TurnOptions

TAIL_MS = 2000
"""Silence after the last speech when nobody sends any more (everybody muted, or gone). The service
finds the end of speech in the audio: after 0.8 s of silence `gemini-3.8-live` was seen not to
answer, after 1.5 s it did."""

TAIL_BEYOND_MS = 500
"""Silence after the last speech beyond `silence_duration_ms`, where that is longer."""

ACTIVITY_SLACK_MS = 100
"""Milliseconds of audio kept beyond what an activity start may reach back to."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one assistant, checked.

    Attributes:
        model: the model's name, a successor where the given one was shut down.
        config: the merged `LiveConnectConfigDict`.
        access: key or project; None where the application brings its own client.
        handle: the session that the first connection resumes, or "".
        barge_in: how local speech lowers and pauses the assistant; None where it does not.
        watchdog: how stalls are noticed; None where they are not.
        activity: who detects the user's activity, and with which silence.
        half_duplex: nobody is heard while the assistant speaks.
        listen_to: who is heard.
        playback: whether the package plays the speech itself.
        proactive: the model may choose not to answer.
        history: what was said before the first session.
        resume: gives the conversation to go on with; None where there is none.
        tools: the functions that the model may call.
    """

    model: str
    config: dict[str, Any]
    access: Access | None
    handle: str
    barge_in: BargeIn | None
    watchdog: Watchdog | None
    activity: Activity
    half_duplex: bool
    listen_to: ListenTo
    playback: bool
    proactive: bool
    tools: ToolRegistry
    history: tuple[Line, ...] = ()
    resume: Resume | None = field(default=None, repr=False)

    @property
    def times(self) -> BargeIn:
        """Return the times of barge-in; the defaults where it is off."""
        return self.barge_in or BargeIn()

    @property
    def history_mode(self) -> HistoryMode:
        """Return how this model is given the history of a conversation."""
        return model_of(self.model).history_mode

    @property
    def takes_content(self) -> bool:
        """Return whether the model takes contents in the course of a session."""
        return model_of(self.model).takes_content

    @property
    def only_speech(self) -> bool:
        """Return whether text parts of the model are not what the assistant says."""
        return is_only_speech(self.config)

    @property
    def detection_ms(self) -> float:
        """Return the milliseconds from the first sound of speech until it counts as speech."""
        return self.times.pause_after_ms + VAD_DELAY_MS

    @property
    def activity_preroll_ms(self) -> float | None:
        """Return how much audio from before an activity start is kept; None: all is sent."""
        if not self.activity.marked:
            return None
        before_speech_ms = self.activity.padding_ms + self.detection_ms
        return before_speech_ms + self.times.commit_after_ms + ACTIVITY_SLACK_MS

    @property
    def tail_ms(self) -> int:
        """Return the silence that follows the last speech when nobody sends any more."""
        return max(TAIL_MS, math.ceil(self.activity.silence_ms) + TAIL_BEYOND_MS)

    @property
    def tokens_per_image(self) -> int:
        """Return the tokens that Gemini counts for one image."""
        resolution = self.config.get("media_resolution")
        name = str(getattr(resolution, "value", resolution)).upper()
        return TOKENS_PER_IMAGE.get(name, DEFAULT_TOKENS_PER_IMAGE)

    @property
    def turn_options(self) -> TurnOptions:
        """Return the options of the turn policy."""
        watch, times, activity = self.watchdog, self.times, self.activity
        may_stay_silent = watch.may_stay_silent if watch else None
        return TurnOptions(
            # If the model is not to be interrupted, local speech does not do it either.
            barge_in=self.barge_in is not None and activity.interrupts,
            resume_after_s=times.resume_after_ms / 1000,
            hangover_s=VAD_HANGOVER_MS / 1000,
            marks_activity=activity.marked,
            end_of_turn_s=activity.silence_ms / 1000,
            stall_after_s=watch.after_ms / 1000 if watch else None,
            may_stay_silent=self.proactive if may_stay_silent is None else may_stay_silent,
            transcript_is_request=watch is None or watch.may_stay_silent is not True,
            nudge=watch is not None and watch.nudge is not None,
            reconnect=watch is not None and watch.reconnect,
        )


def resolve_settings(
    *,
    api_key: str | AskForKey | None,
    has_client: bool,
    model: str | None,
    config: Mapping[str, Any] | None,
    instructions: str | None,
    voice: str | None,
    language: str | None,
    barge_in: bool | BargeIn,
    half_duplex: bool,
    listen_to: ListenTo,
    watchdog: bool | Watchdog,
    playback: bool,
    tools: Sequence[Any],
    history: Sequence[Any] | None = None,
    resume: Resume | None = None,
) -> Settings:
    """Check the arguments of `GeminiLive`.

    Raises:
        ConfigError: there is no key, or an argument cannot be used.
    """
    gives_way = resolve_switch("barge_in", barge_in, BargeIn)
    watch = resolve_switch("watchdog", watchdog, Watchdog)
    check_choice("half_duplex", half_duplex, (True, False))
    check_choice("playback", playback, (True, False))
    check_choice("listen_to", listen_to, ("everybody", "active_speaker"))
    model = resolve_model(model, stacklevel=3)
    merged = build_config(
        config,
        defaults=default_options(model),
        instructions=instructions,
        voice=voice,
        language=language,
    )
    check_config(model, merged)
    handle = resolve_handle(merged)
    if resume is not None:
        check_resume(resume)
        if handle or history is not None:
            other = "history" if history is not None else "config['session_resumption']['handle']"
            raise ConfigError(f"resume and {other} say both what to go on with; leave one out")
    given = [*check_tools("config['tools']", merged.pop("tools", ())), *check_tools("tools", tools)]
    return Settings(
        model=model,
        config=merged,
        access=None if has_client else resolve_access(api_key, stacklevel=3),
        handle=handle,
        barge_in=gives_way,
        watchdog=watch,
        activity=resolve_activity(merged),
        half_duplex=half_duplex,
        listen_to=listen_to,
        playback=playback,
        proactive=is_proactive(model, merged),
        history=() if history is None else check_lines("history", history),
        resume=resume,
        tools=ToolRegistry(given, behaviors=model_of(model).tool_behaviors, model=model),
    )
