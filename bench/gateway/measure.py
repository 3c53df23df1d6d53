"""The measurements, each over all targets in turn: latency, highest rate, streams, memory.

Subjects that are up come in, plain dictionaries for the result go out. Knows neither how targets
are started nor how results are shown.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bench.gateway.figures import (
    GOAL_RATE_PER_S,
    Bounds,
    Window,
    fault,
    growth,
    highest_rate,
    percentile,
)
from bench.gateway.load import Plan, Report, run_load
from bench.gateway.process import Server
from bench.gateway.targets import KEY, MODEL

DIRECT = "direct"
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
FIRST_REQUESTS = 400  # for a first idea of a rate
RECOVERY_S = 1.0  # after a rate that was too high
STREAM_EVENTS = 65

Say = Callable[[str], None]
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Extent:
    """How long to measure. The defaults are those of the goals."""

    latency_rounds: int = 4
    latency_s: float = 3.0
    window_s: float = 1.5
    precision: float = 1.1  # the highest rate is known within 10 %
    stream_rounds: int = 2
    streams: int = 256
    concurrent_streams: int = 64  # DESIGN, section 4
    memory_requests: int = 100_000
    peer_memory_requests: int = 3_000  # LiteLLM would take ten minutes for 100,000
    memory_concurrent: int = 32


QUICK = Extent(
    latency_rounds=1,
    latency_s=2.0,
    window_s=1.0,
    precision=1.5,
    stream_rounds=1,
    streams=128,
    memory_requests=3_000,
    peer_memory_requests=500,
)


@dataclass
class Subject:
    """A target that is up, or the mock itself as `direct`; its results collect in `numbers`."""

    name: str
    server: Server
    core: int | None  # the generator's
    numbers: Numbers = field(default_factory=dict[str, Any])

    @contextmanager
    def turn(self) -> Generator[None]:
        """Let the target run; the mock, which all need, always does."""
        if self.name == DIRECT:
            yield
        else:
            with self.server.awake():
                yield

    def plan(self, *, stream: bool = False, unpaced: bool = False) -> Plan:
        """Return the request that is always the same, without load."""
        return Plan(
            port=self.server.port,
            path="/v1/chat/completions",
            body=json.dumps(_BODY | _stream_fields(stream, unpaced)),
            headers={"authorization": f"Bearer {KEY}"},
            core=self.core,
        )

    def load(self, plan: Plan) -> tuple[Report, float]:
        """Return what came of the plan, and the target's CPU seconds per answered request."""
        before_s = self.server.cpu_s()
        report = run_load(plan)
        spent_s = self.server.cpu_s() - before_s
        return report, spent_s / max(1, len(report.latencies_s))


_BODY: Numbers = {
    "model": MODEL,
    "user": "customer-4711",
    "temperature": 0.2,
    "messages": [
        {"role": "system", "content": "You help customers of a shop. Be brief and polite. " * 3},
        {"role": "user", "content": "I forgot my password. Order 48213. What do I do? " * 4},
    ],
}


def _stream_fields(stream: bool, unpaced: bool) -> Numbers:
    return ({"stream": True} if stream else {}) | ({"seed": 1} if unpaced else {})


def warm_up(subjects: Sequence[Subject], extent: Extent) -> None:
    """Let every target fill its caches and pools, and pause it."""
    for subject in subjects:
        with subject.turn():
            answers = replace(subject.plan(), requests=extent.streams, connections=16)
            streams = replace(subject.plan(stream=True, unpaced=True), requests=32, connections=8)
            for plan in (answers, streams):
                report, _ = subject.load(replace(plan, grace_s=10.0))
                if report.failed or report.unfinished:
                    raise RuntimeError(f"{subject.name} fails in the warm-up: {report.faults}")


def measure_latency(subjects: Sequence[Subject], extent: Extent, say: Say) -> None:
    """Note percentiles and CPU per request at the goal's rate, and what is added to direct.

    "Added" is the median over rounds of the difference to direct in the same round.
    """
    rounds: dict[str, list[Numbers]] = {subject.name: [] for subject in subjects}
    for number in range(extent.latency_rounds):
        say(f"latency at {GOAL_RATE_PER_S:.0f} requests/s, round {number + 1}")
        for subject in subjects:
            plan = replace(
                subject.plan(),
                rate_per_s=GOAL_RATE_PER_S,
                duration_s=extent.latency_s,
                seed=number,
                grace_s=1.0,
            )
            with subject.turn():
                values = _percentiles(*subject.load(plan))
                rounds[subject.name].append(values)
                if values["failed"]:
                    time.sleep(RECOVERY_S)
    for subject in subjects:
        own, direct = rounds[subject.name], rounds.get(DIRECT, [])
        subject.numbers["latency"] = _medians(own, direct) | {"rounds": own}


def _percentiles(report: Report, cpu_s: float) -> Numbers:
    """Return a round's numbers; what was never answered took for ever, which is None."""
    lost = report.failed + report.unfinished
    latencies_s = report.latencies_s + [math.inf] * lost
    values = {
        f"{name}_ms": _finite(1000 * percentile(latencies_s, share))
        for name, share in PERCENTILES.items()
    }
    return values | {
        "late_p99_ms": 1000 * percentile(report.late_s, 0.99),
        "cpu_ms_per_request": 1000 * cpu_s,
        "requests": report.sent,
        "failed": lost,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _medians(rounds: Sequence[Numbers], direct: Sequence[Numbers]) -> Numbers:
    found = {
        name: _median([values[name] for values in rounds])
        for name in ("p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_request")
    }
    added = {
        f"added_{name}_ms": _median(
            [
                _difference(values[f"{name}_ms"], base[f"{name}_ms"])
                for values, base in zip(rounds, direct, strict=True)
            ]
        )
        for name in (PERCENTILES if direct else ())
    }
    totals = {name: sum(values[name] for values in rounds) for name in ("requests", "failed")}
    return found | added | totals


def _median(values: Sequence[float | None]) -> float | None:
    """Return the median where None is more than everything."""
    return _finite(statistics.median(math.inf if value is None else value for value in values))


def _difference(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def measure_sustained(subjects: Sequence[Subject], extent: Extent, say: Say) -> None:
    """Note the highest rate that each target keeps up, and every window that was tried.

    A rate is given up only when it fails twice: the machine may have been busy.
    """
    for subject in subjects:
        say(f"highest rate of {subject.name}")
        trials: list[Numbers] = []

        def holds(rate_per_s: float, subject: Subject = subject, into: Any = trials) -> bool:
            return any(_keeps_up(subject, rate_per_s, extent, into) for _ in range(2))

        with subject.turn():
            rate_per_s = highest_rate(holds, _first_rate(subject), extent.precision)
        kept = [trial for trial in trials if trial["rate_per_s"] == rate_per_s]
        lost = [trial for trial in trials if trial["rate_per_s"] > rate_per_s]
        subject.numbers["sustained"] = {
            "rate_per_s": rate_per_s,
            "cpu_ms_per_request": kept[-1]["cpu_ms_per_request"] if kept else None,
            "limit": min(lost, key=lambda trial: trial["rate_per_s"])["fault"] if lost else None,
            "trials": trials,
        }
        say(f"  {rate_per_s:,.0f} requests/s; beyond: {subject.numbers['sustained']['limit']}")


def _first_rate(subject: Subject) -> float:
    """Return a rate that surely holds: a quarter of what closed load gets."""
    plan = replace(subject.plan(), requests=FIRST_REQUESTS, connections=64, grace_s=10.0)
    report, _ = subject.load(plan)
    return report.sent / report.elapsed_s / 4


def _keeps_up(subject: Subject, rate_per_s: float, extent: Extent, trials: list[Numbers]) -> bool:
    plan = replace(
        subject.plan(),
        rate_per_s=rate_per_s,
        duration_s=extent.window_s,
        seed=len(trials),
        grace_s=1.0,
    )
    report, cpu_s = subject.load(plan)
    window = Window(
        rate_per_s=rate_per_s,
        sent=report.sent,
        failed=report.failed,
        unfinished=report.unfinished,
        p99_s=percentile(report.latencies_s, 0.99) if report.latencies_s else float("inf"),
        backlog=report.backlog,
        late_p99_s=percentile(report.late_s, 0.99),
    )
    found = fault(window, Bounds())
    trials.append(
        {
            "rate_per_s": rate_per_s,
            "p99_ms": 1000 * window.p99_s if report.latencies_s else None,
            "late_p99_ms": 1000 * window.late_p99_s,
            "cpu_ms_per_request": 1000 * cpu_s,
            "fault": found,
        }
    )
    if found is not None:
        time.sleep(RECOVERY_S)
    return found is None


def measure_streams(subjects: Sequence[Subject], extent: Extent, say: Say) -> None:
    """Note streams/s with many open at once: at the pace of a model, and as fast as can be."""
    for name, unpaced in (("streams", False), ("streams_unpaced", True)):
        found: dict[str, list[Numbers]] = {subject.name: [] for subject in subjects}
        for number in range(extent.stream_rounds):
            say(f"{name.replace('_', ' ')}, round {number + 1}")
            for subject in subjects:
                with subject.turn():
                    found[subject.name].append(_streams(subject, extent, unpaced=unpaced))
        for subject in subjects:
            own = found[subject.name]
            per_s = statistics.median(values["per_s"] for values in own)
            direct = statistics.median(values["per_s"] for values in found.get(DIRECT, own))
            subject.numbers[name] = {"per_s": per_s, "to_direct": per_s / direct, "rounds": own}


def _streams(subject: Subject, extent: Extent, *, unpaced: bool) -> Numbers:
    plan = replace(
        subject.plan(stream=True, unpaced=unpaced),
        requests=extent.streams,
        connections=extent.concurrent_streams,
        grace_s=20.0,
    )
    report, cpu_s = subject.load(plan)
    done = len(report.latencies_s)
    if report.events < done * STREAM_EVENTS:
        raise RuntimeError(f"{subject.name} dropped events: {report.events} of {done} streams")
    return {
        "per_s": done / report.elapsed_s,
        "first_byte_p50_ms": 1000 * percentile(report.first_bytes_s, 0.5) if done else None,
        "cpu_ms_per_stream": 1000 * cpu_s,
        "failed": report.failed + report.unfinished,
    }


def measure_memory(subjects: Sequence[Subject], extent: Extent, say: Say) -> None:
    """Note resident memory over many requests; the whole number only for Ratchet, durable."""
    for subject in subjects:
        if subject.name == DIRECT:
            continue
        whole = subject.name == "ratchet-durable"
        requests = extent.memory_requests if whole else extent.peer_memory_requests
        say(f"memory of {subject.name} over {requests:,} requests")
        with subject.turn():
            subject.numbers["memory"] = _memory(subject, requests, extent.memory_concurrent)


def _memory(subject: Subject, requests: int, concurrent: int) -> Numbers:
    plan = replace(subject.plan(), requests=requests, connections=concurrent, grace_s=20.0)
    times: list[tuple[float, float]] = []
    began_s = time.monotonic()

    def sample() -> None:
        times.append((time.monotonic() - began_s, subject.server.resident_mb()))

    sample()
    report = run_load(plan, sample)
    sample()
    # closed load keeps a steady pace, so time tells how many are done
    samples = [(requests * at_s / times[-1][0], mb) for at_s, mb in times]
    found = growth(samples)
    return {
        "requests": len(report.latencies_s),
        "failed": report.failed + report.unfinished,
        "per_s": len(report.latencies_s) / report.elapsed_s,
        "warm_mb": found.warm_mb,
        "end_mb": found.end_mb,
        "growth": found.growth,
        "samples": samples,
    }
