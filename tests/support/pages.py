"""Read the pages of the project: README, docs and examples, with their code blocks and links.

A Python block says how it is run in a comment on the line above its fence; see `MODES`. Without
one it is run alone.

    <!-- run: as a program -->
    ```python
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

ALONE = "alone"
MODES = {
    ALONE: "in an empty namespace, with a key in the environment and no server",
    "in a call": "in a namespace with `gemini` attached to `connection`, in a local call",
    "in a call with video": "the same, and then somebody's camera is switched on",
    "in a call, until it ends": "in a namespace with a `call` to join, which ends after the reply",
    "as a program": "in a process of its own, on local servers, until it has greeted",
    "as a program of its own": "in a process of its own, to its end, without any server",
    "by": "by another test: the file after this word holds the block's lines, in this order",
    "not": "not at all, for the reason after this word",
}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<language>\w*)(?P<rest>.*)$")
_COMMENT = re.compile(r"^ *<!-- run: (?P<how>.+?) -->$")
_INCLUDE = re.compile(r'^ *--8<-- "(?P<path>[^"]+)"$')
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: path of its page, from the root of the repository.
        line: number of its first line of code.
        language: the word behind the fence.
        code: what it holds.
        mode: one of `MODES`.
        argument: what follows `by` or `not`.
    """

    page: str
    line: int
    language: str
    code: str
    mode: str = ALONE
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def readme() -> Path:
    """Return the README: the one that is about to take its place, if there is one."""
    new = ROOT / "README.new.md"
    return new if new.exists() else ROOT / "README.md"


def pages() -> list[Path]:
    """Return the pages for users: README, docs and examples."""
    found = [
        readme(),
        ROOT / "ARCHITECTURE.md",
        *DOCS.rglob("*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
    return sorted(path for path in found if path.exists())


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order.

    Raises:
        ValueError: a comment names no mode, or a fence is not closed.
    """
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    name = page.relative_to(ROOT).as_posix()
    lines = page.read_text(encoding="utf-8").splitlines()
    index, how = 0, ALONE
    while index < len(lines):
        comment = _COMMENT.match(lines[index])
        opening = _FENCE.match(lines[index])
        if comment:
            how = comment["how"]
        elif opening:
            closing = opening["indent"] + opening["fence"]
            try:
                end = lines.index(closing, index + 1)
            except ValueError:
                raise ValueError(f"{name}:{index + 1}: the fence is not closed") from None
            code = textwrap.dedent("\n".join(lines[index + 1 : end])) + "\n"
            mode, argument = _mode(how, f"{name}:{index}")
            yield Block(name, index + 2, opening["language"], code, mode, argument)
            index, how = end, ALONE
        elif lines[index].strip():
            how = ALONE
        index += 1


def _mode(how: str, where: str) -> tuple[str, str]:
    if how in MODES:
        return how, ""
    word, _, argument = how.partition(" ")
    if word.rstrip(":") in ("by", "not") and argument:
        return word.rstrip(":"), argument
    raise ValueError(f"{where}: <!-- run: {how} --> names no mode; there are {', '.join(MODES)}")


def included(block: Block) -> Path | None:
    """Return the file that is the whole of a block by `--8<--`, or None."""
    match = _INCLUDE.fullmatch(block.code.rstrip("\n"))
    return ROOT / match["path"] if match else None


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    kept, fence = [], None
    for line in page.read_text(encoding="utf-8").splitlines():
        opening = _FENCE.match(line)
        if opening and fence is None:
            fence = opening["fence"]
        elif fence is not None:
            if line.strip() == fence:
                fence = None
        else:
            kept.append(line)
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    """Return where the links and pictures of a page lead."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as the site and GitHub make them."""
    found = set()
    for line in prose(page).splitlines():
        heading = _HEADING.match(line)
        if heading:
            text = re.sub(r"[`*]", "", heading[1]).lower()
            found.add(re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-"))
    return found
