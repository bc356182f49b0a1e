"""Check what functions are declared as, and what becomes of the arguments of the model."""
# ruff: noqa: UP007, UP045  (the older forms are under test)

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.live._tools.declarations import (
    ArgumentError,
    Tool,
    ToolContext,
    UnserialisableError,
    declare,
    nearest,
    to_json,
    tool,
)
from getstream.plugins.gemini.live._tools.docstrings import read_docstring
from getstream.plugins.gemini.live._tools.schema import service_schema
from google.genai import types
from pydantic import BaseModel, Field
from typing_extensions import NotRequired, TypedDict

T = TypeVar("T")
Seats = NewType("Seats", int)
CONTEXT = ToolContext(None, "1", "f", "ann", ())


class Room(enum.Enum):
    """Rooms by their values."""

    GARDEN = "garden"
    HALL = "hall"


class Level(enum.Enum):
    """Levels by their names: the values are no words."""

    LOW = 1
    HIGH = 2


@dataclass
class Guest:
    """A guest."""

    name: str
    age: int = field(default=18, metadata={"description": "in years"})
    room: Room = Room.HALL

    def __post_init__(self) -> None:
        if self.age < 0:
            raise ValueError("nobody is younger than 0")


class Wish(TypedDict):
    """A wish."""

    dish: str
    hot: NotRequired[bool]


class Point(NamedTuple):
    """A point."""

    x: float
    y: float = 0.0


class Address(BaseModel):
    """An address."""

    street: str = Field(description="with the number")
    zip_code: int = Field(ge=10000)


class Order(BaseModel):
    """An order."""

    to: Address
    kind: Literal["gift", "own"] = "own"


@dataclass
class Tree:
    """A tree, which holds itself."""

    children: list[Tree]


class Node(BaseModel):
    """A node, which holds itself."""

    children: list[Node] = []


def schema_of(annotation: Any) -> dict[str, Any]:
    """Return the schema of a parameter with this annotation."""

    def f(x: Any) -> None: ...

    f.__annotations__["x"] = annotation
    return declare(f).codecs["x"].schema


def call(function: Callable[..., T], **args: Any) -> T:
    """Call a function as the executor does, with the arguments of a model."""
    positional, keywords = declare(function).bind(args, CONTEXT)
    return function(*positional, **keywords)


def decoded(annotation: Any, value: Any) -> Any:
    """Return what a function with this annotation gets for a value of the model."""

    def f(x: Any) -> Any:
        return x

    f.__annotations__["x"] = annotation
    return call(f, x=value)


STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def pairs(value: Any, key: Any = STRING) -> dict[str, Any]:
    """Return the schema of a dictionary."""
    pair = {
        "type": "object",
        "properties": {"key": key, "value": value},
        "required": ["key", "value"],
    }
    return {"type": "array", "items": pair}


@pytest.mark.parametrize(
    ("annotation", "schema", "sent", "got"),
    [
        (str, STRING, "a", "a"),
        (int, INTEGER, 2.0, 2),
        (float, {"type": "number"}, 2, 2.0),
        (bool, {"type": "boolean"}, True, True),
        (None, {"type": "null"}, None, None),
        (Any, {}, {"a": [1]}, {"a": [1]}),
        (Seats, INTEGER, 2, 2),
        (
            Optional[int],
            {"anyOf": [INTEGER, {"type": "null"}]},
            None,
            None,
        ),
        (Union[int, str], {"anyOf": [INTEGER, STRING]}, "a", "a"),
        (int | str, {"anyOf": [INTEGER, STRING]}, 1, 1),
        (list[int], {"type": "array", "items": INTEGER}, [1, 2.0], [1, 2]),
        (list, {"type": "array", "items": {}}, [1, "a"], [1, "a"]),
        (Sequence[str], {"type": "array", "items": STRING}, ["a"], ["a"]),
        (tuple[int, ...], {"type": "array", "items": INTEGER}, [1], (1,)),
        (set[str], {"type": "array", "items": STRING}, ["a", "a"], {"a"}),
        (frozenset[str], {"type": "array", "items": STRING}, ["a"], frozenset({"a"})),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2},
            [1, "a"],
            (1, "a"),
        ),
        (dict, pairs({}), [{"key": "a", "value": 1}], {"a": 1}),
        (dict[str, int], pairs(INTEGER), [{"key": "a", "value": 1.0}], {"a": 1}),
        (Mapping[str, bool], pairs({"type": "boolean"}), {"a": True}, {"a": True}),
        (
            dict[Room, int],
            pairs(INTEGER, {"type": "string", "enum": ["garden", "hall"]}),
            {"hall": 1},
            {Room.HALL: 1},
        ),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "b", "b"),
        (Literal[1, 2], {"type": "integer", "enum": [1, 2]}, 2.0, 2),
        (Literal["a", 1], {"enum": ["a", 1]}, 1, 1),
        (
            Literal["a", None, True],
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "boolean"}, {"type": "null"}]},
            True,
            True,
        ),
        (Room, {"type": "string", "enum": ["garden", "hall"]}, "hall", Room.HALL),
        (Level, {"type": "string", "enum": ["LOW", "HIGH"]}, "HIGH", Level.HIGH),
        (
            Guest,
            {
                "type": "object",
                "properties": {
                    "name": STRING,
                    "age": {"type": "integer", "description": "in years"},
                    "room": {"type": "string", "enum": ["garden", "hall"]},
                },
                "required": ["name"],
            },
            {"name": "Ann", "room": "garden"},
            Guest("Ann", 18, Room.GARDEN),
        ),
        (
            Wish,
            {
                "type": "object",
                "properties": {"dish": STRING, "hot": {"type": "boolean"}},
                "required": ["dish"],
            },
            {"dish": "soup"},
            {"dish": "soup"},
        ),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                "required": ["x"],
            },
            {"x": 1},
            Point(1.0, 0.0),
        ),
        (
            Order,
            {
                "type": "object",
                "description": "An order.",
                "properties": {
                    "to": {
                        "type": "object",
                        "description": "An address.",
                        "properties": {
                            "street": {"type": "string", "description": "with the number"},
                            "zip_code": {"type": "integer", "minimum": 10000},
                        },
                        "required": ["street", "zip_code"],
                    },
                    "kind": {"type": "string", "enum": ["gift", "own"]},
                },
                "required": ["to"],
            },
            {"to": {"street": "Main 1", "zip_code": 12345}},
            Order(to=Address(street="Main 1", zip_code=12345)),
        ),
        (
            datetime.date,
            {
                "type": "string",
                "format": "date",
                "description": "ISO 8601, such as 2026-11-30",
            },
            "2026-11-30",
            datetime.date(2026, 11, 30),
        ),
        (
            datetime.datetime,
            {
                "type": "string",
                "format": "date-time",
                "description": "ISO 8601, such as 2026-11-30T19:30:00",
            },
            "2026-11-30T19:30:00Z",
            datetime.datetime(2026, 11, 30, 19, 30, tzinfo=datetime.timezone.utc),
        ),
        (
            datetime.time,
            {"type": "string", "format": "time", "description": "ISO 8601, such as 19:30:00"},
            "19:30:00",
            datetime.time(19, 30),
        ),
        (
            Annotated[int, "how many", Field(ge=1, le=8)],
            {"type": "integer", "description": "how many", "minimum": 1, "maximum": 8},
            8,
            8,
        ),
        (
            Annotated[list[int], Field(description="all", min_length=1, max_length=2)],
            {"type": "array", "items": INTEGER, "description": "all", "minItems": 1, "maxItems": 2},
            [1],
            [1],
        ),
    ],
)
def test_types(annotation: Any, schema: dict[str, Any], sent: Any, got: Any) -> None:
    assert schema_of(annotation) == schema
    assert decoded(annotation, sent) == got
    assert type(decoded(annotation, sent)) is type(got)


@pytest.mark.parametrize(
    ("annotation", "sent", "message"),
    [
        (str, 1, "x: must be a string, not 1"),
        (int, 1.5, "x: must be an integer, not 1.5"),
        (int, True, "x: must be an integer, not True"),
        (int, "1", "x: must be an integer, not '1'"),
        (float, float("nan"), "x: must be a number, not nan"),
        (bool, 1, "x: must be a boolean, not 1"),
        (int, None, "x: must be an integer, not None"),
        (Optional[int], "a", "x: must be an integer, not 'a'; or x: must be a null, not 'a'"),
        (list[int], "abc", "x: must be an array, not 'abc'"),
        (list[int], [1, "b"], r"x\[1\]: must be an integer, not 'b'"),
        (tuple[int, str], [1], "x: must have 2 items, not 1"),
        (set[Any], [[1]], "x: holds items that a set cannot hold"),
        (dict[str, int], {"a": "b"}, "x.a: must be an integer, not 'b'"),
        (dict[str, int], "a", "x: must be an array, not 'a'"),
        (dict[str, int], [{"key": "a"}], "x: must be an array of objects with key and value"),
        (Literal["a", "b"], "c", "x: must be one of 'a', 'b', not 'c'"),
        (Literal[1], True, "x: must be one of 1, not True"),
        (Room, "cellar", "x: must be one of 'garden', 'hall', not 'cellar'"),
        (Guest, {}, "x.name: is missing"),
        (Guest, {"name": "Ann", "shoe": 1}, "x.shoe: there is no such argument"),
        (Guest, {"name": "Ann", "age": -1}, "x: nobody is younger than 0"),
        (Order, {"to": {"street": "Main 1", "zip_code": 1}}, "to.zip_code: Input should be"),
        (datetime.date, "tomorrow", "x: must be a date such as 2026-11-30, not 'tomorrow'"),
        (Annotated[int, Field(ge=1)], 0, "x: must be at least 1, not 0"),
        (Annotated[str, Field(max_length=1)], "ab", "x: must be at most this long: 1, not 'ab'"),
        (str, ["a" * 100], "x: must be a string, not .*[.][.][.]$"),
    ],
)
def test_arguments_that_are_not_of_their_type(annotation: Any, sent: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        decoded(annotation, sent)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (bytes, "builtins.bytes cannot be sent by a model"),
        ({"a": int}, "is no type"),
        (5, "no type that a model can send"),
        (complex, "builtins.complex cannot be sent"),
        (Callable[[], None], "cannot be sent|no type that a model can send"),
        (dict[int, str], "keys of dict"),
        (list[bytes], "builtins.bytes"),
        (T, "type variable"),
        (Tree, "Tree.children: Tree holds itself"),
        (Node, "holds itself"),
        ("Nowhere", "cannot be resolved.*Nowhere.*TYPE_CHECKING"),
        (enum.Enum("Empty", ()), "has no members"),
    ],
)
def test_types_that_no_model_can_send(annotation: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"'x' of f\(\).*({message})"):
        schema_of(annotation)


ANY = {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}, {"type": "BOOLEAN"}]}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Optional[int], {"type": "INTEGER", "nullable": True}),
        (
            Union[int, str, None],
            {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}], "nullable": True},
        ),
        (None, {"type": "STRING", "nullable": True}),
        (Any, ANY),
        (list, {"type": "ARRAY", "items": ANY}),
        (Literal[1, 2], {"type": "INTEGER", "description": "(one of 1, 2)"}),
        (
            Annotated[Literal["a", 1], "either"],
            {
                "description": "either (one of 'a', 1)",
                "anyOf": [{"type": "NUMBER"}, {"type": "STRING"}],
            },
        ),
        (Literal[True, None], {"type": "BOOLEAN", "nullable": True}),
        (
            tuple[int, str, int],
            {
                "type": "ARRAY",
                "items": {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]},
                "minItems": 3,
                "maxItems": 3,
            },
        ),
        (
            tuple[int, int],
            {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": 2, "maxItems": 2},
        ),
        (
            datetime.date,
            {"type": "STRING", "description": "ISO 8601, such as 2026-11-30 (date)"},
        ),
        (
            dict[str, int],
            {
                "type": "ARRAY",
                "items": {
                    "type": "OBJECT",
                    "properties": {"key": {"type": "STRING"}, "value": {"type": "INTEGER"}},
                    "required": ["key", "value"],
                },
            },
        ),
    ],
)
def test_what_the_service_reads(annotation: Any, schema: dict[str, Any]) -> None:
    """Only keywords of its `Schema`: with others, a setup may be refused as a whole."""
    assert service_schema(schema_of(annotation)) == schema
    types.Schema.model_validate(schema)


def test_schemas_of_others() -> None:
    assert service_schema(
        {
            "type": "object",
            "properties": {
                "a": {"type": ["integer", "null"]},
                "b": {"oneOf": [{"type": "string"}]},
            },
            "required": ["c"],
            "additionalProperties": False,
        }
    ) == {
        "type": "OBJECT",
        "properties": {"a": {"type": "INTEGER", "nullable": True}, "b": {"type": "STRING"}},
    }


# -- functions -----------------------------------------------------------------------------------


def book(seats: int, /, room: Room = Room.HALL, *, note: str | None = None) -> str:
    """Book a table.

    It is held for
    ten minutes.

    Args:
        seats: how many people
            come.
        room (Room, optional): where

    Returns:
        A number.
    """
    return f"{seats} {room.name} {note}"


def test_a_function_and_its_google_docstring() -> None:
    assert declare(tool(book, behavior="NON_BLOCKING")).declaration() == {
        "name": "book",
        "description": "Book a table.\nIt is held for ten minutes.",
        "parameters": {
            "type": "OBJECT",
            "properties": {
                "seats": {"type": "INTEGER", "description": "how many people come."},
                "room": {
                    "type": "STRING",
                    "enum": ["garden", "hall"],
                    "description": "where (default: 'hall')",
                },
                "note": {"type": "STRING", "nullable": True},
            },
            "required": ["seats"],
        },
        "behavior": "NON_BLOCKING",
    }
    assert call(book, seats=2.0, note="by the window") == "2 HALL by the window"
    assert call(book, seats=2, room=None) == "2 HALL None"  # null for what is not given
    with pytest.raises(ArgumentError, match="seats: is missing; room: must be one of"):
        call(book, room="cellar")


def test_the_sdk_takes_declarations_as_they_are() -> None:
    for function in (book, tool(book, behavior="BLOCKING")):
        declared = types.FunctionDeclaration.model_validate(declare(function).declaration())
        assert declared.name == "book"
        assert declared.parameters is not None
        assert declared.parameters.required == ["seats"]
        assert declared.parameters_json_schema is None


class Desk:
    """A desk with methods."""

    def method(self, seats: int) -> int:
        """Count."""
        return seats

    @classmethod
    def of_class(cls, seats: int) -> int:
        """Count."""
        return seats

    @staticmethod
    def static(seats: int) -> int:
        """Count."""
        return seats

    async def __call__(self, seats: int) -> int:
        """Count."""
        return seats


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def careless(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Desk().method, "method"),
        (Desk.of_class, "of_class"),
        (Desk.static, "static"),
        (Desk(), "Desk"),
        (logged(Desk.static), "static"),
        (logged(Desk().method), "method"),
        (tool(Desk().method, name="count"), "count"),
    ],
)
def test_every_kind_of_callable(function: Any, name: str) -> None:
    declaration = declare(function).declaration()
    assert declaration["name"] == name
    assert declaration["description"] == "Count."
    assert declaration["parameters"]["properties"] == {"seats": {"type": "INTEGER"}}


def test_a_partial_has_what_is_left_open() -> None:
    function = functools.partial(functools.partial(book, 2), note="late")
    declared = declare(function)
    assert declared.name == "book"
    assert list(declared.codecs) == ["room"]
    assert call(function, room="garden") == "2 GARDEN late"


def test_kinds() -> None:
    async def coroutine() -> None: ...
    def generator() -> Iterator[int]:
        yield 1

    async def stream() -> Any:
        yield 1

    expected = {
        book: "sync",
        coroutine: "async",
        generator: "generator",
        stream: "async generator",
        functools.partial(coroutine): "async",
        Desk(): "async",
        tool(stream): "async generator",
    }
    assert {function: declare(function).kind for function in expected} == expected


def test_a_function_without_parameters_or_docstring() -> None:
    def f() -> None: ...

    assert declare(f).declaration() == {"name": "f"}


def test_annotations_of_an_enclosing_function() -> None:
    class Local(enum.Enum):
        A = "a"

    def f(x: Local) -> Local:
        return Local(x)

    assert call(f, x="a") is Local.A


def test_the_context_is_no_parameter_of_the_model() -> None:
    def f(seats: int, context: ToolContext, /) -> tuple[int, str]:
        return seats, context.user_id

    assert list(declare(f).codecs) == ["seats"]
    assert call(f, seats=2) == (2, "ann")
    with pytest.raises(ArgumentError, match="context: there is no such argument"):
        call(f, seats=2, context={})


def bare(x): ...  # type: ignore[no-untyped-def]


def with_field(x: int = Field(description="how many")) -> None: ...
def variadic(*seats: int) -> None: ...
def keywords(**seats: int) -> None: ...
def two_contexts(a: ToolContext, b: ToolContext) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (bare, r"'x' of bare\(\) has no annotation"),
        (with_field, "'x' of with_field.*Annotated"),
        (variadic, r"variadic\(\) takes \*seats"),
        (keywords, r"keywords\(\) takes \*\*seats"),
        (careless(book), r"takes \*args.*functools.wraps"),
        (two_contexts, "two parameters for a ToolContext"),
        (lambda: None, "'<lambda>' is no name for a tool"),
        (dict, "signature of dict"),
    ],
)
def test_functions_that_cannot_be_declared(function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declare(function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"behavior": "blocking"}, "'BLOCKING', 'NON_BLOCKING', not 'blocking'"),
        ({"scheduling": "NOW"}, "'INTERRUPT', 'WHEN_IDLE', 'SILENT', not 'NOW'"),
        ({"name": ""}, "name of a tool"),
        ({"description": 1}, "description of a tool"),
        ({"name": "a b"}, "'a b' is no name"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declare(tool(book, **options))


def test_what_is_no_function() -> None:
    with pytest.raises(ConfigError, match="a tool is a function, not 1"):
        tool(1)  # type: ignore[call-overload]


def test_tool_as_a_decorator_keeps_the_function() -> None:
    @tool(timeout_s=5, scheduling="SILENT")
    def f(seats: int) -> int:
        """Count."""
        return seats

    assert isinstance(f, Tool)
    assert f(2) == 2
    assert f.__doc__ == "Count."
    assert (f.timeout_s, f.scheduling) == (5, "SILENT")


def test_the_nearest_name() -> None:
    assert nearest("boook", ["book", "cancel"]) == "book"
    assert nearest("xyz", ["book", "cancel"]) == ""


# -- docstrings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Book.\n\nArgs:\n    seats (int): how\n      many: people\n    *rest: others\n\nReturns:\n"
        "    room: no argument\n",
        "Book.\n\nParameters\n----------\nseats : int, optional\n    how\n    many: people\n"
        "*rest\n    others\n\nReturns\n-------\nroom : str\n    no argument\n",
        "Book.\n\n:param int seats: how\n    many: people\n:param rest: others\n:returns: nothing\n"
        ":type room: str\n",
    ],
)
def test_docstrings(text: str) -> None:
    assert read_docstring(text) == ("Book.", {"seats": "how many: people", "rest": "others"})


def test_docstrings_without_sections() -> None:
    assert read_docstring(None) == ("", {})
    assert read_docstring("A.\n\n  B\n  c: d.\n") == ("A.\nB c: d.", {})


# -- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Guest("Ann"), {"name": "Ann", "age": 18, "room": "hall"}),
        (Point(1.0), {"x": 1.0, "y": 0.0}),
        (Address(street="Main 1", zip_code=12345), {"street": "Main 1", "zip_code": 12345}),
        ({Room.HALL: Level.LOW, 1: (2, 3)}, {"hall": "LOW", "1": [2, 3]}),
        ([datetime.date(2026, 11, 30)], ["2026-11-30"]),
        ({"a"}, ["a"]),
        (None, None),
    ],
)
def test_results(value: Any, expected: Any) -> None:
    assert to_json(value) == expected


def circle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [b"x"]}, r"result\.a\[0\] is a builtins.bytes"),
        (object(), "result is a builtins.object"),
        (float("inf"), "result is inf"),
        ({(1, 2): 3}, "key that is no string"),
        (circle(), "levels deep"),
    ],
)
def test_results_without_a_form_in_json(value: Any, message: str) -> None:
    with pytest.raises(UnserialisableError, match=message):
        to_json(value)
