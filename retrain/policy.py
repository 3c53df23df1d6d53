"""DETECT → RETRAIN: decides whether to train now, and whether incrementally or in full.

What is known goes in as a `State`, the time as `now`; a `Plan` comes out: with its reason, every
trigger that was considered, every bound of an incremental training, and what would be next. Pure:
knows nothing of tables, files or clocks. `retrain.triggers` says why to train, `retrain.bounds`
how, `retrain.state` reads the State, `retrain.explanation` puts a Plan into words.

Source of triggers and modes: fine-tuning guide, "When to Retrain"; cool-downs: DESIGN section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.settings import RetrainSettings
from retrain.bounds import Bound, bounds_of, mode_of
from retrain.situation import Mode, State, Trigger
from retrain.triggers import Considered, consider, cooldown_s, examples_to, retry_at

__all__ = ["Bound", "Considered", "Mode", "Plan", "State", "Trigger", "decide"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do; `reason` starts with the trigger's name when there is one."""

    train: bool
    mode: Mode | None
    reason: str
    trigger: Trigger | None = None
    considered: tuple[Considered, ...] = ()
    bounds: tuple[Bound, ...] = ()
    next: tuple[str, ...] = ()  # what would start a training, or what this one begins


def decide(state: State, rules: RetrainSettings, now: datetime) -> Plan:
    """Return the plan of the most urgent trigger that fires and need not wait."""
    considered, bounds = consider(state, rules, now), bounds_of(state, rules)
    if state.total_examples == 0:
        reason = "no approved examples yet: collect ratings and corrections first"
        return Plan(False, None, reason, None, considered, bounds)
    firing = next((one for one in considered if one.verdict == "fires"), None)
    if firing is None:
        coming = tuple(_coming(considered, state, rules, now))
        return Plan(False, None, _still(considered), None, considered, bounds, coming)
    mode, why = mode_of(bounds)
    reason = f"{firing.trigger}: {firing.told}; {mode} because {why}"
    coming = tuple(_after(firing.trigger, mode, state, rules, now))
    return Plan(True, mode, reason, firing.trigger, considered, bounds, coming)


def _still(considered: tuple[Considered, ...]) -> str:
    """Return why nothing is trained."""
    waiting = [one for one in considered if one.verdict == "waits"]
    if waiting:
        return "; ".join(f"{one.trigger} ({one.told}) waits: {one.obstacle}" for one in waiting)
    watched = [one for one in considered if one.verdict == "watch" and one.trigger != "growth"]
    (growth,) = (one.told for one in considered if one.trigger == "growth")
    close = [f"{one.trigger} is watched ({one.told})" for one in watched]
    return "; ".join([f"no trigger: {growth}", *close])


def _coming(
    considered: tuple[Considered, ...], state: State, rules: RetrainSettings, now: datetime
) -> Iterator[str]:
    """Yield what would start a training, as far as it can be foreseen."""
    if state.work is not None:
        yield f"when this is over: {state.work.told}"
    again = retry_at(state)
    if again is not None and again > now:
        yield f"the next try after failures is from {_when(again)} on"
    for one in considered:
        if one.cools_until is not None:
            yield f"{one.trigger} may fire again from {_when(one.cools_until)} on"
    more = examples_to(rules.growth_must, state)
    if more:
        yield f"growth fires at the latest with {more} more new examples"
    if rules.every_days is not None and state.trained_at is not None:
        yield f"schedule is due at {_when(state.trained_at + timedelta(days=rules.every_days))}"


def _after(
    trigger: Trigger, mode: Mode, state: State, rules: RetrainSettings, now: datetime
) -> Iterator[str]:
    """Yield what this training begins."""
    rest_s = cooldown_s(trigger, rules)
    if rest_s:
        yield f"{trigger} then rests until {_when(now + timedelta(seconds=rest_s))}"
    steps = len(state.steps_kept) + 1 if mode == "incremental" else 0
    left = max(rules.max_increments - steps, 0)
    yield f"{left} increments may follow before the next full training"


def _when(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
