"""The prices of the models, and the estimate of a cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._tokens import TokenUsage

PRICES_AS_OF = "2026-11-28"
"""The day on which the table below was last compared with what it is from."""

PRICES_SOURCE = "https://ai.google.dev/gemini-api/docs/pricing"
"""Google's price list for the paid tier. It was read in copies and quotations by others (September
to November 2026), not from the page itself."""


@dataclass(frozen=True)
class _Prices:
    """US dollars for a million tokens."""

    text_in: float
    audio_in: float
    image_in: float
    text_out: float
    audio_out: float


# By the start of the name, the longest first. Thoughts are billed as text that is written, and no
# price for cached tokens is stated for a Live model: they are counted in full. A model that runs on
# Vertex AI may have other prices there.
_PRICES: dict[str, _Prices] = {
    "gemini-3.8-live-extended-thinking": _Prices(0.75, 3.00, 1.00, 4.50, 12.00),
    "gemini-3.8-live": _Prices(0.75, 3.00, 1.00, 4.50, 12.00),
    "gemini-3.1-flash-live": _Prices(0.75, 3.00, 1.00, 4.50, 12.00),
    "gemini-2.5-flash-native-audio": _Prices(0.50, 3.00, 3.00, 2.00, 12.00),
    "gemini-live-2.5-flash-native-audio": _Prices(0.50, 3.00, 3.00, 2.00, 12.00),
}

AUDIO_IN_PER_MINUTE_USD, AUDIO_OUT_PER_MINUTE_USD = 0.005, 0.018
"""Audio of `gemini-3.8-live`, as the list states it for a minute beside the prices of tokens."""

TOKENS_PER_UNIT = 1_000_000
"""Tokens that a price is for."""


@dataclass(frozen=True)
class Cost:
    """An estimate of what the tokens cost, without taxes, free quota and discounts.

    Attributes:
        usd: US dollars.
        as_of: the day of the price list, such as `"2026-11-28"`.
        source: the address of the price list.
    """

    usd: float
    as_of: str = PRICES_AS_OF
    source: str = PRICES_SOURCE


def estimate_cost(model: str, tokens: TokenUsage) -> Cost | None:
    """Return what tokens of a model cost; None for a model without a known price.

    Tokens without a modality are taken for text, which is the cheapest.
    """
    prices = _prices_of(model)
    if prices is None:
        return None
    read, said = tokens.input, tokens.output
    units = (
        (read.text + read.other + tokens.tool_use) * prices.text_in
        + read.audio * prices.audio_in
        + (read.image + read.video) * prices.image_in
        + (said.text + said.other + tokens.thoughts) * prices.text_out
        + said.audio * prices.audio_out
    )
    return Cost(units / TOKENS_PER_UNIT)


def _prices_of(model: str) -> _Prices | None:
    bare = model.rpartition("/")[2]  # without `models/`, or the path of a project
    for start, prices in _PRICES.items():
        if bare.startswith(start):
            return prices
    return None
