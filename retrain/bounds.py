"""Incremental or full: each bound of an incremental training, and which of them hold.

A `State` and the settings go in, the bounds with their numbers come out; an adapter is continued
only while all of them hold. Errors cannot add up for ever: a chain has at most `max_increments`
increments, and may lose only so much of what the base model could. Pure.

Source: fine-tuning guide, "Retraining Strategies" (full when more than 30 % is new or after a major
domain shift; a full training prevents error accumulation) and "Catastrophic Forgetting".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from core.settings import RetrainSettings
from retrain.situation import Mode, State


@dataclass(frozen=True, slots=True)
class Bound:
    """One thing that an incremental training demands; `value` and `limit` where it is a number."""

    name: str
    holds: bool
    told: str
    value: float | None = None
    limit: float | None = None


def bounds_of(state: State, rules: RetrainSettings) -> tuple[Bound, ...]:
    """Return every bound of an incremental training, held or not."""
    return (
        _yes("adapter", state.live_adapter is not None, "there is no live adapter to continue"),
        _yes("untainted", not state.tainted, "the live adapter was trained on an erased person"),
        _yes("base", not state.base_model_changed, "an adapter cannot move to another base model"),
        _domain(state, rules),
        _yes("recipe", state.unfit is None, state.unfit or ""),
        _yes("wish", not state.full_asked, "a full training was asked for"),
        _share(state, rules),
        _chain(state, rules),
        _step(state, rules),
        _all_steps(state, rules),
    )


def mode_of(bounds: tuple[Bound, ...]) -> tuple[Mode, str]:
    """Return how to train and why: the first bound that does not hold, or the share that does."""
    broken = next((bound for bound in bounds if not bound.holds), None)
    if broken is not None:
        return "full", broken.told
    return "incremental", next(bound.told for bound in bounds if bound.name == "share")


def _yes(name: str, holds: bool, otherwise: str) -> Bound:
    return Bound(name, holds, "holds" if holds else otherwise)


def _domain(state: State, rules: RetrainSettings) -> Bound:
    """Any shift of what is asked is a reason to train; a major one leaves the old domain behind."""
    share, limit = state.moved_share, rules.domain_shift_share
    if share <= limit:
        return Bound("domain", True, "holds", share, limit)
    told = f"the domain has shifted: {share:.0%} of traffic are new subjects, over {limit:.0%}"
    return Bound("domain", False, told, share, limit)


def _share(state: State, rules: RetrainSettings) -> Bound:
    share, limit = state.new_share, rules.incremental_max_share
    holds = share <= limit
    told = f"{share:.0%} is new, {'within' if holds else 'over'} {limit:.0%}"
    return Bound("share", holds, told, share, limit)


def _chain(state: State, rules: RetrainSettings) -> Bound:
    count, limit = len(state.steps_kept), rules.max_increments
    holds = count < limit
    told = f"{count} increments in a row"
    if not holds:
        told += " would add up their errors" if count else ": increments are switched off"
    return Bound("chain", holds, told, count, limit)


def _step(state: State, rules: RetrainSettings) -> Bound:
    """The worst increment of the chain must have kept its part."""
    measured = [kept for kept in state.steps_kept if kept is not None]
    if not measured:
        return Bound("step", True, "no increment's retention was measured")
    worst, limit = min(measured), rules.retention_step
    told = f"an increment kept {worst:.1%} of the retention score, {limit:.0%} are needed"
    return Bound("step", worst >= limit, told, worst, limit)


def _all_steps(state: State, rules: RetrainSettings) -> Bound:
    """What they lost multiplies; what one gained excuses no other. Unmeasured ones are told."""
    measured = [min(kept, 1.0) for kept in state.steps_kept if kept is not None]
    left, limit = prod(measured, start=1.0), rules.retention_chain
    told = (
        f"the increments kept {left:.1%} together, {limit:.0%} are needed "
        f"({len(measured)} of {len(state.steps_kept)} measured)"
    )
    return Bound("retention", left >= limit, told, left, limit)
