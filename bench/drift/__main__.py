"""The whole benchmark: calm and drifting applications, on all cores; results written.

.venv/bin/python -m bench.drift [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.drift import report
from bench.drift.checks import RULES, Story, Told, play, quiet_evidently, with_drift, without_drift
from bench.drift.figures import QUICK, Extent, calm_numbers, drift_numbers, goals
from bench.drift.traffic import DRIFTS
from bench.gateway.process import Busyness
from bench.report import machine

RESULTS = Path("bench/results")

Say = Callable[[str], None]


def main() -> int:
    """Run the benchmark; the exit status is 0 whether or not goals are met."""
    asked = _arguments()
    console, began_s = Console(), time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:5.0f} s[/]  {text}", highlight=False)

    before = Busyness.now()
    result = run(QUICK if asked.quick else Extent(), say)
    result["took_s"] = time.monotonic() - began_s
    result["machine"]["others_busy_cores"] = Busyness.now().others_cores(before)
    report.write(result, asked.results)
    report.print_result(console, result)
    console.print(f"written: {asked.results}/drift.json and drift.png", highlight=False)
    return 0


def run(extent: Extent, say: Say) -> dict[str, Any]:
    """Return the result of playing all stories."""
    result: dict[str, Any] = {
        "machine": machine(),
        "settings": asdict(extent) | {"rules": RULES.model_dump(mode="json")},
    }
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a core a process
    spawn = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, initializer=quiet_evidently) as pool:
        say(f"{extent.calm} applications without drift")
        calm = [without_drift(seed, extent.calm_windows) for seed in range(extent.calm)]
        result["calm"] = calm_numbers(_played(pool, calm, extent, extent.evidently_calm))
        result["drifts"] = {}
        for drift, traffic in DRIFTS.items():
            say(f"{extent.drifted} applications: {drift}")
            windows = extent.windows(drift)
            seeds = range(100_000, 100_000 + extent.drifted)
            told = _played(
                pool,
                [with_drift(seed, traffic, windows) for seed in seeds],
                extent,
                extent.evidently_drifted,
            )
            result["drifts"][drift] = drift_numbers(drift, told, windows)
    result["goals"] = [asdict(goal) for goal in goals(result)]
    result["machine"]["load_after"] = os.getloadavg()[0]
    return result


def _played(
    pool: ProcessPoolExecutor, stories: Sequence[Story], extent: Extent, by_evidently: int
) -> list[Told]:
    """Return what is said of all stories; the first so many are judged by Evidently as well."""
    judged = partial(play, volume=extent.volume, ask_evidently=True)
    ours = partial(play, volume=extent.volume, ask_evidently=False)
    both = pool.map(judged, stories[:by_evidently], chunksize=1)
    rest = pool.map(ours, stories[by_evidently:], chunksize=4)
    return [*both, *rest]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.drift", description="false alarms and delays of drift checks"
    )
    parser.add_argument("--quick", action="store_true", help="a rough run, few simulations")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
