"""The benchmark's arithmetic, and its mock engine and load generator against each other."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from bench.gateway.figures import (
    Bounds,
    Window,
    due_times_s,
    fault,
    goals,
    growth,
    highest_rate,
    percentile,
)
from bench.gateway.load import Plan, run_load
from bench.gateway.upstream import Timing, Upstream

GOOD = Window(
    rate_per_s=100, sent=200, failed=0, unfinished=0, p99_s=0.03, backlog=3, late_p99_s=0.001
)
ANSWER_S = 0.02
BODY: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "Hello"}]}


def test_constant_arrivals_are_evenly_spaced() -> None:
    """At 10 a second, one leaves each tenth of a second, and none at or after the end."""
    assert due_times_s(10, 0.45, "constant") == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_poisson_arrivals_keep_the_rate_and_repeat_with_their_seed() -> None:
    """Their number is near rate × time, they are in order, and a seed means one schedule."""
    times = due_times_s(500, 20, "poisson", seed=3)
    assert abs(len(times) - 10_000) < 500
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times == due_times_s(500, 20, "poisson", seed=3)
    assert times != due_times_s(500, 20, "poisson", seed=4)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    """Of 1 to 100, p50 is 50 and p99 is 99, in whatever order they came."""
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_percentile_of_nothing_is_an_error() -> None:
    """A target that answered nothing has no latency."""
    with pytest.raises(ValueError, match="did any request succeed"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"failed": 1}, "failed"),
        ({"unfinished": 1}, "never answered"),
        ({"p99_s": 0.2}, "p99 was 200 ms"),
        ({"backlog": 11}, "still open"),
        ({"late_p99_s": 0.05}, "generator fell behind"),
    ],
)
def test_a_rate_is_sustained_only_without_any_fault(
    change: dict[str, float], reason: str | None
) -> None:
    """Failures, slow answers, a backlog and a late generator each rule a rate out, by name."""
    found = fault(replace(GOOD, **change), Bounds())
    assert found is None if reason is None else reason in str(found)


def test_highest_rate_is_found_within_its_precision() -> None:
    """Doubling, then halving, ends below the true limit by at most the factor."""
    found = highest_rate(lambda rate: rate <= 730, first=50, precision=1.1)
    assert 730 / 1.1 <= found <= 730


def test_highest_rate_may_be_below_the_first_one() -> None:
    """A target slower than was thought is measured all the same."""
    found = highest_rate(lambda rate: rate <= 7, first=50, precision=1.1)
    assert 7 / 1.1 <= found <= 7


def test_highest_rate_is_zero_when_none_holds() -> None:
    """A target that keeps up nothing has no rate."""
    assert highest_rate(lambda rate: False, first=50, precision=1.1) == 0.0


def test_growth_leaves_the_warm_up_out() -> None:
    """Memory that rises at first and then stays is flat; one that goes on rising is not."""
    flat = growth([(0, 50), (10, 90), (20, 100), (60, 100), (100, 100)])
    assert flat.growth == pytest.approx(0.0)
    rising = growth([(done, 100 + done / 2) for done in range(0, 101, 10)])
    assert rising.growth == pytest.approx(40 / 110)


def _target(**parts: Any) -> dict[str, Any]:
    return parts


def test_goals_are_computed_from_the_ratios_of_one_run() -> None:
    """Each goal compares Ratchet with durable logging with whom it names."""
    ours = _target(
        latency={"added_p99_ms": 3.0},
        sustained={"rate_per_s": 1200.0},
        streams={"per_s": 80.0},
        memory={"growth": -0.01, "requests": 100_000},
    )
    peers = {
        "direct": _target(streams={"per_s": 90.0}),
        "litellm": _target(sustained={"rate_per_s": 200.0}),
        "vllm-router": _target(sustained={"rate_per_s": 6000.0}),
    }
    found = goals({"targets": {"ratchet-durable": ours, **peers}})
    assert [goal.met for goal in found] == [True, True, False, True, True]
    assert [goal.measured for goal in found] == pytest.approx([3.0, 6.0, 0.2, 8 / 9, 0.0])
    assert "100,000 requests" in found[-1].name


def test_a_short_run_does_not_show_that_memory_is_flat() -> None:
    """The goal speaks of 100,000 requests; after fewer it is open."""
    ours = _target(memory={"growth": 0.0, "requests": 3_000})
    assert not goals({"targets": {"ratchet-durable": ours}})[-1].met


def test_a_goal_that_was_not_measured_is_not_met() -> None:
    """Without LiteLLM there is no ratio to it, and nothing is claimed."""
    found = goals({"targets": {"ratchet-durable": _target(sustained={"rate_per_s": 1200.0})}})
    assert all(goal.measured is None and not goal.met for goal in found)


@pytest.fixture
def mock_port() -> Generator[int]:
    """Run the mock engine in a thread until the test ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        timing = Timing(ANSWER_S, first_token_s=0.01, token_pause_s=0.001)
        mock = Upstream(listener, timing)
        thread = threading.Thread(target=mock.serve, name="mock")
        thread.start()
        yield listener.getsockname()[1]
        mock.close()
        thread.join(5)
        assert not thread.is_alive(), "the mock did not stop"


def _plan(port: int, **fields: Any) -> Plan:
    path = "/v1/chat/completions"
    return Plan(port=port, path=path, body=json.dumps(BODY | fields), headers={})


def test_open_load_reaches_the_mock_and_is_timed_from_its_schedule(mock_port: int) -> None:
    """Every scheduled request is sent and answered, none in less time than the mock takes."""
    plan = replace(_plan(mock_port), rate_per_s=100, duration_s=0.5, arrival="constant")
    report = run_load(plan)
    assert (report.sent, report.failed, report.unfinished) == (49, 0, 0)
    assert min(report.latencies_s) >= ANSWER_S


def test_a_wait_for_a_connection_counts_as_latency(mock_port: int) -> None:
    """One connection at twice the rate it can carry: the last request has waited for many."""
    plan = replace(_plan(mock_port), rate_per_s=100, duration_s=0.5, connections=1)
    report = run_load(plan)
    assert report.failed == 0
    assert max(report.latencies_s) > 5 * ANSWER_S
    assert report.backlog > 5


def test_streams_carry_all_their_events(mock_port: int) -> None:
    """Closed load of streams: each has 65 events, and one more with the usage."""
    report = run_load(replace(_plan(mock_port, stream=True), requests=8, connections=4))
    assert (report.sent, report.failed, report.events) == (8, 0, 8 * 65)
    with_usage = _plan(mock_port, stream=True, stream_options={"include_usage": True}, seed=1)
    report = run_load(replace(with_usage, requests=2, connections=1))
    assert report.events == 2 * 66


def test_an_unreachable_target_is_counted_as_failed() -> None:
    """Nobody listens: every request fails, by the name of the fault."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        report = run_load(replace(_plan(unused.getsockname()[1]), requests=3, connections=1))
    assert (report.failed, report.faults) == (3, {"ConnectionRefusedError": 3})
