"""Scenarios simulated and decided, in processes beside each other; plain numbers come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.canary.deciding import HOLD, PAUSE, PROMOTE, ROLL_BACK, RULES
from bench.canary.evidence import ratings
from bench.canary.figures import (
    MOST_POWER,
    OURS,
    POWERS,
    Extent,
    fixed_sample,
    lower_limit,
    upper_limit,
)
from bench.canary.scenarios import SCENARIOS, Scenario
from bench.canary.streams import Seed, simulate

ENDS = {"promoted": PROMOTE, "rolled_back": ROLL_BACK, "paused": PAUSE, "undecided": HOLD}
ALONE = "ratings alone"

Say = Callable[[str], None]
Ended = tuple[list[int], list[int], list[int]]  # decisions, ratings, answers
Decided = dict[str, Ended]


def simulate_all(extent: Extent, say: Say) -> dict[str, Any]:
    """Return the numbers of every scenario."""
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(extent.processes) as pool:
        for scenario in SCENARIOS:
            parts = list(pool.map(decide, *zip(*_chunks(scenario, extent), strict=True)))
            found[scenario.name] = summary(scenario, parts)
            ours = found[scenario.name]["rules"][OURS]
            told = ", ".join(f"{ours[end]['share']:.1%} {end.replace('_', ' ')}" for end in ENDS)
            say(f"{scenario.name}: {told}")
    return found


def _chunks(scenario: Scenario, extent: Extent) -> Iterator[tuple[Scenario, Extent, int, Seed]]:
    place = SCENARIOS.index(scenario)
    for begin in range(0, extent.rollouts, extent.at_once):
        size = min(extent.at_once, extent.rollouts - begin)
        yield scenario, extent, size, (extent.seed, place, begin)


def decide(scenario: Scenario, extent: Extent, rollouts: int, seed: Seed) -> Decided:
    """Return how each rule decided so many rollouts, and after how many ratings and answers."""
    rules = scenario.rules
    streams = simulate(
        scenario, rules, rollouts=rollouts, answers=extent.answers, every=extent.every, seed=seed
    )
    given, row = ratings(streams), np.arange(rollouts)
    found: Decided = {}
    for name, rule in RULES.items():
        ended = rule(streams, rules)
        found[name] = (
            ended.decision.tolist(),
            given[row, ended.look].tolist(),
            streams.answers[ended.look].tolist(),
        )
    return found


def summary(scenario: Scenario, parts: list[Decided]) -> dict[str, Any]:
    """Return shares of ends with their upper limits, and how long decisions took."""
    rules = {name: _ends([part[name] for part in parts]) for name in RULES}
    found: dict[str, Any] = {
        "promotion": scenario.promotion,
        "roll_back": scenario.roll_back,
        "rules": rules,
    }
    if scenario.compared:
        found["to_fixed_sample"] = to_fixed_sample(scenario, [part[ALONE] for part in parts])
    return found


def _ends(parts: list[Ended]) -> dict[str, Any]:
    decisions, given, answers = (np.concatenate([part[i] for part in parts]) for i in range(3))
    decided = decisions != HOLD
    told: dict[str, Any] = {
        end: _share(int((decisions == code).sum()), len(decisions)) for end, code in ENDS.items()
    }
    return told | {
        "ratings": {"mean": float(given.mean()), "median": _median(given[decided])},
        "answers": {"mean": float(answers.mean()), "median": _median(answers[decided])},
    }


def _share(count: int, of: int) -> dict[str, float]:
    return {"count": count, "share": count / of, "upper": upper_limit(count, of)}


def _median(values: Any) -> float | None:
    return float(np.median(values)) if len(values) else None


def to_fixed_sample(scenario: Scenario, parts: list[Ended]) -> dict[str, Any]:
    """Compare ratings to a proof with a z-test that looks once and has no less power.

    Beside it, both at lower powers: ours then gives up after as many ratings as that power takes.
    """
    decisions, given = (np.concatenate([part[i] for part in parts]) for i in range(2))
    right = decisions == (PROMOTE if scenario.promotion == "right" else ROLL_BACK)
    power = min(MOST_POWER, lower_limit(int(right.sum()), len(right)))
    return _beside(scenario, given, power) | {
        "lower_powers": [
            _beside(scenario, np.minimum(given, np.sort(given[right])[place]), lower)
            for lower in POWERS
            if (place := math.ceil(lower * len(right)) - 1) < right.sum()
        ]
    }


def _beside(scenario: Scenario, given: NDArray[np.int64], power: float) -> dict[str, Any]:
    if power == 0.0:  # of a run that is too short to decide anything
        return {"power": power, "fixed": None, "mean": float(given.mean()), "ratio": None}
    fixed = fixed_sample(scenario.baseline, scenario.canary, scenario.rules, power=power)
    mean = float(given.mean())
    return {"power": power, "fixed": fixed, "mean": mean, "ratio": mean / fixed}
