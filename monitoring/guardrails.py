"""Shares that a canary may not raise: errors, slow or odd answers, displeasure, silence.

DETECT → CANARY. Counts and rules come in; out goes for each guardrail that is on the evidence of
harm and of safety. Each is one binary outcome of an exposure. What people say of an answer takes
time, so those two look at exposures that are old enough (`settled`): a share of all would be low
while answers are young, and any difference look small. Pure: no store, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.canary_settings import CanarySettings, GuardrailName
from monitoring.arms import ArmCounts, StepCounts, strata_of
from monitoring.eprocess import Tally, log_e_at_least, log_e_at_most
from monitoring.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Kind:
    """What a guardrail counts, of how many, and how much of it the rules tolerate."""

    says: str  # of an exposure that counts against its arm
    hits: Callable[[ArmCounts], int]
    of: Callable[[ArmCounts], int]
    tolerance: Callable[[CanarySettings], float]

    def tally(self, arm: ArmCounts) -> Tally:
        """Return an arm's exposures with and without the event."""
        hits = self.hits(arm)
        return Tally(hits, self.of(arm) - hits)


def _exposed(arm: ArmCounts) -> int:
    return arm.exposures


def _settled(arm: ArmCounts) -> int:
    return arm.settled


KINDS: dict[GuardrailName, Kind] = {
    "error": Kind("failed", lambda a: a.errors, _exposed, lambda r: r.error_tolerance),
    "latency": Kind("slow", lambda a: a.slow, _exposed, lambda r: r.latency_tolerance),
    "ttft": Kind("slow to begin", lambda a: a.slow_start, _exposed, lambda r: r.ttft_tolerance),
    "too_long": Kind("too long", lambda a: a.long, _exposed, lambda r: r.long_tolerance),
    "too_short": Kind("too short", lambda a: a.short, _exposed, lambda r: r.short_tolerance),
    "truncated": Kind("cut off", lambda a: a.truncated, _exposed, lambda r: r.truncated_tolerance),
    "refusal": Kind("a refusal", lambda a: a.refusals, _exposed, lambda r: r.refusal_tolerance),
    "thumbs_down": Kind(
        "disliked", lambda a: a.thumbs_down, _settled, lambda r: r.thumbs_down_tolerance
    ),
    "unrated": Kind("not rated", lambda a: a.unrated, _settled, lambda r: r.unrated_tolerance),
}


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A share that the canary may raise by at most `tolerance`."""

    name: GuardrailName
    tolerance: float
    harm: Evidence  # against "canary <= baseline + tolerance"
    safe: Evidence  # against "canary >= baseline + tolerance"
    baseline: float | None  # its share in each arm, over all steps
    canary: float | None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "tolerance": self.tolerance,
            "harm": self.harm.plain(),
            "safe": self.safe.plain(),
            "baseline": self.baseline,
            "canary": self.canary,
        }


def guardrails(steps: Sequence[StepCounts], rules: CanarySettings) -> tuple[Guardrail, ...]:
    """Return the evidence of each guardrail that the rules name, in their order."""
    return tuple(_guardrail(name, steps, rules) for name in rules.guardrails)


def _guardrail(
    name: GuardrailName, steps: Sequence[StepCounts], rules: CanarySettings
) -> Guardrail:
    kind = KINDS[name]
    strata, tolerance = strata_of(steps, kind.tally, rules), kind.tolerance(rules)
    harm = log_e_at_most(strata, tolerance, focused=rules.focus_bets)
    safe = log_e_at_least(strata, tolerance, focused=rules.focus_bets)
    return Guardrail(
        name,
        tolerance,
        harm=Evidence(harm, rules.alpha_guardrail),
        safe=Evidence(safe, rules.alpha_promote),
        baseline=_share([s.baseline for s in strata]),
        canary=_share([s.canary for s in strata]),
    )


def _share(tallies: Sequence[Tally]) -> float | None:
    hits = sum(t.hits for t in tallies)
    outcomes = hits + sum(t.misses for t in tallies)
    return hits / outcomes if outcomes else None
