"""A program that uses `getstream` and this package together. Type-checked, never run.

`assert_type` fails where a name is untyped (`Any`), so this also shows that the types of both
packages arrive at their user, with the override for mypy that the README gives.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from getstream import Stream
from getstream.plugins.gemini import BargeIn, GeminiLive, audio, errors, live
from getstream.plugins.gemini.live import (
    Interrupted,
    Left,
    Line,
    LineEvent,
    OutputTrack,
    PlaybackFinished,
    PlaybackStarted,
    PlayedSound,
    Resumption,
    RetiredModelWarning,
    Speech,
    Stalled,
    Stats,
    Tool,
    ToolCall,
    ToolCancelled,
    ToolContext,
    ToolResult,
    Transcript,
    TurnComplete,
    TurnMetrics,
    VideoOptions,
    VideoSource,
    VideoStarted,
    VideoStopped,
    ViewChanged,
    Watchdog,
    screen_first,
    tool,
)
from getstream.plugins.gemini.testing import (
    BELIEFS,
    INVALID_HANDLE,
    IRREGULAR_CHUNKS,
    Chunk,
    EphemeralToken,
    FunctionCall,
    InterruptionOptions,
    LocalCall,
    LocalCallFactory,
    LocalGemini,
    LocalServers,
    Parrot,
    ResumptionOptions,
    Script,
    ToolCallRecord,
    ToolResponseRecord,
    ToolViolation,
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
        assert_type(await gemini.send_image(b"png"), None)
        assert_type(await gemini.send_image(Path("image.png")), None)
        assert_type(await gemini.send_image(np.zeros((2, 2, 3), np.uint8)), None)
        assert_type(await gemini.send_content(genai.types.Content(), turn_complete=False), None)
        assert_type(await gemini.start_video_sender(track, fps=1), None)
        options = VideoOptions(fps=0.5, fps_idle=None, sources=2, policy=mine, announce=True)
        assert_type(await gemini.start_video_sender(track, options=options), None)
        assert_type(await gemini.stop_video_sender(), None)
        assert_type(GeminiLive.subscription_config(video=options), SubscriptionConfig)
        assert_type(gemini.stats().video.images_sent, int)
        assert_type(await gemini.interrupt_playback(drop=True), None)
        assert_type(await gemini.play("chime.wav"), PlayedSound)
        assert_type(await gemini.play(np.zeros(9, np.int16), 48000, duck=False), PlayedSound)
        gemini.resume_playback()
        await gemini.resume_playback()
        assert_type(GeminiLive.subscription_config(), SubscriptionConfig)
        assert_type(gemini.stats(), Stats)
        stats = gemini.stats()
        assert_type(stats.played_ms, float)
        assert_type(stats.tokens.total, int)
        assert_type(stats.tokens.input.audio, int)
        assert_type(stats.latency.first_audio_ms.p95, float | None)
        assert_type(stats.cost.usd if stats.cost else None, float | None)
        await gemini.close()


async def a_life_of_its_own(gemini: GeminiLive, connection: Any) -> None:
    assert_type(await GeminiLive.prewarm(), None)
    assert_type(
        await gemini.attach(
            connection,
            leave_when_alone_s=30,
            first_participant_timeout_s=None,
            max_duration_s=3600.0,
        ),
        None,
    )
    assert_type(await gemini.reconfigure(instructions="Be brief.", voice="Kore"), None)
    assert_type(await gemini.reconfigure(barge_in=BargeIn(duck_db=-20)), None)
    assert_type(gemini.barge_in, BargeIn | None)
    assert_type(await gemini.reconfigure(language="de-DE", tools=[{"google_search": {}}]), None)

    @gemini.on("left")
    def on_left(left: Left) -> None:
        assert_type(left.turn, int)
        if left.reason == "nobody_came":
            print(left.at)

    @gemini.on("resumption")
    async def on_resumption(resumption: Resumption) -> None:
        assert_type(resumption.to_json(), str)
        assert_type(resumption.lines, tuple[tuple[str, str], ...])

    gemini.once("left", on_left)
    gemini.once("resumption", on_resumption)
    assert_type(await gemini.detach(), None)
    assert_type(await gemini.drain(timeout_s=5), bool)
    before = gemini.resumption
    assert_type(before, Resumption | None)

    async def stored() -> Resumption | None:
        return before

    GeminiLive(resume=before)
    GeminiLive(resume=Resumption.from_json("{}"))
    GeminiLive(resume=stored)
    GeminiLive(resume=stored())
    GeminiLive(resume=lambda: before)
    GeminiLive(history=[("user", "Hello."), {"role": "model", "parts": [{"text": "Hi."}]}])


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

    @gemini.on("line")
    def on_line(line: Line) -> None:
        assert_type(line.who, Literal["user", "several", "assistant", "application"])
        assert_type(line.ended_at, float | None)

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

    @gemini.on("turn_metrics")
    def on_metrics(metrics: TurnMetrics) -> None:
        assert_type(metrics.first_sample_ms, float | None)
        assert_type(metrics.tokens.output.audio, int)
        assert_type(metrics.tool_calls, tuple[str, ...])

    gemini.once("turn_metrics", on_metrics)

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


def the_tools(gemini: GeminiLive) -> None:
    def book(seats: int, context: ToolContext) -> str:
        assert_type(context.user_id, str)
        assert_type(context.transcript, tuple[tuple[str, str], ...])
        return "booked"

    wrapped = tool(book, timeout_s=None, behavior="NON_BLOCKING", scheduling="SILENT")
    assert_type(wrapped, Tool)
    GeminiLive(tools=[book, wrapped, {"google_search": {}}])

    @tool(name="cancel")
    async def cancel_booking(number: int) -> None: ...

    assert_type(cancel_booking, Tool)

    @gemini.tool
    def plain(seats: int) -> str:
        return "yes"

    @gemini.tool(timeout_s=5, description="Count.")
    async def counted(seats: int) -> int:
        return seats

    assert_type(plain(2), str)  # a decorated function keeps its type
    assert_type(gemini.send_tool_response("1", {"sky": "grey"}, error=None), None)

    @gemini.on("tool_call")
    def on_call(call: ToolCall) -> None:
        assert_type(call.args, dict[str, Any])

    @gemini.on("tool_result")
    async def on_result(result: ToolResult) -> None:
        assert_type(result.error, str | None)

    @gemini.once("tool_cancelled")
    def on_cancelled(call: ToolCancelled) -> None:
        assert_type(call.tool, str)

    raise errors.ToolError("no table is left", retryable=True)


def the_transcript(gemini: GeminiLive, event: LineEvent) -> None:
    assert_type(gemini.transcript, Transcript)
    assert_type(gemini.transcript[0], Line)
    assert_type(gemini.transcript[-5:], list[Line])
    assert_type([line.name for line in gemini.transcript], list[str])
    assert_type(gemini.transcript.to_markdown(), str)
    assert_type(event.line, Line)


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
    scripted = LocalGemini(Script([FunctionCall("book", {"seats": 2}), ["One moment.", "Done."]]))
    assert_type(scripted.tool_calls, list[ToolCallRecord])
    assert_type(scripted.tool_responses, list[ToolResponseRecord])
    assert_type(scripted.tool_violations, list[ToolViolation])
    assert_type([belief.claim for belief in BELIEFS], list[str])


async def bot(call_id: str) -> None:
    """Take the id of the call, as a bot under test does."""


async def a_bot_under_test(local_call: LocalCallFactory) -> None:
    async with local_call("bot.py", reply=Script(["Hello.", FunctionCall("get_time")])) as call:
        assert_type(await call.end(), int)
    async with LocalCall(bot, gemini=LocalGemini(), allow_hosts=["api.example.com"]) as call:
        anna = await call.person("anna")
        await anna.say("What time is it?")
        turn = await anna.hear_turn(timeout=10)
        assert_type(turn.pcm, NDArray[np.int16])
        assert_type(turn.duration, float)
        assert_type(call.latency.p95_ms, float)
        assert_type([line.text for line in call.transcript], list[str])
        assert_type(call.tools.assert_called("get_time", zone="UTC").args, dict[str, Any])
        assert_type(call.gemini.drop(1006), int)
    LocalCall(lambda: None)  # type: ignore[arg-type, misc]
    LocalCall(bot, reply=Parrot)  # type: ignore[arg-type]
    Script(5)  # type: ignore[arg-type]


def what_a_checker_must_refuse(gemini: GeminiLive, pcm: NDArray[np.float64]) -> None:
    # With `warn_unused_ignores`, each line fails the check if it is *not* an error.
    GeminiLive(model=3)  # type: ignore[arg-type]
    gemini.on("turn_metrics", gemini.send_text)  # type: ignore[call-overload]
    GeminiLive(lambda: 3)  # type: ignore[arg-type, return-value]
    GeminiLive(None, None, None, "instructions")  # type: ignore[call-arg]
    gemini.send_txt("Hello")  # type: ignore[attr-defined]
    gemini.output_track = None  # type: ignore[assignment, misc]
    BargeIn(400.0)  # type: ignore[call-arg]
    gemini.on("interupted")  # type: ignore[call-overload]
    gemini.once("interupted", print)  # type: ignore[call-overload]
    gemini.on("line")(lambda line, more: None)  # type: ignore[type-var]
    gemini.send_image(3)  # type: ignore[arg-type, unused-coroutine]
    GeminiLive(listen_to="anna")  # type: ignore[arg-type]
    tool(lambda: None, behavior="blocking")  # type: ignore[call-overload]
    gemini.on("tool_cal", print)  # type: ignore[call-overload]
    audio.Resampler(48000)  # type: ignore[call-arg]
    audio.Resampler(48000, 16000).push(pcm)  # type: ignore[arg-type]
    LocalGemini(quirks=["noise"])  # type: ignore[list-item]
    live.DEFAULT_MODEL.decode()  # type: ignore[attr-defined]
