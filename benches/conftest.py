"""Write one report at the end of a run: a table and a chart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from report import Report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--results",
        type=Path,
        default=Path(__file__).parent / "results",
        help="folder that the table and the picture are written to",
    )


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    report = Report()
    yield report
    if text := report.write(request.config.getoption("--results")):
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{text}")
