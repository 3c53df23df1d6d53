"""The arithmetic of the benchmark: how much is measured, fits over sizes, goals.

Pure: numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report import Goal, at_least, at_most

# Our goals for curation; personal data and near duplicates among them
GOAL_INTERACTIONS = 1_000_000
GOAL_S = 600.0
GOAL_MEMORY_GB = 4.0
GOAL_EXPONENT = 1.1  # of a power of the rows: 1 is linear, 2 quadratic
GOAL_NEAR = 0.98  # recall and precision
GOAL_TO_DATASKETCH = 20.0
GOAL_PII_RECALL = 0.95
GOAL_PII_PRECISION = 0.9


@dataclass(frozen=True)
class Extent:
    """How much to measure. The defaults are those of the goals."""

    sizes: tuple[int, ...] = (100_000, 250_000, 500_000, 1_000_000)  # interactions
    near_texts: int = 100_000
    near_peer_texts: int = 20_000  # peers are slow; all are measured on as many too
    near_rounds: int = 3
    checked: int = 250_000  # interactions of the version that is checked for leaks
    checked_pairs: int = 20_000_000  # pairs of texts compared one by one


QUICK = Extent(
    sizes=(2_000, 5_000, 10_000),
    near_texts=10_000,
    near_peer_texts=3_000,
    near_rounds=1,
    checked=10_000,
    checked_pairs=1_000_000,
)


@dataclass(frozen=True)
class Fit:
    """Seconds as a line over sizes, and the exponent of a power of the size."""

    fixed_s: float
    per_million_s: float
    r_squared: float
    exponent: float


def fitted(sizes: Sequence[float], seconds: Sequence[float]) -> Fit | None:
    """Return the least-squares line, and the slope of the line through the logarithms."""
    if len(sizes) < 2:
        return None
    fixed, slope = _line(sizes, seconds)
    _, exponent = _line([*map(math.log, sizes)], [*map(math.log, seconds)])
    mean = sum(seconds) / len(seconds)
    total = sum((value - mean) ** 2 for value in seconds)
    left = sum(
        (value - fixed - slope * size) ** 2 for size, value in zip(sizes, seconds, strict=True)
    )
    return Fit(fixed, slope * 1e6, 1.0 - left / total if total else 1.0, exponent)


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Return where the line begins and its slope."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((one - x) * (other - y) for one, other in zip(xs, ys, strict=True)) / sum(
        (one - x) ** 2 for one in xs
    )
    return y - slope * x, slope


def found(pairs: Iterable[tuple[int, int]], truth: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """Return recall and precision of pairs against the true ones."""
    given, true = set(pairs), set(truth)
    right = len(given & true)
    return {
        "pairs": len(given),
        "true_pairs": len(true),
        "recall": right / len(true) if true else None,
        "precision": right / len(given) if given else None,
    }


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goals; what was not measured is not met."""
    at = at_path(result, f"pipeline.sizes.{GOAL_INTERACTIONS}") or {}
    recall, precision = (at_path(result, f"near.ours.{name}") for name in ("recall", "precision"))
    return [
        at_most(f"{GOAL_INTERACTIONS:,} interactions", GOAL_S, at.get("wall_s"), "s"),
        at_most("peak memory of that, all processes", GOAL_MEMORY_GB, at.get("peak_pss_gb"), "GB"),
        at_most("exponent of time over rows", GOAL_EXPONENT, _exponent(result), "power"),
        at_least("recall of near duplicates", GOAL_NEAR, recall),
        at_least("precision of near duplicates", GOAL_NEAR, precision),
        at_least(
            "texts/s of near dedupe to datasketch", GOAL_TO_DATASKETCH,
            at_path(result, "near.to_datasketch"),
        ),
        at_least(
            "recall of personal data, heldout", GOAL_PII_RECALL,
            at_path(result, "pii.heldout.recall"),
        ),
        at_least(
            "precision of personal data, heldout", GOAL_PII_PRECISION,
            at_path(result, "pii.heldout.precision"),
        ),
        at_least(
            "recall of personal data, with the hard sentences", GOAL_PII_RECALL,
            at_path(result, "pii.all.recall"),
        ),
        at_least(
            "precision of personal data, with the hard sentences", GOAL_PII_PRECISION,
            at_path(result, "pii.all.precision"),
        ),
        _no_leaks(at_path(result, "leaks.found")),
    ]  # fmt: skip


def _exponent(result: Mapping[str, Any]) -> float | None:
    """Return the exponent, if the sizes reach that of the goal: small ones are all overhead."""
    if str(GOAL_INTERACTIONS) not in (at_path(result, "pipeline.sizes") or {}):
        return None
    return at_path(result, "pipeline.fit.exponent")


def _no_leaks(leaks: int | None) -> Goal:
    return Goal("leaks between splits and from evaluations", 0, leaks, "leaks", leaks == 0)


def at_path(result: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path of names joined by dots; None: it was not measured."""
    value: Any = result
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
