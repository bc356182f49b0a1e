"""A program that uses `getstream` and this package together. Type-checked, never run.

`assert_type` fails where a name is untyped (`Any`), so this also shows that the types of both
packages arrive at their user, with the override for mypy that the README gives.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from getstream import Stream
from getstream.plugins.gemini import BargeIn, GeminiLive, audio, errors, live
from getstream.plugins.gemini.live import (
    Interrupted,
    OutputTrack,
    PlaybackFinished,
    PlaybackStarted,
    RetiredModelWarning,
    Speech,
    Stalled,
    Stats,
    TurnComplete,
    VideoOptions,
    VideoSource,
    VideoStarted,
    VideoStopped,
    ViewChanged,
    Watchdog,
    screen_first,
)
from getstream.plugins.gemini.testing import (
    BELIEFS,
    INVALID_HANDLE,
    IRREGULAR_CHUNKS,
    Chunk,
    EphemeralToken,
    InterruptionOptions,
    LocalGemini,
    LocalServers,
    Parrot,
    ResumptionOptions,
    Script,
    Turn,
)
from getstream.video import rtc
from getstream.video.rtc.audio_track import AudioStreamTrack
from getstream.video.rtc.track_util import PcmData
from getstream.video.rtc.tracks import SubscriptionConfig
from google import genai
from numpy.typing import NDArray
from typing_extensions import assert_type


def mine(sources: Sequence[VideoSource]) -> list[VideoSource]:
    return [source for source in screen_first(sources) if source.kind == "screen"]


async def the_quick_start() -> None:
    warnings.simplefilter("ignore", RetiredModelWarning)
    gemini = GeminiLive(api_key=None, model="gemini-3.8-live", config={"temperature": 0.5})
    client = Stream.from_env()
    assert_type(client, Stream)
    # The synchronous client works with `getstream` 7 as well, and is not typed to.
    call = client.as_async().video.call("default", "call-id")
    async with await rtc.join(call, user_id="assistant") as connection:
        await connection.add_tracks(audio=gemini.output_track)

        @connection.on("audio")  # type: ignore[untyped-decorator]
        async def on_audio(pcm: PcmData) -> None:
            assert_type(await gemini.send_audio_pcm(pcm, target_rate=48000), None)

        assert_type(await gemini.send_text("Hello"), None)


async def the_methods(track: Any) -> None:
    async with GeminiLive(
        instructions="Be brief.",
        voice="Kore",
        language="en-US",
        barge_in=BargeIn(duck_db=-math.inf, resume_after_ms=250, commit_after_ms=600.0),
        client=genai.Client(api_key="key"),
        half_duplex=False,
        playback=True,
        listen_to="active_speaker",
        watchdog=Watchdog(after_ms=3000, nudge="Go on."),
    ) as gemini:
        assert_type(gemini, GeminiLive)
        assert_type(gemini.output_track, OutputTrack)
        as_the_sdk_takes_it: AudioStreamTrack = gemini.output_track
        await as_the_sdk_takes_it.flush()
        assert_type(await gemini.wait_until_ready(timeout=10.0), bool)
        assert_type(await gemini.wait_until_ready(None), bool)
        assert_type(await gemini.start_video_sender(track, fps=1), None)
        options = VideoOptions(fps=0.5, fps_idle=None, sources=2, policy=mine, announce=True)
        assert_type(await gemini.start_video_sender(track, options=options), None)
        assert_type(await gemini.stop_video_sender(), None)
        assert_type(GeminiLive.subscription_config(video=options), SubscriptionConfig)
        assert_type(gemini.stats().video.images_sent, int)
        assert_type(await gemini.interrupt_playback(drop=True), None)
        gemini.resume_playback()
        await gemini.resume_playback()
        assert_type(GeminiLive.subscription_config(), SubscriptionConfig)
        assert_type(gemini.stats(), Stats)
        assert_type(gemini.stats().played_ms, float)
        await gemini.close()


def the_keys() -> None:
    async def token() -> str:
        return "auth_tokens/abc"

    GeminiLive(token)
    GeminiLive(api_key=lambda: "key")


def the_events(gemini: GeminiLive) -> None:
    @gemini.on("audio")
    def on_audio(pcm: bytes) -> None: ...

    @gemini.on("text")
    async def on_text(text: str) -> None: ...

    @gemini.on("interrupted")
    def on_interrupted(cut: Interrupted) -> None:
        assert_type(cut.heard_ms, float)
        assert_type(cut.heard_text, str)

    @gemini.on("playback_finished")
    def on_finished(end: PlaybackFinished) -> None:
        assert_type(end.finished_at - end.started_at, float)
        assert_type(end.cut, bool)

    def on_started(begin: PlaybackStarted) -> None: ...

    def on_stalled(stall: Stalled) -> None:
        assert_type(stall.unfinished, bool)
        assert_type(stall.detail, str)
        if stall.reason == "rejected":
            print(stall.detail)

    gemini.on("playback_started", on_started)
    gemini.on("stalled", on_stalled)

    def on_turn_complete(turn: TurnComplete) -> None: ...

    def on_speech(speech: Speech) -> None: ...

    @gemini.on("video_started")
    def on_video_started(video: VideoStarted) -> None:
        assert_type(video.source, VideoSource)
        assert_type(video.width, int)

    @gemini.on("video_stopped")
    async def on_video_stopped(video: VideoStopped) -> None:
        if video.reason == "no_frames":
            print(video.source.name)

    @gemini.on("view_changed")
    def on_view_changed(view: ViewChanged) -> None:
        assert_type(view.sources, tuple[VideoSource, ...])

    # A handler keeps its type.
    on_audio(b"")
    gemini.on("turn_complete", on_turn_complete)(TurnComplete(1, "text"))
    gemini.on("speech_started", on_speech)
    gemini.remove_listener("speech_started", on_speech)


def the_errors(error: errors.SessionError) -> None:
    assert_type(error.code, int | None)
    assert_type(error.retryable, bool)
    as_base: errors.GeminiError = error
    as_value: ValueError = errors.AudioError("message")
    raise as_base from as_value


def the_audio_core(pcm: NDArray[np.int16]) -> None:
    resampler = audio.Resampler(48000, 16000)
    assert_type(resampler.push(pcm), NDArray[np.int16])
    assert_type(resampler.push(b"\0\0"), NDArray[np.int16])
    assert_type(resampler.delay, int)
    for event in audio.Vad(sample_rate=16000).push(pcm):
        assert_type(event, audio.SpeechStarted | audio.SpeechStopped)
        assert_type(event.sample, int)
    playback = audio.Playback(input_rate=24000, output_rate=48000)
    assert_type(playback.push(pcm, turn=1), int)
    assert_type(playback.push(pcm, turn=1, at=0.5), int)
    assert_type(playback.pop_frame(), NDArray[np.int16])
    samples, sounds, next_frame, progress = playback.pop(at=0.5)
    assert_type(samples, bytes)
    assert_type(sounds, bool)
    assert_type(next_frame, Literal["silent", "starved", "sound"])
    assert_type(progress, tuple[tuple[int, bool], ...])
    assert_type(playback.starts_at, float | None)
    assert_type(playback.clear(), int)
    playback.duck(-math.inf)
    assert_type(playback.turn_stats(1), audio.TurnStats | None)
    assert_type(audio.Mixer().mix([pcm, b"\0\0"]), NDArray[np.int16])
    capture = audio.Capture(16000, onset_ms=32)
    frames, events, echo_ms, advance_at, ended = capture.push(1, pcm, 48000, 1, 0.02, pts=0.0)
    assert_type(frames, list[tuple[bytes, bool]])
    assert_type(events, list[audio.CaptureEvent])
    assert_type(echo_ms, float)
    assert_type((advance_at, ended), tuple[float | None, bool])
    assert_type(capture.stats(1), audio.SourceStats | None)


async def the_test_kit() -> None:
    async with LocalServers() as servers:
        assert_type(servers.environment(), dict[str, str])
        assert_type(servers.gemini, LocalGemini)
    async with LocalGemini(Script([Turn(text="Hello")])):
        pass
    async with LocalGemini(Parrot()):
        pass
    variants = LocalGemini(
        Script([Turn.empty("RESPONSE_REJECTED"), Turn(thought="Hm.", turn_complete=False)]),
        chunks=[Chunk(10, pause_ms=57), *IRREGULAR_CHUNKS],
        transcripts="late",
        quirks=["empty_messages", "pretty_json"],
        resumption=ResumptionOptions(every_s=1.2, refusal=INVALID_HANDLE),
        interruption=InterruptionOptions(late=["audio"], late_ms=300),
        tokens=[EphemeralToken("auth_tokens/x", uses=2)],
        versions=["v1beta"],
    )
    assert_type(variants.expire_token("auth_tokens/x"), None)
    assert_type([belief.claim for belief in BELIEFS], list[str])


def what_a_checker_must_refuse(gemini: GeminiLive, pcm: NDArray[np.float64]) -> None:
    # With `warn_unused_ignores`, each line fails the check if it is *not* an error.
    GeminiLive(model=3)  # type: ignore[arg-type]
    GeminiLive(lambda: 3)  # type: ignore[arg-type, return-value]
    GeminiLive(None, None, None, "instructions")  # type: ignore[call-arg]
    gemini.send_txt("Hello")  # type: ignore[attr-defined]
    gemini.output_track = None  # type: ignore[assignment, misc]
    BargeIn(400.0)  # type: ignore[call-arg]
    GeminiLive(listen_to="anna")  # type: ignore[arg-type]
    audio.Resampler(48000)  # type: ignore[call-arg]
    audio.Resampler(48000, 16000).push(pcm)  # type: ignore[arg-type]
    LocalGemini(quirks=["noise"])  # type: ignore[list-item]
    live.DEFAULT_MODEL.decode()  # type: ignore[attr-defined]
