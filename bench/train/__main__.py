"""The whole benchmark: trainings, what they keep, then answers; results written, all stopped.

.venv/bin/python -m bench.train [--quick] [--parts training keeping answers]
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

from bench.gateway.process import Busyness
from bench.report import machine
from bench.train import report
from bench.train.answers import measure_answers
from bench.train.children import ENVIRONMENT
from bench.train.figures import QUICK, Extent, goals
from bench.train.keeping import measure_keeping
from bench.train.training import measure_training

RESULTS = Path("bench/results")
MODEL = Path("models/smollm2-135m-instruct")

Say = Callable[[str], None]
Part = Callable[[Path, Path, Extent, Say], dict[str, Any]]
PARTS: dict[str, Part] = {
    "training": measure_training,
    "keeping": measure_keeping,
    "answers": measure_answers,
}


def main() -> int:
    """Run the benchmark; the exit status is 0 whether or not goals are met."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
    console, began_s = Console(), time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:5.0f} s[/]  {text}", highlight=False)

    before = Busyness.now()
    result = run(asked.parts, asked.model.resolve(), QUICK if asked.quick else Extent(), say)
    result["took_s"] = time.monotonic() - began_s
    result["machine"]["others_busy_cores"] = Busyness.now().others_cores(before)
    report.write(result, asked.results)
    report.print_result(console, result)
    console.print(f"written: {asked.results}/train.json and train.png", highlight=False)
    return 0


def run(parts: Sequence[str], model: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return the result of measuring `parts` with the base model in a folder."""
    result: dict[str, Any] = {
        "machine": machine(),
        "model": model.name,
        "settings": asdict(extent),
        "environment": dict(ENVIRONMENT),
    }
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        for part in parts:
            say(f"measuring {part}")
            result[part] = PARTS[part](Path(folder), model, extent, say)
    result["goals"] = [asdict(goal) for goal in goals(result)]
    result["machine"]["load_after"] = os.getloadavg()[0]
    return result


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.train", description="what a training costs beside plain TRL"
    )
    parser.add_argument("--quick", action="store_true", help="a rough run, one plain script only")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the base model")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
