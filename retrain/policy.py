"""DETECT → RETRAIN: decides whether to train now, and whether incrementally or in full.

What is known (counts of examples, scores, the last starts) goes in as a `State`, the time as
`now`; a `Plan` with its reason comes out. Pure: knows nothing of tables, files or clocks.
`retrain.state` reads the State from the store.

Source of triggers and modes: fine-tuning guide, "When to Retrain"; cool-downs: DESIGN section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from core.errors import DataError
from core.settings import RetrainSettings

Mode = Literal["incremental", "full"]
Trigger = Literal["by_hand", "base_model", "first", "drop", "drift", "growth", "schedule"]

# A person who asks, and a base model that the live adapter does not fit, wait for no data.
_NEEDS_NO_NEW_DATA: frozenset[Trigger] = frozenset({"by_hand", "base_model"})


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one application when the question is asked.

    Scores are shares of good ratings (or another metric, higher is better), None when there
    are too few ratings to say. `new_examples` are those of the newest dataset version that
    the live adapter did not learn from.
    """

    total_examples: int
    new_examples: int
    base_model: str
    live_adapter: str | None = None  # None: the base model answers
    trained_base_model: str | None = None  # what the live adapter was trained on
    increments: int = 0  # incremental runs since the last full one
    baseline_score: float | None = None
    recent_score: float | None = None
    domain_shift: bool = False
    scheduled: bool = False  # the scheduler says that a regular training is due
    requested_by: str | None = None
    tainted: bool = False  # the live adapter was trained on somebody who was erased
    already_trained: bool = False  # a run on exactly this dataset has finished
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do; `reason` starts with the trigger's name when there is one."""

    train: bool
    mode: Mode | None
    reason: str
    trigger: Trigger | None = None


def decide(state: State, rules: RetrainSettings, now: datetime) -> Plan:
    """Return the plan of the first trigger that fires and is not cooling down."""
    if state.total_examples == 0:
        return Plan(False, None, "no approved examples yet: collect ratings and corrections first")
    held: list[str] = []
    for trigger, reason in _fired(state, rules):
        obstacle = _obstacle(trigger, state, rules, now)
        if obstacle is None:
            mode, why = _mode(state, rules)
            return Plan(True, mode, f"{trigger}: {reason}; {mode} because {why}", trigger)
        held.append(f"{trigger} ({reason}) waits: {obstacle}")
    return Plan(False, None, "; ".join(held) or _quiet(state, rules))


def _fired(state: State, rules: RetrainSettings) -> Iterator[tuple[Trigger, str]]:
    """Yield every trigger that fires with its reason, the most urgent first."""
    if state.requested_by is not None:
        yield "by_hand", f"asked for by {state.requested_by}"
    if _base_model_changed(state):
        yield "base_model", f"base model is now {state.base_model}, not {state.trained_base_model}"
    if state.live_adapter is None:
        yield "first", f"no adapter is live and {state.total_examples} examples are approved"
    drop = _drop(state)
    if drop is not None and drop > rules.drop_trigger:
        yield "drop", f"score fell {drop:.1%} below its baseline, over {rules.drop_trigger:.0%}"
    if state.domain_shift:
        yield "drift", "inputs have shifted to another domain"
    if state.new_share >= rules.growth_trigger:
        yield "growth", f"{state.new_share:.0%} new examples, at least {rules.growth_trigger:.0%}"
    if state.scheduled:
        yield "schedule", "a regular training is due"


def _obstacle(trigger: Trigger, state: State, rules: RetrainSettings, now: datetime) -> str | None:
    """Return why this trigger must wait, or None. A person's wish never cools down."""
    if state.already_trained and trigger not in _NEEDS_NO_NEW_DATA:
        return "a run on exactly this dataset has finished; new examples are needed"
    last = state.last_started.get(trigger)
    if trigger == "by_hand" or last is None:
        return None
    left_s = rules.cooldown_s - (now - last).total_seconds()
    return f"{left_s:.0f} s of its cool-down are left" if left_s > 0 else None


def _mode(state: State, rules: RetrainSettings) -> tuple[Mode, str]:
    """Return how to train and why. Source: guide, "Retraining Strategies"."""
    if state.live_adapter is None:
        return "full", "there is no live adapter to continue"
    if state.tainted:
        return "full", "the live adapter was trained on a person who was erased"
    if _base_model_changed(state):
        return "full", "an adapter cannot move to another base model"
    if state.domain_shift:
        return "full", "the domain has shifted"
    if state.new_share > rules.incremental_max_share:
        return "full", f"{state.new_share:.0%} is new, over {rules.incremental_max_share:.0%}"
    if state.increments >= rules.max_increments:
        return "full", f"{state.increments} increments in a row would add up their errors"
    return "incremental", f"{state.new_share:.0%} is new, within {rules.incremental_max_share:.0%}"


def _base_model_changed(state: State) -> bool:
    return state.trained_base_model is not None and state.trained_base_model != state.base_model


def _drop(state: State) -> float | None:
    """Return the relative fall of the score from its baseline, negative when it rose."""
    if not state.baseline_score or state.recent_score is None:
        return None
    return (state.baseline_score - state.recent_score) / state.baseline_score


def _quiet(state: State, rules: RetrainSettings) -> str:
    return (
        f"no trigger: {state.new_share:.0%} new examples, under {rules.growth_trigger:.0%}, "
        f"and no fall of the score over {rules.drop_trigger:.0%}"
    )
