"""How many more ratings a rollout will need: "about 1,900 more ratings at 50 %".

DETECT → CANARY. The counts so far and the rules come in; out goes an estimate, or why there is
none. The evidence is followed on as if from now on each outcome came with the share seen so far,
at the share of subjects that the newest step has: a middling course, not a promise. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.canary_settings import CanarySettings
from monitoring.arms import RolloutCounts, arm_total, strata_of, votes_of
from monitoring.eprocess import Stratum, Tally, log_e_at_least, log_e_at_most
from monitoring.guardrails import KINDS, Guardrail
from monitoring.mismatch import share_of_step

MIN_OUTCOMES = 10  # of each arm: the fewest whose share says anything. Our choice
FARTHEST = 1_000_000  # more is "not in sight"

LogE = Callable[[Sequence[Stratum]], float]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is missing to a decision, over both arms; None: not known, and `says` tells why."""

    decision: Literal["promote", "roll_back"] | None
    ratings: int | None
    exposures: int | None
    seconds: float | None  # at the pace so far
    share: float  # of subjects in the canary arm
    says: str

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Arms:
    """Estimated shares of an outcome, and how unsure their difference is."""

    baseline: float
    canary: float
    error: float

    @property
    def difference(self) -> float:
        return self.canary - self.baseline


def forecast(
    counts: RolloutCounts,
    guardrails: Sequence[Guardrail],
    rules: CanarySettings,
    elapsed_s: float,
) -> Forecast:
    """Return what a rollout in canary that holds still needs."""
    newest = max((step.step for step in counts.steps), default=0)
    share = share_of_step(newest, rules)
    votes = strata_of(counts.steps, votes_of, rules)
    arms = _estimate(votes)
    if arms is None:
        return _unknown(share, f"fewer than {MIN_OUTCOMES} ratings in an arm")
    current = [place for place, step in enumerate(counts.steps) if step.step == newest]
    path = _Path(votes, current, arms, share)
    worse = _ratings_to_worse(path, rules)
    better = _ratings_to_better(path, rules)
    if worse is not None and (better is None or worse < better):
        return _known("roll_back", worse, None, counts, share, elapsed_s)
    if better is None:
        return _unknown(share, "the arms' ratings look equal so far")
    return _promotion(counts, guardrails, rules, better, share, elapsed_s)


@dataclass(frozen=True, slots=True)
class _Path:
    """Outcomes so far, the strata that grow, and the shares with which they do."""

    strata: Sequence[Stratum]
    growing: Sequence[int]
    arms: _Arms
    share: float

    def after(self, more: int) -> list[Stratum]:
        """Return the strata when `more` outcomes have come, spread evenly over those that grow."""
        each = more / len(self.growing)
        canary, baseline = each * self.share, each * (1.0 - self.share)
        return [
            Stratum(
                _grown(stratum.baseline, baseline, self.arms.baseline),
                _grown(stratum.canary, canary, self.arms.canary),
                stratum.group,
            )
            if place in self.growing
            else stratum
            for place, stratum in enumerate(self.strata)
        ]

    def outcomes_to(self, log_e: LogE, alpha: float) -> int | None:
        """Return how many more outcomes lead to 1/alpha, or None if they are not in sight."""
        needed = -math.log(alpha)
        if log_e(self.strata) >= needed:
            return 0
        low, high = 0, 1
        while log_e(self.after(high)) < needed:
            low, high = high, 2 * high
            if high > FARTHEST:
                return None
        while high - low > max(1, low // 50):  # to 2 %: two digits are told
            middle = (low + high) // 2
            low, high = (low, middle) if log_e(self.after(middle)) >= needed else (middle, high)
        return high


def _ratings_to_better(path: _Path, rules: CanarySettings) -> int | None:
    """Return the ratings to a proof, None where the canary does not look better than allowed."""
    if path.arms.difference + rules.margin <= path.arms.error:
        return None
    return path.outcomes_to(
        lambda s: log_e_at_most(s, -rules.margin, focused=rules.focus_bets), rules.alpha_promote
    )


def _ratings_to_worse(path: _Path, rules: CanarySettings) -> int | None:
    if path.arms.difference >= -path.arms.error:
        return None
    return path.outcomes_to(
        lambda s: log_e_at_least(s, 0.0, focused=rules.focus_bets), rules.alpha_roll_back
    )


def _promotion(
    counts: RolloutCounts,
    guardrails: Sequence[Guardrail],
    rules: CanarySettings,
    ratings: int,
    share: float,
    elapsed_s: float,
) -> Forecast:
    """Return what a promotion needs beside its proof: its fewest ratings, and every guardrail."""
    total = arm_total(arm for s in counts.steps for arm in (s.baseline, s.canary))
    ratings = max(ratings, rules.min_ratings - total.ratings)
    slowest, exposures = None, 0
    for guardrail in guardrails:
        more = _exposures_to_safe(counts, guardrail, rules, share)
        if more is None:
            return _unknown(share, f"the {guardrail.name} guardrail is not in sight of safe")
        if more > exposures:
            slowest, exposures = guardrail.name, more
    if slowest is not None and exposures * total.ratings > ratings * total.exposures:
        return _known("promote", ratings, (exposures, slowest), counts, share, elapsed_s)
    return _known("promote", ratings, None, counts, share, elapsed_s)


def _exposures_to_safe(
    counts: RolloutCounts, guardrail: Guardrail, rules: CanarySettings, share: float
) -> int | None:
    if guardrail.safe.reached:
        return 0
    strata = strata_of(counts.steps, KINDS[guardrail.name].tally, rules)
    arms = _estimate(strata)
    tolerance = KINDS[guardrail.name].tolerance(rules)
    if arms is None or arms.difference >= tolerance:
        return None
    newest = max(step.step for step in counts.steps)
    current = [place for place, step in enumerate(counts.steps) if step.step == newest]
    path = _Path(strata, current, arms, share)
    return path.outcomes_to(
        lambda s: log_e_at_least(s, tolerance, focused=rules.focus_bets), rules.alpha_promote
    )


def _estimate(strata: Sequence[Stratum]) -> _Arms | None:
    """Return each arm's share over all strata, or None while one has too few outcomes."""
    baseline, canary = _sum(s.baseline for s in strata), _sum(s.canary for s in strata)
    sizes = [tally.hits + tally.misses for tally in (baseline, canary)]
    if min(sizes) < MIN_OUTCOMES:
        return None
    shares = [
        (tally.hits + 0.5) / (size + 1)
        for tally, size in zip((baseline, canary), sizes, strict=True)
    ]
    variance = sum(p * (1.0 - p) / n for p, n in zip(shares, sizes, strict=True))
    return _Arms(shares[0], shares[1], math.sqrt(variance))


def _known(
    decision: Literal["promote", "roll_back"],
    ratings: int,
    guarded: tuple[int, str] | None,
    counts: RolloutCounts,
    share: float,
    elapsed_s: float,
) -> Forecast:
    """Return a forecast in ratings; `guarded` are the exposures of the guardrail that is slower."""
    total = arm_total(arm for s in counts.steps for arm in (s.baseline, s.canary))
    rate = total.ratings / total.exposures if total.exposures else 1.0
    exposures = math.ceil(ratings / rate)
    why = ""
    if guarded is not None:
        exposures = guarded[0]
        ratings = math.ceil(exposures * rate)
        why = f" (the {guarded[1]} guardrail needs {_round(exposures):,} exposures)"
    seconds = elapsed_s * ratings / total.ratings if elapsed_s > 0.0 else None
    to = "a promotion" if decision == "promote" else "a roll-back"
    pace = "" if seconds is None else f", in some {_duration(seconds)} at the pace so far"
    says = f"about {_round(ratings):,} more ratings at {share:.0%} to {to}{why}{pace}"
    return Forecast(decision, ratings, exposures, seconds, share, says)


def _unknown(share: float, why: str) -> Forecast:
    return Forecast(None, None, None, None, share, f"not known: {why}")


def _sum(tallies: Any) -> Tally:
    rows: list[Tally] = list(tallies)
    return Tally(sum(t.hits for t in rows), sum(t.misses for t in rows))


def _grown(tally: Tally, more: float, share: float) -> Tally:
    outcomes, hits = round(more), round(more * share)
    return Tally(tally.hits + hits, tally.misses + outcomes - hits)


def _round(number: int) -> int:
    """Return the number with two digits that mean something."""
    return int(float(f"{number:.2g}"))


def _duration(seconds: float) -> str:
    for unit_s, unit in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2.0 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} seconds"
