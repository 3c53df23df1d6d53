"""The whole benchmark: corpora written, every part measured, results written.

.venv/bin/python -m bench.curation [--quick] [--parts pii near pipeline leaks]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from bench.curation import report
from bench.curation.corpus import SEED
from bench.curation.figures import QUICK, Extent, goals
from bench.curation.leaks import check_version
from bench.curation.near import measure_near
from bench.curation.pii import measure_pii
from bench.curation.pipeline import corpus_of, measure_pipeline, measured
from bench.curation.plants import SHARES
from bench.gateway.process import Busyness
from bench.report import machine

RESULTS = Path("bench/results")

Say = Callable[[str], None]


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


def main() -> int:
    """Run the benchmark; the exit status is 0 whether or not goals are met."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
    console, began_s = Console(), time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:5.0f} s[/]  {text}", highlight=False)

    before = Busyness.now()
    result = run(asked.parts, QUICK if asked.quick else Extent(), say)
    result["took_s"] = time.monotonic() - began_s
    result["machine"]["others_busy_cores"] = Busyness.now().others_cores(before)
    report.write(result, asked.results)
    report.print_result(console, result)
    console.print(f"written: {asked.results}/curation.json and curation.png", highlight=False)
    return 0


def run(parts: Sequence[str], extent: Extent, say: Say) -> dict[str, Any]:
    """Return the result of measuring `parts`, in the order of `PARTS`."""
    settings = {**asdict(extent), "seed": SEED, "plants": dict(SHARES)}
    result: dict[str, Any] = {"machine": machine(), "settings": settings}
    with tempfile.TemporaryDirectory(prefix="bench-curation-") as folder:
        for part in PARTS:
            if part in parts:
                say(f"measuring {part}")
                result[part] = PARTS[part](Path(folder), extent, say)
    result["goals"] = [asdict(goal) for goal in goals(result)]
    result["machine"]["load_after"] = os.getloadavg()[0]
    return result


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.curation", description="what curation costs, and what it finds"
    )
    parser.add_argument("--quick", action="store_true", help="a rough run of about two minutes")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
