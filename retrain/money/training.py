"""What a training will cost, and what it did. Pure.

Hours and prices go in, US dollars come out, with how each part was come by.
Source: the fine-tuning guide, "Cost Considerations".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Guide, "Data Costs": middle of each range, in US dollars.
ANNOTATION_PER_HOUR = 50.0  # 20-100; the guide's own total reckons with 50
EXPERT_PER_HOUR = 100.0  # 50-200
SYNTHETIC_PER_EXAMPLE = 0.05  # 0.01-0.10, by an API's model
STORAGE_PER_GB_MONTH = 0.023  # guide, "Data Storage"
CHECKPOINT_GB = 7.5  # guide, "Storage Requirements": 5-10 GB each, by the optimiser's state
REVIEWS_PER_HOUR = 60.0  # our choice: a minute for one


@dataclass(frozen=True, slots=True)
class Bill:
    """US dollars by what they are for, each with how it was reckoned."""

    parts: Mapping[str, float]
    because: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class DataWork:
    """What people and models do for the data before a training."""

    annotated: int = 0  # examples that somebody writes or corrects
    reviewed: int = 0  # examples that an expert looks at
    synthetic: int = 0  # examples that a model writes


def run_cost(seconds: float, usd_per_hour: float | None) -> float | None:
    """Return what a run of that duration cost, or None where no price is known."""
    return None if usd_per_hour is None else seconds / 3600.0 * usd_per_hour


def training_bill(
    hours: float,
    usd_per_hour: float,
    data: DataWork = DataWork(),
    *,
    spot_discount: float = 0.0,
    checkpoints: int = 0,
) -> Bill:
    """Return what a training costs from the data on; `checkpoints` are kept for a month."""
    price = usd_per_hour * (1.0 - spot_discount)
    parts = {"compute": hours * price}
    because = {"compute": f"{hours:.2f} h at ${price:.2f}"}
    if spot_discount:
        because["compute"] += f" (spot, {spot_discount:.0%} off ${usd_per_hour:.2f})"
    work = {
        "annotation": (data.annotated, ANNOTATION_PER_HOUR / REVIEWS_PER_HOUR),
        "expert review": (data.reviewed, EXPERT_PER_HOUR / REVIEWS_PER_HOUR),
        "synthetic examples": (data.synthetic, SYNTHETIC_PER_EXAMPLE),
        "storage of checkpoints": (checkpoints, CHECKPOINT_GB * STORAGE_PER_GB_MONTH),
    }
    for name, (count, each) in work.items():
        if count:
            parts[name] = count * each
            because[name] = f"{count:,} at ${each:.3f}"
    return Bill(parts, because)
