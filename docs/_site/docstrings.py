"""Turn what docstrings take from reStructuredText into Markdown, for the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

_TABLE = re.compile(r"(?ms)^(=+ +=+)\n.*?^\1$")


class PlainDocstrings(griffe.Extension):
    """Rewrites `::` in front of a code block, and simple tables, which Markdown does not know."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """Rewrite one docstring."""
    text = re.sub(r"(?m)::$", ":", text)
    return _TABLE.sub(lambda table: re.sub(r"(?m)^", "    ", table[0]), text)
