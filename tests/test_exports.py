"""Check that public names are listed, exist, are documented, and have the documented defaults."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "getstream.plugins.gemini"
PROGRAMS = {"__main__", "cli"}  # what they promise is a command line


def _root() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _public_modules() -> list[str]:
    names = []
    for path in sorted(_root().rglob("*.py")):
        parts = path.relative_to(_root()).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if not any(part.startswith("_") or part in PROGRAMS for part in parts):
            names.append(".".join((PACKAGE, *parts)))
    return names


PUBLIC_MODULES = _public_modules()


def _tree(module: Any) -> ast.Module:
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))


def _isort_key(name: str) -> tuple[int, str]:
    """Return the sort key of ruff's RUF022: constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def _defined_in(module: Any) -> set[str]:
    """Return the public names that a module binds for others.

    A module defines them; the `__init__` of a package gathers them from its own modules as well.
    """
    names: set[str] = set()
    for node in _tree(module).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(each.id for each in node.targets if isinstance(each, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and node.level and hasattr(module, "__path__"):
            names.update(each.asname or each.name for each in node.names)
    return {
        name
        for name in names
        if not name.startswith("_") and not inspect.ismodule(getattr(module, name))
    }


def test_the_public_modules() -> None:
    assert {f"{PACKAGE}{name}" for name in ("", ".audio", ".errors", ".live", ".testing")} <= set(
        PUBLIC_MODULES
    )


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_all_is_sorted_complete_and_importable(name: str) -> None:
    module = importlib.import_module(name)
    listed = module.__all__
    assert list(listed) == sorted(set(listed), key=_isort_key)
    for each in listed:
        getattr(module, each)
    # Names that only a type checker sees (lazy imports) are there as well, by __getattr__.
    assert _defined_in(module) <= set(listed)


def test_the_package_lists_what_it_has() -> None:
    package = importlib.import_module(PACKAGE)
    assert set(package.__all__) <= set(dir(package))
    live = importlib.import_module(f"{PACKAGE}.live")
    assert package.GeminiLive is live.GeminiLive
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


# -- documentation -----------------------------------------------------------------------------


def _public_objects() -> Iterator[tuple[str, Any]]:
    for name in PUBLIC_MODULES:
        module = importlib.import_module(name)
        yield name, module
        for each in module.__all__:
            value = getattr(module, each)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{name}.{each}", value
            if inspect.isclass(value):
                for member in sorted(_public_members(value)):
                    yield f"{name}.{each}.{member}", inspect.getattr_static(value, member)


def _public_members(cls: type) -> set[str]:
    """Return the public methods and properties added by `cls` and its bases in this package.

    Members of foreign bases (exceptions, tracks of the SDK) are documented there."""
    return {
        name
        for each in cls.__mro__
        if each.__module__.startswith(PACKAGE) and each.__module__ != f"{PACKAGE}._core"
        for name, value in vars(each).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or isinstance(value, (property, staticmethod, classmethod)))
        and not any(name in vars(base) for base in cls.__mro__[1:] if base is not each)
    }


def _is_documented(value: Any) -> bool:
    text = inspect.getdoc(value)
    if not text:
        return False
    # The default docstring of `dataclass`: the signature.
    return not (inspect.isclass(value) and text.startswith(f"{value.__name__}("))


def test_everything_public_is_documented() -> None:
    found = dict(_public_objects())
    assert f"{PACKAGE}.live.GeminiLive.send_audio_pcm" in found  # the reader is not blind
    # Classes of the extension have their documentation in the stub, see below.
    silent = [
        name
        for name, value in found.items()
        if not _is_documented(value) and getattr(value, "__module__", "") != f"{PACKAGE}._core"
    ]
    assert silent == []


def _fields_of(cls: type) -> list[str]:
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return [field.name for field in fields if not field.name.startswith("_")]


def _declaring_class(cls: type, field: str) -> type:
    """Return the nearest class that declares a field; its docstring has to have it."""
    return next(each for each in cls.__mro__ if field in vars(each).get("__annotations__", {}))


def test_every_field_of_a_public_dataclass_is_documented() -> None:
    silent = []
    for name, cls in _public_objects():
        if not inspect.isclass(cls) or not cls.__module__.startswith(PACKAGE):
            continue
        for name_of_field in _fields_of(cls):
            owner = _declaring_class(cls, name_of_field)
            text, source = inspect.getdoc(owner) or "", inspect.getsource(owner)
            below = re.search(rf"^ +{name_of_field}: .*?\n +\"\"\"", source, re.MULTILINE)
            beside = re.search(rf"^\s*{name_of_field}\b.*:", text, re.MULTILINE)
            if not below and not beside and f"`{name_of_field}`" not in text:
                silent.append(f"{name}.{name_of_field}")
    assert silent == []


def test_the_stub_documents_the_whole_extension() -> None:
    stub = ast.parse((_root() / "_core.pyi").read_text(encoding="utf-8"))
    assert ast.get_docstring(stub)
    silent = []
    classes = [node for node in stub.body if isinstance(node, ast.ClassDef)]
    for cls in classes:
        plain_data = cls.name in ("SpeechStarted", "SpeechStopped")
        for node in (cls, *cls.body):
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                continue
            if node.name in ("__eq__", "__hash__", "__repr__"):
                continue  # they do what they do everywhere
            if node.name == "__new__" and plain_data:
                continue  # takes what its property documents
            if not ast.get_docstring(node):
                silent.append(f"{cls.name}.{getattr(node, 'name', '')}")
    assert len(classes) >= 10
    assert silent == []


# -- the documented names and defaults -----------------------------------------------------------

NOTHING = inspect.Parameter.empty

# Every name of the documented API with its parameters; `NOTHING` must be given.
GEMINI_LIVE: dict[str, dict[str, Any]] = {
    "__init__": {
        "api_key": None,
        "model": None,
        "config": None,
        "instructions": None,
        "voice": None,
        "language": None,
        "barge_in": True,
        "client": None,
    },
    "send_audio_pcm": {"pcm": NOTHING, "target_rate": 48000},
    "send_text": {"text": NOTHING},
    "start_video_sender": {"track": NOTHING, "fps": 1},
    "stop_video_sender": {},
    "interrupt_playback": {"drop": False},
    "resume_playback": {},
    "wait_until_ready": {"timeout": 10.0},
    "close": {},
    "attach": {"connection": NOTHING},
    "subscription_config": {},
    "on": {"event": NOTHING, "handler": None},
    "stats": {},
}
AWAITED = {
    "send_audio_pcm",
    "send_text",
    "start_video_sender",
    "stop_video_sender",
    "interrupt_playback",
    "wait_until_ready",
    "close",
    "attach",
}
AUDIO: dict[str, dict[str, Any]] = {
    "Resampler": {"in_rate": NOTHING, "out_rate": NOTHING},
    "Vad": {"sample_rate": 16000},
    "Playback": {"input_rate": 24000, "output_rate": 48000},
    "Mixer": {"sample_rate": 16000},
}
AUDIO_MEMBERS = {
    "Resampler": {"delay", "flush", "push", "reset"},
    "Vad": {"probability", "push"},
    "Playback": {"duck", "end_turn", "flush", "level_ms", "pause", "played_ms", "pop_frame", "push",
                 "resume", "stats"},
}  # fmt: skip


def _parameters(function: Any) -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


@pytest.mark.parametrize("name", sorted(GEMINI_LIVE))
def test_gemini_live_is_as_documented(name: str) -> None:
    from getstream.plugins.gemini.live import GeminiLive

    method = getattr(GeminiLive, name)
    wanted = GEMINI_LIVE[name]
    found = _parameters(method)
    # In the documented order, so that calls by position work; additions come after, by keyword.
    assert list(found)[: len(wanted)] == list(wanted)
    for documented, default in wanted.items():
        # A number, or a bool, as documented: 1 and True are equal, and not the same.
        assert type(found[documented]) is type(default)
        assert found[documented] == default
    for parameter in inspect.signature(method).parameters.values():
        if parameter.name not in wanted and parameter.name != "self":
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert parameter.default is not NOTHING
    assert inspect.iscoroutinefunction(method) is (name in AWAITED)


def test_the_options_of_gemini_live_are_keywords() -> None:
    from getstream.plugins.gemini.live import GeminiLive

    parameters = inspect.signature(GeminiLive).parameters.values()
    by_position = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
    assert by_position == ["api_key", "model", "config"]


def test_gemini_live_is_a_context_manager_with_an_audio_track() -> None:
    from getstream.plugins.gemini.live import GeminiLive
    from getstream.video.rtc.audio_track import AudioStreamTrack

    gemini = GeminiLive(api_key="unused", model="gemini-3.8-live")  # outside of any event loop
    assert isinstance(gemini.output_track, AudioStreamTrack)
    assert gemini.output_track is gemini.output_track
    assert inspect.iscoroutinefunction(GeminiLive.__aenter__)
    assert inspect.iscoroutinefunction(GeminiLive.__aexit__)
    assert "unused" not in repr(gemini)  # never a key


@pytest.mark.parametrize(
    "event",
    [
        *("connected", "audio", "text", "interrupted", "turn_complete", "error", "closed"),
        *("playback_started", "playback_finished", "stalled"),
    ],
)
def test_the_documented_events_exist(event: str) -> None:
    from getstream.plugins.gemini.live import GeminiLive

    gemini = GeminiLive(api_key="unused", model="gemini-3.8-live")

    def handler() -> None: ...

    assert gemini.on(event)(handler) is handler
    assert gemini.on(event, handler) is handler


@pytest.mark.parametrize("name", sorted(AUDIO))
def test_the_audio_core_is_as_documented(name: str) -> None:
    audio = importlib.import_module(f"{PACKAGE}.audio")
    cls = getattr(audio, name)
    found = _parameters(cls)
    wanted = AUDIO[name]
    assert {key: found[key] for key in list(found)[: len(wanted)]} == wanted
    assert AUDIO_MEMBERS.get(name, set()) <= set(dir(cls))
