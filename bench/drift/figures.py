"""The arithmetic of the benchmark: how much is simulated, rates and their limits, delays, goals.

What was said of windows comes in, numbers go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from bench.drift.checks import FAMILY, Told, Volume
from bench.drift.slow import slow_fall
from bench.drift.traffic import DRIFTS
from bench.report import Goal

GOAL_ALARMS = 0.01  # at most 1 false alarm per 100 checks: what `drift.alpha` promises
GOAL_FOUND = 0.95  # of stories, within the stated windows
CONFIDENCE = 0.95
# Windows of drifted traffic within which something is said: 2,000 rows each
STATED = dict.fromkeys(DRIFTS, 2) | {"rating -5 points": 10}
# What is compared with an oracle, and judged by stories of ratings alone: few stories with all
# columns would leave 95 % open
SLOW = ("rating -5 points",)
ALONE = 15  # stories of ratings alone for each one with all columns: they cost a hundredth


VOLUME = Volume()


@dataclass(frozen=True)
class Extent:
    """How much to simulate."""

    calm: int = 3_000  # stories without drift, each with its own reference
    calm_windows: int = 2  # that are checked, the last one with a full horizon
    drifted: int = 40  # stories of each drift
    drifted_windows: int = 2
    slow_windows: int = 10  # of drifts that are stated to take long
    evidently_calm: int = 60  # of these stories Evidently judges the last window, too
    evidently_drifted: int = 6
    volume: Volume = VOLUME
    seed_family: int = field(default=FAMILY, init=False)

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
    numbers = {
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
    if drift in SLOW:
        numbers["slow"] = slow_fall(DRIFTS[drift], windows, VOLUME, ALONE * len(told))
    return numbers


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
    return [alarms, *(_found(drift, one) for drift, one in result["drifts"].items())]


def _found(drift: str, one: Mapping[str, Any]) -> Goal:
    stated, share, of = one["stated_windows"], one["found_within_stated"], ""
    if "slow" in one:
        slow = one["slow"]
        share, of = slow["ours"][-1], f", {slow['stories']} stories of ratings alone"
        stated = len(slow["ours"])
    name = f"{drift}: found within {stated} windows{of}"
    return Goal(name, GOAL_FOUND, share, "share", share >= GOAL_FOUND)
