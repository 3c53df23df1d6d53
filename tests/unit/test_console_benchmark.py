"""The arithmetic of the console's benchmark, and what it shows of a result."""

from __future__ import annotations

from typing import Any

from bench.console.figures import GOAL_INTERACTIONS, goals, page_figures, percentile
from bench.console.report import draw

RESULT: dict[str, Any] = {
    "sqlite": {
        "interactions": GOAL_INTERACTIONS,
        "pages": {
            "overview": {"p95_ms": 20.0, "first_p95_ms": 90.0},
            "metrics": {"p95_ms": 150.0, "first_p95_ms": 210.0},
        },
    },
    "postgresql": {"interactions": 50_000, "pages": {"overview": {"p95_ms": 20.0}}},
}


def test_goals_are_of_the_slowest_page_and_all_rows() -> None:
    """What was measured with fewer rows is not met."""
    assert [(goal.measured, goal.met) for goal in goals(RESULT)] == [
        *((150.0, True), (210.0, False)),  # what was asked before, and the first of a process
        *((None, False), (None, False)),
    ]
    assert [goal.met for goal in goals({})] == [False] * 4


def test_percentiles_are_of_the_nearest_rank() -> None:
    """Of twenty times the 95th percentile is the nineteenth."""
    times = [float(number) for number in range(1, 21)]
    assert percentile(times, 0.95) == 19.0
    assert page_figures(times) == {"p50_ms": 10.0, "p95_ms": 19.0, "slowest_ms": 20.0}


def test_a_result_is_drawn() -> None:
    """Also one of which a page was measured on one database alone."""
    labels = [text.get_text() for text in draw(RESULT).axes[0].get_yticklabels()]
    assert labels == ["overview", "metrics"]
