"""Count crossings between Python and Rust: calls of native objects, and reads of attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest


class Crossings:
    """Replacement of native classes that counts the crossings of their objects, by name.

    A call of a method is one crossing, and so is the read of any other attribute. Objects that are
    passed to a native constructor or method as arguments are passed unchanged; one native object
    that uses another is no crossing.

        crossings = Crossings()
        crossings.watch(monkeypatch, module, "Playback", "EchoReference")
        ...
        assert crossings.since(before) == {"Playback.pop": 50}
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def watch(self, monkeypatch: pytest.MonkeyPatch, module: Any, *names: str) -> None:
        """Replace classes that a module has imported by counting ones."""
        for name in names:
            monkeypatch.setattr(module, name, self.counted_class(getattr(module, name)))

    def counted_class(self, native: type) -> Callable[..., Any]:
        """Return a function that makes counted objects of a class."""

        def make(*args: Any, **options: Any) -> Counted:
            return Counted(native(*_bare(args), **_bare(options)), self.counts)

        return make

    def snapshot(self) -> Counter[str]:
        """Return the counts so far, for `since`."""
        return Counter(self.counts)

    def since(self, before: Counter[str]) -> dict[str, int]:
        """Return the crossings since a snapshot, by class and name."""
        return dict(self.counts - before)


class Counted:
    """Native object whose crossings are counted."""

    def __init__(self, native: Any, counts: Counter[str]) -> None:
        self.__native = native
        self.__counts = counts

    def __getattr__(self, name: str) -> Any:
        crossing = f"{type(self.__native).__name__}.{name}"
        found = getattr(self.__native, name)
        if not callable(found):
            self.__counts[crossing] += 1
            return found

        def call(*args: Any, **options: Any) -> Any:
            self.__counts[crossing] += 1
            return found(*_bare(args), **_bare(options))

        return call

    def __repr__(self) -> str:
        return f"<counted {self.__native!r}>"


def _bare(given: Any) -> Any:
    """Return the native objects in place of the counting ones."""
    if isinstance(given, Counted):
        return given._Counted__native  # type: ignore[attr-defined]
    if isinstance(given, dict):
        return {name: _bare(value) for name, value in given.items()}
    if isinstance(given, tuple):
        return tuple(_bare(value) for value in given)
    return given
