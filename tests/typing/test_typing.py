"""Users' type checkers see this package's types, beside those of `getstream`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def _documented_override(document: str) -> str:
    """The override for `getstream.*`, from its `[[...]]` line to the next empty one."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^\[\[tool\.mypy\.overrides\]\].*\n(?:[^\n`]+\n)+", text, re.MULTILINE)
    (override,) = [block for block in blocks if 'module = "getstream.*"' in block]
    return re.sub(r" *#.*", "", override).strip()


def test_we_check_with_what_users_are_told_to_set() -> None:
    assert _documented_override("docs/how-to/troubleshooting.md") == _documented_override(
        "pyproject.toml"
    )


@pytest.mark.timeout(300)  # the first time, mypy reads the SDKs
def test_a_typed_program_that_uses_the_documented_api(tmp_path: Path) -> None:
    """Strict, outside of the checkout, against the installed packages: as a user would."""
    configuration = tmp_path / "pyproject.toml"
    strict = "[tool.mypy]\nstrict = true\n\n"
    configuration.write_text(strict + _documented_override("pyproject.toml"), encoding="utf-8")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", configuration),
            *("--cache-dir", REPOSITORY / ".mypy_cache" / "api", HERE / "api.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
