"""The whole benchmark: corpora written, every part measured, results written.

.venv/bin/python -m bench.curation [--quick] [--parts pii near pipeline leaks]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.curation import report
from bench.curation.corpus import SEED
from bench.curation.figures import QUICK, Extent, goals
from bench.curation.leaks import check_version
from bench.curation.near import measure_near
from bench.curation.pii import measure_pii
from bench.curation.pipeline import corpus_of, measure_pipeline, measured
from bench.curation.plants import SHARES
from bench.running import Benchmark, Say, Work


def measure_leaks(folder: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return what an independent check says of a version; it is built unless it is there."""
    corpus, data = corpus_of(folder, extent.checked, say), folder / f"data-{extent.checked}"
    versions = data / "datasets"
    if not versions.is_dir():
        measured(corpus, data)
    version = max(path for path in versions.iterdir() if path.name.startswith("desk--d"))
    return check_version(version, corpus, extent, say)


PARTS: dict[str, Callable[[Path, Extent, Say], dict[str, Any]]] = {
    "pii": lambda folder, extent, _: measure_pii(),
    "near": measure_near,
    "pipeline": measure_pipeline,
    "leaks": measure_leaks,
}


def measure(work: Work[Extent]) -> dict[str, Any]:
    """Return the result of the parts that were asked for, in the order of `PARTS`."""
    settings = {**asdict(work.extent), "seed": SEED, "plants": dict(SHARES)}
    result: dict[str, Any] = {"settings": settings}
    for part in PARTS:
        if part in work.asked.parts:
            work.say(f"measuring {part}")
            result[part] = PARTS[part](work.folder, work.extent, work.say)
    return result


BENCHMARK = Benchmark(
    name="curation",
    about="what curation costs, and what it finds",
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
