"""DETECT: a table of features as a few numbers, for the console and for people. Pure.

Means, quantiles and histograms of numbers, shares of flags and labels; what has no value at all is
left out. Plain values come out, as a JSON column holds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitoring.windows.topics import label

NUMBERS = (
    "prompt_chars",
    "answer_chars",
    "prompt_tokens",
    "answer_tokens",
    "novelty",
    "latency_s",
    "ttft_s",
    "cost",
)
FLAGS = ("refusal", "format_valid", "error")
LABELS = ("language", "topic")
QUANTILES = (5, 25, 50, 75, 95, 99)
BINS = 20  # of a histogram: what a small drawing can show
MAX_LABELS = 20


@dataclass(frozen=True, slots=True)
class Counts:
    """What the features do not hold: which kinds of feedback there were, and what is novel."""

    kinds: Mapping[str, int]  # rows with feedback of each kind
    novel_beyond: float | None = None  # the distance beyond which a row counts as novel


def summarise(columns: Mapping[str, Sequence[Any]], counts: Counts) -> dict[str, Any]:
    """Return the summary of columns of equal length, by their names."""
    rows = len(columns["interaction_id"])
    ratings = _present(columns["rating"])
    summary: dict[str, Any] = {
        "numbers": {name: told for name in NUMBERS if (told := _number(columns[name]))},
        "shares": {name: _mean(known) for name in FLAGS if (known := _present(columns[name]))},
        "labels": {name: told for name in LABELS if (told := _labels(columns[name]))},
        "response_rate": len(ratings) / rows if rows else None,
        "good_share": _mean(ratings) if ratings else None,
        "feedback": {kind: count / rows for kind, count in sorted(counts.kinds.items())},
    }
    distances = _present(columns["novelty"])
    if distances and counts.novel_beyond is not None:
        summary["novelty_rate"] = _mean([value > counts.novel_beyond for value in distances])
    return summary


def _number(values: Sequence[Any]) -> dict[str, Any] | None:
    known = _present(values)
    if not known:
        return None
    array = np.asarray(known, np.float64)
    marks = np.percentile(array, QUANTILES)
    heights, edges = np.histogram(array, BINS)
    return {
        "rows": len(known),
        "mean": float(array.mean()),
        "quantiles": {f"p{mark}": float(at) for mark, at in zip(QUANTILES, marks, strict=True)},
        "histogram": {"edges": edges.tolist(), "counts": heights.tolist()},
    }


def _labels(values: Sequence[Any]) -> dict[str, float] | None:
    known = _present(values)
    if not known:
        return None
    often = sorted(Counter(known).items(), key=lambda item: (-item[1], str(item[0])))
    return {label(value): count / len(known) for value, count in often[:MAX_LABELS]}


def _present(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[Any]) -> float:
    return sum(map(float, values)) / len(values)
