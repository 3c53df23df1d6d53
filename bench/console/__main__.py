"""The whole benchmark: both databases filled, every page asked for, results written.

.venv/bin/python -m bench.console [--quick] [--parts sqlite postgresql]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.console import report
from bench.console.figures import QUICK, Extent, goals
from bench.console.measure import measure_postgresql, measure_sqlite
from bench.running import Benchmark, Work

PARTS: dict[str, Callable[[Path, Extent], dict[str, Any]]] = {
    "sqlite": measure_sqlite,
    "postgresql": measure_postgresql,
}


def measure(work: Work[Extent]) -> dict[str, Any]:
    """Return how long the pages take on each database that was asked for."""
    result: dict[str, Any] = {"settings": asdict(work.extent)}
    for part in work.parts():
        result[part] = PARTS[part](work.part_folder(part), work.extent)
    return result


BENCHMARK = Benchmark(
    name="console",
    about="how long the console's pages take",
    quick_about="a rough run of about a minute",
    extent=Extent(),
    quick=QUICK,
    measure=measure,
    goals=goals,
    report=report,
    parts=tuple(PARTS),
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
