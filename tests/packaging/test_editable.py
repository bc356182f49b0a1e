"""An editable install: the package is used from its sources, beside an untouched `getstream`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
from throwaway import PACKAGE, Environment

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

Run = Callable[..., str]

USE = """
import getstream
from getstream import Stream
from getstream.plugins import gemini
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.testing import LocalServers
assert getstream.__file__.startswith({home!r}), getstream.__file__
assert gemini.__file__ == {file!r}, gemini.__file__
assert Resampler(48000, 16000).push(bytes(1920)).shape == (320,)
print(gemini.__version__)
"""


@pytest.mark.usefixtures("wheel_of_sdist")  # built before the sources are edited
def test_an_editable_install_is_imported_from_its_sources(
    unpacked: Path, run: Run, build_apart: dict[str, str], version: str, tmp_path: Path
) -> None:
    environment = Environment.create(tmp_path / "environment", run)
    environment.pip("install", "--no-deps", f"getstream=={installed_version('getstream')}")
    environment.borrow()
    whole = environment.owned_by_getstream()

    options = ("--no-deps", "--no-build-isolation", "--editable", unpacked)
    environment.pip("install", *options, **build_apart)
    package = unpacked / "python" / PACKAGE
    use = USE.format(home=str(environment.home), file=str(package / "__init__.py"))
    assert environment.check(use).split() == [version]
    assert not (environment.site / PACKAGE).exists(), "nothing is copied"
    assert environment.owned_by_getstream() == whole
    plugin = "import pytest_getstream_gemini as it; print(it.__file__)"
    found = environment.check(plugin).strip()
    assert found == str(unpacked / "python" / "pytest_getstream_gemini.py")
    script = environment.home / "bin" / "getstream-gemini"
    assert version in run(script, "--version")

    # What is edited is what runs.
    errors = package / "errors.py"
    errors.write_text(errors.read_text(encoding="utf-8") + "EDITED = 1\n", encoding="utf-8")
    environment.check("from getstream.plugins.gemini.errors import EDITED")

    # Another plugin, installed as its wheel, is there too.
    other = environment.site / "getstream" / "plugins" / "other"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("HERE = 1\n", encoding="utf-8")
    environment.check("from getstream.plugins.other import HERE\n" + use)

    environment.pip("uninstall", "--yes", "getstream-plugins-gemini")
    assert not [path.name for path in environment.site.glob("_getstream_plugins*")]
    environment.check("from getstream.plugins.other import HERE; from getstream import Stream")
