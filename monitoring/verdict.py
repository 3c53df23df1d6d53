"""Promote, hold or roll back: the canary's verdict, with every number it rests on.

DETECT → CANARY. In come the counts of a rollout, the canary's rules and the elapsed time; out
goes a `Verdict` whose numbers are plain JSON, so that it can be stored and computed again.
Pure: no store, no clock. Order of decision (DESIGN, "Rollouts"): hard breaker, harm, arms that
are not what they should be, proof with every guardrail shown, else hold. Under any peeking
P(promote what is not better than baseline - margin in any step and stratum, or beyond a
guardrail's tolerance in all of them) <= alpha_promote, and P(roll back by statistics what does no
harm in any of them) <= alpha_roll_back + alpha_guardrail for each guardrail that is on; the watch
spends the latter anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.canary_settings import CanarySettings
from monitoring.arms import (
    ArmCounts,
    RolloutCounts,
    arm_total,
    strata_of,
    votes_of,
)
from monitoring.eprocess import (
    Stratum,
    confidence_sequence,
    log_e_at_least,
    log_e_at_most,
)
from monitoring.evidence import Evidence
from monitoring.forecast import forecast
from monitoring.guardrails import Guardrail, guardrails
from monitoring.mismatch import mismatch

Decision = Literal["promote", "hold", "roll_back"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, its reason in one line and its numbers as plain JSON values.

    `pause`: hold, and send nobody to the canary until a person has looked.
    """

    decision: Decision
    reason: str
    numbers: dict[str, Any]
    pause: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """The evidence in one set of counts."""

    better: Evidence  # against "canary <= baseline - margin", on ratings
    worse: Evidence  # against "canary >= baseline", on ratings
    guardrails: tuple[Guardrail, ...]
    mismatch: Evidence | None  # against "the arms have the subjects that they should"
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
    amiss = _amiss(findings)
    if amiss is not None:
        return Verdict("hold", amiss, findings.numbers, pause=True)
    missing = _missing(findings, rules, elapsed_s)
    if missing:
        expected = forecast(counts, findings.guardrails, rules, elapsed_s).plain()
        return Verdict("hold", "; ".join(missing), findings.numbers | {"forecast": expected})
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
    said = f"no harm shown: worse {findings.worse}"
    amiss = _amiss(findings)
    return Verdict("hold", f"{said}; {amiss}" if amiss else said, findings.numbers)


def _find(counts: RolloutCounts, rules: CanarySettings, context: dict[str, Any]) -> Findings:
    votes = strata_of(counts.steps, votes_of, rules)
    better = Evidence(
        log_e_at_most(votes, -rules.margin, focused=rules.focus_bets), rules.alpha_promote
    )
    worse = Evidence(log_e_at_least(votes, 0.0, focused=rules.focus_bets), rules.alpha_roll_back)
    guarded = guardrails(counts.steps, rules)
    unequal = mismatch(counts.steps, rules)
    baseline = arm_total(step.baseline for step in counts.steps)
    canary = arm_total(step.canary for step in counts.steps)
    numbers = context | {
        "trailing_canary_errors": counts.trailing_canary_errors,
        "evidence": {"better": better.plain(), "worse": worse.plain()},
        "guardrails": {guardrail.name: guardrail.plain() for guardrail in guarded},
        "mismatch": unequal and unequal.plain(),
        "difference": _difference(votes, rules),
        "arms": {"baseline": _arm_numbers(baseline), "canary": _arm_numbers(canary)},
    }
    ratings = baseline.ratings + canary.ratings
    in_a_row = counts.trailing_canary_errors
    return Findings(better, worse, guarded, unequal, ratings, in_a_row, numbers)


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


def _amiss(findings: Findings) -> str | None:
    """Return what makes the arms no fair comparison, or None."""
    if findings.mismatch is None or not findings.mismatch.reached:
        return None
    return (
        f"sample ratio mismatch: {findings.mismatch}: the arms do not have the subjects that the "
        "share gives them, so something is lost in one of them"
    )


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
