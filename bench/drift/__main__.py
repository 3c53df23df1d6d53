"""The whole benchmark: calm and drifting applications, on all cores; results written.

.venv/bin/python -m bench.drift [--quick]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from typing import Any

from bench.drift import report
from bench.drift.checks import RULES, Story, Told, play, quiet_evidently, with_drift, without_drift
from bench.drift.figures import QUICK, Extent, calm_numbers, drift_numbers, goals
from bench.drift.traffic import DRIFTS
from bench.running import Benchmark, Work


def measure(work: Work[Extent]) -> dict[str, Any]:
    """Return the result of playing all stories."""
    extent, drifts = work.extent, dict[str, Any]()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a core a process
    spawn = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, initializer=quiet_evidently) as pool:
        work.say(f"{extent.calm} applications without drift")
        calm = [without_drift(seed, extent.calm_windows) for seed in range(extent.calm)]
        undisturbed = calm_numbers(_played(pool, calm, extent, extent.evidently_calm))
        for drift, traffic in DRIFTS.items():
            work.say(f"{extent.drifted} applications: {drift}")
            windows = extent.windows(drift)
            seeds = range(100_000, 100_000 + extent.drifted)
            stories = [with_drift(seed, traffic, windows) for seed in seeds]
            told = _played(pool, stories, extent, extent.evidently_drifted)
            drifts[drift] = drift_numbers(drift, told, windows)
    settings = asdict(extent) | {"rules": RULES.model_dump(mode="json")}
    return {"settings": settings, "calm": undisturbed, "drifts": drifts}


def _played(
    pool: ProcessPoolExecutor, stories: Sequence[Story], extent: Extent, by_evidently: int
) -> list[Told]:
    """Return what is said of all stories; the first so many are judged by Evidently as well."""
    judged = partial(play, volume=extent.volume, ask_evidently=True)
    ours = partial(play, volume=extent.volume, ask_evidently=False)
    both = pool.map(judged, stories[:by_evidently], chunksize=1)
    rest = pool.map(ours, stories[by_evidently:], chunksize=4)
    return [*both, *rest]


BENCHMARK = Benchmark(
    name="drift",
    about="false alarms and delays of drift checks",
    quick_about="a rough run, few simulations",
    extent=Extent(),
    quick=QUICK,
    measure=measure,
    goals=goals,
    report=report,
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
