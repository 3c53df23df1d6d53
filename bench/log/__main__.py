"""The whole benchmark: every part on real processes, results written, all stopped.

.venv/bin/python -m bench.log [--quick] [--parts commits ingest feedback ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.log import report
from bench.log.commits import measure_commits
from bench.log.figures import QUICK, Extent, goals
from bench.log.ingest import measure_ingest
from bench.log.outage import measure_outage
from bench.log.rating import measure_feedback
from bench.log.relaying import measure_catch_up, measure_relay
from bench.running import Benchmark, Say, Work

PARTS: dict[str, Callable[[Path, Extent, Say], dict[str, Any]]] = {
    "commits": lambda folder, extent, _: measure_commits(folder, extent),
    "ingest": lambda folder, extent, _: measure_ingest(folder, extent),
    "feedback": lambda folder, extent, _: measure_feedback(folder, extent),
    "relay": lambda folder, extent, _: measure_relay(folder, extent),
    "catch_up": measure_catch_up,
    "outage": lambda folder, extent, _: asdict(measure_outage(folder, extent.outage_events)),
}


def measure(work: Work[Extent]) -> dict[str, Any]:
    """Return the result of the parts that were asked for."""
    result: dict[str, Any] = {"settings": asdict(work.extent)}
    for part in work.parts():
        result[part] = PARTS[part](work.part_folder(part), work.extent, work.say)
    return result


BENCHMARK = Benchmark(
    name="log",
    about="what the event log costs and holds",
    quick_about="a rough run of about two minutes",
    extent=Extent(),
    quick=QUICK,
    measure=measure,
    goals=goals,
    report=report,
    parts=tuple(PARTS),
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
