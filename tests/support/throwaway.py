"""Environments to install into and to throw away."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Run = Callable[..., str]
PACKAGE = "getstream/plugins/gemini/"


@dataclass
class Environment:
    """A throw-away environment with a `getstream` of its own.

    What `getstream` depends on is borrowed from the environment of the tests.
    """

    home: Path
    run: Run

    @classmethod
    def create(cls, home: Path, run: Run) -> Environment:
        venv.create(home, with_pip=False)
        return cls(home, run)

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def site(self) -> Path:
        (site,) = (self.home / "lib").glob("python*/site-packages")
        return site

    def pip(self, *arguments: str | Path, **variables: str) -> None:
        pip = (sys.executable, "-m", "pip", "--quiet", "--python", self.python)
        self.run(*pip, *arguments, **variables)

    def borrow(self) -> None:
        """See the other environment's packages; our own come first."""
        borrowed = sysconfig.get_path("purelib")
        (self.site / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")

    def check(self, script: str) -> str:
        return self.run(self.python, "-I", "-c", script)

    def owned_by_getstream(self) -> dict[str, str]:
        """The files that `getstream` has installed, and what is in them."""
        found = {}
        for path in sorted((self.site / "getstream").rglob("*")):
            name = path.relative_to(self.site).as_posix()
            if path.is_file() and "__pycache__" not in name and not name.startswith(PACKAGE):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found
