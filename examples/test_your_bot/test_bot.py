"""Test `bot.py` in a call, without keys and without a network: `pytest test_bot.py`.

The bot runs unchanged, in a process of its own, on the real SDKs; local servers answer them. The
local model greets, then answers with the person's own words. Needs pytest-asyncio.
"""

from importlib.resources import files
from pathlib import Path

import pytest

BOT = Path(__file__).with_name("bot.py")
QUESTION = Path(str(files("getstream.plugins.gemini") / "data" / "question.wav"))


@pytest.mark.asyncio
async def test_the_bot_greets_and_answers(local_call):
    async with local_call(BOT) as call:
        anna = await call.person("anna")
        greeting = await anna.hear_turn()  # the whole utterance
        await anna.say(QUESTION)
        answer = await anna.hear_turn(timeout=10)
        assert await call.end() == 0, "the bot ends when the call does"
    assert greeting.duration > 1
    assert answer.duration > 1
    assert call.latency.p95_ms < 5000
    assert [line.who for line in call.transcript] == ["bot", "anna", "bot"]
