"""The verdict's evidence over streams: log E of each rollout at all of its looks, or at some.

Streams come in, arrays over rollouts and looks go out. The bets are those of `monitoring.eprocess`,
and the tests hold one to the other. Looks that were not asked for have minus infinity.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.canary.streams import Streams
from bench.canary.vectors import (
    Cells,
    log_mixture,
    log_mixtures,
    log_sup_at_most,
    log_without,
)
from core.canary_settings import CanarySettings, GuardrailName
from monitoring.eprocess import TOGETHER, second_bet, weight_at_most
from monitoring.guardrails import KINDS

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


def log_better(streams: Streams, rules: CanarySettings) -> Floats:
    """Return log E against "canary <= baseline - margin" at each look."""
    cells = _cells(streams, "good", "votes")
    return log_e_at_most(cells, -rules.margin, streams, _all(streams))


def log_worse(streams: Streams) -> Floats:
    """Return log E against "canary >= baseline" at each look."""
    cells = _cells(streams, "good", "votes").exchanged()
    return log_e_at_most(cells, 0.0, streams, _all(streams))


def log_harm(streams: Streams, name: GuardrailName, rules: CanarySettings) -> Floats:
    """Return log E against "canary <= baseline + tolerance" where it may be over 1.

    It is not while the canary's share is that low in every step: no shares are likelier then.
    """
    cells, tolerance = _cells(streams, name, "exposures"), KINDS[name].tolerance(rules)
    hits, misses = cells.canary_hits, cells.canary_misses
    baseline = cells.baseline_hits / np.maximum(1, cells.baseline_hits + cells.baseline_misses)
    above = hits / np.maximum(1, hits + misses) - baseline > tolerance
    for last in _lasts(streams):
        above[:, last + 1 :] |= above[:, last : last + 1]
    return log_e_at_most(cells, tolerance, streams, above)


def log_safe(streams: Streams, name: GuardrailName, rules: CanarySettings, looks: Bools) -> Floats:
    """Return log E against "canary >= baseline + tolerance" at the looks."""
    cells, tolerance = _cells(streams, name, "exposures"), KINDS[name].tolerance(rules)
    return log_e_at_most(cells.exchanged(), -tolerance, streams, looks)


def log_e_at_most(cells: Cells, difference: float, streams: Streams, looks: Bools) -> Floats:
    """Return log E at the looks: its bet on each step for itself, and that on all together."""
    row, look = np.nonzero(looks)
    now = Cells(*(counts[row, look] for counts in cells.arrays()))
    log_sup, apart = log_sup_at_most(now, difference), log_mixtures(now)
    pooled = [counts.copy() for counts in now.arrays()]
    for step, last in enumerate(_lasts(streams)):
        end, later = Cells(*(c[:, last] for c in cells.arrays())), streams.step[look] > step
        log_sup[later] += log_sup_at_most(end, difference)[row[later]]
        apart[later] += log_mixtures(end)[row[later]]
        for total, counts in zip(pooled, end.arrays(), strict=True):
            total[later] += counts[row[later]]
    found = np.full(looks.shape, -np.inf)
    found[row, look] = _log_e(Cells(*pooled), apart, log_sup, difference)
    return found


def _log_e(pooled: Cells, apart: Floats, log_sup: Floats, difference: float) -> Floats:
    narrowed = log_without(log_mixtures(pooled) - log_sup, weight_at_most(difference))
    hits = pooled.baseline_hits + pooled.canary_hits
    alike = log_mixture(hits, pooled.baseline_misses + pooled.canary_misses) - log_sup
    total = apart - log_sup + math.log(1.0 - TOGETHER)
    for weight, log_e in second_bet(narrowed, alike, difference):
        total = np.logaddexp(total, log_e + math.log(weight))
    return total


def log_mismatch(streams: Streams, rules: CanarySettings) -> Floats:
    """Return log E against "each subject is in the canary with the step's share"."""
    canary, baseline = streams.canary["subjects"], streams.baseline["subjects"]
    share = np.asarray(rules.shares)[streams.step]
    expected = canary * np.log(share) + baseline * np.log1p(-share)
    return _over_steps(log_mixture(canary, baseline) - expected, streams)


def votes(streams: Streams) -> Ints:
    """Return the votes of both arms so far: the ratings that count."""
    return so_far(streams.baseline["votes"] + streams.canary["votes"], streams)


def ratings(streams: Streams) -> Ints:
    """Return all ratings so far, also those that count for nothing."""
    return so_far(streams.baseline["rated"] + streams.canary["rated"], streams)


def so_far(counts: Ints, streams: Streams) -> Ints:
    """Return counts since the beginning, from counts since each step's."""
    return np.asarray(_over_steps(counts.astype(np.float64), streams), dtype=np.int32)


def _over_steps(values: Floats, streams: Streams) -> Floats:
    """Add to each look what the steps before had come to at their last look."""
    total = values.copy()
    for last in _lasts(streams):
        total[:, last + 1 :] += values[:, last : last + 1]
    return total


def _lasts(streams: Streams) -> list[int]:
    """Return the last look of each step but the newest."""
    return [int(place) for place in np.flatnonzero(np.diff(streams.step))]


def _cells(streams: Streams, hits: str, of: str) -> Cells:
    b, c = streams.baseline, streams.canary
    return Cells(b[hits], b[of] - b[hits], c[hits], c[of] - c[hits])


def _all(streams: Streams) -> Bools:
    return np.ones((len(streams.baseline["votes"]), len(streams.step)), dtype=bool)
