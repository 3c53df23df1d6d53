"""The metrics by themselves: what they keep, and what keeping it costs."""

from __future__ import annotations

import time

import msgspec
from prometheus_client import CollectorRegistry

from serving.metrics import MAX_SERIES, Metrics, State
from tests.unit.test_events import EVENT

WHO = {"application": "shop", "adapter": "base", "arm": "baseline"}
ENDED = msgspec.structs.replace(EVENT, ttft_s=0.2, prompt_tokens=100, completion_tokens=40)
BUDGET_S = 100e-6  # 8 µs were measured; this machine may be busy


def test_an_interaction_is_counted_by_who_answered() -> None:
    """Each quantity goes into its histogram, cost and status into counters."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.count_interaction(ENDED)
    metrics.count_interaction(msgspec.structs.replace(EVENT, ttft_s=None, itl_s=None, cost=None))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"ratchet_{name}", WHO | labels)

    assert value("latency_seconds_count") == 2
    assert value("time_to_first_token_seconds_sum") == 0.2
    assert value("inter_token_latency_seconds_bucket", le="0.025") == 1
    assert value("prompt_tokens_sum") == 100
    assert value("completion_tokens_bucket", le="64.0") == 1
    assert value("cost_total") == 0.5
    assert value("interactions_total", status="ok") == 2


def test_adapters_without_end_do_not_fill_memory() -> None:
    """Those that answered longest ago are forgotten; one that goes on answering stays."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for number in range(2 * MAX_SERIES):
        metrics.count_interaction(ENDED)
        metrics.count_interaction(msgspec.structs.replace(ENDED, adapter=f"shop--v{number}"))
    lines = metrics.render().decode().splitlines()
    counts = [line for line in lines if line.startswith("ratchet_latency_seconds_count")]
    assert len(counts) == MAX_SERIES
    assert registry.get_sample_value("ratchet_latency_seconds_count", WHO) == 2 * MAX_SERIES
    assert sum(line.startswith("ratchet_interactions_total") for line in lines) == MAX_SERIES


def test_state_is_asked_for_when_it_is_scraped() -> None:
    """What others count is read at the moment of the scrape, not kept."""
    metrics = Metrics(CollectorRegistry())
    failures = iter([3, 7])
    metrics.watch(lambda: State(5, 4096, 1 << 20, next(failures), 2, 0.5))
    text = [metrics.render().decode() for _ in range(2)]
    assert "ratchet_log_failures_total 3.0" in text[0]
    assert "ratchet_log_failures_total 7.0" in text[1]
    assert "ratchet_log_records 5.0" in text[0]
    assert "ratchet_log_bytes 4096.0" in text[0]
    assert "ratchet_unlogged_total 2.0" in text[0]
    assert "ratchet_routes_age_seconds 0.5" in text[0]


def test_counting_takes_microseconds() -> None:
    """An interaction and its HTTP request are counted in far less than a millisecond."""
    metrics = Metrics(CollectorRegistry())
    metrics.count_interaction(ENDED)
    rounds = 2_000
    began_s = time.thread_time()
    for _ in range(rounds):
        metrics.begin_request()
        metrics.count_interaction(ENDED)
        metrics.count_commit(0.0003)
        metrics.end_request("/v1/chat/completions", 200)
    took_s = (time.thread_time() - began_s) / rounds
    print(f"counting one interaction: {took_s * 1e6:.1f} µs")
    assert took_s < BUDGET_S
