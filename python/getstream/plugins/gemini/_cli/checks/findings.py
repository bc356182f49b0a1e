"""Say what a check has found, without anything that is private."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..._beliefs import BELIEFS, Belief

__all__ = ["Finding", "Verdict", "complete", "fails", "holds", "redacted", "unclear"]

Verdict = Literal["holds", "fails", "unclear", "not checked", "by hand"]

# What might be a key, a token, a handle or an id: a long run of the signs that those are made of,
# with a digit or a mark in it, and not a name of a model or of a field.
_OPAQUE = re.compile(r"(?<![\w./-])(?=[\w/+=-]*[\d_/+=])[\w/+=-]{20,}(?![\w-])")
_TOKEN = re.compile(r"auth_tokens/\S+|AIza[\w-]+|ya29\.\S+")
_PROJECT = re.compile(r"\b(projects?[/ ])[^\s/,;]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_KNOWN = re.compile(r"models/[\w.-]+|gemini-[\w.-]+|BidiGenerateContent\w*|[a-z]+(?:[A-Z][a-z]+)+")
_LONGEST = 160


@dataclass(frozen=True)
class Finding:
    """State the outcome of one check.

    Attributes:
        name: The belief.
        verdict: `holds`, `fails`, `unclear` (the service did not show it), `not checked`, or
            `by hand`.
        seen: What was seen, in words; without keys, handles and anything that was said.
        numbers: The same in numbers, by name, each with its unit.
    """

    name: str
    verdict: Verdict
    seen: str
    numbers: dict[str, float] = field(default_factory=dict)


def holds(name: str, seen: str, **numbers: float) -> Finding:
    """Return the finding that a belief holds."""
    return Finding(name, "holds", seen, _rounded(numbers))


def fails(name: str, seen: str, **numbers: float) -> Finding:
    """Return the finding that a belief is wrong."""
    return Finding(name, "fails", seen, _rounded(numbers))


def unclear(seen: str, *names: str) -> list[Finding]:
    """Return the findings that beliefs could not be seen either way."""
    return [Finding(name, "unclear", seen) for name in names]


def complete(found: Iterable[Finding], reasons: dict[str, str]) -> list[Finding]:
    """Return one finding for each belief, in the order of the table.

    Args:
        found: What was found; of several findings about one belief the first counts.
        reasons: Why nothing of a service was checked, by its name.
    """
    by_name: dict[str, Finding] = {}
    for finding in found:
        by_name.setdefault(finding.name, finding)
    return [by_name.get(belief.name) or _missing(belief, reasons) for belief in BELIEFS]


def _missing(belief: Belief, reasons: dict[str, str]) -> Finding:
    if not belief.automatic:
        return Finding(belief.name, "by hand", belief.check)
    reason = reasons.get(belief.service, "nothing was seen of it")
    return Finding(belief.name, "not checked", reason)


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in numbers.items()}


def redacted(text: str, secrets: Sequence[str] = ()) -> str:
    """Return a text of the service as one clean line without secrets.

    Args:
        text: A close reason or an error.
        secrets: What must not be in it in any case.
    """
    line = _CONTROL.sub(" ", text)
    for secret in secrets:
        if secret:
            line = line.replace(secret, "[hidden]")
    line = _TOKEN.sub("[hidden]", line)
    line = _PROJECT.sub(r"\1[hidden]", line)
    line = _OPAQUE.sub(lambda match: _shown(match[0]), line)
    line = " ".join(line.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _shown(word: str) -> str:
    return word if _KNOWN.fullmatch(word) else "[hidden]"
