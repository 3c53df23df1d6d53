"""Total cost of ownership, return on it, and when it is paid back. Pure.

Costs once and by the month go in, and what is spared by the month; totals come out, in US dollars.
Source: the fine-tuning guide, "ROI Calculation". Its own example counts 10 million tokens at $2 a
million as $20,000 a month; that is $20, so its break-even of 15 months is not what comes out here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

YEAR = 12  # months

# Guide, "Total Cost of Ownership": a 7B LoRA with 10 million tokens a month.
EXAMPLE_ONCE = {
    "data preparation": 5000.0,
    "initial training": 500.0,
    "evaluation and testing": 2000.0,
    "infrastructure": 1000.0,
}
EXAMPLE_MONTHLY = {
    "inference compute": 1000.0,
    "model storage": 10.0,
    "monitoring and logging": 100.0,
    "retraining": 200.0,
}


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a fine-tuned model costs, in US dollars, by what for."""

    once: Mapping[str, float] = field(default_factory=lambda: dict(EXAMPLE_ONCE))
    monthly: Mapping[str, float] = field(default_factory=lambda: dict(EXAMPLE_MONTHLY))

    def total(self, months: int = YEAR) -> float:
        """Return the total cost after so many months."""
        return sum(self.once.values()) + months * sum(self.monthly.values())


@dataclass(frozen=True, slots=True)
class Instead:
    """What the model is used instead of: an API, or people's work."""

    tokens_per_month: float = 0.0
    usd_per_million_tokens: float = 0.0
    hours_per_month: float = 0.0
    usd_per_hour: float = 0.0

    @property
    def monthly(self) -> float:
        """What it costs by the month."""
        api = self.tokens_per_month / 1e6 * self.usd_per_million_tokens
        return api + self.hours_per_month * self.usd_per_hour


def roi(own: Ownership, instead: Instead, months: int = YEAR) -> float | None:
    """Return what comes back beyond each dollar spent, after so many months; None if all is free.

    0: just paid back; 1: twice as much came back; -1: nothing.
    """
    spent = own.total(months)
    return (months * instead.monthly - spent) / spent if spent else None


def break_even_months(own: Ownership, instead: Instead) -> int | None:
    """Return after how many whole months it is paid back, or None if it never is."""
    spared = instead.monthly - sum(own.monthly.values())
    once = sum(own.once.values())
    if spared <= 0.0:
        return None
    return math.ceil(once / spared)
