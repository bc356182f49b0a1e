"""Numbers of tokens, by direction and modality, as the service reports them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class ModalityTokens:
    """Tokens of one direction, by what they stand for.

    Attributes:
        text: of text.
        audio: of speech and other sound, about 25 for a second.
        image: of single pictures.
        video: of pictures that the service takes for video.
        other: of documents, and those that the service has counted without naming a modality.
    """

    text: int = 0
    audio: int = 0
    image: int = 0
    video: int = 0
    other: int = 0

    def __add__(self, more: ModalityTokens) -> ModalityTokens:
        """Return the sums, field by field."""
        return ModalityTokens(
            self.text + more.text,
            self.audio + more.audio,
            self.image + more.image,
            self.video + more.video,
            self.other + more.other,
        )

    @property
    def total(self) -> int:
        """Return all of them."""
        return self.text + self.audio + self.image + self.video + self.other


MODALITIES = tuple(each.name for each in fields(ModalityTokens))
"""The names of the modalities."""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens that the service reports, from its `usageMetadata`.

    The service reads the whole conversation again for each turn, and counts (and bills) it again.

    Attributes:
        input: what the model has read.
        output: what it has said or written, without its thoughts.
        cached: the part of `input` that came from a cache.
        thoughts: what it has thought, beside `output`.
        tool_use: what it has read of the results of the service's own tools, beside `input`.
    """

    input: ModalityTokens = field(default_factory=ModalityTokens)
    output: ModalityTokens = field(default_factory=ModalityTokens)
    cached: int = 0
    thoughts: int = 0
    tool_use: int = 0

    def __add__(self, more: TokenUsage) -> TokenUsage:
        """Return the sums, field by field."""
        return TokenUsage(
            self.input + more.input,
            self.output + more.output,
            self.cached + more.cached,
            self.thoughts + more.thoughts,
            self.tool_use + more.tool_use,
        )

    @property
    def total(self) -> int:
        """Return input, output, thoughts and tool use together."""
        return self.input.total + self.output.total + self.thoughts + self.tool_use


def tokens_by_modality(count: int | None, details: list[tuple[str, int]]) -> ModalityTokens:
    """Return the tokens of one direction.

    Args:
        count: all of them, or None if the service does not say.
        details: modalities, as the service names them (`"AUDIO"`), with their tokens. They may be
            fewer than all: 25 to 51 of 500 had no modality (gemini-3.8-live, September 2026).
    """
    found = dict.fromkeys(MODALITIES, 0)
    for modality, tokens in details:
        name = modality.lower()
        found[name if name in found else "other"] += tokens
    if count is not None:
        found["other"] += max(0, count - sum(found.values()))
    return ModalityTokens(**found)
