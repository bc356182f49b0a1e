"""A person in a call, on the real Stream SDK.

==============  ==================================================================
`person`        `Person`: joins, speaks, listens, looks
`microphone`    the published voice; one class for getstream 7, one for 6
`browser`       what a browser sends instead, with `opus`: DTX, mutes, the sound of a shared tab
`receiver`      what was heard: a timeline by RTP time, and when somebody spoke
`camera`        the published picture, and reading its frame number
`script`        steps of a conversation, as the program takes them
==============  ==================================================================
"""

from __future__ import annotations

from .camera import Camera, read_frame_number
from .person import Person, SeenFrame, Utterance
from .receiver import Speech

__all__ = ["Camera", "Person", "SeenFrame", "Speech", "Utterance", "read_frame_number"]
