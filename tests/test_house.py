"""Tests of the counting in `scripts/house.py`, on small sources whose measures are known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "house.py"

PYTHON = '''
"""What this module is."""

LIMIT = 3
"""How much is taken."""


class Thing:
    """Whole thing, in one line."""

    ready: bool = False
    """Whether it is ready."""
    state: str = ""
    """Whether it is a word."""

    def begun(self) -> bool:
        """Whether it has begun.

        Of the rest of a docstring nothing is counted.
        """
        return self._begun


def undocumented() -> None:
    """
    Who begins on the second line counts, too.
    """
'''

RUST = """
//! Who calls what.
//! Where the second line of a comment begins does not count.

/// Number of things.
pub const LIMIT: usize = 3;

pub struct Thing {
    /// Whether it is ready.
    #[doc(hidden)]
    pub ready: bool,
    /// Whether it is a word.
    pub state: &'static str,
}

impl Thing {
    /// Of things, the first.
    pub fn first(&self) -> bool {
        // What is no doc comment does not count.
        let twice = |x: usize| {
            2 * x
        };
        twice(1) == 2
    }

    fn short(&self) {}
}
"""


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_fragments_of_python(house: ModuleType) -> None:
    docs = list(house.python_docs(PYTHON))
    assert len(docs) == 7
    assert sorted(doc.text for doc in docs if doc.is_fragment()) == [
        "How much is taken.",
        "What this module is.",
        "Whether it is a word.",
        "Who begins on the second line counts, too.",
    ]


def test_fragments_of_rust(house: ModuleType) -> None:
    docs = list(house.rust_docs(RUST))
    assert len(docs) == 5
    assert [doc.text for doc in docs if doc.is_fragment()] == [
        "Who calls what.",
        "Whether it is a word.",
        "Of things, the first.",
    ]


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("Whatever comes is kept.", False),
        ("What comes is kept.", True),
        ("Until then nothing is sent.", True),
        ("Who-is-who of the call.", False),
        ("Send the frame.", False),
    ],
)
def test_only_whole_words_make_a_fragment(house: ModuleType, text: str, fragment: bool) -> None:
    assert house.Doc(1, text, False).is_fragment() is fragment


def test_functions_are_measured_without_their_docstring(house: ModuleType) -> None:
    python = {size.name: size.lines for size in house.python_functions(PYTHON)}
    assert python == {"begun": 2, "undocumented": 1}
    rust = {size.name: size.lines for size in house.rust_functions(RUST)}
    assert rust == {"first": 7, "short": 1}


def test_private_reaches(house: ModuleType) -> None:
    source = "self._own\ncls._own\nother._theirs\na.b._theirs()\nother.__dict__\n'x._y'\nother.open"
    assert list(house.private_reaches(source)) == [(3, "_theirs"), (4, "_theirs")]


def test_circles_and_the_imports_that_make_them(house: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    for name, text in {
        "__init__.py": "from .a import A\n",
        "a.py": "from . import _core\nfrom .inner import b\n",
        "_core.pyi": "",
        "inner/__init__.py": "",
        "inner/b.py": "def late():\n    from ..c import C\n",
        "c.py": "from .a import A\n",
        "d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .e import E\n",
        "e.py": "from .d import D\n",
    }.items():
        (package / name).write_text(text, encoding="utf-8")
    graph = house.imports(package)
    assert graph["package"] == {"package.a"}
    assert graph["package.a"] == {"package.inner.b"}
    assert graph["package.d"] == set()
    assert house.circles(graph) == [["package.a", "package.c", "package.inner.b"]]


def test_the_report_names_folders_places_and_sums(house: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text(PYTHON + "undocumented._x\n", encoding="utf-8")
    (tmp_path / "b.rs").write_text(RUST, encoding="utf-8")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "c.rs").write_text(RUST, encoding="utf-8")
    text = house.report(house.measure(tmp_path), listed=True)
    assert "3 of    5   60.0 %  ." in text
    assert "4 of    7   57.1 %  tests" in text
    assert "7 of   12   58.3 %  in all" in text
    assert "tests/a.py:28: ._x" in text
    assert "b.rs:2: Who calls what." in text
    assert "Private reaches of tests and benches: 1" in text
