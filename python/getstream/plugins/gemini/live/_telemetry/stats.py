"""Numbers of one assistant, as one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._media.capture import TrackStats
    from .._media.video_input import VideoStats
    from .._tokens import TokenUsage
    from .latency import Latency
    from .prices import Cost


@dataclass(frozen=True)
class Stats:
    """Counters since the assistant was made; they only grow.

    Attributes:
        frames_in: pieces of audio that `send_audio_pcm` has taken.
        frames_refused: pieces of audio that came after the session had failed, or that `attach`
            received and could not use.
        frames_sent: 20 ms frames of the call that went to Gemini, repetitions included.
        echo_suppressed_ms: audio of participants that was the assistant's own voice, from a
            loudspeaker: it was neither taken for speech nor sent.
        retransmitted_ms: audio of the call that was sent again on another connection.
        disconnects: connections that ended without having been asked to.
        planned_reconnects: connections that were left because the service had announced their end.
        input_dropped_ms: audio of the call that was given up because it waited too long for a
            session that was not ready, or for a socket that was stuck.
        messages: messages of the service.
        unreadable_messages: messages of the service that could not be read.
        turns: turns that the model has begun.
        interruptions: turns that were cut short.
        barge_ins: times that playback paused because somebody spoke, or was said to.
        false_barge_ins: those of them after which playback went on where it had stopped.
        stalls: times that the model owed something and nothing came.
        queued_ms: speech of the model that is queued for playback, now.
        played_ms: speech of the model that has been played.
        dropped_ms: speech of the model that was dropped by interruptions, or with its call.
        overflow_ms: speech of the model that did not fit into the playback store (30 minutes).
        underruns: times that the model's audio ran dry in the middle of a turn.
        late_frames: frames that were handed to the SDK late, but in time to be heard.
        playout_underruns: times that the event loop was so late that the listener heard a gap.
        video_frames_sent: pictures that went to Gemini.
        video_frames_rejected: video frames that could not be used.
        video: what became of the video, in detail.
        events_lost: events that an async handler did not get, because it was too far behind or was
            cancelled in the end.
        tokens: tokens of all turns, by direction and modality; `tokens.total` is all of them.
        cost: an estimate of what they cost; None for a model whose price is not known here.
        latency: the delays of the newest turns, frames and tool calls.
        tracks: the audio tracks of the participants who are in the call now: the delay that the
            network of each one asks for, and what was lost on the way.
    """

    frames_in: int
    frames_refused: int
    frames_sent: int
    echo_suppressed_ms: float
    retransmitted_ms: float
    disconnects: int
    planned_reconnects: int
    input_dropped_ms: float
    messages: int
    unreadable_messages: int
    turns: int
    interruptions: int
    barge_ins: int
    false_barge_ins: int
    stalls: int
    queued_ms: float
    played_ms: float
    dropped_ms: float
    overflow_ms: float
    underruns: int
    late_frames: int
    playout_underruns: int
    video_frames_sent: int
    video_frames_rejected: int
    video: VideoStats
    events_lost: int
    tokens: TokenUsage
    cost: Cost | None
    latency: Latency
    tracks: tuple[TrackStats, ...]
