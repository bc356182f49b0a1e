"""Test `bot.py` in a call, without keys and without a network.

    pytest test_bot.py
    python test_bot.py

The bot runs unchanged, in a process of its own, on the real SDKs; both talk to local servers. The
local model greets, then answers with the person's own words.
"""

import asyncio
import sys
from importlib.resources import files
from pathlib import Path

from getstream.plugins.gemini.testing import LocalServers, Person

BOT = Path(__file__).with_name("bot.py")
QUESTION = Path(str(files("getstream.plugins.gemini") / "data" / "question.wav"))


async def hold_a_call() -> None:
    async with LocalServers() as servers:
        # The SDK of this process is led to the local backend by `redirected`, that of the bot by
        # its environment.
        with servers.stream.redirected():
            # The person joins first: a greeting is not repeated for those who come late.
            async with Person("a-call", "anna") as anna:
                bot = await asyncio.create_subprocess_exec(
                    sys.executable, str(BOT), "a-call", env=servers.environment()
                )
                try:
                    await anna.hear_speech()  # the greeting
                    await anna.hear_silence(600)
                    asked = await anna.say(QUESTION)
                    answer = await anna.hear_speech(timeout=10)
                    await servers.stream.end_call("a-call")
                    code = await asyncio.wait_for(bot.wait(), 20)
                finally:
                    if bot.returncode is None:
                        bot.kill()
                        await bot.wait()
        (session,) = servers.gemini.sessions
    greeting, reply = session.spoken
    print(f"{greeting.text!r}, then an answer {answer.start - asked.end:.1f} s after the question")
    assert code == 0, "the bot ends when the call does"
    assert greeting.outcome == "complete"
    assert reply.sent_ms > 1000  # the local model repeats the question
    assert session.interruptions == 0
    assert 0 < answer.start - asked.end < 5


def test_the_bot_greets_and_answers() -> None:
    asyncio.run(hold_a_call())


if __name__ == "__main__":
    asyncio.run(hold_a_call())
