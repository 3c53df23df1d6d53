"""What is known of one application when it is asked whether to train: plain values, no rows.

`retrain.state` reads them from the store; `retrain.triggers` and `retrain.bounds` weigh them.
Pure: knows nothing of tables, settings or clocks.

Source of what counts: fine-tuning guide, "When to Retrain" and "Retraining Strategies".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from core.errors import DataError

Mode = Literal["incremental", "full"]
Trigger = Literal[
    "by_hand",
    "tainted",
    "base_model",
    "first",
    "rating",
    "evaluation",
    "drift",
    "growth",
    "schedule",
]


@dataclass(frozen=True, slots=True)
class Tally:
    """So many of so many were good; of a score from 0 to 1, `good` is its sum."""

    good: float
    total: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.good <= self.total:
            raise DataError(f"{self.good} good of {self.total}: it must be from 0 to the total")

    @property
    def share(self) -> float:
        """The share of good ones, 0-1; 0 of none."""
        return self.good / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric (higher is better) as it was when all was well, and as it is now."""

    name: str  # "ratings", or the metric of an evaluation
    baseline: Tally
    recent: Tally


@dataclass(frozen=True, slots=True)
class Drift:
    """The newest drift report on the live adapter's inputs."""

    report_id: str
    severity: str  # none | watch | act
    reason: str
    made_at: datetime
    run_id: str | None = None  # the retraining that it caused
    new_share: float = 0.0  # of its window: subjects that the reference does not know


@dataclass(frozen=True, slots=True)
class Work:
    """A run or a rollout that is not over: another training would only compete with it."""

    told: str
    untainted: bool = True  # whether it began after the live adapter was tainted, if it is


@dataclass(frozen=True, slots=True)
class Failures:
    """The newest runs, when they ended without an adapter."""

    in_a_row: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one application when the question is asked.

    `new_examples` are those of the dataset version that the live adapter did not learn from;
    `steps_kept` are, for each increment since the last full training (the oldest first), the
    share of the retention score that it kept of what there was before it; None: not measured.
    """

    total_examples: int
    new_examples: int
    base_model: str
    live_adapter: str | None = None  # None: the base model answers
    trained_base_model: str | None = None  # what the live adapter was trained on
    steps_kept: tuple[float | None, ...] = ()
    ratings: Measure | None = None  # None: too few to say
    ratings_note: str = "no ratings were read"  # why there is no measure
    evaluations: tuple[Measure, ...] = ()
    drift: Drift | None = None
    trained_at: datetime | None = None  # the last start of a run that ended well
    requested_by: str | None = None
    full_asked: bool = False  # who asked wants nothing continued
    unfit: str | None = None  # why the recipe cannot continue the live adapter, if it cannot
    tainted: bool = False  # the live adapter was trained on somebody who was erased
    replaces_tainted: bool = True  # the settings say to train anew without them
    already_trained: bool = False  # an adapter was trained on exactly this dataset and base
    work: Work | None = None
    failures: Failures | None = None
    last_started: Mapping[str, datetime] = field(default_factory=dict[str, datetime])

    def __post_init__(self) -> None:
        if not 0 <= self.new_examples <= self.total_examples:
            raise DataError(
                f"new_examples is {self.new_examples} of {self.total_examples} in total: "
                "it must be from 0 to the total"
            )

    @property
    def new_share(self) -> float:
        """Share of the dataset that is new, 0-1."""
        return self.new_examples / self.total_examples if self.total_examples else 0.0

    @property
    def base_model_changed(self) -> bool:
        """Whether the engine serves another base model than the live adapter fits."""
        return self.trained_base_model not in {None, self.base_model}

    @property
    def moved_share(self) -> float:
        """Share of traffic in subjects that were not there before, 0-1, if drift is acted on."""
        return self.drift.new_share if self.drift and self.drift.severity == "act" else 0.0
