"""What a training will cost, and what it did. Pure.

Hours and prices go in, US dollars come out, with how each part was come by.
Source: the fine-tuning guide, "Cost Considerations".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STORAGE_PER_GB_MONTH = 0.023  # guide, "Data Storage"
# The guide names two sizes of a checkpoint: 5-10 GB ("Storage Requirements", by the optimiser's
# state) and 10-50 GB ("Data Costs"). Only a fully trained model reaches the second, since its
# optimiser keeps two more numbers a weight; an adapter's checkpoint stays below the first.
ADAPTER_CHECKPOINT_GB = 7.5  # middle of 5-10
FULL_CHECKPOINT_GB = 30.0  # middle of 10-50


@dataclass(frozen=True, slots=True)
class DataRates:
    """What people and models ask for work on data, in US dollars and minutes.

    The guide's first year counts 100 hours of data preparation; for 1,000 examples, the most it
    asks of instruction tuning, that is 6 minutes each. To look at one is to read an answer of 200
    words, at 238 a minute (Brysbaert 2019), and to decide.
    """

    annotation_minutes: float = 6.0  # guide, "ROI Calculation" and "Quantity Guidelines"
    review_minutes: float = 1.0  # Brysbaert 2019, doi 10.1016/j.jml.2019.104047
    annotation_per_hour: float = 50.0  # guide, "Data Costs": 20-100; its own total takes 50
    expert_per_hour: float = 100.0  # guide, "Data Costs": 50-200
    synthetic_per_example: float = 0.05  # guide, "Data Costs": 0.01-0.10, by an API's model


@dataclass(frozen=True, slots=True)
class Bill:
    """US dollars by what they are for, each with how it was reckoned and `sources`' keys."""

    parts: Mapping[str, float]
    because: Mapping[str, str] = field(default_factory=dict[str, str])
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

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


@dataclass(frozen=True, slots=True)
class Machine:
    """What trains: `sources` say where hours and price are from."""

    hours: float
    usd_per_hour: float
    spot_discount: float = 0.0  # 0: on demand
    sources: tuple[str, ...] = ("said",)


def training_bill(
    machine: Machine,
    data: DataWork = DataWork(),
    rates: DataRates = DataRates(),
    *,
    checkpoints: int = 0,
    full: bool = False,
) -> Bill:
    """Return what a training costs from the data on; `checkpoints` are kept for a month.

    `full`: every weight is trained, so that checkpoints are those of whole models.
    """
    price = machine.usd_per_hour * (1.0 - machine.spot_discount)
    because = f"{machine.hours:.2f} h at ${price:.2f}"
    if machine.spot_discount:
        because += f" (spot, {machine.spot_discount:.0%} off ${machine.usd_per_hour:.2f})"
    spot = ("spot",) if machine.spot_discount else ()
    rows = {"compute": (machine.hours * price, because, (*machine.sources, *spot))}
    for name, (usd, how, sources) in _work(data, rates).items():
        if usd:
            rows[name] = (usd, how, sources)
    if checkpoints:
        rows["storage of checkpoints"] = _checkpoints(checkpoints, full)
    return Bill(
        {name: usd for name, (usd, _, _) in rows.items()},
        {name: how for name, (_, how, _) in rows.items()},
        {name: sources for name, (_, _, sources) in rows.items()},
    )


_Row = tuple[float, str, tuple[str, ...]]


def _work(data: DataWork, rates: DataRates) -> dict[str, _Row]:
    written = rates.annotation_minutes / 60.0 * rates.annotation_per_hour
    read = rates.review_minutes / 60.0 * rates.expert_per_hour
    model = rates.synthetic_per_example
    return {
        "annotation": (
            data.annotated * written,
            f"{data.annotated:,} at ${written:.2f}: {rates.annotation_minutes:g} minutes, "
            f"${rates.annotation_per_hour:g} an hour",
            ("settings", "data", "tco"),
        ),
        "expert review": (
            data.reviewed * read,
            f"{data.reviewed:,} at ${read:.2f}: {rates.review_minutes:g} minutes, "
            f"${rates.expert_per_hour:g} an hour",
            ("settings", "data"),
        ),
        "synthetic examples": (
            data.synthetic * model,
            f"{data.synthetic:,} at ${model:.3f}",
            ("settings", "data"),
        ),
    }


def _checkpoints(count: int, full: bool) -> _Row:
    size = FULL_CHECKPOINT_GB if full else ADAPTER_CHECKPOINT_GB
    whose = "a whole model's, of 10-50" if full else "an adapter's, of 5-10"
    how = f"{count:,} of {size:g} GB ({whose}) at ${STORAGE_PER_GB_MONTH} a GB"
    return count * size * STORAGE_PER_GB_MONTH, how, ("data",) if full else ("room", "data")
