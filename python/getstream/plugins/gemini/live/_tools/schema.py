"""Translate types of Python into JSON schemas, arguments of the model into values of those types.

A `Codec` is one type, both ways. Its schema is plain JSON schema; `service_schema` makes of it what
Gemini Live reads: the field `parameters`, in the subset of https://ai.google.dev/api/caching#Schema.
Live takes `parameters_json_schema`, too, but ignores it, and calls with empty arguments
(python-genai #1147, livekit agents #2940 and #5560). What cannot be said in the subset is said in
the description, and is checked here all the same. pydantic is never imported: its models bring what
is needed.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

__all__ = [
    "ArgumentError",
    "Codec",
    "UntranslatableError",
    "decode_fields",
    "described",
    "object_schema",
    "resolve",
    "service_schema",
    "translate",
    "without_references",
]

_MISSING: Any = object()
_MOST_ITEMS_TOLD = 20  # alternatives that a message to the model lists

Schema = dict[str, Any]


class UntranslatableError(TypeError):
    """A type that no argument can be made of; the text says which, and why."""


class ArgumentError(ValueError):
    """An argument that the model has sent and that is not of its type."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)


@dataclass(frozen=True)
class Codec:
    """One type, as the model sees it and as the function gets it.

    Attributes:
        schema: Its JSON schema.
        decode: Makes a value of it of what the model has sent; the path is for messages.

    `decode` raises `ArgumentError`.
    """

    schema: Schema
    decode: Callable[[Any, str], Any]


# -- from a type ---------------------------------------------------------------------------------


def resolve(annotation: object, namespace: Mapping[str, Any], local: Mapping[str, Any]) -> Any:
    """Evaluate an annotation that may be a string, as postponed annotations are.

    Raises:
        UntranslatableError: It names something that is not known.
    """
    holder = types.SimpleNamespace(__annotations__={"value": annotation})
    try:
        hints = typing.get_type_hints(holder, dict(namespace), dict(local), include_extras=True)
    except Exception as error:
        raise UntranslatableError(
            f"its annotation {annotation!r} cannot be resolved ({error}); import what it names "
            "outside of TYPE_CHECKING, at the top of the module"
        ) from None
    return hints["value"]


def translate(annotation: Any, within: tuple[Any, ...] = ()) -> Codec:
    """Make the codec of a type.

    Args:
        annotation: The type, resolved.
        within: The classes that this type is part of.

    Raises:
        UntranslatableError: The model cannot send such a value.
    """
    plain, description, limits = _unwrap(annotation)
    codec = _translate_plain(plain, within)
    if limits:
        codec = _limited(codec, limits)
    return described(codec, description)


def described(codec: Codec, description: str) -> Codec:
    """Return the codec with a description for the model; none leaves it as it is."""
    if not description:
        return codec
    return dataclasses.replace(codec, schema={**codec.schema, "description": description})


def _unwrap(annotation: Any) -> tuple[Any, str, dict[str, Any]]:
    """Take `Annotated`, `Required` and the like off a type; return description and limits, too."""
    description, limits = "", dict[str, Any]()
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation, *extras = typing.get_args(annotation)
            for extra in extras:
                description = description or _description_of(extra)
                limits.update(_limits_of(extra))
        elif _name_of(origin) in ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar"):
            (annotation,) = typing.get_args(annotation)
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        elif _name_of(type(annotation)) == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation, description, limits


def _description_of(extra: Any) -> str:
    if isinstance(extra, str):
        return extra.strip()
    for name in ("description", "documentation"):  # Field of pydantic; Doc of PEP 727
        text = getattr(extra, name, None)
        if isinstance(text, str):
            return text.strip()
    return ""


_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": ("at least", lambda value, limit: value >= limit),
    "gt": ("more than", lambda value, limit: value > limit),
    "le": ("at most", lambda value, limit: value <= limit),
    "lt": ("less than", lambda value, limit: value < limit),
    "min_length": ("at least this long:", lambda value, limit: len(value) >= limit),
    "max_length": ("at most this long:", lambda value, limit: len(value) <= limit),
}
_LIMIT_KEYWORDS = {"ge": "minimum", "le": "maximum"}
_LENGTH_KEYWORDS = {"min_length": "minItems", "max_length": "maxItems"}  # of an array

# Of the schema of a pydantic model. Those that are not listed are checked by the model alone.
_KEYWORDS = frozenset({"type", "format", "description", "enum", "items", "prefixItems", "minItems",
                       "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties",
                       "additionalProperties", "required"})  # fmt: skip


def _limits_of(extra: Any) -> dict[str, Any]:
    """Read limits from `Field` of pydantic, or from the classes of annotated-types."""
    found: dict[str, Any] = {}
    for each in (extra, *(getattr(extra, "metadata", None) or ())):
        for name in _LIMITS:
            value = getattr(each, name, None)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[name] = value
    return found


def _limited(codec: Codec, limits: Mapping[str, Any]) -> Codec:
    keywords = _LENGTH_KEYWORDS if codec.schema.get("type") == "array" else _LIMIT_KEYWORDS
    told = {keywords[name]: limit for name, limit in limits.items() if name in keywords}

    def decode(value: Any, path: str) -> Any:
        decoded = codec.decode(value, path)
        for name, limit in limits.items():
            words, holds = _LIMITS[name]
            if decoded is not None and not holds(decoded, limit):
                raise ArgumentError(path, f"must be {words} {limit}, not {_shown(value)}")
        return decoded

    return Codec({**codec.schema, **told}, decode)


def _translate_plain(annotation: Any, within: tuple[Any, ...]) -> Codec:
    if not isinstance(annotation, Hashable):
        raise UntranslatableError(f"{annotation!r} is no type")
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if annotation is Any or annotation is object:
        return Codec({}, lambda value, path: value)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return _choice({choice: choice for choice in args})
    if origin is Union or origin is getattr(types, "UnionType", Union):
        return _union(args, within)
    container = _container(origin or annotation)
    if container is not None:
        return container(args, within)
    if isinstance(annotation, typing.TypeVar):
        raise UntranslatableError(f"{annotation!r} is a type variable: name a type")
    if not isinstance(annotation, type):
        raise UntranslatableError(f"{annotation!r} is no type that a model can send")
    return _translate_class(annotation, within)


def _translate_class(cls: type, within: tuple[Any, ...]) -> Codec:
    if issubclass(cls, enum.Enum):
        return _enum(cls)
    if cls in within:
        raise UntranslatableError(f"{cls.__name__} holds itself, which a schema cannot say")
    within = (*within, cls)
    if callable(getattr(cls, "model_json_schema", None)):
        return _pydantic(cls)
    if dataclasses.is_dataclass(cls):
        return _dataclass(cls, within)
    if _is_typed_dict(cls):
        return _object(cls, _optional_keys(cls), within)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        defaults = cls._field_defaults  # type: ignore[attr-defined]
        return _object(cls, {name: name in defaults for name in cls._fields}, within)
    raise UntranslatableError(
        f"{cls.__module__}.{cls.__qualname__} cannot be sent by a model: take str, int, float, "
        "bool, a list, a dict, a Literal, an Enum, a dataclass, a TypedDict, a NamedTuple or a "
        "pydantic model"
    )


# -- scalars -------------------------------------------------------------------------------------


def _scalar(kind: str, accepts: Callable[[Any], bool], make: Callable[[Any], Any]) -> Codec:
    def decode(value: Any, path: str) -> Any:
        if not accepts(value):
            article = "an" if kind[0] in "aeio" else "a"
            raise ArgumentError(path, f"must be {article} {kind}, not {_shown(value)}")
        return make(value)

    return Codec({"type": kind}, decode)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _moment(format_: str, example: str, parse: Callable[[str], Any]) -> Codec:
    def decode(value: Any, path: str) -> Any:
        try:
            if isinstance(value, str):
                return parse(re.sub(r"[zZ]$", "+00:00", value))  # 3.10 does not know the "Z"
        except ValueError:
            pass
        raise ArgumentError(path, f"must be a {format_} such as {example}, not {_shown(value)}")

    schema = {"type": "string", "format": format_, "description": f"ISO 8601, such as {example}"}
    return Codec(schema, decode)


_SCALARS: dict[Any, Codec] = {
    str: _scalar("string", lambda value: isinstance(value, str), str),
    bool: _scalar("boolean", lambda value: isinstance(value, bool), bool),
    # Arguments are a protobuf Struct on the way, in which every number is a double.
    int: _scalar("integer", lambda value: _is_number(value) and value == int(value), int),
    float: _scalar("number", _is_number, float),
    None: _scalar("null", lambda value: value is None, lambda value: None),
    type(None): _scalar("null", lambda value: value is None, lambda value: None),
    datetime.datetime: _moment("date-time", "2026-11-30T19:30:00", datetime.datetime.fromisoformat),
    datetime.date: _moment("date", "2026-11-30", datetime.date.fromisoformat),
    datetime.time: _moment("time", "19:30:00", datetime.time.fromisoformat),
}


def _choice(values: Mapping[Any, Any]) -> Codec:
    """Make the codec of one of several values, by what the model sends for each."""
    listed = [each for each in values if each is not None and not isinstance(each, bool)]
    kinds = {type(each) for each in listed}
    schemas: list[Schema] = [{"enum": listed}] if listed else []
    if len(kinds) == 1 and (kind := kinds.pop()) in _SCALARS:
        schemas = [{"type": _SCALARS[kind].schema["type"], "enum": listed}]
    # An enum is of strings and numbers for the service.
    schemas += [{"type": "boolean"}] if any(isinstance(each, bool) for each in values) else []
    schemas += [{"type": "null"}] if None in values else []
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    told = ", ".join(map(repr, list(values)[:_MOST_ITEMS_TOLD]))

    def decode(value: Any, path: str) -> Any:
        for known, decoded in values.items():
            is_same = type(known) is type(value) or (_is_number(known) and _is_number(value))
            if is_same and known == value:
                return decoded
        raise ArgumentError(path, f"must be one of {told}, not {_shown(value)}")

    return Codec(schema, decode)


def _enum(cls: type[enum.Enum]) -> Codec:
    """Offer an enum by its values where all of them are strings, else by its names."""
    members = list(cls)
    if not members:
        raise UntranslatableError(f"{cls.__name__} has no members")
    if all(isinstance(member.value, str) for member in members):
        return _choice({str(member.value): member for member in members})
    return _choice({member.name: member for member in members})


def _union(args: tuple[Any, ...], within: tuple[Any, ...]) -> Codec:
    codecs = [translate(each, within) for each in args]
    schemas = [codec.schema for codec in codecs]

    def decode(value: Any, path: str) -> Any:
        problems: list[str] = []
        for codec in codecs:
            try:
                return codec.decode(value, path)
            except ArgumentError as error:
                problems.append(str(error))
        raise ArgumentError("", "; or ".join(problems))

    return Codec({"anyOf": schemas}, decode)


# -- containers ----------------------------------------------------------------------------------


def _container(origin: Any) -> Callable[[tuple[Any, ...], tuple[Any, ...]], Codec] | None:
    for kinds, make in _CONTAINERS:
        if origin in kinds:
            return lambda args, within: make(origin, args, within)
    return None


def _array(origin: Any, args: tuple[Any, ...], within: tuple[Any, ...]) -> Codec:
    item = translate(args[0], within) if args else Codec({}, lambda value, path: value)
    make: Any = {tuple: tuple, set: set, collections.abc.Set: set, frozenset: frozenset}
    build = make.get(origin, list)
    schema: Schema = {"type": "array", "items": item.schema}

    def decode(value: Any, path: str) -> Any:
        items = _sequence(value, path)
        decoded = [item.decode(each, f"{path}[{i}]") for i, each in enumerate(items)]
        try:
            return build(decoded)
        except TypeError:
            raise ArgumentError(path, "holds items that a set cannot hold") from None

    return Codec(schema, decode)


def _tuple(origin: Any, args: tuple[Any, ...], within: tuple[Any, ...]) -> Codec:
    if not args or (len(args) == 2 and args[1] is Ellipsis):
        return _array(tuple, args[:1], within)
    items = [translate(each, within) for each in args]
    count = len(items)
    schema: Schema = {
        "type": "array",
        "prefixItems": [item.schema for item in items],
        "minItems": count,
        "maxItems": count,
    }

    def decode(value: Any, path: str) -> Any:
        found = _sequence(value, path)
        if len(found) != count:
            raise ArgumentError(path, f"must have {count} items, not {len(found)}")
        pairs = enumerate(zip(items, found, strict=True))
        return tuple(item.decode(each, f"{path}[{i}]") for i, (item, each) in pairs)

    return Codec(schema, decode)


def _mapping(origin: Any, args: tuple[Any, ...], within: tuple[Any, ...]) -> Codec:
    """Offer a dictionary as a list of keys and values: the service knows no open objects."""
    key = translate(args[0], within) if args else _SCALARS[str]
    if key.schema.get("type") != "string":
        raise UntranslatableError(f"the keys of {origin.__name__}[...] must be strings")
    item = translate(args[1], within) if args else Codec({}, lambda value, path: value)
    pair = object_schema({"key": key, "value": item}, {"key": False, "value": False})

    def decode(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):  # a model that sends what is meant
            pairs = list(value.items())
        else:
            each_pair = [_fields(each, path) for each in _sequence(value, path)]
            if any(set(each) != {"key", "value"} for each in each_pair):
                raise ArgumentError(path, "must be an array of objects with key and value")
            pairs = [(each["key"], each["value"]) for each in each_pair]
        return {
            key.decode(name, f"{path}.{name}"): item.decode(each, f"{path}.{name}")
            for name, each in pairs
        }

    return Codec({"type": "array", "items": pair}, decode)


_CONTAINERS: tuple[tuple[tuple[Any, ...], Callable[..., Codec]], ...] = (
    (
        (
            list,
            set,
            frozenset,
            collections.abc.Sequence,
            collections.abc.Iterable,
            collections.abc.Collection,
            collections.abc.Set,
        ),
        _array,
    ),
    ((tuple,), _tuple),
    ((dict, collections.abc.Mapping, collections.abc.MutableMapping), _mapping),
)


def _sequence(value: Any, path: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ArgumentError(path, f"must be an array, not {_shown(value)}")
    return list(value)


def _fields(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ArgumentError(path, f"must be an object, not {_shown(value)}")
    return dict(value)


# -- classes with fields -------------------------------------------------------------------------


def _dataclass(cls: type, within: tuple[Any, ...]) -> Codec:
    optional = {
        field.name: field.default is not dataclasses.MISSING
        or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(cls)
        if field.init
    }
    descriptions = {
        field.name: str(field.metadata.get("description", "")) for field in dataclasses.fields(cls)
    }
    return _object(cls, optional, within, descriptions)


def _object(
    cls: type,
    optional: Mapping[str, bool],
    within: tuple[Any, ...],
    descriptions: Mapping[str, str] | None = None,
) -> Codec:
    """Make the codec of a class that is called with its fields as keywords."""
    hints = _hints(cls)
    codecs: dict[str, Codec] = {}
    for name in optional:
        try:
            codec = translate(hints[name], within)
        except UntranslatableError as error:
            raise UntranslatableError(f"{cls.__name__}.{name}: {error}") from None
        told = (descriptions or {}).get(name, "")
        codecs[name] = described(codec, codec.schema.get("description", "") or told)

    def decode(value: Any, path: str) -> Any:
        given = _fields(value, path)
        values = decode_fields(codecs, optional, given, path)
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:  # of its own checks
            raise ArgumentError(path, str(error)) from None

    return Codec(object_schema(codecs, optional), decode)


def _hints(cls: type) -> dict[str, Any]:
    module = sys.modules.get(cls.__module__)
    try:
        return typing.get_type_hints(cls, vars(module) if module else None, include_extras=True)
    except Exception as error:
        raise UntranslatableError(
            f"the annotations of {cls.__name__} cannot be resolved ({error})"
        ) from None


def _optional_keys(cls: Any) -> dict[str, bool]:
    """Tell of each key of a TypedDict whether it may be missing.

    The class itself does not know `NotRequired` in postponed annotations.
    """
    optional = {}
    for name, hint in _hints(cls).items():
        marked = _name_of(typing.get_origin(hint))
        required = marked == "Required" or (
            marked != "NotRequired" and name in cls.__required_keys__
        )
        optional[name] = not required
    return optional


def object_schema(codecs: Mapping[str, Codec], optional: Mapping[str, bool]) -> Schema:
    """Return the schema of an object with these fields."""
    schema: Schema = {
        "type": "object",
        "properties": {name: codec.schema for name, codec in codecs.items()},
    }
    required = [name for name in codecs if not optional[name]]
    if required:
        schema["required"] = required
    return schema


def decode_fields(
    codecs: Mapping[str, Codec],
    optional: Mapping[str, bool],
    given: Mapping[str, Any],
    path: str = "",
) -> dict[str, Any]:
    """Decode the fields of an object.

    Raises:
        ArgumentError: One is missing, unknown, or not of its type; all such are told at once.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    prefix = f"{path}." if path else ""
    for name in given:
        if name not in codecs:
            known = ", ".join(codecs) or "none"
            problems.append(f"{prefix}{name}: there is no such argument (there are: {known})")
    for name, codec in codecs.items():
        value = given.get(name, _MISSING)
        if value is _MISSING:
            if not optional[name]:
                problems.append(f"{prefix}{name}: is missing")
            continue
        try:
            values[name] = codec.decode(value, f"{prefix}{name}")
        except ArgumentError as error:
            if value is not None or not optional[name]:  # null for "not given"
                problems.append(str(error))
    if problems:
        raise ArgumentError("", "; ".join(problems))
    return values


def _pydantic(cls: Any) -> Codec:
    try:
        schema = cls.model_json_schema()
    except Exception as error:
        raise UntranslatableError(f"{cls.__name__} has no JSON schema ({error})") from None
    flat = without_references(schema, schema.get("$defs", {}), (), cls.__name__)

    def decode(value: Any, path: str) -> Any:
        try:
            return cls.model_validate(value)
        except ValueError as error:
            raise ArgumentError(path, _told_by_pydantic(error)) from None

    return Codec(flat, decode)


_ANY: list[Schema] = [{"type": "STRING"}, {"type": "NUMBER"}, {"type": "BOOLEAN"}]
"""Kinds of value that stand for any: the service wants a type."""

_KEPT = ("description", "minItems", "maxItems", "minimum", "maximum")


def service_schema(schema: Mapping[str, Any]) -> Schema:
    """Return a JSON schema in the subset that the service reads.

    Enums are of strings, only dates with a time have a format, there are no positions in arrays and
    no open objects; null is a flag.
    """
    alternatives = list(schema.get("anyOf") or schema.get("oneOf") or ())
    kind = schema.get("type")
    if isinstance(kind, list):
        alternatives = [{**schema, "type": each} for each in kind]
        kind = None
    result: Schema = {name: schema[name] for name in _KEPT if name in schema}
    if alternatives:
        others = [each for each in alternatives if each.get("type") != "null"]
        converted = [service_schema(each) for each in others]
        if len(converted) == 1:
            result = {**converted[0], **result}
        elif converted:
            result["anyOf"] = converted
        if len(others) < len(alternatives):
            result["nullable"] = True
        return result
    choices = schema.get("enum")
    if choices and all(isinstance(each, str) for each in choices):
        result.update(type="STRING", enum=list(choices))
    elif choices:
        told = f"one of {', '.join(map(repr, choices))}"
        result["description"] = f"{result.get('description', '')} ({told})".strip()
        kinds = {"STRING" if isinstance(each, str) else "NUMBER" for each in choices}
        if len(kinds) > 1:
            result["anyOf"] = [{"type": each} for each in sorted(kinds)]
        else:
            result["type"] = str(kind or kinds.pop()).upper()
    elif kind == "object":
        result["type"] = "OBJECT"
        if schema.get("properties"):
            parts = schema["properties"]
            result["properties"] = {name: service_schema(each) for name, each in parts.items()}
            result["required"] = [name for name in schema.get("required", ()) if name in parts]
            if not result["required"]:
                del result["required"]
    elif kind == "array":
        result["type"] = "ARRAY"
        items = [service_schema(each) for each in schema.get("prefixItems") or ()]
        distinct = [each for i, each in enumerate(items) if each not in items[:i]]
        if len(distinct) > 1:
            result["items"] = {"anyOf": distinct}
        else:
            result["items"] = distinct[0] if distinct else service_schema(schema.get("items") or {})
    elif kind == "null":
        result.update(type="STRING", nullable=True)
    elif kind is None:
        result["anyOf"] = _ANY
    else:
        result["type"] = kind.upper()
        format_ = schema.get("format")
        if format_ == "date-time":
            result["format"] = format_
        elif format_ and kind == "string":
            result["description"] = f"{result.get('description', '')} ({format_})".strip()
    return result


def without_references(
    node: Any, definitions: Mapping[str, Any], within: tuple[str, ...], owner: str
) -> Any:
    """Write out what a schema refers to, and leave out what the service does not know."""
    if isinstance(node, list):
        return [without_references(each, definitions, within, owner) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in within:
            raise UntranslatableError(f"{owner} holds itself ({name}), which a schema cannot say")
        beside = {key: value for key, value in node.items() if key != "$ref"}
        target = {**definitions.get(name, {}), **beside}
        return without_references(target, definitions, (*within, name), owner)
    flat: Schema = {}
    for key, value in node.items():
        if key == "properties" and isinstance(value, dict):
            flat[key] = {
                name: without_references(each, definitions, within, owner)
                for name, each in value.items()
            }
        elif key == "const":
            flat["enum"] = [value]
        elif key in ("enum", "required"):
            flat[key] = value
        elif key in _KEYWORDS:
            flat[key] = without_references(value, definitions, within, owner)
    return flat


def _told_by_pydantic(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    if not callable(details):
        return str(error)
    found = details(include_url=False, include_context=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc']) or 'value'}: {each['msg']}"
        for each in found[:_MOST_ITEMS_TOLD]
    )


def _is_typed_dict(cls: type) -> bool:
    """Tell whether it is a TypedDict, also of typing_extensions."""
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")


def _name_of(origin: Any) -> str:
    return str(getattr(origin, "_name", None) or getattr(origin, "__name__", ""))


def _shown(value: Any) -> str:
    """Show what the model has sent, in a message to the model."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
