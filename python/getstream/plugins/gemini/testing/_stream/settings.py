"""The settings of a call, complete: the Python SDK warns about each one that is missing."""

from __future__ import annotations

import copy
from typing import Any

from ..._beliefs import believed

__all__ = ["call_settings"]

_LAYOUT = {
    "name": "spotlight",
    "external_app_url": "",
    "external_css_url": "",
    "detect_orientation": False,
    "options": {},
}

_DEFAULTS: dict[str, dict[str, Any]] = {
    "audio": {
        "access_request_enabled": False,
        "default_device": "speaker",
        "hifi_audio_enabled": False,
        "mic_default_on": True,
        "opus_dtx_enabled": believed("stream_dtx"),
        "redundant_coding_enabled": believed("stream_dtx"),
        "speaker_default_on": True,
    },
    "backstage": {"enabled": False},
    "broadcasting": {
        "enabled": False,
        "hls": {"auto_on": False, "enabled": False, "quality_tracks": [], "layout": _LAYOUT},
        "rtmp": {"enabled": False, "quality": "720p", "layout": _LAYOUT},
    },
    "encryption": {"mode": "disabled"},
    "frame_recording": {"capture_interval_in_seconds": 5, "mode": "disabled", "quality": "720p"},
    "geofencing": {"names": []},
    "individual_recording": {"mode": "disabled", "output_types": []},
    "limits": {"max_participants_exclude_roles": []},
    "raw_recording": {"mode": "disabled", "audio_only": False},
    "recording": {"audio_only": False, "mode": "disabled", "quality": "720p", "layout": _LAYOUT},
    "ring": {
        "auto_cancel_timeout_ms": 15_000,
        "incoming_call_timeout_ms": 15_000,
        "missed_call_timeout_ms": 15_000,
    },
    "screensharing": {"access_request_enabled": False, "enabled": True},
    "session": {"inactivity_timeout_seconds": 30},
    "thumbnails": {"enabled": False},
    "transcription": {"closed_caption_mode": "disabled", "language": "auto", "mode": "disabled"},
    "video": {
        "access_request_enabled": False,
        "camera_default_on": True,
        "camera_facing": "front",
        "enabled": True,
        "target_resolution": {"height": 720, "width": 1280, "bitrate": 1_500_000},
    },
}


def call_settings(overrides: dict[str, Any]) -> dict[str, Any]:
    """The defaults with the `settings_override` of a request, merged one level deep."""
    settings = copy.deepcopy(_DEFAULTS)
    for section, values in overrides.items():
        if isinstance(values, dict):
            settings.setdefault(section, {}).update(values)
    return settings
