"""When to retrain and how: every trigger, every cool-down, every reason for a full training."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import DataError
from core.settings import RetrainSettings
from retrain.policy import State, decide

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RULES = RetrainSettings()
# Live adapter, nothing new: no trigger fires.
QUIET = State(
    total_examples=100,
    new_examples=0,
    base_model="models/base",
    live_adapter="desk--v1",
    trained_base_model="models/base",
)


def test_quiet_state_trains_nothing() -> None:
    """Without a trigger the plan is to wait, and it says how far the triggers are."""
    plan = decide(QUIET, RULES, NOW)
    assert not plan.train
    assert plan.mode is None
    assert plan.trigger is None
    assert "no trigger" in plan.reason


def test_no_examples_trains_nothing_even_by_hand() -> None:
    """Nobody can ask for a training on nothing."""
    empty = State(total_examples=0, new_examples=0, base_model="m", requested_by="ann")
    plan = decide(empty, RULES, NOW)
    assert not plan.train
    assert "no approved examples" in plan.reason


def test_first_adapter_is_trained_in_full() -> None:
    """With only the base model live there is nothing to continue."""
    first = State(total_examples=40, new_examples=40, base_model="models/base")
    plan = decide(first, RULES, NOW)
    assert (plan.train, plan.mode, plan.trigger) == (True, "full", "first")
    assert plan.reason.startswith("first: ")


@pytest.mark.parametrize(
    ("change", "trigger", "mode", "told"),
    [
        ({"new_examples": 10}, "growth", "incremental", "10% new examples"),
        ({"new_examples": 30}, "growth", "incremental", "30% is new"),
        ({"new_examples": 31}, "growth", "full", "31% is new, over 30%"),
        (
            {"new_examples": 5, "baseline_score": 0.80, "recent_score": 0.74},
            "drop",
            "incremental",
            "7.5% below its baseline",
        ),
        ({"new_examples": 5, "domain_shift": True}, "drift", "full", "domain has shifted"),
        ({"base_model": "models/newer"}, "base_model", "full", "not models/base"),
        ({"new_examples": 1, "scheduled": True}, "schedule", "incremental", "regular training"),
        ({"requested_by": "ann"}, "by_hand", "incremental", "asked for by ann"),
        ({"new_examples": 10, "increments": 4}, "growth", "incremental", "within 30%"),
        ({"new_examples": 10, "increments": 5}, "growth", "full", "5 increments in a row"),
    ],
)
def test_trigger_decides_mode_and_says_why(
    change: dict[str, object], trigger: str, mode: str, told: str
) -> None:
    """Each trigger fires at its threshold, picks the mode by the rules and gives its reason."""
    plan = decide(replace(QUIET, **change), RULES, NOW)  # type: ignore[arg-type]
    assert (plan.train, plan.trigger, plan.mode) == (True, trigger, mode)
    assert plan.reason.startswith(f"{trigger}: ")
    assert told in plan.reason


@pytest.mark.parametrize(
    "change",
    [
        {"new_examples": 9},
        {"new_examples": 5, "baseline_score": 0.80, "recent_score": 0.77},
        {"new_examples": 5, "baseline_score": 0.80, "recent_score": 0.95},
        {"new_examples": 5, "baseline_score": 0.80},
        {"new_examples": 5, "recent_score": 0.10},
        {"new_examples": 5, "baseline_score": 0.0, "recent_score": 0.0},
    ],
)
def test_below_the_threshold_nothing_fires(change: dict[str, object]) -> None:
    """A little growth, a small fall, a rise or an unknown score start no training."""
    assert not decide(replace(QUIET, **change), RULES, NOW).train  # type: ignore[arg-type]


def test_trigger_cools_down_for_itself_only() -> None:
    """A growth that has just started a run waits; a fall of the score does not."""
    recent = {"growth": NOW - timedelta(seconds=RULES.cooldown_s - 60)}
    grown = replace(QUIET, new_examples=20, last_started=recent)
    waiting = decide(grown, RULES, NOW)
    assert not waiting.train
    assert "growth" in waiting.reason
    assert "60 s of its cool-down" in waiting.reason
    fallen = replace(grown, baseline_score=0.8, recent_score=0.5)
    assert decide(fallen, RULES, NOW).trigger == "drop"


def test_trigger_fires_again_after_its_cool_down() -> None:
    """The cool-down ends after exactly its length."""
    past = {"growth": NOW - timedelta(seconds=RULES.cooldown_s)}
    assert decide(replace(QUIET, new_examples=20, last_started=past), RULES, NOW).train


def test_person_who_asks_never_waits() -> None:
    """By hand there is no cool-down, and the same dataset may be trained again."""
    just_now = {"by_hand": NOW}
    asked = replace(QUIET, requested_by="ann", already_trained=True, last_started=just_now)
    assert decide(asked, RULES, NOW).trigger == "by_hand"


def test_same_dataset_is_not_trained_twice() -> None:
    """A run that has finished on this very dataset would only give the same adapter again."""
    again = State(total_examples=40, new_examples=40, base_model="m", already_trained=True)
    plan = decide(again, RULES, NOW)
    assert not plan.train
    assert "new examples are needed" in plan.reason


def test_new_base_model_retrains_on_the_same_dataset() -> None:
    """The old adapter does not fit the new base model, so old data are reason enough."""
    moved = replace(QUIET, base_model="models/newer", already_trained=True)
    assert decide(moved, RULES, NOW).trigger == "base_model"


def test_impossible_counts_are_refused() -> None:
    """More new examples than there are in total is a fault of the caller."""
    with pytest.raises(DataError, match="new_examples is 11 of 10"):
        State(total_examples=10, new_examples=11, base_model="m")
