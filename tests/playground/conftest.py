"""Fixtures: a playground as a program, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playground_program import running_playground


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_playground() as address:
        yield address
