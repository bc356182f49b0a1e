"""Declare plain Python callables as functions that the model may call.

The signature and the docstring make the declaration; arguments of the model become those of the
function. No asyncio and no SDK: what comes out is plain data.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, overload

from ...errors import ConfigError
from .docstrings import read_docstring
from .schema import (
    ArgumentError,
    Codec,
    UntranslatableError,
    decode_fields,
    described,
    object_schema,
    resolve,
    service_schema,
    translate,
)

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "ArgumentError",
    "Behavior",
    "Declared",
    "Scheduling",
    "Tool",
    "ToolContext",
    "declare",
    "declare_as",
    "nearest",
    "tool",
]

Behavior = Literal["BLOCKING", "NON_BLOCKING"]
"""A kind of function: one whose result the model waits for, or one beside which it goes on."""

Scheduling = Literal["INTERRUPT", "WHEN_IDLE", "SILENT"]
"""The moment at which the model speaks of a result that it does not wait for."""

DEFAULT_TIMEOUT_S = 20.0
"""Seconds that a function may take: enough for a slow web request, which clients of HTTP commonly
give up after 10 to 30 s, and about as long as somebody on a call waits."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
"""Names of functions that the service takes."""

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class ToolContext:
    """Tells a function about the call that it answers.

    A parameter with this annotation gets it; the model does not see the parameter.

    Attributes:
        gemini: The `GeminiLive` whose model has called.
        call_id: Id of the call.
        name: Name under which the function was called.
        user_id: The participant who spoke last, or "" if nobody is known to have spoken.
        transcript: What was said until the call, oldest first, as `("user" | "model", text)`; what
            is being said is not in it yet where the service is late with its transcript.
    """

    gemini: Any
    call_id: str
    name: str
    user_id: str
    transcript: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tool:
    """A function that the model may call, and how; made by `tool()`.

    It can be called as the function itself.

    Attributes:
        function: The function; sync or async, a generator or an async generator.
        name: Its name for the model; None takes that of the function.
        description: What it is for; None takes the docstring.
        timeout_s: Seconds that it may take; None is without a limit.
        behavior: `"BLOCKING"` lets the model wait for the result, `"NON_BLOCKING"` lets the
            conversation go on meanwhile; None is what the model does by itself.
        scheduling: When the model speaks of the result: `"INTERRUPT"` at once, `"WHEN_IDLE"` when
            it has finished what it says, `"SILENT"` not at all; None is `WHEN_IDLE` of the service.

    Raises:
        ConfigError: An option that cannot be used.
    """

    function: Callable[..., Any]
    name: str | None = None
    description: str | None = None
    timeout_s: float | None = DEFAULT_TIMEOUT_S
    behavior: Behavior | None = None
    scheduling: Scheduling | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError(f"a tool is a function, not {self.function!r}")
        limit = self.timeout_s
        is_time = isinstance(limit, (int, float)) and not isinstance(limit, bool)
        if limit is not None and not (is_time and 0 < limit < math.inf):
            raise ConfigError(
                f"timeout_s of a tool is a number of seconds > 0, or None, not {limit!r}"
            )
        for option, kind in (("behavior", Behavior), ("scheduling", Scheduling)):
            value, known = getattr(self, option), get_args(kind)
            if value is not None and value not in known:
                choices = ", ".join(map(repr, known))
                raise ConfigError(f"{option} of a tool is one of {choices}, not {value!r}")
        for option in ("name", "description"):
            value = getattr(self, option)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise ConfigError(f"{option} of a tool is a non-empty string, not {value!r}")
        for attribute in ("__name__", "__qualname__", "__doc__"):
            if hasattr(self.function, attribute):
                object.__setattr__(self, attribute, getattr(self.function, attribute))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


@overload
def tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    behavior: Behavior | None = None,
    scheduling: Scheduling | None = None,
) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    behavior: Behavior | None = None,
    scheduling: Scheduling | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a tool of a function, with options; also usable as a decorator.

    `GeminiLive(tools=[book, tool(search, timeout_s=5)])` takes plain functions beside it.

    Args:
        function: The function.
        **options: See `Tool`.

    Raises:
        ConfigError: An option that cannot be used.
    """
    if function is None:
        return lambda decorated: tool(decorated, **options)
    if isinstance(function, Tool):
        return dataclasses.replace(function, **options)
    return Tool(function, **options)


def declare_as(
    add: Callable[[Tool], None], function: Callable[..., Any] | None, options: dict[str, Any]
) -> Any:
    """Add a function as a tool and return it, or return a decorator that does so."""

    def decorate(decorated: Any) -> Any:
        add(tool(decorated, **options))
        return decorated

    return decorate if function is None else decorate(function)


Kind = Literal["sync", "async", "generator", "async generator"]


@dataclass(frozen=True)
class Declared:
    """A tool whose signature was read.

    Attributes:
        name: Its name for the model.
        description: What the model reads of it.
        tool: The tool.
        kind: How its function runs.
        codecs: Its parameters that the model fills in.
        optional: Whether each of them has a default.
        context: Name of the parameter that takes a `ToolContext`, or "".
        signature: The signature of the function.
    """

    name: str
    description: str
    tool: Tool
    kind: Kind
    codecs: Mapping[str, Codec]
    optional: Mapping[str, bool]
    context: str
    signature: inspect.Signature

    def declaration(self) -> dict[str, Any]:
        """Return the function declaration, as google-genai takes it in a dictionary.

        A behavior is in it only where the tool names one: models that know only one are not known
        to take it.
        """
        fields: dict[str, Any] = {"name": self.name}
        if self.description:
            fields["description"] = self.description
        if self.codecs:
            fields["parameters"] = service_schema(object_schema(self.codecs, self.optional))
        if self.tool.behavior is not None:
            fields["behavior"] = self.tool.behavior
        return fields

    def bind(
        self, args: Mapping[str, Any], context: ToolContext
    ) -> tuple[list[Any], dict[str, Any]]:
        """Make the arguments of the function of those that the model has sent.

        By name wherever the function allows it: one that was exchanged for another is not called
        with what was meant for other parameters.

        Returns:
            Positional arguments, and keyword arguments.

        Raises:
            ArgumentError: One is missing, unknown or not of its type.
        """
        values = decode_fields(self.codecs, self.optional, args)
        if self.context:
            values[self.context] = context
        positional = [
            values.pop(each.name, each.default)
            for each in self.signature.parameters.values()
            if each.kind is each.POSITIONAL_ONLY
        ]
        return positional, values


def declare(given: Callable[..., Any] | Tool) -> Declared:
    """Read a function's signature and docstring.

    Raises:
        ConfigError: It has no name, or a parameter that a model cannot fill in; names both.
    """
    made = given if isinstance(given, Tool) else Tool(given)
    function = made.function
    name = made.name or _name_of(function)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a tool: letters, digits and _ only, at most 64, and none but "
            "a letter or _ first; give it one with tool(..., name=...)"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the signature of {name}() cannot be read ({error}); wrap it in a function of Python "
            "with annotations"
        ) from None
    about, told = read_docstring(_docstring_of(function))
    codecs: dict[str, Codec] = {}
    optional: dict[str, bool] = {}
    context = ""
    for parameter in _open_parameters(function, signature):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise ConfigError(
                f"{name}() takes {stars}{parameter.name}, which a model cannot fill in: name its "
                "parameters (a decorator keeps them with functools.wraps)"
            )
        annotation = _annotation_of(function, name, parameter)
        if annotation is ToolContext:
            if context:
                raise ConfigError(f"{name}() has two parameters for a ToolContext")
            context = parameter.name
            continue
        codec = _codec_of(name, parameter, annotation)
        # `Annotated` says more of a parameter than the docstring of a class that it is an instance
        # of, and the docstring of the function more than that.
        annotated = hasattr(annotation, "__metadata__")
        own, read = codec.schema.get("description", ""), told.get(parameter.name, "")
        description = own if annotated or not read else read
        codecs[parameter.name] = described(codec, _with_default(description, parameter))
        optional[parameter.name] = parameter.default is not parameter.empty
    return Declared(
        name,
        made.description or about,
        made,
        _kind_of(function),
        types.MappingProxyType(codecs),
        types.MappingProxyType(optional),
        context,
        signature,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like another one, or "" if none is."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return found[0] if found else ""


def _annotation_of(function: Any, name: str, parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        raise ConfigError(
            f"the parameter {parameter.name!r} of {name}() has no annotation: the model has to "
            f"know what to send; write {parameter.name}: str, for example"
        )
    defined = inspect.unwrap(_without_partial(function))
    defined = getattr(defined, "__func__", defined)
    if not hasattr(defined, "__globals__"):  # an object with __call__, or a class
        defined = inspect.unwrap(type(defined).__call__)
    namespace = getattr(defined, "__globals__", {})
    try:
        return resolve(parameter.annotation, namespace, _enclosing(defined))
    except UntranslatableError as error:
        raise ConfigError(f"the parameter {parameter.name!r} of {name}(): {error}") from None


def _codec_of(name: str, parameter: inspect.Parameter, annotation: Any) -> Codec:
    default = parameter.default
    if default is not parameter.empty and callable(getattr(default, "is_required", None)):
        raise ConfigError(
            f"the parameter {parameter.name!r} of {name}() has Field(...) as its default, which "
            f"the function would get as it is; write {parameter.name}: Annotated[..., Field(...)]"
        )
    try:
        return translate(annotation)
    except UntranslatableError as error:
        raise ConfigError(f"the parameter {parameter.name!r} of {name}(): {error}") from None


def _with_default(description: str, parameter: inspect.Parameter) -> str:
    """Tell the default in words: the service does not list `default` among its keywords."""
    default = parameter.default
    if isinstance(default, enum.Enum):
        default = default.value if isinstance(default.value, str) else default.name
    if not isinstance(default, (str, int, float)):  # also "there is none"
        return description
    # A class as the default cannot be: `parameter.empty` is one, and no instance of these.
    return f"{description} (default: {default!r})".strip()


def _enclosing(function: Any) -> dict[str, Any]:
    """Return the variables of the functions around one, which its annotations may name."""
    if not isinstance(function, types.FunctionType) or function.__closure__ is None:
        return {}
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _open_parameters(function: Any, signature: inspect.Signature) -> list[inspect.Parameter]:
    """Return the parameters that are not filled in already by `functools.partial`."""
    fixed: set[str] = set()
    while isinstance(function, functools.partial):
        fixed.update(function.keywords)
        function = function.func
    return [each for each in signature.parameters.values() if each.name not in fixed]


def _without_partial(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name_of(function: Any) -> str:
    plain = _without_partial(function)
    return str(getattr(plain, "__name__", "") or type(plain).__name__)


def _docstring_of(function: Any) -> str | None:
    plain = _without_partial(function)
    if isinstance(plain, type) or hasattr(plain, "__name__"):
        return inspect.getdoc(plain)
    own = type(plain).__call__.__doc__  # an object that is called
    return own or inspect.getdoc(type(plain))


def _kind_of(function: Any) -> Kind:
    plain = _without_partial(function)
    candidates = (plain, getattr(plain, "__call__", plain))  # noqa: B004
    if any(map(inspect.isasyncgenfunction, candidates)):
        return "async generator"
    if any(map(inspect.iscoroutinefunction, candidates)):
        return "async"
    if any(map(inspect.isgeneratorfunction, candidates)):
        return "generator"
    return "sync"


# -- results -------------------------------------------------------------------------------------

_DEEPEST = 32
"""Levels of nesting in a result: more is a structure that holds itself."""


class UnserialisableError(TypeError):
    """A result that cannot be sent; the text says what in it."""


def to_json(value: Any, path: str = "result", depth: int = 0) -> Any:
    """Return a value as JSON has it.

    Raises:
        UnserialisableError: Something in it has no form in JSON.
    """
    if depth > _DEEPEST:
        raise UnserialisableError(f"{path} is nested more than {_DEEPEST} levels deep")
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnserialisableError(f"{path} is {value!r}, which JSON has no number for")
        return value
    dump = getattr(value, "model_dump", None)  # a pydantic model
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {
            _key(name, path): to_json(each, f"{path}.{name}", depth + 1)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(each, f"{path}[{i}]", depth + 1) for i, each in enumerate(value)]
    moment = getattr(value, "isoformat", None)  # a date or a time
    if callable(moment):
        return str(moment())
    raise UnserialisableError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which has no form in "
        "JSON"
    )


def _key(name: Any, path: str) -> str:
    if isinstance(name, enum.Enum):
        name = to_json(name)
    if isinstance(name, (str, int)) and not isinstance(name, bool):
        return str(name)
    raise UnserialisableError(f"{path} has a key that is no string: {name!r}")
