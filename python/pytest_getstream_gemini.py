"""Give pytest the fixture `local_call`, which tests a bot in a call on this machine.

    async def test_the_bot_answers(local_call):
        async with local_call("my_bot.py") as call:
            anna = await call.person("anna")
            greeting = await anna.hear_turn()

Every run of pytest loads this module where the package is installed (entry point `pytest11`), so
it imports pytest alone. The module is outside of `getstream.plugins.gemini`, because importing
anything in there imports the Stream SDK, which takes 0.7 s.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pluggy
    from getstream.plugins.gemini.testing import LocalCallFactory

__all__ = ["local_call", "pytest_runtest_makereport"]


@pytest.fixture
def local_call(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[LocalCallFactory, None, None]:
    """Make calls on this machine: `async with local_call(bot, ...) as call`.

    Takes the arguments of `getstream.plugins.gemini.testing.LocalCall`. At the end of the test,
    every bot that still runs is killed. If the test fails, its report says what was said and
    heard, what the local servers saw, and what the bot wrote to stderr; recordings are in the
    named folder.
    """
    try:
        from getstream.plugins.gemini.testing import LocalCallFactory
    except ModuleNotFoundError as missing:
        pytest.fail(f"the fixture local_call cannot be used: {missing}", pytrace=False)
    factory = LocalCallFactory(lambda: tmp_path_factory.mktemp("local_call"))
    try:
        yield factory
    finally:
        factory.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """Attach the report of each local call to a test that failed."""
    outcome = yield
    report = outcome.get_result()
    sections = getattr(getattr(item, "funcargs", {}).get("local_call"), "report_sections", None)
    if report.when == "call" and report.failed and sections is not None:
        report.sections.extend(sections())
