#!/usr/bin/env python3
"""Print measures of how easy the source is to read.

    python scripts/house.py [--list] [FOLDER]

* Fragments: first lines of docs that begin with a word such as "What", "Who" or "Of", in which no
  subject or verb is named. "Whether ..." is a sentence of its own for a boolean, and not counted.
* The largest files, and the largest functions, in lines.
* Import circles between the modules of the package.
* Private reaches: uses of `._name` of another object in tests and benches.

`--list` prints each fragment and each private reach with its place.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {"target", "dist", "demo-out", "node_modules", "__pycache__"}
FRAGMENT = re.compile(
    r"(What|Who|Whom|Whose|Of|How|Where|When|Which|Why|So|Until|Whether|That)\b(?!-)"
)
RUST_DOC = re.compile(r"\s*(///|//!)\s?(.*)")
RUST_FUNCTION = re.compile(r"(\s*)(?:pub(?:\([^)]*\))? )?(?:const )?(?:unsafe )?fn (\w+)")
LARGEST = 10


@dataclass(frozen=True)
class Doc:
    """First line of one docstring or doc comment."""

    line: int
    text: str
    boolean: bool
    """True if it documents a boolean value or a function that returns one."""

    def is_fragment(self) -> bool:
        """Return whether the line begins without a subject or a verb."""
        if self.boolean and self.text.startswith("Whether "):
            return False
        return FRAGMENT.match(self.text) is not None


@dataclass(frozen=True)
class Size:
    """Length of one file or function in lines."""

    lines: int
    name: str


@dataclass
class House:
    """Measures of a tree of source files."""

    docs: Counter[str] = field(default_factory=Counter)
    """Number of documented items per folder."""
    fragments: list[tuple[str, int, str]] = field(default_factory=list)
    """File, line and text of each fragment."""
    files: list[Size] = field(default_factory=list)
    functions: list[Size] = field(default_factory=list)
    reaches: list[tuple[str, int, str]] = field(default_factory=list)
    """File, line and attribute of each private reach."""
    circles: list[list[str]] = field(default_factory=list)


def sources(root: Path) -> list[Path]:
    """List the Python and Rust files below `root`, hidden and built folders left out."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix in {".py", ".rs"}
        and path.is_file()
        and not any(
            part in SKIPPED or part.startswith(".") for part in path.relative_to(root).parts
        )
    )


def _is_bool(annotation: ast.expr | None) -> bool:
    return annotation is not None and re.fullmatch(
        r"bool|(ClassVar|Final)\[bool\]|Callable\[.*, bool\]", ast.unparse(annotation)
    ) is not None  # fmt: skip


def python_docs(text: str) -> Iterator[Doc]:
    """Yield the docs of modules, classes, functions and fields of a Python file."""
    for node in ast.walk(ast.parse(text)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if not isinstance(node, kinds):
            continue
        if doc := ast.get_docstring(node):
            returns = getattr(node, "returns", None)
            yield Doc(node.body[0].lineno, doc.splitlines()[0], _is_bool(returns))
        for before, after in zip(node.body, node.body[1:], strict=False):
            match before, after:
                case (
                    ast.Assign() | ast.AnnAssign(),
                    ast.Expr(value=ast.Constant(value=str(string))),
                ) if string.strip():
                    boolean = _is_bool(getattr(before, "annotation", None))
                    yield Doc(after.lineno, string.strip().splitlines()[0], boolean)


def rust_docs(text: str) -> Iterator[Doc]:
    """Yield the doc comments of a Rust file."""
    lines = text.splitlines()
    marker = ""
    for number, line in enumerate(lines, 1):
        found = RUST_DOC.match(line)
        if found and found[1] != marker and found[2].strip():
            item = next(
                (each for each in lines[number:] if not re.match(r"\s*(//|#\[|$)", each)), ""
            )
            boolean = re.search(r"(: |-> )bool\b", item) is not None
            yield Doc(number, found[2].strip(), boolean)
        marker = found[1] if found else ""


def python_functions(text: str) -> Iterator[Size]:
    """Yield the length of each function of a Python file, without its docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node):
                doc = node.body[0]
                length -= (doc.end_lineno or doc.lineno) - doc.lineno + 1
            yield Size(length, node.name)


def rust_functions(text: str) -> Iterator[Size]:
    """Yield the length of each function of a formatted Rust file."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if found := RUST_FUNCTION.match(line):
            closing = (f"{found[1]}}}", f"{found[1]};")
            ends = (k for k in range(start, len(lines)) if lines[k].startswith(closing))
            one_line = line.rstrip().endswith((";", "}"))
            end = start if one_line else next(ends, start)
            yield Size(end - start + 1, found[2])


def private_reaches(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and attribute of each use of a private attribute of another object."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Attribute)
            and re.match(r"_[a-z]", node.attr)
            and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        ):
            yield node.lineno, node.attr


def imports(package: Path) -> dict[str, set[str]]:
    """Return which modules of a package each of them imports when it is run.

    Imports for type checking only are left out. Names are dotted, from the package on.
    """
    modules = {_module(path, package): path for path in sources(package) if path.suffix == ".py"}
    extensions = {_module(path, package) for path in package.rglob("*.pyi")}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        here = name if path.name == "__init__.py" else name.rpartition(".")[0]
        targets = set()
        for node in _run_nodes(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            parts = here.split(".")[: len(here.split(".")) - node.level + 1]
            base = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                targets.add(inner if inner in modules or inner in extensions else base)
        found[name] = (targets & set(modules)) - {name}
    return found


def _module(path: Path, package: Path) -> str:
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _run_nodes(node)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other (Tarjan, SIAM J. Comput. 1, 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return sorted(found)


def measure(root: Path) -> House:
    """Measure every source file below `root`."""
    house = House()
    for path in sources(root):
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(root))
        folder = str(path.parent.relative_to(root))
        python = path.suffix == ".py"
        for doc in (python_docs if python else rust_docs)(text):
            house.docs[folder] += 1
            if doc.is_fragment():
                house.fragments.append((name, doc.line, doc.text))
        house.files.append(Size(text.count("\n"), name))
        for size in (python_functions if python else rust_functions)(text):
            house.functions.append(Size(size.lines, f"{name}: {size.name}"))
        if python and name.startswith(("tests/", "benches/")):
            house.reaches += [(name, line, f"._{attr[1:]}") for line, attr in private_reaches(text)]
    for package in (root / "python").glob("*/*/*/"):
        house.circles += circles(imports(package))
    return house


def _share(part: int, whole: int) -> str:
    return f"{part:4} of {whole:4}  {100 * part / max(whole, 1):5.1f} %"


def report(house: House, listed: bool) -> str:
    """Return the measures as text; with `listed`, every fragment and private reach, too."""
    bad = Counter(str(Path(name).parent) for name, _, _ in house.fragments)
    lines = ["Fragments among first lines of docs"]
    lines += [f"  {_share(bad[folder], n)}  {folder}" for folder, n in sorted(house.docs.items())]
    lines += [f"  {_share(bad.total(), house.docs.total())}  in all", ""]
    for title, sizes in (("files", house.files), ("functions", house.functions)):
        largest = sorted(sizes, key=lambda size: (-size.lines, size.name))[:LARGEST]
        lines += [f"Largest {title}, in lines", *(f"  {s.lines:5}  {s.name}" for s in largest), ""]
    lines.append(f"Import circles: {len(house.circles)}")
    lines += [f"  {' '.join(circle)}" for circle in house.circles]
    reaches = Counter(name for name, _, _ in house.reaches)
    lines += ["", f"Private reaches of tests and benches: {reaches.total()}"]
    lines += [f"  {n:5}  {name}" for name, n in sorted(reaches.items())]
    if listed:
        for name, line, text in [*house.fragments, *house.reaches]:
            lines.append(f"{name}:{line}: {text}")
    return "\n".join(lines)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, metavar="FOLDER")
    parser.add_argument("--list", action="store_true", help="name each fragment and private reach")
    arguments = parser.parse_args()
    print(report(measure(arguments.folder.resolve()), arguments.list))


if __name__ == "__main__":
    main()
