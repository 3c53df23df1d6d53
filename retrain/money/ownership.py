"""Total cost of ownership, return on it, and when it is paid back. Pure.

Costs once and by the month go in, and what is spared by the month; totals come out, in US dollars.
Source: the fine-tuning guide, "ROI Calculation". Its own example counts 10 million tokens at $2 a
million as $20,000 a month; that is $20, so its break-even of 15 months is not what comes out here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

YEAR = 12  # months
API_PER_MILLION = 2.0  # guide, "ROI Calculation"; "Ongoing Costs": 0.40-20.00
STORAGE_PER_GB_MONTH = 0.023  # guide, "Data Costs"
BASE_COPIES = 3.0  # guide, "Storage Requirements": 2-4 times a model's size
WAGE = 50.0  # an hour. Guide, "ROI Calculation"
RETRAININGS, RETRAINING_USD = 1.0, 200.0  # by the month, each. Guide, "ROI Calculation"
HOURS = 730.0  # of a month, in which an engine is always on
WEIGHT_BYTES = 2  # in 16 bits, as the guide counts: 14 GB for 7 thousand million weights

DATA, TOOLS, TRAINING = "data preparation", "data tools", "initial training"
INFERENCE, STORAGE, MONITORING = "inference compute", "model storage", "monitoring and logging"
RETRAINING, STAFF = "retraining", "staff"


@dataclass(frozen=True, slots=True)
class Item:
    """A row of a bill: US dollars, how they were reckoned, and keys of `retrain.money.sources`."""

    name: str
    usd: float
    because: str
    sources: tuple[str, ...]


# Guide, "Total Cost of Ownership": a 7B LoRA with 10 million tokens a month. What it does not count
# stands there with nought, so that it is not forgotten.
EXAMPLE_ONCE = (
    Item(DATA, 5000.0, "100 h at $50", ("tco",)),
    Item(TOOLS, 0.0, "curation is here; others' cost $1,000-10,000 (guide, Data Costs)", ("ours",)),
    Item(TRAINING, 500.0, "a LoRA of 7B", ("tco",)),
    Item("evaluation and testing", 2000.0, "the guide's sum", ("tco",)),
    Item("infrastructure", 1000.0, "the guide's sum", ("tco",)),
)
EXAMPLE_MONTHLY = (
    Item(
        INFERENCE,
        1000.0,
        "a machine that is always on; by the use alone 10 million tokens would be $5-30 "
        "(guide, Ongoing Costs: $0.50-3.00 a million)",
        ("tco",),
    ),
    Item(STORAGE, 10.0, "the guide's sum", ("tco",)),
    Item(MONITORING, 100.0, "the guide's sum", ("tco",)),
    Item(RETRAINING, 200.0, "once a month at $200", ("tco",)),
    Item(STAFF, 0.0, "no hours were said, and the guide counts none", ("ours",)),
)


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a fine-tuned model costs, in US dollars, by what for."""

    once: tuple[Item, ...] = EXAMPLE_ONCE
    monthly: tuple[Item, ...] = EXAMPLE_MONTHLY

    def total(self, months: int = YEAR) -> float:
        """Return the total cost after so many months."""
        return self.before + months * self.by_the_month

    @property
    def before(self) -> float:
        """What it costs before it serves."""
        return sum(item.usd for item in self.once)

    @property
    def by_the_month(self) -> float:
        """What it costs by the month from then on."""
        return sum(item.usd for item in self.monthly)

    @property
    def inference(self) -> float | None:
        """What its inference alone costs by the month; None when that row is not there."""
        return next((item.usd for item in self.monthly if item.name == INFERENCE), None)

    def but(self, items: Iterable[Item]) -> Ownership:
        """Return the same with these rows instead of those of their names."""
        known = {item.name: item for item in items}
        once, monthly = (
            tuple(known.get(item.name, item) for item in rows) for rows in (self.once, self.monthly)
        )
        return Ownership(once, monthly)


def inference_item(
    tokens_per_month: float, usd_per_million: float, sources: tuple[str, ...]
) -> Item:
    """Return what inference costs by the month when it is paid by the token."""
    how = f"{tokens_per_month:,.0f} tokens at ${usd_per_million:g} a million"
    return Item(INFERENCE, tokens_per_month / 1e6 * usd_per_million, how, sources)


def engine_item(usd_per_hour: float, sources: tuple[str, ...]) -> Item:
    """Return what inference costs by the month on a machine that is always on."""
    return Item(INFERENCE, HOURS * usd_per_hour, f"{HOURS:g} h at ${usd_per_hour:g}", sources)


def storage_item(parameters: int, sources: tuple[str, ...]) -> Item:
    """Return what keeping a base model costs by the month, in the guide's number of copies."""
    size = parameters * WEIGHT_BYTES / 1e9
    how = f"{size:.1f} GB, {BASE_COPIES:g} times, at ${STORAGE_PER_GB_MONTH} a GB"
    return Item(STORAGE, size * BASE_COPIES * STORAGE_PER_GB_MONTH, how, sources)


def retraining_item(per_month: float, usd_each: float, sources: tuple[str, ...]) -> Item:
    """Return what retraining costs by the month, at so many runs of so many dollars."""
    how = f"{per_month:g} a month at ${usd_each:,.2f}"
    return Item(RETRAINING, per_month * usd_each, how, sources)


def staff_item(hours_per_month: float, usd_per_hour: float, sources: tuple[str, ...]) -> Item:
    """Return what the people cost by the month who review, watch and decide."""
    how = f"{hours_per_month:g} h at ${usd_per_hour:g}"
    return Item(STAFF, hours_per_month * usd_per_hour, how, sources)


@dataclass(frozen=True, slots=True)
class Instead:
    """What the model is used instead of: an API, or people's work."""

    tokens_per_month: float = 0.0
    usd_per_million_tokens: float = 0.0
    hours_per_month: float = 0.0
    usd_per_hour: float = 0.0

    @property
    def api(self) -> float:
        """What the API alone costs by the month."""
        return self.tokens_per_month / 1e6 * self.usd_per_million_tokens

    @property
    def monthly(self) -> float:
        """What it costs by the month."""
        return self.api + self.hours_per_month * self.usd_per_hour


def inference_saving(own: Ownership, instead: Instead) -> float | None:
    """Return what one's own inference spares by the month against the API's, below 0 if nothing.

    None when no API is compared with, or inference has no row of its own.
    """
    if own.inference is None or not instead.tokens_per_month:
        return None
    return instead.api - own.inference


def roi(own: Ownership, instead: Instead, months: int = YEAR) -> float | None:
    """Return what comes back beyond each dollar spent, after so many months; None if all is free.

    0: just paid back; 1: twice as much came back; -1: nothing.
    """
    spent = own.total(months)
    return (months * instead.monthly - spent) / spent if spent else None


def break_even_months(own: Ownership, instead: Instead) -> int | None:
    """Return after how many whole months it is paid back, or None if it never is."""
    spared = instead.monthly - own.by_the_month
    if spared <= 0.0:
        return None
    return math.ceil(own.before / spared)
