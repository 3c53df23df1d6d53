"""The arithmetic of the benchmark: how much is measured, percentiles, goals.

Pure: numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report import Goal, at_most

GOAL_P95_MS = 200.0  # our goal: a page that comes at once
GOAL_INTERACTIONS = 1_000_000
FIGURES = {"p95_ms": "asked before", "first_p95_ms": "first of a process, nothing cached"}
DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Extent:
    """How much to measure. The defaults are those of the goals."""

    interactions: int = GOAL_INTERACTIONS
    days: int = 30
    rated_one_in: int = 4
    verdicts: int = 5_000  # of the rollout that is shown
    members: int = 50_000  # of the newest dataset: the policy reads them all
    windows: int = 360  # of features, of each of two adapters
    acts: int = 100_000  # in the audit log
    warm_up: int = 3
    times: int = 60  # each page, when it was asked for before
    starts: int = 8  # of a console that knows nothing yet: each page once, right after


QUICK = Extent(
    interactions=50_000, verdicts=500, members=5_000, windows=60, acts=5_000, times=15, starts=2
)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def page_figures(times_ms: Sequence[float]) -> dict[str, float]:
    """Return what is told of one page."""
    return {
        "p50_ms": percentile(times_ms, 0.5),
        "p95_ms": percentile(times_ms, 0.95),
        "slowest_ms": max(times_ms),
    }


def first_figures(times_ms: Sequence[float]) -> dict[str, float]:
    """Return what is told of a page that a process is asked for the first time."""
    return {"first_p50_ms": percentile(times_ms, 0.5), "first_p95_ms": percentile(times_ms, 0.95)}


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goals; what was not measured with enough rows is not met."""
    found: list[Goal] = []
    for database in DATABASES:
        measured: Mapping[str, Any] = result.get(database) or {}
        pages: Mapping[str, Any] = measured.get("pages") or {}
        enough = measured.get("interactions", 0) >= GOAL_INTERACTIONS
        for figure, asked in FIGURES.items():
            known = [page[figure] for page in pages.values() if figure in page]
            slowest = max(known, default=None) if enough else None
            name = f"slowest page p95, {asked}, {GOAL_INTERACTIONS:,} interactions, {database}"
            found.append(at_most(name, GOAL_P95_MS, slowest, "ms"))
    return found
