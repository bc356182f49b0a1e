"""The README's code: the quick start is the acceptance test's, and the rest is at least Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_quick_start_is_the_documented_one() -> None:
    program = ROOT / "examples" / "quick_start" / "main.py"
    assert BLOCKS[0] == program.read_text(encoding="utf-8")


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_every_block_is_python(index: int) -> None:
    compile(BLOCKS[index], f"README block {index}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_audio_block_runs() -> None:
    (block,) = (block for block in BLOCKS if "gemini.audio import" in block)
    names: dict[str, object] = {}
    exec(block, names)
    assert len(names["wire"]) == 320  # type: ignore[arg-type]
    assert len(names["frame"]) == 960  # type: ignore[arg-type]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
