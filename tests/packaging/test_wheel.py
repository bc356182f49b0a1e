"""Check the contents of the wheel, which shares its folder with other distributions."""

from __future__ import annotations

import ast
import sys
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

pytestmark = pytest.mark.packaging

PACKAGE = "getstream/plugins/gemini/"
PLUGIN = "pytest_getstream_gemini.py"
EXPORTER = f"{PACKAGE}live/_telemetry/otel.py"
RECORDS = f"{PACKAGE}fleet/_records.py"
"""The pytest plugin, outside of `getstream`, whose import takes 0.7 s."""


@pytest.fixture(scope="module")
def metadata(dist_info: dict[str, bytes]) -> Message:
    return message_from_bytes(dist_info["METADATA"])


def test_every_file_is_in_our_own_folder(members: dict[str, bytes]) -> None:
    """A file in `getstream/` or `getstream/plugins/` would overwrite somebody else's, in silence,
    and take it along when it is uninstalled."""
    for name in members:
        top = name.partition("/")[0]
        assert name.startswith(PACKAGE) or name == PLUGIN or top.endswith(".dist-info"), name


def test_it_holds_the_sources_and_the_extension_and_nothing_else(
    members: dict[str, bytes], repository: Path
) -> None:
    """No caches, no tests, nothing that a build left behind, nothing stale."""
    root = repository / "python"
    sources = {}
    for path in root.rglob("*"):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.suffix != ".so":
            sources[name.as_posix()] = path.read_bytes()
    packed = {
        name: data for name, data in members.items() if name.startswith(PACKAGE) or name == PLUGIN
    }
    assert packed.pop(f"{PACKAGE}_core.abi3.so")
    assert packed.keys() == sources.keys()
    assert [name for name in packed if packed[name] != sources[name]] == [], "run `make develop`"


def test_it_holds_only_known_kinds_of_files(members: dict[str, bytes]) -> None:
    own = {name for name in members if name.startswith(PACKAGE)}
    manifests = {name for name in own if name.startswith(f"{PACKAGE}fleet/manifests/")}
    assert {PurePosixPath(name).name for name in manifests} == {
        "Dockerfile",
        "compose.yaml",
        "kuberay.yaml",
    }
    kinds = {PurePosixPath(name).suffix for name in own - manifests}
    assert kinds <= {".css", ".html", ".js", ".md", ".py", ".pyi", ".so", ".typed", ".wav"}


@pytest.mark.parametrize(
    "name",
    [
        "__init__.py",
        "_core.abi3.so",
        "_core.pyi",
        "py.typed",
        "live/__init__.py",
        "testing/__init__.py",
        "testing/_redirect/sitecustomize.py",
        "data/LICENSES.md",
    ],
)
def test_it_holds(members: dict[str, bytes], name: str) -> None:
    assert PACKAGE + name in members


def test_every_clip_has_its_licence(members: dict[str, bytes]) -> None:
    data = f"{PACKAGE}data/"
    clips = [PurePosixPath(name).name for name in members if name.startswith(data)]
    clips.remove("LICENSES.md")
    licences = members[f"{data}LICENSES.md"].decode()
    assert clips
    for clip in clips:
        assert clip.endswith(".wav")
        assert clip in licences


def test_it_is_tagged_for_the_stable_abi_of_cpython_3_10(
    wheel: Path, dist_info: dict[str, bytes]
) -> None:
    name, _, _, tags = parse_wheel_filename(wheel.name)
    assert name == "getstream-plugins-gemini"
    assert {(tag.interpreter, tag.abi) for tag in tags} == {("cp310", "abi3")}
    assert b"Root-Is-Purelib: false" in dist_info["WHEEL"]


def test_name_version_and_python(metadata: Message, version: str) -> None:
    assert metadata["Name"] == "getstream-plugins-gemini"
    assert metadata["Version"] == version
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT"


def requirements(metadata: Message, extra: str = "") -> dict[str, Requirement]:
    """Return the requirements by name: always, or with an extra only."""
    found = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    # The oldest Python needs what the standard library has had since.
    oldest = {"python_version": "3.10", "python_full_version": "3.10.0"}
    return {
        each.name: each
        for each in found
        if (each.marker is None and not extra)
        or (each.marker is not None and extra and each.marker.evaluate(oldest | {"extra": extra}))
    }


def test_dependencies_are_few_with_bounds(metadata: Message) -> None:
    always = requirements(metadata)
    assert {name: each.extras for name, each in always.items()} == {
        "aiohttp": set(),
        "aiortc": set(),
        "av": set(),
        "getstream": {"webrtc"},
        "google-auth": set(),
        "google-genai": set(),
        "numpy": set(),
        "websockets": set(),
    }
    for each in always.values():
        assert each.url is None
        assert {bound.operator for bound in each.specifier} == {">=", "<"}
    assert metadata.get_all("Provides-Extra") == ["mcp", "otel", "ray", "redis", "testing"]


# Imported under one name, published under another.
DISTRIBUTIONS = {
    "google.auth": "google-auth",
    "google.genai": "google-genai",
    "google.protobuf": "protobuf",
    "jwt": "pyjwt",
    "opentelemetry": "opentelemetry-api",
    "OpenSSL": "pyopenssl",
    "getstream_rtc": "getstream",
}


def imported(files: dict[str, bytes]) -> set[str]:
    """The distributions that Python files import; our own and the standard library left out."""
    names = set()
    for data in files.values():
        for node in ast.walk(ast.parse(data)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                # `from google import genai` names a module of the namespace.
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        root = name.partition(".")[0]
        key = ".".join(name.split(".")[:2]) if root == "google" else root
        local = ("getstream_local_lifeline", "getstream_local_redirect")
        if root not in sys.stdlib_module_names and root != "tomllib" and root not in local:
            found.add(DISTRIBUTIONS.get(key, key))
    return found


def test_what_is_imported_is_declared(members: dict[str, bytes], metadata: Message) -> None:
    sources = {name: data for name, data in members.items() if name.endswith(".py")}
    folders = (f"{PACKAGE}testing/", f"{PACKAGE}playground/")
    testing = {name for name in sources if name.startswith(folders)}
    always = requirements(metadata).keys()
    servers = requirements(metadata, "testing").keys()
    plugin = {PLUGIN: sources.pop(PLUGIN)}
    assert imported(plugin) == {
        "pluggy",
        "pytest",
        "getstream",
    }  # whoever loads it has the first two
    exporter = {EXPORTER: sources.pop(EXPORTER)}
    assert imported(exporter) == requirements(metadata, "otel").keys()
    records = {RECORDS: sources.pop(RECORDS)}
    assert imported(records) == requirements(metadata, "redis").keys()
    commands = (f"{PACKAGE}_cli/serve.py", f"{PACKAGE}_cli/serve_on_ray.py")
    on_ray = {
        name: sources.pop(name)
        for name in list(sources)
        if name.startswith(f"{PACKAGE}fleet/_ray/") or name in commands
    }
    assert imported(on_ray) - always == requirements(metadata, "ray").keys()
    product = imported({name: data for name, data in sources.items() if name not in testing})
    assert product == always, "declared where imported, and nothing else"
    assert imported({name: sources[name] for name in testing}) - always == servers


def test_it_says_who_made_it_and_where(metadata: Message) -> None:
    assert metadata["Author"] == "The getstream-plugins-gemini authors"
    labels = {line.partition(",")[0] for line in metadata.get_all("Project-URL", [])}
    assert labels >= {"Changelog", "Issues", "Repository"}
    classifiers = metadata.get_all("Classifier", [])
    for minor in range(10, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers


def test_licences_are_packed(metadata: Message, dist_info: dict[str, bytes]) -> None:
    files = metadata.get_all("License-File", [])
    assert "LICENSE" in files
    assert any(name.endswith("data/LICENSES.md") for name in files)
    assert any(name.endswith("vad/silero/LICENSE") for name in files)
    for name in files:
        assert dist_info[f"licenses/{name}"]


def test_the_description_is_the_readme(metadata: Message, repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    description = metadata.get_payload(decode=True)
    assert isinstance(description, bytes)
    assert description.decode().strip() == readme.strip()


def test_the_console_script(dist_info: dict[str, bytes]) -> None:
    lines = dist_info["entry_points.txt"].decode().split()
    assert lines == [
        "[console_scripts]",
        "getstream-gemini=getstream.plugins.gemini.cli:main",
        "[pytest11]",
        "getstream-gemini=pytest_getstream_gemini",
    ]
