"""The arithmetic of the benchmark: how much is simulated, rates and their limits, delays, goals.

Pure: what was said of windows comes in, numbers go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from bench.drift.checks import Told, Volume
from bench.drift.traffic import DRIFTS
from bench.report import Goal

GOAL_ALARMS = 0.01  # at most 1 false alarm per 100 checks: what `drift.alpha` promises
GOAL_FOUND = 0.95  # of stories, within the stated windows
CONFIDENCE = 0.95
# Windows of drifted traffic within which something is said: 2,000 rows each
STATED = dict.fromkeys(DRIFTS, 2) | {"rating -5 points": 10}


VOLUME = Volume()


@dataclass(frozen=True)
class Extent:
    """How much to simulate."""

    calm: int = 1_200  # stories without drift, each with its own reference
    calm_windows: int = 2
    drifted: int = 24  # stories of each drift
    drifted_windows: int = 3
    slow_windows: int = 10  # of drifts that are stated to take long
    evidently_calm: int = 120  # of these stories Evidently judges the last window, too
    evidently_drifted: int = 6
    volume: Volume = VOLUME

    def windows(self, drift: str) -> int:
        """Return how many windows of a drift are simulated."""
        return self.slow_windows if STATED[drift] > self.drifted_windows else self.drifted_windows


QUICK = Extent(
    calm=16,
    drifted=2,
    slow_windows=4,
    evidently_calm=1,
    evidently_drifted=0,
    volume=Volume(reference=1_500, window=1_000, vectors=100),
)


def rate(alarms: int, checks: int) -> dict[str, Any]:
    """Return the share of alarms with its exact one-sided upper limit.

    Source: Clopper and Pearson 1934.
    """
    if not checks:
        return {"alarms": 0, "checks": 0, "share": None, "upper": None}
    upper = (
        1.0 if alarms == checks else float(stats.beta.ppf(CONFIDENCE, alarms + 1, checks - alarms))
    )
    return {"alarms": alarms, "checks": checks, "share": alarms / checks, "upper": upper}


def calm_numbers(told: Sequence[Told]) -> dict[str, Any]:
    """Return how often something was said where nothing changed.

    Limits are of the stories' last windows, which are independent of each other.
    """
    last = [one.severities[-1] for one in told]
    every = [severity for one in told for severity in one.severities]
    others = [drifted for one in told for drifted in one.evidently]
    asked = [one.evidently_seconds for one in told if one.evidently]
    return {
        "checks_in_all": len(every),
        "alarms_in_all": sum(severity != "none" for severity in every),
        "watch_or_act": rate(sum(severity != "none" for severity in last), len(last)),
        "act": rate(sum(severity == "act" for severity in last), len(last)),
        "evidently": rate(sum(others), len(others)),
        "seconds_a_check": float(np.mean([one.seconds for one in told])),
        "evidently_seconds_a_check": _mean(asked),
    }


def drift_numbers(drift: str, told: Sequence[Told], windows: int) -> dict[str, Any]:
    """Return the delays of a drift in windows; None where it was not found in those simulated."""
    watched = [_first(one.severities[1:], {"watch", "act"}) for one in told]
    acted = [_first(one.severities[1:], {"act"}) for one in told]
    others = [drifted for one in told for drifted in one.evidently]
    within = sum(delay is not None and delay <= STATED[drift] for delay in watched)
    return {
        "stories": len(told),
        "windows": windows,
        "stated_windows": STATED[drift],
        "found_within_stated": within / len(told),
        "watch_delay_median": _median(watched),
        "act_delay_median": _median(acted),
        "acted": sum(delay is not None for delay in acted) / len(told),
        "watch_delays": watched,
        "act_delays": acted,
        "evidently": rate(sum(others), len(others)),
    }


def _first(severities: Sequence[str], wanted: set[str]) -> int | None:
    return next((place for place, one in enumerate(severities, start=1) if one in wanted), None)


def _median(delays: Sequence[int | None]) -> float | None:
    """Return the median delay, None where that story was not found in time."""
    ordered = sorted(delay if delay is not None else np.inf for delay in delays)
    median = float(np.median(ordered))
    return median if np.isfinite(median) else None


def _mean(seconds: Sequence[float]) -> float | None:
    return float(np.mean(seconds)) if seconds else None


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goals; what was not measured is not met."""
    upper = result["calm"]["watch_or_act"]["upper"]
    alarms = Goal(
        "false alarms per check, all columns, 95 % upper limit",
        GOAL_ALARMS,
        upper,
        "share",
        upper is not None and upper <= GOAL_ALARMS,
    )
    found = [
        Goal(
            f"{drift}: found within {one['stated_windows']} windows",
            GOAL_FOUND,
            one["found_within_stated"],
            "share",
            one["found_within_stated"] >= GOAL_FOUND,
        )
        for drift, one in result["drifts"].items()
    ]
    return [alarms, *found]
