"""Check imports between modules, and starts of tasks, by AST against the design's table.

The table is about run time: imports under `if TYPE_CHECKING:` are free, imports inside functions
count. The installed package is checked, since that is what users get.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = "getstream.plugins.gemini"
REPOSITORY = Path(__file__).parents[1]
COMPUTED = "<a computed name>"

# Modules are named from the package on: "live._session"; the package itself is "".
Source = Mapping[str, ast.Module]
Within = Callable[[str], bool]


def under(*roots: str) -> Within:
    """Return a predicate that is true for the modules `roots` and those inside of them."""
    return lambda module: any(module == root or module.startswith(f"{root}.") for root in roots)


IN_LIVE = under("live")
IN_TESTING = under("testing")
IN_SESSION = under("live._session")  # a part of several modules
PURE = (
    "live._events",
    "live._timing",
    "live._session.protocol",
    "live._session.reconnect",
    "live._turns.history",
    "live._tokens",
    "live._turns.policy",
    "live._turns.speakers",
    "live._turns.transcript",
    "live._turns.transcript_writer",
    "live._turns.turn_text",
)
WINGS = ("live._media", "live._session", "live._telemetry", "live._tools", "live._turns")
WIRING = (
    "live",
    "live._attachment",
    "live._call_audio",
    "live._continuation",
    "live._emitter",
    "live._event_source",
    "live._gemini_live",
    "live._playback_control",
    "live._reconfiguration",
    "live._requests",
    "live._settings",
    "live._stats",
    "live._supervisor",
    "live._tool_sounds",
    "live._turns.controller",
)
# By every part of live; as pure as PURE.
SHARED = ("live._events", "live._resumption", "live._timing", "live._tokens")
PROGRAMS = under("cli", "_cli", "__main__")
IN_TIMELINE = under("_timeline")
IN_RECORDING = under("recording")
IN_PLAYGROUND = under("playground")
IN_FLEET = under("fleet")
OBSERVER = "live._telemetry.observer"

# Modules of the standard library that read the time, wait, or do I/O.
IMPURE = frozenset({"asyncio", "concurrent", "datetime", "logging", "random", "select", "selectors",
                    "signal", "socket", "sched", "subprocess", "threading", "time"})  # fmt: skip

# Calls that make a task or a thread, which must be ended.
STARTS_TASKS = frozenset({"create_task", "ensure_future", "gather", "run_coroutine_threadsafe",
                          "start_soon", "ProcessPoolExecutor", "Runner", "TaskGroup", "Thread",
                          "ThreadPoolExecutor", "Timer"})  # fmt: skip

STARTERS = (
    "live._lifecycle",
    "live._media.video_input",  # its worker
    "live._supervisor",
    "live._tools.threads",  # of blocking tools
)

FLEET_STARTERS = (
    "fleet._load",  # the sampler of a worker's load, and the thread that sees its loop held up
    "fleet._local",
    "fleet._ray._actors",  # the threads for what Ray offers as blocking functions alone
    "fleet._ray._control",
    "fleet._ray._fleet",
    "fleet._ray._outbox",
    "fleet._ray._worker",
    "fleet._records",  # the thread that writes files
    "fleet._seat",
    "fleet._stream",
    "fleet._tasks",  # of the control and its records
    "fleet._worker",
)

# Calls that hand work to an existing thread and await it.
BORROWS_THREADS = frozenset({"run_in_executor", "submit", "to_thread"})
MAY_BORROW_THREADS = {
    "live._requests": 1,  # reading or encoding an image
    "live._playback_control": 1,  # reading a sound
    "live._tool_sounds": 1,  # the same
    "live._session.access": 1,  # the application's function that gives a key
    "live._session.connection": 3,  # building and closing the SDK's client, also in advance
    "live._media.video_input": 1,  # encoding an image
}


@dataclass(frozen=True)
class Import:
    """Import at run time.

    Attributes:
        by: Importing module.
        target: Imported module: "live._call" of this package's own, else an absolute name with an
            "=" before it, such as "=google.genai.types".
        line: Line of the import.
    """

    by: str
    target: str
    line: int

    @property
    def foreign(self) -> str | None:
        """Return the absolute name of a foreign module, None for our own."""
        return self.target[1:] if self.target.startswith("=") else None

    def is_of(self, *roots: str) -> bool:
        """Return whether it is one of these foreign packages, or inside one of them."""
        return self.foreign is not None and under(*roots)(self.foreign)

    def __str__(self) -> str:
        name = self.foreign if self.foreign is not None else f"{PACKAGE}.{self.target}".rstrip(".")
        return f"{self.by or '__init__'}:{self.line} imports {name}"


def wing_of(module: str) -> str | None:
    """Return the folder of `live` that a module is in, such as "_session", or None."""
    parts = module.split(".")
    return parts[1] if (parts[0] == "live" and len(parts) > 2) or module in WINGS else None


def read_package(folder: Path) -> dict[str, ast.Module]:
    """Parse every module below `folder`."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return modules


def imports(modules: Source) -> list[Import]:
    """Return every run-time import of every module."""
    packages = {name.rpartition(".")[0] for name in modules} | {""}
    known = {*modules, "_core"}
    found: list[Import] = []
    for by, tree in modules.items():
        home = [part for part in by.split(".") if part]
        if by not in packages:
            home.pop()
        for node in _at_run_time(tree):
            line = getattr(node, "lineno", 0)
            found.extend(Import(by, target, line) for target in _targets(node, home, known))
    return found


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only a type checker sees."""
    yield node
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        children = list(node.orelse)
    for child in children:
        yield from _at_run_time(child)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _targets(node: ast.AST, home: list[str], known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield _own_or_foreign(alias.name)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            start = home[: len(home) - (node.level - 1)]
            base = ".".join([*start, *(node.module or "").split(".")]).strip(".")
        else:
            base = _own_or_foreign(node.module or "")
        for alias in node.names:
            name = f"{base}.{alias.name}".lstrip(".")
            # `from . import _call` names a module, `from .x import Y` something inside of one;
            # of a foreign package both are kept, for either may be a module.
            yield name if name in known or base.startswith("=") else base
    elif isinstance(node, ast.Call) and _name_of(node.func) in ("import_module", "__import__"):
        argument = node.args[0] if node.args else None
        if isinstance(argument, ast.Constant) and not str(argument.value).startswith("."):
            yield _own_or_foreign(str(argument.value))
        else:
            yield f"={COMPUTED}"


def _own_or_foreign(name: str) -> str:
    if name == PACKAGE:
        return ""
    return name[len(PACKAGE) + 1 :] if name.startswith(f"{PACKAGE}.") else f"={name}"


def _name_of(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def mentions(tree: ast.AST, names: frozenset[str]) -> list[tuple[str, int]]:
    """Find uses of one of `names` in a module at run time; passing a function on counts too."""
    found = []
    for node in _at_run_time(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and _name_of(node) in names:
            found.append((str(_name_of(node)), node.lineno))
        elif isinstance(node, ast.alias) and node.name.rpartition(".")[2] in names:
            found.append((node.name, node.lineno))
    return found


# -- the table ---------------------------------------------------------------------------------


def violations(modules: Source) -> list[str]:
    """Describe the violations of the table; empty if there are none."""
    return [
        *(str(each) + f": {reason}" for each, reason in _forbidden_imports(imports(modules))),
        *_forbidden_tasks(modules),
    ]


def _forbidden_imports(found: list[Import]) -> Iterator[tuple[Import, str]]:
    for each in found:
        for holds, reason in (
            (_named_in_the_source, "this table cannot see what it is"),
            (_genai_is_wrapped, "only live._session talks to google.genai"),
            (_getstream_is_wrapped, "only live._call and the track's class know getstream"),
            (_exports_are_optional, "only live._telemetry.otel imports opentelemetry"),
            (_core_is_private, "_core is reached through audio and _websocket"),
            (_frames_stay_at_the_ends, "only live._session reads frames"),
            (
                _samples_stay_in_audio,
                "only live._media's capture and playout touch samples",
            ),
            (_live_stands_alone, "live knows no program and no test kit"),
            (
                _parts_do_not_meet,
                "only the modules in WIRING know several wings",
            ),
            (_policy_is_pure, "the rules have neither clock nor loop nor log"),
            (_timeline_draws_alone, "_timeline draws with numpy, and knows nothing of calls"),
            (_playground_is_an_application, "the playground uses public names alone"),
            (_fleet_is_an_application, "the fleet uses public names alone, and its extras apart"),
            (_reports_need_no_sdk, "a recording is read, and its page made, without any SDK"),
            (_leaves_import_nothing_heavy, "audio, errors, _terminal and _websocket import no SDK"),
        ):
            if not holds(each):
                yield each, reason


def _named_in_the_source(each: Import) -> bool:
    # The hook that redirects the SDK to a local server wraps every imported module.
    # `playground MODULE:FUNCTION` and `serve MODULE:FUNCTION` import the user's module.
    allowed = under("testing._redirect", "_cli.playground", "fleet._program")
    return each.foreign != COMPUTED or allowed(each.by)


def _genai_is_wrapped(each: Import) -> bool:
    return not each.is_of("google.genai") or IN_SESSION(each.by)


def _getstream_is_wrapped(each: Import) -> bool:
    if not each.is_of("getstream", "getstream_rtc"):
        return True
    if each.by == "live._media.playout":
        return each.is_of("getstream.video.rtc.audio_track")
    if each.by == "playground._audio":
        return each.is_of("getstream.video.rtc.track_util")
    return each.by in ("live._call", "fleet._stream") or IN_TESTING(each.by) or PROGRAMS(each.by)


def _exports_are_optional(each: Import) -> bool:
    if each.target == "live._telemetry.otel":
        return each.by == "live._telemetry"  # where it is asked for
    return not each.is_of("opentelemetry") or each.by == "live._telemetry.otel"


def _core_is_private(each: Import) -> bool:
    return each.target != "_core" or each.by in ("audio", "_websocket")


def _frames_stay_at_the_ends(each: Import) -> bool:
    return each.target != "_websocket" or IN_SESSION(each.by)


def _samples_stay_in_audio(each: Import) -> bool:
    if each.target != "audio" or not IN_LIVE(each.by):
        return True
    return each.by in ("live._media.capture", "live._media.playout", "live._media.sounds")


def _live_stands_alone(each: Import) -> bool:
    if not IN_LIVE(each.by) or each.foreign is not None:
        return True
    if each.by == "live._gemini_live" and each.target == "recording":
        return True  # in the function that makes a recorder
    return IN_LIVE(each.target) or each.target in ("audio", "errors", "_exit", "_websocket")


def _parts_do_not_meet(each: Import) -> bool:
    if not IN_LIVE(each.by) or not IN_LIVE(each.target) or each.by in WIRING:
        return True
    if each.target in SHARED:
        return True
    return wing_of(each.by) is not None and wing_of(each.by) == wing_of(each.target)


def _policy_is_pure(each: Import) -> bool:
    if each.by not in PURE:
        return True
    if each.foreign is None:
        if each.target in SHARED or each.target in PURE:
            return True
        return each.by == "live._session.reconnect" and each.target == "errors"
    root = each.foreign.partition(".")[0]
    return root in sys.stdlib_module_names and root not in IMPURE


def _timeline_draws_alone(each: Import) -> bool:
    if not IN_TIMELINE(each.by):
        return True
    if each.foreign is None:
        return IN_TIMELINE(each.target)
    return _is_standard(each.foreign) or each.is_of("numpy")


def _leaves_import_nothing_heavy(each: Import) -> bool:
    if each.by in ("_beliefs", "_terminal", "errors"):
        if each.foreign is None:
            return each.by == "errors" and each.target == "_terminal"
        return _is_standard(each.foreign)
    if each.by == "_websocket":
        return each.target == "_core" or (each.foreign is not None and _is_standard(each.foreign))
    if each.by != "audio":
        return True
    if each.foreign is None:
        return each.target in ("_core", "errors")
    return _is_standard(each.foreign) or each.is_of("numpy")


def _playground_is_an_application(each: Import) -> bool:
    if not IN_PLAYGROUND(each.by):
        return PROGRAMS(each.by) or not IN_PLAYGROUND(each.target)
    if each.foreign is not None:
        return _is_standard(each.foreign) or each.is_of(
            "aiohttp", "aiortc", "getstream.video.rtc.track_util", "numpy"
        )
    public = ("_terminal", "audio", "errors", "live", "testing")
    return IN_PLAYGROUND(each.target) or each.target in public


# Of the fleet's modules, those that know more than the standard library.
FLEET_KNOWS = {
    "fleet._gate": ("aiohttp",),
    "fleet._local": ("aiohttp",),  # for a type
    "fleet._records": ("redis",),
    "fleet._stream": ("getstream",),
    "fleet._program": (COMPUTED,),
}
FLEET_ON_RAY = under("fleet._ray")
PURE_IN_FLEET = ("fleet._calls", "fleet._metrics", "fleet._placement", "fleet._webhook")


def _fleet_is_an_application(each: Import) -> bool:
    if not IN_FLEET(each.by):
        return not IN_FLEET(each.target) or PROGRAMS(each.by) or IN_TESTING(each.by)
    if each.foreign is not None:
        root = each.foreign.partition(".")[0]
        if each.by in PURE_IN_FLEET:
            return root in sys.stdlib_module_names and root not in IMPURE
        if FLEET_ON_RAY(each.by):
            return _is_standard(each.foreign) or each.is_of("ray", "psutil")
        return _is_standard(each.foreign) or each.is_of(*FLEET_KNOWS.get(each.by, ()))
    if each.by in PURE_IN_FLEET:
        return each.target in (*PURE_IN_FLEET, "errors", "live")
    if FLEET_ON_RAY(each.target):
        return FLEET_ON_RAY(each.by)  # an extra, which the rest does without
    return IN_FLEET(each.target) or each.target in ("_terminal", "errors", "live")


def _reports_need_no_sdk(each: Import) -> bool:
    if not IN_RECORDING(each.by):
        return True
    if each.foreign is not None:
        return _is_standard(each.foreign) or each.is_of("numpy", "av")
    if each.by == "recording.recorder":
        return IN_RECORDING(each.target) or each.target in ("audio", "errors", OBSERVER)
    return IN_RECORDING(each.target) or each.target in ("_terminal", "errors")


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _forbidden_tasks(modules: Source) -> Iterator[str]:
    for module, tree in modules.items():
        if IN_FLEET(module) and module not in FLEET_STARTERS:
            for name, line in mentions(tree, STARTS_TASKS | BORROWS_THREADS):
                yield f"{module}:{line} uses {name}: only FLEET_STARTERS start tasks"
        if not IN_LIVE(module) or module in STARTERS:
            continue
        for name, line in mentions(tree, STARTS_TASKS):
            yield f"{module}:{line} uses {name}: only STARTERS start tasks"
        borrowed = mentions(tree, BORROWS_THREADS)
        if len(borrowed) > MAY_BORROW_THREADS.get(module, 0):
            where = ", ".join(f"{name} in line {line}" for name, line in borrowed)
            yield f"{module} uses {where}: work on other threads is listed in this test"


# -- the package -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return read_package(Path(spec.origin).parent)


def test_everybody_imports_only_what_the_table_allows(modules: dict[str, ast.Module]) -> None:
    assert violations(modules) == []


def test_the_table_sees_the_whole_package(modules: dict[str, ast.Module]) -> None:
    """The edges of the design are found: the reader of imports works."""
    edges = {(each.by, each.target) for each in imports(modules)}
    assert edges >= {
        ("", "live"),
        ("audio", "_core"),
        ("audio", "errors"),
        ("_websocket", "_core"),
        ("live._session.direct_send", "_websocket"),
        ("live", "live._gemini_live"),
        ("live._media.capture", "audio"),
        ("live._media.playout", "=getstream.video.rtc.audio_track.AudioStreamTrack"),
        ("live._call", "=getstream.video.rtc.tracks.SubscriptionConfig"),
        ("live._gemini_live", "live._call"),
        ("live._supervisor", "live._lifecycle"),
        ("live._turns.controller", "live._turns.policy"),
        ("live._session.connection", "=google.genai"),
        ("live._session.close_errors", "errors"),
    }
    # ... and those for the type checker only are not.
    assert ("live._gemini_live", "=google.genai") not in edges
    worker = modules["live._media.video_input"]
    assert Counter(name for name, _ in mentions(worker, BORROWS_THREADS))


def test_the_core_knows_no_python() -> None:
    manifest = (REPOSITORY / "rust" / "core" / "Cargo.toml").read_text(encoding="utf-8")
    assert "pyo3" not in manifest
    assert "numpy" not in manifest


# -- the checker itself, on broken packages ------------------------------------------------------


def broken(module: str, source: str) -> list[str]:
    """Return the violations of a package with this one module (and empty neighbours)."""
    neighbours = ("", "_terminal", "_websocket", "audio", "cli", "errors", "live", "live._call",
                  "live._gemini_live", "live._media", "live._media.playout", "live._session",
                  "live._session.protocol", "live._telemetry", "live._telemetry.otel",
                  "live._turns", "live._turns.policy", "testing", "testing._stream", "_timeline",
                  "_timeline.model", "playground", "fleet", "fleet._control",
                  "fleet._ray",
                  "live._supervisor")  # fmt: skip
    house = dict.fromkeys((*neighbours, module), "") | {module: source}
    return violations({name: ast.parse(text) for name, text in house.items()})


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("live._gemini_live", "from google import genai"),
        ("live._options", "from google.genai.types import LiveConnectConfig"),
        ("live._options", "import google.genai as g"),
        ("live._options", "def late():\n    from google.genai import types"),
        ("live._options", "import importlib\nimportlib.import_module('google.genai')"),
        ("live._options", "__import__(NAME)"),
        ("testing._stream", "from google import genai"),
        ("live._gemini_live", "from getstream.video import rtc"),
        ("live._media.playout", "from getstream.video import rtc"),
        ("live._media.video", "import getstream"),
        ("audio", "from getstream.video.rtc import PcmData"),
        ("live._media.capture", "from ... import _core"),
        ("live._media.capture", "from ..._core import Vad"),
        ("live._session.direct_send", "from ..._core import websocket_payload"),
        ("live._media.playout", "from ..._websocket import websocket_frame"),
        ("live._media.capture", "from ..._websocket import websocket_frame"),
        ("cli", "from ._websocket import websocket_frame"),
        ("_websocket", "from .live import GeminiLive"),
        ("_websocket", "import websockets"),
        ("testing._stream", "from getstream.plugins.gemini._core import Vad"),
        ("live._gemini_live", "from ..audio import Vad"),
        ("live._media.video", "from ... import audio"),
        ("live._gemini_live", "from ..testing import LocalGemini"),
        ("live._gemini_live", "from ..cli import main"),
        ("live._session", "from getstream.plugins.gemini import testing"),
        ("live._gemini_live", "from opentelemetry import trace"),
        ("live._telemetry.metrics", "def late():\n    import opentelemetry.trace"),
        ("live._supervisor", "from ._telemetry.otel import OpenTelemetryObserver"),
        ("live._media.playout", "from .._session import Session"),
        ("live._media.playout", "from .. import _call"),
        ("live._media.video", "from .. import GeminiLive"),
        ("live._turns.policy", "import asyncio"),
        ("live._turns.policy", "from time import monotonic"),
        ("live._turns.policy", "import logging"),
        ("live._turns.policy", "import numpy"),
        ("live._session.reconnect", "import random"),
        ("live._session.protocol", "import asyncio"),
        ("live._session.protocol", "from .session import Session"),
        ("live._media.video", "from .._session.protocol import read"),
        ("live._turns.policy", "from ...errors import GeminiError"),
        ("live._turns.policy", "if not TYPE_CHECKING:\n    import asyncio"),
        ("errors", "from .live import GeminiLive"),
        ("_beliefs", "from .errors import ConfigError"),
        ("errors", "from ._cli import narration"),
        ("_terminal", "from .errors import GeminiError"),
        ("_terminal", "import numpy"),
        ("_timeline.model", "from ..audio import Vad"),
        ("_timeline.picture", "from getstream import Stream"),
        ("audio", "from .live import GeminiLive"),
        ("live._events", "asyncio.create_task(work())"),
        ("live._events", "start = asyncio.ensure_future"),
        ("live._events", "from asyncio import create_task"),
        ("live._session", "async with asyncio.TaskGroup() as group: pass"),
        ("live._media.video", "worker = ThreadPoolExecutor(1)"),
        ("live._media.video", "loop.run_in_executor(a, b)\nloop.run_in_executor(c, d)"),
        ("live._call", "await asyncio.to_thread(work)"),
        ("recording.page", "from ..live import GeminiLive"),
        ("recording.reader", "from google import genai"),
        ("recording._analysis", "from ..audio import Vad"),
        ("recording.recorder", "from ..live._gemini_live import GeminiLive"),
        ("recording.recorder", "from ..testing import LocalGemini"),
        ("playground._visit", "from ..live._media.playout import OutputTrack"),
        ("playground._visit", "from getstream import Stream"),
        ("playground._audio", "from getstream import Stream"),
        ("playground._server", "from .._cli.clips import data_file"),
        ("playground._server", "import fastapi"),
        ("testing", "from ..playground import Playground"),
        ("fleet._worker", "from ..live._supervisor import Supervisor"),
        ("fleet._worker", "from getstream import AsyncStream"),
        ("fleet._worker", "import ray"),
        ("fleet._local", "from ._ray import start_ray_fleet"),
        ("fleet._local", "import redis"),
        ("fleet._placement", "import time"),
        ("fleet._placement", "import asyncio"),
        ("fleet._placement", "from ._control import Control"),
        ("fleet._control", "asyncio.create_task(work())"),
        ("fleet._control", "await asyncio.to_thread(work)"),
        ("fleet._control", "from ..testing import LocalGemini"),
        ("fleet._webhook", "from aiohttp import web"),
        ("live._gemini_live", "from ..fleet import Seat"),
    ],
)
def test_a_house_out_of_order_is_noticed(module: str, source: str) -> None:
    assert len(broken(module, source)) >= 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("live._session", "from google import genai\nfrom google.genai import types"),
        ("live._session.connection", "from google import genai\nfrom . import protocol"),
        ("live._session.reconnect", "from ...errors import SessionError"),
        ("errors", "from ._terminal import one_line"),
        ("_timeline.picture", "import numpy as np\nfrom . import model"),
        ("live._gemini_live", "if TYPE_CHECKING:\n    from google import genai"),
        ("live._gemini_live", "if typing.TYPE_CHECKING:\n    from getstream import Stream"),
        ("live._gemini_live", "from . import _call\nfrom ._session import Session"),
        ("live._telemetry", "def late():\n    from .otel import OpenTelemetryObserver"),
        ("live._telemetry.otel", "from opentelemetry import trace"),
        ("live._supervisor", "asyncio.create_task(work())"),
        ("live._lifecycle", "asyncio.ensure_future(work())"),
        ("live._call", "from getstream.video import rtc\nfrom ..errors import CallError"),
        ("live._media.playout", "from getstream.video.rtc.audio_track import AudioStreamTrack"),
        ("live._media.capture", "from ...audio import Vad\nimport numpy as np"),
        ("live._session.direct_send", "from ..._websocket import websocket_payload"),
        ("live._media.video_input", "loop.run_in_executor(a, b)"),
        ("recording.recorder", "from ..live._telemetry.observer import Observer"),
        ("recording.page", "import av\nimport numpy\nfrom .._terminal import one_line"),
        ("playground._server", "from aiohttp import web\nfrom ..live import GeminiLive"),
        ("playground._audio", "from getstream.video.rtc.track_util import PcmData"),
        ("live._turns.policy", "from dataclasses import dataclass\nimport enum"),
        ("testing._stream", "from google.protobuf.message import DecodeError"),
        ("testing", "from ..audio import Vad\nfrom getstream import Stream"),
        ("cli", "from getstream import Stream\nfrom .live import GeminiLive"),
        ("cli", "from .fleet import LocalFleet"),
        ("fleet._placement", "from ..live import Resumption\nimport heapq"),
        ("fleet._tasks", "asyncio.get_running_loop().create_task(work)"),
        ("fleet._control", "from ..live import Resumption\nfrom ..errors import ClosedError"),
        ("fleet._stream", "from getstream import AsyncStream\nfrom getstream.video import rtc"),
        ("", "def __getattr__(name):\n    from . import live"),
    ],
)
def test_a_house_in_order_is_left_alone(module: str, source: str) -> None:
    assert broken(module, source) == []
