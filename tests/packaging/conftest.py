"""The wheel and the sdist, as `make` and `pip` make them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NAME = "getstream-plugins-gemini"

Run = Callable[..., str]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run(program, *arguments, **environment)`: what it prints; its complaints if it fails.

    Runs outside of the checkout, so that nothing is found by the current directory.
    """
    outside = tmp_path_factory.mktemp("outside")

    def run(*command: str | Path, **environment: str) -> str:
        done = subprocess.run(
            [str(each) for each in command],
            cwd=outside,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """Cargo keeps what it has compiled; maturin is found beside this interpreter."""
    scripts = str(Path(sys.executable).parent)
    return {
        "CARGO_TARGET_DIR": str(REPOSITORY / "target"),
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
    }


@pytest.fixture(scope="session")
def wheel(
    run: Run, build_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The wheel that `make` has built; without one, built now."""
    wheels = list((REPOSITORY / "dist").glob("*.whl"))
    if not wheels:
        out = tmp_path_factory.mktemp("wheel")
        manifest = REPOSITORY / "rust" / "binding" / "Cargo.toml"
        options = ("build", "--release", "--quiet", "--manifest-path", manifest, "--out", out)
        run(sys.executable, "-m", "maturin", *options, **build_environment)
        wheels = list(out.glob("*.whl"))
    assert len(wheels) == 1, f"one wheel is expected in dist/, not {wheels}"
    return wheels[0]


@pytest.fixture(scope="session")
def members(wheel: Path) -> dict[str, bytes]:
    """Every file of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="session")
def dist_info(members: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the wheel's `*.dist-info`, by their names in it."""
    found = (re.fullmatch(r"[^/]+\.dist-info/(.+)", name) for name in members)
    return {match[1]: members[match[0]] for match in found if match}


@pytest.fixture(scope="session")
def version() -> str:
    """The one version, which Cargo.toml states."""
    manifest = (REPOSITORY / "Cargo.toml").read_text(encoding="utf-8")
    found = re.search(r'^\[workspace\.package\]\n(?:.+\n)*?version = "([^"]+)"', manifest, re.M)
    assert found
    return found[1]


@pytest.fixture(scope="session")
def installed() -> Distribution:
    """The distribution under test, as pip has installed it (`make develop`)."""
    return distribution(NAME)


@pytest.fixture(scope="session")
def sdist(
    run: Run,
    repository: Path,
    build_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    manifest = repository / "rust" / "binding" / "Cargo.toml"
    options = ("sdist", "--manifest-path", manifest, "--out", out)
    run(sys.executable, "-m", "maturin", *options, **build_environment)
    (archive,) = out.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as the sdist holds them, to build from and to change."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


@pytest.fixture(scope="session")
def build_apart(
    build_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A target folder for `unpacked`: in the checkout's, Cargo would take the one source for the
    other, and then not see what changes in the checkout."""
    return {**build_environment, "CARGO_TARGET_DIR": str(tmp_path_factory.mktemp("target"))}


@pytest.fixture(scope="session")
def wheel_of_sdist(
    unpacked: Path,
    run: Run,
    build_apart: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The wheel that pip builds of the sdist. Who changes `unpacked` asks for it before."""
    out = tmp_path_factory.mktemp("wheel-of-sdist")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", out, unpacked, **build_apart)
    (wheel,) = out.glob("*.whl")
    return wheel
