"""The pages agree with the repository: links, files, figures, words, and the table of imports."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from pages import DOCS, ROOT, anchors, blocks, links, pages, prose

PACKAGE = ROOT / "python" / "getstream" / "plugins" / "gemini"
SITE_ONLY = DOCS / "assets"
"""Pictures that `docs/_site/hooks.py` takes from `benches/results`."""

PAGES = pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))


@PAGES
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        repository = re.fullmatch(
            r"https://(?:github\.com|raw\.githubusercontent\.com)/[\w-]+/getstream-plugins-gemini"
            r"/(?:blob/)?main/(.+)",
            target,
        )
        if repository:
            assert (ROOT / repository[1]).exists(), link
        elif not re.match(r"[a-z]+:", target):
            path = (page.parent / target).resolve() if target else page
            if path.parent == SITE_ONLY:
                path = ROOT / "benches" / "results" / path.name
            assert path.exists(), link
            if anchor:
                assert anchor in anchors(path), link


# The crate's README is a page of crates.io: its figures are held, its links are not.
WITH_FIGURES = pytest.mark.parametrize(
    "page",
    [*pages(), ROOT / "rust" / "core" / "README.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
RESULTS = ROOT / "benches" / "results"
COMMAND = r"`((?:make bench|make trial|cargo bench)[\w -]*)`"


@WITH_FIGURES
def test_figures_are_those_of_the_result_file(page: Path) -> None:
    """The numbers of each row behind `<!-- figures: FILE -->` are in one line of that file."""
    text = page.read_text(encoding="utf-8")
    for name, table in re.findall(r"<!-- figures: (\S+) -->\n((?:\|.*\n)+)", text):
        lines = [set(_numbers(line)) for line in (ROOT / name).read_text("utf-8").splitlines()]
        for row in table.splitlines()[2:]:
            wanted = {number for cell in row.split("|")[2:] for number in _numbers(cell)}
            assert wanted, row
            assert any(wanted <= line for line in lines), f"not in one line of {name}: {row}"


@WITH_FIGURES
def test_tables_of_figures_name_their_file_and_command(page: Path) -> None:
    """Before a table of measurements: its result file, and the command that writes that file."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        if not re.match(r"\|[-:| ]+\|$", line):
            continue
        end = next((k for k in range(at, len(lines)) if not lines[k].startswith("|")), len(lines))
        rows = [row.split("|")[2:-1] for row in lines[at + 1 : end]]
        measured = [any(_is_measurement(cell) for cell in row) for row in rows]
        if sum(measured) * 2 <= len(rows):
            continue
        marker = re.fullmatch(r"<!-- figures: (\S+) -->", lines[at - 2])
        assert marker, f"{page.name}:{at}: a table of figures without its file"
        result = (ROOT / marker[1]).read_text(encoding="utf-8")
        above = "\n".join(lines[max(0, at - 14) : at - 2])
        commands = re.findall(COMMAND, above)
        assert any(f"`{command}`" in result for command in commands), f"{page.name}:{at}"


def _is_measurement(cell: str) -> bool:
    """Return whether a cell has numbers, with or without units, and nothing else."""
    number = r"[≤≥±+-]? ?\d[\d.]*(?: (?:ms|s|dB|dBFS|%|µs))?"
    return re.fullmatch(rf"{number}(?:(?: / |, | of | to ){number})*", cell.strip()) is not None


def test_every_result_file_is_a_page_and_names_its_command() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = "".join(path.read_text("utf-8") for path in (DOCS / "benchmarks").glob("*.md"))
    for path in RESULTS.glob("*.md"):
        commands = re.findall(COMMAND, path.read_text(encoding="utf-8"))
        assert commands, path
        for command in commands:
            verb = command.removeprefix("make ")
            assert verb == command or re.search(rf"(?m)^{verb}:", makefile), command
        assert f"benches/results/{path.name}" in shown, path


def _numbers(text: str) -> list[str]:
    return re.findall(r"(?<!\d)-?\d+(?:\.\d+)?", text)


@PAGES
def test_files_that_are_named_exist(page: Path) -> None:
    """In code spans: a path from the root, or from the package, or from `live`."""
    text = prose(page)
    if page.name == "ARCHITECTURE.md":
        text += "".join(block.code for block in blocks(page))
    named = re.findall(r"(?<![\w/.:-])((?:[a-z_]+/)+[\w.-]+\.(?:rs|py|md|svg|pyi))\b", text)
    bases = (ROOT, page.parent, PACKAGE, PACKAGE / "live", ROOT / "rust" / "core" / "src")
    missing = {
        name
        for name in named
        if not any((base / name).exists() for base in bases)
        and (page.parent / name).resolve().parent != SITE_ONLY
    }
    assert not missing


@pytest.fixture(scope="module")
def words_of_the_sources() -> set[str]:
    folders = ("python", "rust", "benches", "trials", "examples", "tests/acceptance")
    kinds = (".py", ".pyi", ".rs", ".yaml")
    paths = [path for each in folders for path in (ROOT / each).rglob("*") if path.suffix in kinds]
    return set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in paths)))


@PAGES
def test_names_that_are_spoken_of_exist(page: Path, words_of_the_sources: set[str]) -> None:
    """In code spans: what has a capital or an underscore in it is a name of the sources."""
    spans = re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", prose(page))
    names = {part for span in spans for part in span.split(".")}
    spoken_of = {name for name in names if re.search(r"[A-Z_]", name)}
    assert sorted(spoken_of - words_of_the_sources) == []


@PAGES
def test_verbs_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
    assert named <= verbs


def test_every_page_is_in_the_navigation() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert there == set(re.findall(r"[\w/-]+\.md", config[config.index("\nnav:") :]))


def test_the_reference_has_every_public_name() -> None:
    """`__all__` of each public module, by name, on the pages of the reference."""
    from getstream.plugins.gemini import audio, errors, live, testing

    reference = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("reference/*.md"))
    )
    for module in (audio, live, testing):
        missing = [
            name
            for name in module.__all__
            if not re.search(
                rf"^::: {re.escape(module.__name__)}\.{name}$", reference, re.MULTILINE
            )
        ]
        # The page of the errors has all of them.
        assert set(missing) <= set(errors.__all__), module


def test_the_glossary_defines_each_word_once_in_order() -> None:
    words = re.findall(r"^### (.+)$", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)
    lower = [word.lower() for word in words]
    assert all(a < b for a, b in pairwise(lower))
    assert set(lower) >= {
        "barge-in", "depth", "duck", "floor", "hangover", "heard text", "onset", "patience",
        "pre-roll", "prefill", "source", "track",
    }  # fmt: skip


def test_the_architecture_names_every_part_of_live() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    parts = {path.stem for path in (PACKAGE / "live").iterdir()} - {"__init__", "__pycache__"}
    assert [part for part in sorted(parts) if f"`live.{part}" not in text] == []
