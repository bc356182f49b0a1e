"""Read scenarios from a TOML file: a bot, what the model says, and steps to do and to expect."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from .._gemini import FunctionCall, Parrot, ReplyPolicy, Script, Turn
from .errors import ScenarioError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["VERBS", "Scenario", "Step", "clip_path", "read_scenarios"]

_NUMBER = (int, float)


@dataclass(frozen=True)
class Verb:
    """One kind of step.

    Attributes:
        takes: Types of its value.
        example: A value, for messages.
        options: Keys that may stand beside it, with their types.
        positive: True if a number must be greater than 0.
    """

    takes: tuple[type, ...]
    example: str
    options: Mapping[str, tuple[type, ...]]
    positive: bool = True


VERBS: dict[str, Verb] = {
    "say": Verb((str,), '"question.wav"', {"person": (str,)}),
    "hear_within_s": Verb(_NUMBER, "5", {"person": (str,), "at_least_ms": _NUMBER}),
    "silent_for_ms": Verb(_NUMBER, "1000", {"person": (str,)}),
    "pause_ms": Verb(_NUMBER, "500", {}),
    "expect_tool": Verb((str,), '"get_time"', {"args": (dict,), "within_s": _NUMBER}),
    "drop": Verb((int,), "1006", {"reason": (str,), "back_within_s": _NUMBER}),
    "go_away_s": Verb(_NUMBER, "10", {"back_within_s": _NUMBER}),
    "latency_below_ms": Verb(_NUMBER, "1500", {}),
    "end_within_s": Verb(_NUMBER, "20", {"code": (int,)}),
}
"""The steps by their name; `docs/how-to/test-your-assistant.md` says what each does."""

_SCENARIO_KEYS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "bot": (str,),
    "replies": (list,),
    "then": (str,),
    "steps": (list,),
    "call_id": (str,),
    "arguments": (list,),
    "env": (dict,),
    "allow_hosts": (list,),
    "voice": (str,),
    "limit_s": _NUMBER,
}
_REPLY_KEYS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "wav": (str,),
    "delay_ms": _NUMBER,
    "calls": (list,),
}
_CALL_KEYS: dict[str, tuple[type, ...]] = {"name": (str,), "args": (dict,)}
_THEN = ("parrot", "silence")
_LIMIT_S = 120.0
_PACKAGE = "package:"


@dataclass(frozen=True)
class Step:
    """One step of a scenario.

    Attributes:
        verb: Its name, one of `VERBS`.
        value: Its value.
        options: The keys beside it.
    """

    verb: str
    value: Any
    options: Mapping[str, Any]

    @property
    def person(self) -> str:
        """Return who does it, or hears it."""
        return str(self.options.get("person", "anna"))

    def __str__(self) -> str:
        pairs = {self.verb: self.value, **self.options}
        return ", ".join(f"{key} = {value!r}" for key, value in pairs.items())


@dataclass(frozen=True)
class Scenario:
    """One call that is held and judged.

    Attributes:
        name: Its name, unique in the file.
        bot: Path of the program.
        replies: What the model says, a list for each turn of the user; None is a `Parrot`.
        then: `parrot` or `silence` after the last reply.
        steps: What is done and expected.
        folder: Folder of the file, to which its paths are relative.
        options: Further arguments of `LocalCall`.
        limit_s: Seconds that the whole may take.
    """

    name: str
    bot: Path
    replies: tuple[tuple[Turn, ...], ...] | None
    then: str
    steps: tuple[Step, ...]
    folder: Path
    options: Mapping[str, Any]
    limit_s: float

    def policy(self) -> ReplyPolicy:
        """Return a new policy for one run."""
        if self.replies is None:
            return Parrot()
        return Script(self.replies, then=Parrot() if self.then == "parrot" else None)


def read_scenarios(path: Path) -> list[Scenario]:
    """Read a file of scenarios, and check all of it.

    Raises:
        ScenarioError: It cannot be read, is no TOML, or something in it cannot be used. The message
            names the place, and for a wrong key the nearest right one.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} is no TOML: {error}") from error
    _check_keys(data, {"defaults": (dict,), "scenario": (list,)}, str(path))
    defaults = data.get("defaults", {})
    _check_keys(defaults, _without(_SCENARIO_KEYS, "name", "steps"), f"{path}: [defaults]")
    tables = data.get("scenario", [])
    if not tables:
        raise ScenarioError(f"{path} has no [[scenario]]")
    scenarios: list[Scenario] = []
    for number, table in enumerate(tables, 1):
        scenario = _scenario({**defaults, **table}, f"{path}: scenario {number}", path.parent)
        if any(scenario.name == other.name for other in scenarios):
            raise ScenarioError(f"{path}: two scenarios have the name {scenario.name!r}")
        scenarios.append(scenario)
    return scenarios


def _scenario(table: Mapping[str, Any], where: str, folder: Path) -> Scenario:
    if isinstance(table.get("name"), str):
        where = f"{where} ({table['name']})"
    _check_keys(table, _SCENARIO_KEYS, where)
    for key in ("name", "bot", "steps"):
        if not table.get(key):
            raise ScenarioError(f"{where}: {key} is missing or empty")
    bot = folder / table["bot"]
    if not bot.is_file():
        raise ScenarioError(f"{where}: bot: there is no file {bot}")
    then = table.get("then", "silence")
    if then not in _THEN:
        raise ScenarioError(f"{where}: then is {then!r}; it is {' or '.join(map(repr, _THEN))}")
    replies = None
    if "replies" in table:
        replies = tuple(
            _reply(entry, f"{where}: reply {number}", folder)
            for number, entry in enumerate(table["replies"], 1)
        )
    elif "then" in table:
        raise ScenarioError(f"{where}: then is for what comes after replies, and there are none")
    options = ("call_id", "arguments", "env", "allow_hosts", "voice")
    return Scenario(
        name=table["name"],
        bot=bot,
        replies=replies,
        then=then,
        steps=tuple(
            _step(entry, f"{where}: step {number}", folder)
            for number, entry in enumerate(table["steps"], 1)
        ),
        folder=folder,
        options={key: table[key] for key in options if key in table},
        limit_s=_positive(table.get("limit_s", _LIMIT_S), f"{where}: limit_s"),
    )


def clip_path(value: str, folder: Path) -> Path | None:
    """Return the WAV file that a text names, relative to `folder`; None if it is to be spoken.

    `package:question.wav` is a clip that comes with the package.
    """
    if not value.lower().endswith(".wav"):
        return None
    if value.startswith(_PACKAGE):
        return Path(str(files("getstream.plugins.gemini") / "data")) / value[len(_PACKAGE) :]
    return folder / value


def _reply(entry: object, where: str, folder: Path) -> tuple[Turn, ...]:
    if isinstance(entry, str):
        return (Turn(text=entry),)
    if isinstance(entry, list):
        return tuple(turn for each in entry for turn in _reply(each, where, folder))
    if not isinstance(entry, dict):
        raise ScenarioError(f"{where} is {entry!r}; it is a text, a table, or a list of these")
    _check_keys(entry, _REPLY_KEYS, where)
    calls = []
    for call in entry.get("calls", []):
        if not isinstance(call, dict):
            raise ScenarioError(f'{where}: calls holds {call!r}; write {{ name = "get_time" }}')
        _check_keys(call, _CALL_KEYS, f"{where}: calls")
        if "name" not in call:
            raise ScenarioError(f"{where}: calls: name is missing")
        calls.append(FunctionCall(call["name"], call.get("args", {})))
    text, delay_ms = entry.get("text", ""), float(entry.get("delay_ms", 0.0))
    try:
        clip = clip_path(entry["wav"], folder) if "wav" in entry else None
        if "wav" in entry and clip is None:
            raise ScenarioError(f"{where}: wav is {entry['wav']!r}; it ends with .wav")
        audio = None if clip is None else Turn.from_wav(clip).audio
    except ScenarioError:
        raise
    except (OSError, ConfigError, ValueError) as error:
        raise ScenarioError(f"{where}: wav: {error}") from error
    turn = Turn(audio=audio, text=text, delay_ms=delay_ms, function_calls=tuple(calls))
    return (turn,)


def _step(entry: object, where: str, folder: Path) -> Step:
    if not isinstance(entry, dict) or not entry:
        raise ScenarioError(f'{where} is {entry!r}; it is a table such as {{ say = "Hello." }}')
    verbs = [key for key in entry if key in VERBS]
    if len(verbs) > 1:
        raise ScenarioError(f"{where} has {' and '.join(verbs)}: write two steps")
    if not verbs:
        known = {*VERBS, *(option for verb in VERBS.values() for option in verb.options)}
        for key in entry:
            if key not in known:
                raise ScenarioError(f"{where}: {_unknown(key, known)}")
        raise ScenarioError(f"{where} does nothing; a step has one of {', '.join(VERBS)}")
    (name,) = verbs
    verb, value = VERBS[name], entry[name]
    _check_keys(entry, {name: verb.takes, **verb.options}, where, example={name: verb.example})
    for key in (name, *entry):
        if isinstance(entry[key], _NUMBER) and key != "code":
            _positive(entry[key], f"{where}: {key}")
    clip = clip_path(value, folder) if name == "say" else None
    if clip is not None and not clip.is_file():
        raise ScenarioError(f"{where}: say: there is no file {clip}")
    return Step(name, value, {key: each for key, each in entry.items() if key != name})


def _check_keys(
    table: Mapping[str, Any],
    known: Mapping[str, tuple[type, ...]],
    where: str,
    *,
    example: Mapping[str, str] | None = None,
) -> None:
    """Raise ScenarioError for a key that is not known, or a value of another type."""
    for key, value in table.items():
        if key not in known:
            raise ScenarioError(f"{where}: {_unknown(key, known)}")
        types = known[key]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join(sorted({_TYPE_NAMES[each] for each in types}))
            hint = f", such as {key} = {example[key]}" if example and key in example else ""
            raise ScenarioError(f"{where}: {key} is {value!r}; it is {wanted}{hint}")


_TYPE_NAMES: dict[type, str] = {
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}


def _unknown(key: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    advice = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(sorted(known))}"
    return f"unknown key {key!r}; {advice}"


def _positive(value: float, where: str) -> float:
    if not value > 0:
        raise ScenarioError(f"{where} is {value!r}; it is greater than 0")
    return float(value)


def _without(keys: Mapping[str, tuple[type, ...]], *names: str) -> Mapping[str, tuple[type, ...]]:
    return {key: types for key, types in keys.items() if key not in names}
