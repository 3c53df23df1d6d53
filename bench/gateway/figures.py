"""The arithmetic of the benchmark: schedules, percentiles, the highest rate, flatness, goals.

Pure: numbers in, numbers out; chance comes from a seed, time from the caller.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.report import Goal, at_least, at_most, ratio

Arrival = Literal["poisson", "constant"]

GOAL_RATE_PER_S = 200.0  # where the added latency is measured; our goals, as those below
GOAL_ADDED_P99_MS = 5.0
GOAL_TO_LITELLM = 5.0
GOAL_TO_VLLM_ROUTER = 1 / 3
GOAL_TO_DIRECT_STREAMS = 0.6
# "Flat": over the whole run less growth than this share of what was resident. A leak of one
# logged event (1.5 KB) for each request would be 150 MB over 100,000, twice the whole process.
GOAL_REQUESTS = 100_000
GOAL_GROWTH = 0.05
MIN_RATE_PER_S = 2.0  # below it a window of a second or two holds hardly any request
WARM_SHARE = 0.2  # of a memory run: caches fill, pools grow


def due_times_s(
    rate_per_s: float, duration_s: float, arrival: Arrival, seed: int = 0
) -> list[float]:
    """Return when each request is to leave, in seconds from the start."""
    chance = random.Random(seed)
    pause_s = 1.0 / rate_per_s
    draw: Callable[[], float] = (
        (lambda: chance.expovariate(rate_per_s)) if arrival == "poisson" else (lambda: pause_s)
    )
    return list(_sums_below(draw, duration_s))


def _sums_below(draw: Callable[[], float], limit: float) -> Iterator[float]:
    at = draw()
    while at < limit:
        yield at
        at += draw()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values, so there is no percentile: did any request succeed?")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True)
class Window:
    """What became of the requests of one window. `late_p99_s`: the generator's own delay."""

    rate_per_s: float
    sent: int
    failed: int
    unfinished: int
    p99_s: float
    backlog: int
    late_p99_s: float


@dataclass(frozen=True)
class Bounds:
    """What a rate must keep to be called sustained."""

    # Five times a whole answer of the mock: nobody waits in a queue that grows.
    p99_s: float = 0.1
    # A share of a second's requests may be open at the end: what p99_s lets be open at once.
    backlog_s: float = 0.1
    backlog: int = 4  # where that is less than a few: chance alone keeps some open
    late_p99_s: float = 0.02  # beyond it the generator, not the target, is at its end


def fault(window: Window, bounds: Bounds) -> str | None:
    """Return why the window's rate is not sustained, or None if it is."""
    if window.failed:
        return f"{window.failed} of {window.sent} requests failed"
    if window.late_p99_s > bounds.late_p99_s:
        return f"the generator fell behind by {window.late_p99_s * 1000:.0f} ms"
    if window.unfinished:
        return f"{window.unfinished} of {window.sent} requests were never answered"
    if window.p99_s > bounds.p99_s:
        return f"p99 was {window.p99_s * 1000:.0f} ms"
    if window.backlog > max(bounds.backlog, window.rate_per_s * bounds.backlog_s):
        return f"{window.backlog} requests were still open at the end"
    return None


def highest_rate(holds: Callable[[float], bool], first: float, precision: float) -> float:
    """Return the largest rate that `holds`, within the factor `precision`.

    Halves `first` until one holds (0.0 if none above `MIN_RATE_PER_S` does) or doubles it until
    one does not, then halves the interval on a logarithmic scale.
    """
    low, high = first, 2.0 * first
    if holds(first):
        while holds(high):
            low, high = high, 2.0 * high
    else:
        low, high = first / 2.0, first
        while not holds(low):
            low, high = low / 2.0, low
            if low < MIN_RATE_PER_S:
                return 0.0
    while high / low > precision:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class Growth:
    """Resident memory after the warm-up, and how much it grew from there to the end."""

    warm_mb: float
    end_mb: float
    growth: float  # of a straight line through the samples, as a share of warm_mb


def growth(samples: Sequence[tuple[float, float]]) -> Growth:
    """Return how memory grew, from samples of (requests done, resident MB), without warm-up."""
    last = samples[-1][0]
    warm = [(done, mb) for done, mb in samples if done >= WARM_SHARE * last]
    mean_done = sum(done for done, _ in warm) / len(warm)
    mean_mb = sum(mb for _, mb in warm) / len(warm)
    spread = sum((done - mean_done) ** 2 for done, _ in warm)
    slope = sum((done - mean_done) * (mb - mean_mb) for done, mb in warm) / spread if spread else 0
    return Growth(warm[0][1], warm[-1][1], slope * (last - warm[0][0]) / warm[0][1])


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return our goals for the gateway, computed from `result["targets"]`."""
    targets = result["targets"]
    ours, direct = targets.get("ratchet-durable"), targets.get("direct")
    sustained = _read(ours, "sustained", "rate_per_s")
    memory = _read(ours, "memory", "growth")
    if (_read(ours, "memory", "requests") or 0) < GOAL_REQUESTS:
        memory = None  # a shorter run shows no leak
    streams = _read(ours, "streams", "per_s")
    return [
        at_most(
            "added p99 at 200 requests/s, durable",
            GOAL_ADDED_P99_MS,
            _read(ours, "latency", "added_p99_ms"),
            "ms",
        ),
        at_least(
            "highest sustained rate to LiteLLM's",
            GOAL_TO_LITELLM,
            ratio(sustained, _read(targets.get("litellm"), "sustained", "rate_per_s")),
        ),
        at_least(
            "highest sustained rate to vllm-router's",
            GOAL_TO_VLLM_ROUTER,
            ratio(sustained, _read(targets.get("vllm-router"), "sustained", "rate_per_s")),
        ),
        at_least(
            "streams/s to direct",
            GOAL_TO_DIRECT_STREAMS,
            ratio(streams, _read(direct, "streams", "per_s")),
        ),
        at_most(
            f"growth of memory over {GOAL_REQUESTS:,} requests",
            GOAL_GROWTH,
            None if memory is None else max(0.0, memory),
            "share of what was resident",
        ),
    ]


def _read(target: Mapping[str, Any] | None, part: str, name: str) -> float | None:
    return ((target or {}).get(part) or {}).get(name)
