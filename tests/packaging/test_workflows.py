"""The public workflows and the checks of a release; `make lint-workflows` lints the files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def workflows(repository: Path) -> dict[str, str]:
    folder = repository / ".github" / "workflows"
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yml")}


def test_each_action_is_pinned_by_its_commit(workflows: dict[str, str]) -> None:
    uses = [
        match
        for text in workflows.values()
        for match in re.findall(r"uses: (\S+)(.*)", text)
        if not match[0].startswith("./")
    ]
    assert len(uses) > 10
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), (action, comment)


def test_every_python_that_is_promised_is_tested(
    workflows: dict[str, str], repository: Path
) -> None:
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    promised = re.findall(r"Python :: (3\.\d+)\"", project)
    found = re.search(r"  test:\n.*?python: \[(.*?)\]", workflows["wheels.yml"], re.DOTALL)
    assert found
    assert re.findall(r"3\.\d+", found[1]) == promised


def test_one_job_waits_for_all_others(workflows: dict[str, str]) -> None:
    jobs = re.findall(r"^  (\w+):$", workflows["ci.yml"].partition("\njobs:\n")[2], re.M)
    required = re.search(r"needs: \[(.*)\]", workflows["ci.yml"])
    assert required
    assert sorted(required[1].split(", ")) == sorted(set(jobs) - {"required"})


@pytest.mark.skipif(os.name != "posix" or shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("tag", "heading", "complaint"),
    [
        ("v1.2.3", "1.2.3, 2027-01-31", ""),
        ("v1.2.4", "1.2.3, 2027-01-31", "the version in Cargo.toml 1.2.3"),
        ("1.2.3", "1.2.3, 2027-01-31", "the version in Cargo.toml 1.2.3"),
        ("v1.2.3", "1.2.3, unreleased", "'1.2.3, unreleased'"),
        ("v1.2.3", "1.2.2, 2026-12-31", "'1.2.2, 2026-12-31'"),
    ],
)
def test_a_tag_has_to_be_the_version(
    repository: Path, tmp_path: Path, tag: str, heading: str, complaint: str
) -> None:
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(repository / ".ci" / "check-tag", tmp_path / ".ci")
    (tmp_path / "Cargo.toml").write_text(
        '[workspace]\nmembers = []\n\n[workspace.package]\nversion = "1.2.3"\n\n'
        '[package]\nversion = "9.9.9"\n',
        encoding="utf-8",
    )
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n", encoding="utf-8")
    done = subprocess.run([script, tag], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is (not complaint)
    assert complaint in done.stderr
