"""The arithmetic of the benchmark: how much is measured, rates, growth, goals.

Pure: numbers in, numbers out.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report import Goal, at_least, at_most

# Our goals for the event log
GOAL_INGEST = 0.3  # of a raw bulk insert
GOAL_FEEDBACK_P99_MS = 10.0
GOAL_GROWTH_MB = 20.0
GOAL_OUTAGE_EVENTS = 100_000
FEEDBACK_SHARE = 3  # one interaction in so many is rated


@dataclass(frozen=True)
class Extent:
    """How much to measure. The defaults are those of the goals."""

    commit_s: float = 5.0
    callers: tuple[int, ...] = (1, 16, 64, 256)
    ingest_rounds: int = 3
    ingest_interactions: int = 20_000
    feedback_per_s: float = 200.0  # as the gateway's own latency
    feedback_s: float = 15.0
    relayed: int = 20_000
    relay_rounds: int = 3
    outage_s: float = 300.0
    outage_per_s: float = 200.0
    outage_waited_s: float = 40.0  # then every process waits its longest between two tries
    outage_events: int = GOAL_OUTAGE_EVENTS


QUICK = Extent(
    commit_s=1.0,
    ingest_rounds=1,
    ingest_interactions=3_000,
    feedback_s=3.0,
    relayed=3_000,
    relay_rounds=1,
    outage_s=20.0,
    outage_waited_s=3.0,
    outage_events=10_000,
)


def missed(extent: Extent) -> int:
    """Return how many events come in while the broker is away."""
    return round(extent.outage_s * extent.outage_per_s)


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return our median rate as a share of theirs."""
    return statistics.median(ours) / statistics.median(theirs)


def grown_mb(samples: Sequence[float]) -> float:
    """Return how far resident memory rose above the first sample, which is a warm process's."""
    if not samples:
        raise ValueError("no samples of memory: did the process end at once?")
    return max(samples) - samples[0]


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goals; what was not measured is not met."""
    outage: Mapping[str, Any] = result.get("outage", {})
    enough = outage.get("events", 0) >= GOAL_OUTAGE_EVENTS
    growths = {
        told: outage.get(f"{name}_growth_mb") if enough else None
        for name, told in {"writer": "the spool's writer", "relay": "the relay"}.items()
    }
    feedback: Mapping[str, Any] = result.get("feedback", {})
    p99_ms = feedback.get("p99_ms") if not feedback.get("failed") else None
    return [
        at_least("ingest into SQLite to a bulk insert", GOAL_INGEST, _to_raw(result, "sqlite")),
        at_least("ingest into PostgreSQL to COPY", GOAL_INGEST, _to_raw(result, "postgresql")),
        at_most("feedback p99 before ingest", GOAL_FEEDBACK_P99_MS, p99_ms, "ms"),
        *(
            at_most(f"growth of {told}, {GOAL_OUTAGE_EVENTS:,} events", GOAL_GROWTH_MB, mb, "MB")
            for told, mb in growths.items()
        ),
    ]


def _to_raw(result: Mapping[str, Any], name: str) -> float | None:
    return ((result.get("ingest") or {}).get(name) or {}).get("to_raw")
