"""A `Plan` in words: what happens and why, each trigger with its numbers, and what would be next.

A plan goes in, lines of plain text come out, the same for the command line and the console. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from retrain.bounds import Bound
from retrain.policy import Plan
from retrain.triggers import Considered

_COUNTED_IN_DAYS = "schedule"


def explain(plan: Plan) -> str:
    """Return the plan in words, some twenty lines."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"train now, {plan.mode}: {plan.reason}" if plan.train else f"do not train: {plan.reason}"
    yield "triggers, the most urgent first:"
    yield from (f"  {one.trigger}: {_trigger(one)}" for one in plan.considered)
    yield "an incremental training would need:"
    yield from (f"  {one.name}: {told_bound(one)}" for one in plan.bounds)
    if plan.next:
        yield "next:"
        yield from (f"  {told}" for told in plan.next)


def _trigger(one: Considered) -> str:
    numbers = f" [{shown(one, one.value) or 'unknown'} of {shown(one, one.threshold)}]"
    known = numbers if one.threshold is not None else ""
    rest = told_rest(one)
    return f"{one.verdict}{known}: {one.told}" + (f"; {rest}" if rest else "")


def told_rest(one: Considered) -> str:
    """Return for what a trigger waits, or until when it rests; "" when it does neither."""
    if one.obstacle:
        return f"waits: {one.obstacle}"
    if one.cools_until is not None:
        return f"its cool-down ends at {one.cools_until:%Y-%m-%d %H:%M} UTC"
    return ""


def shown(one: Considered, number: float | None) -> str:
    """Return a trigger's value or threshold as people read it: in days or in per cent, or ""."""
    if number is None:
        return ""
    return f"{number:.1f} days" if one.trigger == _COUNTED_IN_DAYS else f"{number:.1%}"


def told_bound(one: Bound) -> str:
    """Return what a bound saw; one that does not hold says so first."""
    return one.told if one.holds else f"broken: {one.told}"
