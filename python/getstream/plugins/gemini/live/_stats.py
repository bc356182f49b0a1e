"""Collect the counters of an assistant, each from where it is counted."""

from __future__ import annotations

from ._call_audio import CallAudio
from ._media.playout import MODEL_RATE
from ._media.video_input import VideoInput
from ._supervisor import Supervisor
from ._telemetry.stats import Stats
from ._timing import FRAME_MS

SAMPLES_PER_MS = MODEL_RATE // 1000


def collect_stats(supervisor: Supervisor, audio: CallAudio, video: VideoInput) -> Stats:
    """Return a snapshot of the counters."""
    turns, queue, metrics = supervisor.turns, supervisor.send_queue, supervisor.metrics
    playback, counts, seen = turns.output.stats(), turns.counts, video.stats()
    return Stats(
        frames_in=audio.input.frames_in,
        frames_refused=audio.frames_refused,
        frames_sent=queue.sent,
        echo_suppressed_ms=audio.input.echo_suppressed_ms,
        retransmitted_ms=queue.retransmitted * FRAME_MS,
        disconnects=supervisor.disconnects,
        planned_reconnects=supervisor.planned_reconnects,
        input_dropped_ms=queue.dropped_ms,
        messages=supervisor.messages,
        unreadable_messages=supervisor.session.unreadable + counts.bad_audio,
        turns=turns.policy.turn,
        interruptions=counts.interruptions,
        barge_ins=counts.barge_ins,
        false_barge_ins=counts.false_barge_ins,
        stalls=counts.stalls,
        queued_ms=playback.queued / SAMPLES_PER_MS,
        played_ms=playback.played / SAMPLES_PER_MS,
        dropped_ms=playback.dropped / SAMPLES_PER_MS,
        overflow_ms=playback.overflowed / SAMPLES_PER_MS,
        underruns=playback.underruns,
        late_frames=turns.output.late_frames,
        playout_underruns=turns.output.gaps,
        video_frames_sent=seen.images_sent,
        video_frames_rejected=seen.frames_rejected,
        video=seen,
        events_lost=supervisor.events.lost,
        tokens=metrics.tokens,
        cost=metrics.cost(),
        latency=metrics.latency(),
        tracks=tuple(audio.input.track_stats()),
    )
