"""When each rollout is decided, and how: by our verdict, and by three rivals on the same streams.

Streams come in; out comes for each rollout what was decided and at which look. The order of our
decision is that of `monitoring.verdict` (the tests hold it to that); the rivals look at ratings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.canary.evidence import (
    log_better,
    log_harm,
    log_mismatch,
    log_safe,
    log_worse,
    so_far,
    votes,
)
from bench.canary.figures import OURS
from bench.canary.streams import Streams
from core.canary_settings import GUARDRAILS, CanarySettings

HOLD, PROMOTE, ROLL_BACK, PAUSE = 0, 1, 2, 3
KAYENTA_CONFIDENCE = 0.98  # of its Mann-Whitney judge. Source: Kayenta, MannWhitneyClassifier
LOOKS_AT_ONCE = 100  # what comes after a rollout's end need not be reckoned
SLOWEST_FIRST = tuple(reversed(GUARDRAILS))  # feedback is what proves its safety last
EXPECTED_LOSS = 0.005  # half a point of good ratings. Source: Stucchio 2015, Bayesian A/B testing

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """For each rollout: what was decided, and at which look (the last one, if nothing was)."""

    decision: NDArray[np.int8]
    look: NDArray[np.int64]


def first(*ends: tuple[int, Bools]) -> Outcomes:
    """Return what came first; of two at one look the one that is named first."""
    looks = ends[0][1].shape[1]
    when = np.stack([np.where(e.any(axis=1), e.argmax(axis=1), looks) for _, e in ends])
    which = when.argmin(axis=0)
    look = when.min(axis=0)
    codes = np.array([code for code, _ in ends], dtype=np.int8)
    return Outcomes(
        np.where(look < looks, codes[which], HOLD).astype(np.int8), np.minimum(look, looks - 1)
    )


def verdict(streams: Streams, rules: CanarySettings) -> Outcomes:
    """Return our decisions."""
    roll_back = log_worse(streams) >= -math.log(rules.alpha_roll_back)
    for name in rules.guardrails:
        roll_back |= log_harm(streams, name, rules) >= -math.log(rules.alpha_guardrail)
    pause = log_mismatch(streams, rules) >= -math.log(rules.alpha_mismatch)
    ended = np.logical_or.accumulate(roll_back | pause, axis=1)
    promote = _first_safe(streams, _better(streams, rules) & ~ended, rules)
    return first((ROLL_BACK, roll_back), (PAUSE, pause), (PROMOTE, promote))


def _first_safe(streams: Streams, looks: Bools, rules: CanarySettings) -> Bools:
    """Return which of the looks see every guardrail safe, up to each rollout's first such look."""
    safe = np.zeros_like(looks)
    for begin in range(0, looks.shape[1], LOOKS_AT_ONCE):
        here = np.zeros_like(looks)
        some = slice(begin, begin + LOOKS_AT_ONCE)
        here[:, some] = looks[:, some] & ~safe.any(axis=1, keepdims=True)
        for name in SLOWEST_FIRST:
            if name in rules.guardrails:
                here &= log_safe(streams, name, rules, here) >= -math.log(rules.alpha_promote)
        safe |= here
    return safe


def proof(streams: Streams, rules: CanarySettings) -> Outcomes:
    """Return what ratings alone show by our e-process, without guardrails."""
    worse = log_worse(streams) >= -math.log(rules.alpha_roll_back)
    return first((ROLL_BACK, worse), (PROMOTE, _better(streams, rules)))


def _better(streams: Streams, rules: CanarySettings) -> Bools:
    shown = log_better(streams, rules) >= -math.log(rules.alpha_promote)
    return shown & (votes(streams) >= rules.min_ratings)


@dataclass(frozen=True)
class _Shares:
    """Ratings so far, pooled over the steps as a dashboard does."""

    n_b: Floats
    n_c: Floats
    p_b: Floats
    p_c: Floats
    enough: Bools


def _shares(streams: Streams, rules: CanarySettings) -> _Shares:
    n_b, n_c, s_b, s_c = (
        so_far(arm[name], streams).astype(np.float64)
        for name in ("votes", "good")
        for arm in (streams.baseline, streams.canary)
    )
    enough = (n_b + n_c >= rules.min_ratings) & (n_b > 0) & (n_c > 0)
    return _Shares(n_b, n_c, s_b / np.maximum(n_b, 1), s_c / np.maximum(n_c, 1), enough)


def z_test(streams: Streams, rules: CanarySettings) -> Outcomes:
    """Return the decisions of a one-sided z-test of two shares that is looked at all the time."""
    s = _shares(streams, rules)
    pooled = (s.p_b * s.n_b + s.p_c * s.n_c) / np.maximum(s.n_b + s.n_c, 1)
    variance = pooled * (1.0 - pooled) * (1.0 / np.maximum(s.n_b, 1) + 1.0 / np.maximum(s.n_c, 1))
    return _by_z(s, s.p_c - s.p_b, variance, 1.0 - rules.alpha_promote)


def mann_whitney(streams: Streams, rules: CanarySettings) -> Outcomes:
    """Return the decisions of a Mann-Whitney test (ties corrected) at Kayenta's confidence."""
    s = _shares(streams, rules)
    total = np.maximum(s.n_b + s.n_c, 2)
    good = s.p_b * s.n_b + s.p_c * s.n_c
    ties = sum(t**3 - t for t in (good, total - good)) / (total * (total - 1))
    variance = (total + 1 - ties) / (12.0 * np.maximum(s.n_b * s.n_c, 1))  # of U / (n_b n_c)
    return _by_z(s, (s.p_c - s.p_b) / 2, variance, (1.0 + KAYENTA_CONFIDENCE) / 2)


def _by_z(s: _Shares, difference: Floats, variance: Floats, confidence: float) -> Outcomes:
    z = NormalDist().inv_cdf(confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(variance > 0.0, difference / np.sqrt(variance), 0.0)
    return first((ROLL_BACK, s.enough & (score <= -z)), (PROMOTE, s.enough & (score >= z)))


def expected_loss(streams: Streams, rules: CanarySettings) -> Outcomes:
    """Return the decisions by an expected loss below half a point, from uniform priors."""
    s = _shares(streams, rules)
    means, variances = zip(*(_posterior(s.p_b, s.n_b), _posterior(s.p_c, s.n_c)), strict=True)
    spread = np.sqrt(variances[0] + variances[1])
    gain = means[1] - means[0]
    loss_if_promoted, loss_if_not = _positive_part(-gain, spread), _positive_part(gain, spread)
    return first(
        (ROLL_BACK, s.enough & (loss_if_not < EXPECTED_LOSS) & (gain < 0.0)),
        (PROMOTE, s.enough & (loss_if_promoted < EXPECTED_LOSS) & (gain >= 0.0)),
    )


def _posterior(share: Floats, count: Floats) -> tuple[Floats, Floats]:
    mean = (share * count + 1.0) / (count + 2.0)
    return mean, mean * (1.0 - mean) / (count + 3.0)


def _positive_part(mean: Floats, spread: Floats) -> Floats:
    """Return E[max(X, 0)] of a normal X."""
    z = mean / spread
    density = np.exp(-(z**2) / 2.0) / math.sqrt(2.0 * math.pi)
    return spread * density + mean * _normal_cdf(z)


def _normal_cdf(z: Floats) -> Floats:
    """Return the normal distribution by Abramowitz and Stegun 26.2.17, to 8e-8."""
    t = 1.0 / (1.0 + 0.2316419 * np.abs(z))
    weights = (0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
    tail = np.exp(-(z**2) / 2.0) / math.sqrt(2.0 * math.pi)
    tail = tail * sum(w * t**power for power, w in enumerate(weights, start=1))
    return np.where(z > 0.0, 1.0 - tail, tail)


Rule = Callable[[Streams, CanarySettings], Outcomes]
RULES: dict[str, Rule] = {
    OURS: verdict,
    "ratings alone": proof,
    "z-test, watched": z_test,
    "Mann-Whitney": mann_whitney,
    "expected loss": expected_loss,
}
