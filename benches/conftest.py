"""Print the progress of a run, and write one report at its end: a table and a chart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import results_folder
from progress import Progress
from report import Report


class ProgressPlugin:
    """Print how many tests are done, and the time left."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._count = len(session.items)
        self._progress = Progress({"tests": float(self._count)})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._progress.advance("tests", 1 / self._count, nodeid.rpartition("::")[2])


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ProgressPlugin())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--results",
        type=Path,
        help="folder for the table and the chart; see `command_line.results_folder`",
    )


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    report = Report()
    yield report
    folder = results_folder(request.config.getoption("--results"), report.is_whole())
    if text := report.write(folder):
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{text}\nwritten to {folder}")
