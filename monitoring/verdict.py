"""Promote, hold or roll back: the canary's verdict, with every number it rests on.

DETECT → CANARY. In come the counts of a rollout, the canary's rules and the elapsed time; out
goes a `Verdict` whose numbers are plain JSON, so that it can be stored and computed again.
Pure: no store, no clock. Order of decision (DESIGN, "Rollouts"): hard breaker, harm, proof
with every guardrail shown, else hold. Under any peeking P(promote what is not better than
baseline - margin in any step) <= alpha_promote, and P(roll back by statistics what does no
harm in any step) <= alpha_roll_back + 2 alpha_guardrail; the watch spends the latter anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.settings import CanarySettings
from monitoring.eprocess import (
    Stratum,
    Tally,
    confidence_sequence,
    log_e_at_least,
    log_e_at_most,
)

Decision = Literal["promote", "hold", "roll_back"]

LOG10_CAP = 300.0  # the largest evidence that is written down: JSON knows no infinity


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """One arm of one step: all exposures, and one rating for each subject who gave any."""

    exposures: int = 0
    ratings: int = 0
    good: int = 0  # of `ratings`
    errors: int = 0  # of `exposures`
    slow: int = 0  # of `exposures`: answers that took longer than `latency_over_s`


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Both arms of one step; the watch's step is `len(CanarySettings.shares)`."""

    step: int
    baseline: ArmCounts
    canary: ArmCounts


@dataclass(frozen=True, slots=True)
class RolloutCounts:
    """All that a verdict looks at; `trailing_canary_errors` have no good answer after them."""

    steps: tuple[StepCounts, ...] = ()
    trailing_canary_errors: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, its reason in one line and its numbers as plain JSON values."""

    decision: Decision
    reason: str
    numbers: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """An e-value as its logarithm, with the threshold 1/alpha that it must reach."""

    log_e: float
    alpha: float

    @property
    def reached(self) -> bool:
        """Whether it is strong enough to act on."""
        return self.log_e >= -math.log(self.alpha)

    def __str__(self) -> str:
        return f"E={_capped_log10(self.log_e)[1]:.3g} of {1 / self.alpha:.3g}"

    def plain(self) -> dict[str, float]:
        """Return it as JSON values, large ones capped."""
        log10, value = _capped_log10(self.log_e)
        return {"log10": log10, "value": value, "needed": 1 / self.alpha}


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A share that the canary may raise by at most `tolerance`."""

    name: str
    tolerance: float
    harm: Evidence  # against "canary <= baseline + tolerance"
    safe: Evidence  # against "canary >= baseline + tolerance"


@dataclass(frozen=True, slots=True)
class Findings:
    """The evidence in one set of counts."""

    better: Evidence  # against "canary <= baseline - margin", on ratings
    worse: Evidence  # against "canary >= baseline", on ratings
    guardrails: tuple[Guardrail, ...]
    ratings: int
    trailing_canary_errors: int
    numbers: dict[str, Any]


def judge(
    counts: RolloutCounts, rules: CanarySettings, *, elapsed_s: float, refused: str | None = None
) -> Verdict:
    """Return the verdict on a rollout in canary, `elapsed_s` seconds after it entered that state.

    `refused` is the engine's message when it cannot serve the adapter. All steps of `counts`
    are judged together.
    """
    findings = _find(counts, rules, {"elapsed_s": elapsed_s, "refused": refused})
    harm = _harm(findings, rules, refused)
    if harm is not None:
        return Verdict("roll_back", harm, findings.numbers)
    missing = _missing(findings, rules, elapsed_s)
    if missing:
        return Verdict("hold", "; ".join(missing), findings.numbers)
    return Verdict("promote", _proof(findings, rules), findings.numbers)


def judge_watch(
    counts: RolloutCounts, rules: CanarySettings, *, refused: str | None = None
) -> Verdict:
    """Return the verdict on a promoted rollout in its watch: roll back or hold.

    Judges the watch's own step only, with the holdback as baseline: the canary's steps spoke
    for the adapter, and multiplied in they would hide what has gone wrong since.
    """
    own = tuple(s for s in counts.steps if s.step >= len(rules.shares))
    watched = RolloutCounts(own, counts.trailing_canary_errors)
    findings = _find(watched, rules, {"elapsed_s": None, "refused": refused})
    harm = _harm(findings, rules, refused)
    if harm is not None:
        return Verdict("roll_back", harm, findings.numbers)
    return Verdict("hold", f"no harm shown: worse {findings.worse}", findings.numbers)


def counts_to_dict(counts: RolloutCounts) -> dict[str, Any]:
    """Return the counts as plain JSON values, for `VerdictRecord.counts`."""
    return {
        "steps": [asdict(step) for step in counts.steps],
        "trailing_canary_errors": counts.trailing_canary_errors,
    }


def counts_from_dict(plain: dict[str, Any]) -> RolloutCounts:
    """Return the counts that `counts_to_dict` wrote."""
    steps = tuple(
        StepCounts(s["step"], ArmCounts(**s["baseline"]), ArmCounts(**s["canary"]))
        for s in plain["steps"]
    )
    return RolloutCounts(steps, plain["trailing_canary_errors"])


def arm_total(arms: Iterable[ArmCounts]) -> ArmCounts:
    """Return the sum of an arm's counts over steps."""
    rows = list(arms)
    return ArmCounts(
        exposures=sum(a.exposures for a in rows),
        ratings=sum(a.ratings for a in rows),
        good=sum(a.good for a in rows),
        errors=sum(a.errors for a in rows),
        slow=sum(a.slow for a in rows),
    )


def _find(counts: RolloutCounts, rules: CanarySettings, context: dict[str, Any]) -> Findings:
    votes = _strata(counts, lambda arm: Tally(arm.good, arm.ratings - arm.good))
    better = Evidence(log_e_at_most(votes, -rules.margin), rules.alpha_promote)
    worse = Evidence(log_e_at_least(votes, 0.0), rules.alpha_roll_back)
    guardrails = _guardrails(counts, rules)
    baseline = arm_total(step.baseline for step in counts.steps)
    canary = arm_total(step.canary for step in counts.steps)
    numbers = context | {
        "trailing_canary_errors": counts.trailing_canary_errors,
        "evidence": {"better": better.plain(), "worse": worse.plain()},
        "guardrails": {
            g.name: {"tolerance": g.tolerance, "harm": g.harm.plain(), "safe": g.safe.plain()}
            for g in guardrails
        },
        "difference": _difference(votes, rules),
        "arms": {"baseline": _arm_numbers(baseline), "canary": _arm_numbers(canary)},
    }
    ratings = baseline.ratings + canary.ratings
    return Findings(better, worse, guardrails, ratings, counts.trailing_canary_errors, numbers)


def _guardrails(counts: RolloutCounts, rules: CanarySettings) -> tuple[Guardrail, ...]:
    errors = _strata(counts, lambda arm: Tally(arm.errors, arm.exposures - arm.errors))
    slow = _strata(counts, lambda arm: Tally(arm.slow, arm.exposures - arm.slow))
    return (
        _guardrail("error", errors, rules.error_tolerance, rules),
        _guardrail("latency", slow, rules.latency_tolerance, rules),
    )


def _guardrail(
    name: str, strata: Sequence[Stratum], tolerance: float, rules: CanarySettings
) -> Guardrail:
    harm = Evidence(log_e_at_most(strata, tolerance), rules.alpha_guardrail)
    safe = Evidence(log_e_at_least(strata, tolerance), rules.alpha_promote)
    return Guardrail(name, tolerance, harm, safe)


def _strata(counts: RolloutCounts, tally: Callable[[ArmCounts], Tally]) -> list[Stratum]:
    return [Stratum(tally(step.baseline), tally(step.canary)) for step in counts.steps]


def _harm(findings: Findings, rules: CanarySettings, refused: str | None) -> str | None:
    """Return why the canary must go at once, or None."""
    if refused is not None:
        return f"the engine refuses the adapter: {refused}"
    in_a_row = findings.trailing_canary_errors
    if in_a_row >= rules.breaker_errors:
        return f"{in_a_row} canary errors in a row (the breaker trips at {rules.breaker_errors})"
    if findings.worse.reached:
        return f"rated worse than the baseline: {findings.worse}"
    for guardrail in findings.guardrails:
        if guardrail.harm.reached:
            allowed = f"baseline + {guardrail.tolerance:g}"
            return f"{guardrail.name} guardrail: share above {allowed}: {guardrail.harm}"
    return None


def _missing(findings: Findings, rules: CanarySettings, elapsed_s: float) -> list[str]:
    """Return what a promotion still lacks."""
    missing = [] if findings.better.reached else [f"promotion {findings.better}"]
    missing += [
        f"{guardrail.name} guardrail not shown yet: {guardrail.safe}"
        for guardrail in findings.guardrails
        if not guardrail.safe.reached
    ]
    if findings.ratings < rules.min_ratings:
        missing.append(f"{findings.ratings} of {rules.min_ratings} ratings")
    if elapsed_s < rules.min_s:
        missing.append(f"{elapsed_s:.0f} of {rules.min_s:.0f} s")
    return missing


def _proof(findings: Findings, rules: CanarySettings) -> str:
    beaten = "the baseline" if rules.margin == 0.0 else f"the baseline - {rules.margin:g}"
    shown = ", ".join(f"{g.name} {g.safe}" for g in findings.guardrails)
    return (
        f"rated better than {beaten}: {findings.better} "
        f"from {findings.ratings} ratings; guardrails shown: {shown}"
    )


def _difference(votes: Sequence[Stratum], rules: CanarySettings) -> dict[str, float]:
    alpha_low, alpha_high = rules.alpha_promote, rules.alpha_roll_back
    interval = confidence_sequence(votes, alpha_low=alpha_low, alpha_high=alpha_high)
    coverage = 1.0 - max(alpha_low, alpha_high)
    return {"low": interval.low, "high": interval.high, "coverage": coverage}


def _arm_numbers(arm: ArmCounts) -> dict[str, Any]:
    return asdict(arm) | {
        "good_share": _share(arm.good, arm.ratings),
        "error_share": _share(arm.errors, arm.exposures),
        "slow_share": _share(arm.slow, arm.exposures),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _capped_log10(log_e: float) -> tuple[float, float]:
    log10 = min(log_e / math.log(10.0), LOG10_CAP)
    return log10, 10.0**log10
