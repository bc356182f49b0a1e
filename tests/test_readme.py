"""Check the README: the quick start word for word, its length, and a picture.

`tests/docs` runs its blocks and checks its links and figures, as of every other page.
"""

from __future__ import annotations

from pages import ROOT, blocks, links, readme


def test_the_quick_start_is_the_documented_one() -> None:
    first = next(block for block in blocks(readme()) if block.language == "python")
    program = ROOT / "examples" / "quick_start" / "main.py"
    assert first.code == program.read_text(encoding="utf-8")


def test_it_is_short_and_has_a_picture() -> None:
    assert len(readme().read_text(encoding="utf-8").splitlines()) <= 180
    assert any(link.endswith(".svg") for link in links(readme()))


def test_it_can_be_read_from_anywhere() -> None:
    """It is also the page of the package index, where relative links lead nowhere."""
    assert all(link.startswith("https://") for link in links(readme()))
