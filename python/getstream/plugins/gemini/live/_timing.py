"""Durations that several modules share, each defined once."""

from __future__ import annotations

FRAME_MS = 20
"""Milliseconds of a frame, on the way in as on the way out: the Stream SDK's and Opus's own."""

VAD_HANGOVER_MS = 200
"""Milliseconds of silence after which the detector reports the end of speech."""

VAD_DELAY_MS = 64
"""Milliseconds from the first sound of a word until the detector's first frame of speech: two steps
of its network."""

PREROLL_MS = 300
"""Milliseconds of audio from before a word was detected that belong to it: soft onsets."""
