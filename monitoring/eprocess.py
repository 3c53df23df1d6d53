"""Evidence about two arms that may be looked at after every single outcome.

DETECT → CANARY. In come hits and misses per step and arm; out goes the logarithm of an
e-process against "the canary's share is at most (or at least) the baseline's plus d", and
the confidence sequence of the difference. Pure: standard library only, no time, no I/O.
Knows nothing of ratings, guardrails or decisions: that is `monitoring.verdict`.

For step k and arm a with s hits and f misses, the mixture over Beta(1/2, 1/2) is

    m(s, f) = B(1/2 + s, 1/2 + f) / B(1/2, 1/2)

and the evidence against H0 multiplies over the steps, each with its own shares p:

    E(H0) = prod_k  m(s_ck, f_ck) m(s_bk, f_bk)
                    / sup_{p in H0} p_c^s_ck (1 - p_c)^f_ck p_b^s_bk (1 - p_b)^f_bk

A numerator may be any bet on the outcomes that is made before they are seen. Where strata name a
group, w = 3/4 of it is a second bet: that the shares of a group's steps are the same, with one
mixture for each of its arms that does not start anew,

    E(H0) = ((1 - w) prod_k m_k + w prod_groups m_group) / sup

which costs a factor 4 at most where that is wrong, and where it is right saves what each new step
costs: some sqrt(n) for each arm, while in a small first step there is little to be learnt.

A `focused` second bet wastes nothing on shares that H0 allows: they cannot speak against it. Where
the mixture gives H0 the weight q (1/2 for each group if d = 0), what is left of it is at least

    (m_group - q sup) / (1 - q)

so that in place of m_group / sup stands (m_group / sup - q) / (1 - q), or 0. And where H0 excludes
that the arms are alike (a canary that is worse by d), half of the second bet is just that: one
mixture for both arms, which has one share to learn instead of two.

Why it is valid: for the true p the same ratio with p in the denominator is a nonnegative
martingale that starts at 1, whatever the arms' shares of traffic, and E is never above it
while p is in H0. So by Ville's inequality P(E ever reaches 1/alpha | H0) <= alpha, under any
peeking and stopping. H0 says the same of every step; a share may drift between steps but
not within one. E is the evidence of the counts as they are now; that it was once above the
threshold counts only if somebody acted on it then.

Source: Ville 1939 (Étude critique de la notion de collectif); Krichevsky and Trofimov 1981
(the mixture); Wasserman, Ramdas and Balakrishnan 2020 (Universal inference, PNAS 117:16880);
Turner, Ly and Grünwald 2024 (E-variables for k-sample tests, JSPI 230:106116) treat the same
two streams with another e-variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

T = TypeVar("T")  # log E of one look, or of many at once

HALVINGS = 60  # of an interval of length <= 1: down to the last bit of a float
# of the numerator bet on shares that stay the same over steps; our choice, decision 0038
TOGETHER = 0.75
ALIKE = 0.5  # of that bet is on arms that are alike, where H0 excludes it; our choice
INTERVAL_HALVINGS = 24  # of [-1, 1]: the difference to within 2e-7
WEIGHT_POINTS = 2_000  # of the integral over the mixture's weights
WEIGHT_ERROR = 1e-4  # which is more than its error: a smaller weight of H0 is a smaller E


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something happened in one arm, and how often not."""

    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """Both arms during one step of the rollout.

    `group`: the strata whose shares, one bets, are the same; None in any of them: no such bet.
    """

    baseline: Tally
    canary: Tally
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """The differences canary - baseline that are not ruled out, from `low` to `high`.

    `low > high` is possible: the difference then is not the same in all steps.
    """

    low: float
    high: float


def log_e_at_most(strata: Sequence[Stratum], difference: float, *, focused: bool = False) -> float:
    """Return log E against H0: p_canary - p_baseline <= difference, in every step.

    Large: the canary's share is higher than that. Without outcomes it is 0 (E = 1); it is
    infinite when H0 makes the outcomes impossible.
    """
    log_sup = sum(_log_sup_at_most(s, difference) for s in strata)
    if log_sup == -math.inf:
        return math.inf
    apart = sum(_log_mixtures(stratum) for stratum in strata) - log_sup
    groups = {stratum.group for stratum in strata}
    if None in groups or not groups:
        return apart
    pooled = [_pooled(strata, group) for group in groups]
    together = sum(_log_mixtures(group) for group in pooled) - log_sup
    if not focused:
        return log_mean([(1.0 - TOGETHER, apart), (TOGETHER, together)])
    alike = sum(log_mixture(_total((s.baseline, s.canary))) for s in pooled) - log_sup
    narrowed = log_without(together, weight_at_most(difference) ** len(groups))
    return log_mean([(1.0 - TOGETHER, apart), *second_bet(narrowed, alike, difference)])


def log_e_at_least(strata: Sequence[Stratum], difference: float, *, focused: bool = False) -> float:
    """Return log E against H0: p_canary - p_baseline >= difference, in every step.

    Large: the canary's share is lower than that.
    """
    exchanged = [Stratum(s.canary, s.baseline, s.group) for s in strata]
    return log_e_at_most(exchanged, -difference, focused=focused)


def second_bet(narrowed: T, alike: T, difference: float) -> list[tuple[float, T]]:
    """Return the parts of a focused second bet with their weights; `alike` where H0 excludes it."""
    if difference >= 0.0:
        return [(TOGETHER, narrowed)]
    return [(TOGETHER * (1.0 - ALIKE), narrowed), (TOGETHER * ALIKE, alike)]


@cache
def weight_at_most(difference: float) -> float:
    """Return what the mixture of two arms gives to p_canary - p_baseline <= difference, or less.

    With p = sin(t)^2, t is uniform from 0 to pi / 2.
    """
    step = math.pi / 2.0 / WEIGHT_POINTS
    shares = (math.sin((place + 0.5) * step) ** 2 for place in range(WEIGHT_POINTS))
    below = math.fsum(math.asin(math.sqrt(_clip(share + difference))) for share in shares)
    return max(0.0, below * step * (2.0 / math.pi) ** 2 - WEIGHT_ERROR)


def log_without(log_e: float, weight: float) -> float:
    """Return log of (E - weight) / (1 - weight); minus infinity where nothing is left."""
    if weight == 0.0:
        return log_e
    less = math.log(weight) - log_e
    return log_e + math.log(-math.expm1(less)) - math.log1p(-weight) if less < 0.0 else -math.inf


def log_mean(parts: Sequence[tuple[float, float]]) -> float:
    """Return the log of a mean, from weights and logs; exactly that of equal parts."""
    most = max(log for _, log in parts)
    if most in (-math.inf, math.inf) or all(log == most for _, log in parts):
        return most
    return most + math.log(math.fsum(weight * math.exp(log - most) for weight, log in parts))


def confidence_sequence(
    strata: Sequence[Stratum], *, alpha_low: float, alpha_high: float
) -> Interval:
    """Return all differences that neither one-sided e-process rules out.

    At and below `low` E against "at most" has reached 1/alpha_low; at and above `high` E
    against "at least" has reached 1/alpha_high. The true difference, if it is the same in all
    steps, stays inside at all times with probability 1 - max(alpha_low, alpha_high): at the
    true shares both e-processes lie below one and the same martingale, so the errors of the
    two sides do not add up.
    """
    low = _last_ruled_out(lambda d: log_e_at_most(strata, d), alpha_low)
    high = -_last_ruled_out(lambda d: log_e_at_least(strata, -d), alpha_high)
    return Interval(low, high)


def _last_ruled_out(log_e_at: Callable[[float], float], alpha: float) -> float:
    """Return the largest d in [-1, 1] with E >= 1/alpha, for an E that falls with d; else -1."""
    ruled_out, kept = -1.0, 1.0  # d = 1 allows everything: never ruled out
    needed = -math.log(alpha)
    if log_e_at(ruled_out) < needed:
        return ruled_out
    for _ in range(INTERVAL_HALVINGS):
        middle = (ruled_out + kept) / 2
        if log_e_at(middle) >= needed:
            ruled_out = middle
        else:
            kept = middle
    return ruled_out


def _pooled(strata: Sequence[Stratum], group: str | None) -> Stratum:
    of_it = [stratum for stratum in strata if stratum.group == group]
    return Stratum(_total(s.baseline for s in of_it), _total(s.canary for s in of_it))


def _total(tallies: Iterable[Tally]) -> Tally:
    hits, misses = 0, 0
    for tally in tallies:
        hits, misses = hits + tally.hits, misses + tally.misses
    return Tally(hits, misses)


def _log_mixtures(stratum: Stratum) -> float:
    return log_mixture(stratum.baseline) + log_mixture(stratum.canary)


def log_mixture(tally: Tally) -> float:
    """Return log B(1/2 + s, 1/2 + f) / B(1/2, 1/2)."""
    return _log_beta(0.5 + tally.hits, 0.5 + tally.misses) - _log_beta(0.5, 0.5)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_sup_at_most(stratum: Stratum, difference: float) -> float:
    """Return the largest log-likelihood of one step under p_canary - p_baseline <= difference.

    The log-likelihood is concave and H0 convex: if no best pair of shares lies in H0, then the
    best one of H0 lies on its edge p_canary = p_baseline + difference.
    """
    baseline, canary = stratum.baseline, stratum.canary
    best_baseline = _best_share(baseline, if_empty=1.0)
    best_canary = _best_share(canary, if_empty=0.0)
    if best_canary - best_baseline <= difference:
        return _log_likelihood(baseline, best_baseline) + _log_likelihood(canary, best_canary)
    share = _best_share_on_edge(stratum, difference)
    return _log_likelihood(baseline, share) + _log_likelihood(canary, _clip(share + difference))


def _best_share(tally: Tally, *, if_empty: float) -> float:
    outcomes = tally.hits + tally.misses
    return tally.hits / outcomes if outcomes else if_empty  # without outcomes any share is best


def _best_share_on_edge(stratum: Stratum, difference: float) -> float:
    """Return the baseline's share that is best if the canary's is `difference` above it.

    Halves [low, high] by the sign of the slope, which falls with the share. The ends are
    taken exactly: there a share is 0 or 1, and only an arm without hits (or misses) may be.
    """
    baseline, canary = stratum.baseline, stratum.canary
    if difference == 0.0:  # both arms have one share: the pooled one
        hits = baseline.hits + canary.hits
        return hits / (hits + baseline.misses + canary.misses)
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    if low >= high or _slope(stratum, low, difference) <= 0.0:
        return low
    if _slope(stratum, high, difference) >= 0.0:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _slope(stratum, middle, difference) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _slope(stratum: Stratum, share: float, difference: float) -> float:
    """Return d/dp of the log-likelihood along the edge, at p_baseline = share."""
    other = _clip(share + difference)
    rise = _ratio(stratum.baseline.hits, share) + _ratio(stratum.canary.hits, other)
    fall = _ratio(stratum.baseline.misses, 1.0 - share) + _ratio(stratum.canary.misses, 1.0 - other)
    return rise - fall


def _ratio(count: int, share: float) -> float:
    if count == 0:
        return 0.0
    return count / share if share > 0.0 else math.inf


def _log_likelihood(tally: Tally, share: float) -> float:
    return _log_power(tally.hits, share) + _log_power(tally.misses, 1.0 - share)


def _log_power(count: int, share: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(share) if share > 0.0 else -math.inf


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))  # p + d may miss 0 or 1 by the last bit
