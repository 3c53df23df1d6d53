"""What was counted of a rollout's two arms, step by step and stratum by stratum.

DETECT's values. The store's counts come in (`monitoring.counts`), or the JSON of a stored verdict;
verdicts, guardrails and forecasts read them, or take them as strata of the e-process. Pure: knows
no decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from core.canary_settings import CanarySettings
from monitoring.eprocess import Stratum, Tally


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """One arm of one step: exposures, subjects, and one rating for each subject who gave any."""

    exposures: int = 0
    ratings: int = 0
    good: int = 0  # of `ratings`
    errors: int = 0  # of `exposures`, and so are the next ones: answers without an error that …
    slow: int = 0  # took longer than `latency_over_s`
    slow_start: int = 0  # showed their first token later than `ttft_over_s`
    long: int = 0  # had more than `long_over_tokens`
    short: int = 0  # had fewer than `short_under_tokens`
    truncated: int = 0  # ended at the limit of their length
    refusals: int = 0  # began by refusing
    settled: int = 0  # exposures older than `response_window_s`
    thumbs_down: int = 0  # of `settled`: rated, and not good, within that window
    unrated: int = 0  # of `settled`: not rated within it
    subjects: int = 0  # who were first seen in this step and arm


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Both arms of one step; the watch's step is `len(CanarySettings.shares)`."""

    step: int
    baseline: ArmCounts
    canary: ArmCounts
    stratum: str = ""  # where the rollout is stratified; a step then has several of these


@dataclass(frozen=True, slots=True)
class RolloutCounts:
    """All that a verdict looks at; `trailing_canary_errors` have no good answer after them."""

    steps: tuple[StepCounts, ...] = ()
    trailing_canary_errors: int = 0


def arm_total(arms: Iterable[ArmCounts]) -> ArmCounts:
    """Return the sum of an arm's counts over steps."""
    rows = list(arms)
    sums = {f.name: sum(getattr(row, f.name) for row in rows) for f in fields(ArmCounts)}
    return ArmCounts(**sums)


def strata_of(
    steps: Sequence[StepCounts], tally: Callable[[ArmCounts], Tally], rules: CanarySettings
) -> list[Stratum]:
    """Return what `tally` counts as the e-process takes it: steps of one stratum are a group."""
    return [
        Stratum(
            tally(step.baseline), tally(step.canary), step.stratum if rules.pool_steps else None
        )
        for step in steps
    ]


def votes_of(arm: ArmCounts) -> Tally:
    """Return an arm's good ratings, and the others."""
    return Tally(arm.good, arm.ratings - arm.good)


def step_totals(steps: Sequence[StepCounts]) -> list[StepCounts]:
    """Return the counts of each step over its strata, in order."""
    return [
        StepCounts(
            step,
            arm_total(s.baseline for s in steps if s.step == step),
            arm_total(s.canary for s in steps if s.step == step),
        )
        for step in sorted({s.step for s in steps})
    ]


def counts_to_dict(counts: RolloutCounts) -> dict[str, Any]:
    """Return the counts as plain JSON values, for `VerdictRecord.counts`."""
    return {
        "steps": [asdict(step) for step in counts.steps],
        "trailing_canary_errors": counts.trailing_canary_errors,
    }


def counts_from_dict(plain: dict[str, Any]) -> RolloutCounts:
    """Return the counts that `counts_to_dict` wrote; what an older one did not count is 0."""
    steps = tuple(
        StepCounts(
            s["step"],
            ArmCounts(**s["baseline"]),
            ArmCounts(**s["canary"]),
            s.get("stratum", ""),
        )
        for s in plain["steps"]
    )
    return RolloutCounts(steps, plain["trailing_canary_errors"])
