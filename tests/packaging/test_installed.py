"""The installed wheel beside the `getstream` distribution whose folder it shares."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import Distribution
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
from throwaway import PACKAGE, Environment

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(300)]

Run = Callable[..., str]


def test_what_is_tested_is_what_is_shipped(
    installed: Distribution, members: dict[str, bytes]
) -> None:
    for name, data in members.items():
        if name.startswith(PACKAGE):
            assert Path(str(installed.locate_file(name))).read_bytes() == data, (
                f"{name} is not the wheel's: run `make develop`"
            )


def test_there_is_one_version(installed: Distribution, version: str) -> None:
    from getstream.plugins import gemini
    from getstream.plugins.gemini import _core

    assert gemini.__version__ == installed.version == _core.__version__ == version


def test_the_package_alone_imports_no_sdk(run: Run) -> None:
    """It costs what `getstream/__init__.py` costs, which Python runs first, and no more."""
    script = (
        "import json, sys, getstream; before = set(sys.modules)\n"
        "import {}; print(json.dumps(sorted(set(sys.modules) - before)))"
    )

    def imported_by(name: str) -> set[str]:
        return set(json.loads(run(sys.executable, "-I", "-c", script.format(name))))

    def heavy(names: set[str]) -> set[str]:
        roots = ("aiortc", "av", "getstream.video", "getstream_rtc", "google", "numpy")
        return {root for root in roots for name in names if f"{name}.".startswith(f"{root}.")}

    assert heavy(imported_by("getstream.plugins.gemini")) == set()
    assert heavy(imported_by("getstream.plugins.gemini.errors")) == set()
    assert heavy(imported_by("getstream.plugins.gemini.audio")) <= {"numpy"}
    # ... and the measure is not blind.
    assert heavy(imported_by("getstream.plugins.gemini.live")) >= {"av", "google"}


def test_both_packages_are_importable_together(run: Run) -> None:
    out = run(
        sys.executable,
        "-I",
        "-c",
        "from getstream import Stream\n"
        "from getstream.plugins.gemini.live import GeminiLive\n"
        "from getstream.plugins import gemini\n"
        "assert gemini.GeminiLive is GeminiLive\n"
        "print(Stream.__name__, GeminiLive.__name__)",
    )
    assert out.split() == ["Stream", "GeminiLive"]


@pytest.mark.parametrize("verb", ["demo", "playground"])
def test_without_the_servers_packages_a_verb_says_what_to_install(run: Run, verb: str) -> None:
    script = (
        "import sys; sys.modules['trustme'] = None\n"
        "from getstream.plugins.gemini import cli\n"
        "import getstream.plugins.gemini.live\n"
        f"code = cli.main([{verb!r}])\n"
        "sys.stderr.flush(); print(code)"
    )
    assert run(sys.executable, "-I", "-c", script).split() == ["1"]
    told = run(sys.executable, "-I", "-c", f"import sys; sys.stderr = sys.stdout\n{script}")
    assert "pip install 'getstream-plugins-gemini[testing]'" in told
    assert "Traceback" not in told


def test_the_console_script_and_the_module_say_their_version(run: Run, version: str) -> None:
    script = Path(sysconfig.get_path("scripts")) / "getstream-gemini"
    assert version in run(script, "--version")
    assert version in run(sys.executable, "-I", "-m", "getstream.plugins.gemini", "--version")


USE_BOTH = """
import getstream
from getstream import Stream
from getstream.plugins.gemini.audio import Resampler
assert getstream.__file__.startswith({home!r}), getstream.__file__
from getstream.plugins import gemini
assert gemini.__file__.startswith({home!r}), gemini.__file__
assert Resampler(48000, 16000).push(bytes(1920)).shape == (320,)
"""

USE_GETSTREAM = """
import getstream
from getstream import Stream
from importlib.util import find_spec
assert getstream.__file__.startswith({home!r}), getstream.__file__
try:
    found = find_spec("getstream.plugins.gemini")
except ModuleNotFoundError:
    found = None
assert found is None, found
"""


def test_install_reinstall_and_uninstall_leave_getstream_whole(
    wheel: Path, run: Run, tmp_path: Path
) -> None:
    environment = Environment.create(tmp_path / "environment", run)
    getstream = f"getstream=={installed_version('getstream')}"
    use_both = USE_BOTH.format(home=str(environment.home))
    use_getstream = USE_GETSTREAM.format(home=str(environment.home))

    environment.pip("install", "--no-deps", getstream)
    whole = environment.owned_by_getstream()
    assert whole
    environment.pip("install", "--no-deps", wheel)
    environment.borrow()
    environment.check(use_both)
    assert environment.owned_by_getstream() == whole

    # Upgrading getstream does not take our files along.
    environment.pip("install", "--no-deps", "--force-reinstall", getstream)
    environment.check(use_both)
    assert environment.owned_by_getstream() == whole

    environment.pip("uninstall", "--yes", "getstream-plugins-gemini")
    assert not (environment.site / PACKAGE).exists()
    assert not list(environment.site.glob("getstream_plugins_gemini-*"))
    assert environment.owned_by_getstream() == whole
    environment.check(use_getstream)
