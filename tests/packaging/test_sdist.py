"""The sdist: complete, and it builds the same wheel."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

Run = Callable[..., str]


def test_it_holds_all_that_a_build_needs(sdist: Path, version: str) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    root = f"getstream_plugins_gemini-{version}"
    assert sdist.name == f"{root}.tar.gz"
    assert {PurePosixPath(name).parts[0] for name in names} == {root}
    assert {f"{root}/{name}" for name in (
        "Cargo.lock", "Cargo.toml", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml",
        "build_backend/editable_backend.py", "rust/core/LICENSE",
        "python/getstream/plugins/gemini/__init__.py", "rust/binding/Cargo.toml",
        "rust/binding/src/lib.rs", "rust/core/Cargo.toml", "rust/core/src/lib.rs",
    )} <= set(names)  # fmt: skip
    assert f"{root}/python/getstream/__init__.py" not in names
    assert f"{root}/python/getstream/plugins/__init__.py" not in names
    left_behind = (".so", ".pyc", "/target/", "/.venv", "__pycache__", "_cache/")
    assert [name for name in names if any(each in name for each in left_behind)] == []


def test_it_builds_the_wheel_that_the_checkout_builds(
    wheel_of_sdist: Path, members: dict[str, bytes]
) -> None:
    with zipfile.ZipFile(wheel_of_sdist) as archived:
        built = {name: archived.read(name) for name in archived.namelist()}
    assert built.keys() == members.keys()
    # Compiled code, and what lists it, holds the folder of the build, and pip's wheel the plain
    # platform tag; everything else is the same.
    of_the_build = ("_core.abi3.so", ".cyclonedx.json", "/RECORD", "/WHEEL")
    compared = [name for name in built if not name.endswith(of_the_build)]
    assert [name for name in compared if built[name] != members[name]] == []
