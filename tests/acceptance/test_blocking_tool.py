"""Check that a tool that blocks its thread for 5 s does not delay the speech, by the real SDKs."""

from __future__ import annotations

import threading
import time

import pytest
from getstream import AsyncStream
from getstream.plugins.gemini.live import GeminiLive
from getstream.plugins.gemini.testing import (
    FunctionCall,
    LocalGemini,
    LocalServers,
    Person,
    Script,
    Turn,
)
from getstream.video import rtc

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not hasattr(rtc, "RemoteTrack"),
        reason="getstream 6 paces frames itself, and counts no late ones",
    ),
]

BLOCKED_S = 5.0

MOST_LATE_FRAMES = 50
"""A second. An event loop that is held for 5 s has 250 late frames; those of a machine that is busy
with other things are no fault of the tool. On the virtual clock, which knows no such load, none is
late: `test_no_frame_is_late_while_a_tool_blocks_its_thread` in tests/live."""


async def test_speech_goes_on_while_a_tool_blocks_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()

    def block() -> str:
        """Block the thread."""
        time.sleep(BLOCKED_S)
        ended.set()
        return "done"

    # 16 words take 4.8 s to say: all of them while the thread is blocked.
    talk = Turn(text="word " * 16)
    script = Script([[FunctionCall("block"), talk], "It is done."])
    async with LocalServers(gemini=LocalGemini(script)) as servers:
        monkeypatch.delenv("GEMINI_LIVE_MODEL", raising=False)
        for name, value in servers.gemini.env.items():
            monkeypatch.setenv(name, value)
        with servers.stream.redirected():
            async with AsyncStream(base_url=None) as client, Person("a-call", "anna") as anna:
                call = client.video.call("default", "a-call")
                await call.get_or_create(data={"created_by_id": "assistant-bot"})
                async with GeminiLive(tools=[block]) as gemini:
                    async with await rtc.join(call, user_id="assistant-bot") as connection:
                        await gemini.attach(connection)
                        await gemini.send_text("Block, and talk.")
                        await anna.hear_speech(timeout=15)
                        assert not ended.is_set()
                        await anna.hear_silence(600, timeout=15)
                        stats = gemini.stats()
                        await servers.gemini.wait_tool_responses(timeout=15)
    assert stats.played_ms >= 4000
    assert stats.late_frames < MOST_LATE_FRAMES
