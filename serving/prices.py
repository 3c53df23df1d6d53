"""SERVE, pure: what an interaction cost, as far as a price table can tell.

Prices by the engine's name for who answers, and what was used, go in; an estimate in the table's
own currency comes out. Knows nothing of the log, of budgets or of the clock.

Source: tokens are priced per million, apart for prompt and completion, as API providers publish
their prices; for hardware of one's own the fine-tuning guide's "Cost analysis" counts its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.settings import PriceSettings

DEFAULT = "default"  # the entry for who has none of its own
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What one interaction used; `busy_s` is how long the engine was at it."""

    prompt_tokens: int | None
    completion_tokens: int | None
    busy_s: float


def estimated_cost(
    prices: Mapping[str, PriceSettings], served_by: str, usage: Usage
) -> float | None:
    """Return the cost, or None when nothing is known of it.

    A count that is not known (the client left, the engine failed) adds nothing: then the cost is
    the least that it can have been.
    """
    price = prices.get(served_by) or prices.get(DEFAULT)
    if price is None:
        return None
    priced = (
        (price.prompt_per_million, usage.prompt_tokens),
        (price.completion_per_million, usage.completion_tokens),
        (price.per_second * MILLION, usage.busy_s),
    )
    known = [rate * amount for rate, amount in priced if rate and amount is not None]
    unpriced = not any(rate for rate, _ in priced)
    return sum(known) / MILLION if known or unpriced else None
