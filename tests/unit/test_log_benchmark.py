"""The arithmetic of the event log's benchmark, and what it shows of a result."""

from __future__ import annotations

from typing import Any

import pytest

from bench.log.events import records
from bench.log.figures import (
    GOAL_OUTAGE_EVENTS,
    QUICK,
    Extent,
    goals,
    grown_mb,
    missed,
    ratio_of_medians,
)
from bench.log.report import draw, number
from feedback.events import FEEDBACK_TOPIC, INTERACTIONS_TOPIC, decode

MEASURED: dict[str, Any] = {
    "commits": {"fsyncs_per_s": 1_000.0, "callers": {"1": {"events_per_s": 400.0}}},
    "ingest": {"sqlite": {"to_raw": 0.31}, "postgresql": {"to_raw": 0.29}},
    "feedback": {"p99_ms": 4.0, "failed": 0},
    "outage": {
        "events": GOAL_OUTAGE_EVENTS,
        "writer_growth_mb": 3.0,
        "relay_growth_mb": 25.0,
    },
}


def test_goals_are_computed_from_one_run() -> None:
    """Ratios are met at or above their goal, milliseconds and megabytes below it."""
    found = goals(MEASURED)
    assert [goal.met for goal in found] == [True, False, True, True, False]
    assert [goal.measured for goal in found] == [0.31, 0.29, 4.0, 3.0, 25.0]


def test_what_was_not_measured_is_not_met() -> None:
    """An empty result claims nothing."""
    assert all(goal.measured is None and not goal.met for goal in goals({}))


def test_a_short_outage_does_not_show_that_memory_is_flat() -> None:
    """The goal speaks of 100,000 events; after fewer it is open."""
    outage = MEASURED["outage"] | {"events": GOAL_OUTAGE_EVENTS - 1}
    assert [goal.met for goal in goals({"outage": outage})[-2:]] == [False, False]


def test_a_feedback_that_failed_leaves_the_latency_open() -> None:
    """A gateway that refuses is quick; that is no latency of feedback."""
    assert goals({"feedback": {"p99_ms": 1.0, "failed": 1}})[2].measured is None


def test_rates_are_compared_by_their_medians() -> None:
    """One slow round of either side does not decide."""
    assert ratio_of_medians([300.0, 10.0, 320.0], [1_000.0, 1_000.0, 5.0]) == pytest.approx(0.3)


def test_growth_is_the_peak_above_the_warm_process() -> None:
    """Memory that was given back by the end was used all the same."""
    assert grown_mb([50.0, 58.0, 51.0]) == 8.0
    with pytest.raises(ValueError, match="no samples"):
        grown_mb([])


def test_an_outage_is_as_many_events_as_come_in_meanwhile() -> None:
    """Five minutes at 200 a second are 60,000; the quick run takes 20 seconds."""
    assert (missed(Extent()), missed(QUICK)) == (60_000, 4_000)


def test_events_are_of_the_size_and_kind_that_is_claimed() -> None:
    """About 1 KB each, every one of them valid, and a third of the interactions rated."""
    made = list(records(90))
    assert all(decode(record.topic, record.value) for record in made)
    sizes = [len(record.value) for record in made if record.topic == INTERACTIONS_TOPIC]
    assert 900 < sum(sizes) / len(sizes) < 1_300
    assert sum(record.topic == FEEDBACK_TOPIC for record in made) == 30


def test_a_result_with_gaps_can_be_drawn() -> None:
    """What was not measured is left out, and not called 0."""
    assert number(MEASURED, "commits.callers.16.events_per_s") is None
    assert len(draw(MEASURED).axes) == 2
    assert len(draw({}).axes) == 2
