"""Build backend: maturin, with editable installs that can be imported.

`getstream` is a regular package in site-packages, so no entry of `sys.path` can add
`getstream.plugins` to it, which is all that maturin's own editable wheel does. `build_editable`
replaces that entry by a finder for this one package and for the module of the pytest plugin, which
every run of pytest imports. Everything else is maturin's.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

MODULE = "_getstream_plugins_gemini_editable"

FINDER = '''\
"""Find getstream.plugins in a checkout too (an editable install of getstream-plugins-gemini)."""

import sys
from importlib.machinery import ModuleSpec, PathFinder


class Finder:
    """Puts the checkout in front of the places where other plugins are installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "pytest_getstream_gemini":
            return PathFinder.find_spec(name, [{source!r}])
        if name != "getstream.plugins":
            return None
        spec = PathFinder.find_spec(name, path) or ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [{folder!r}, *(spec.submodule_search_locations or ())]
        return spec


sys.meta_path.insert(0, Finder)
'''


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build maturin's editable wheel, with the finder in place of its `.pth` entry."""
    name: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    source = Path(__file__).resolve().parent.parent / "python"
    folder = source / "getstream" / "plugins"
    finder = FINDER.replace("{folder!r}", repr(str(folder))).replace(
        "{source!r}", repr(str(source))
    )
    _replace_path_entry(Path(wheel_directory) / name, finder)
    return name


def _replace_path_entry(wheel: Path, finder: str) -> None:
    """Rewrite a wheel: its one `.pth` file imports the finder, which is added beside it."""
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (entry,) = (name for name in members if name.endswith(".pth"))
    (record,) = (name for name in members if name.endswith(".dist-info/RECORD"))
    del members[entry], members[record]
    members[f"{MODULE}.pth"] = f"import {MODULE}\n".encode()
    members[f"{MODULE}.py"] = finder.encode()
    lines = [f"{name},{_digest(data)},{len(data)}\n" for name, data in members.items()]
    members[record] = "".join([*lines, f"{record},,\n"]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _digest(data: bytes) -> str:
    """Return a hash as the binary distribution format writes it in RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
