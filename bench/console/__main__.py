"""The whole benchmark: both databases filled, every page asked for, results written.

.venv/bin/python -m bench.console [--quick] [--parts sqlite postgresql]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from bench.console import report
from bench.console.figures import QUICK, Extent, goals
from bench.console.measure import measure_postgresql, measure_sqlite
from bench.gateway.process import Busyness
from bench.report import machine

RESULTS = Path("bench/results")
PARTS: dict[str, Callable[[Path, Extent], dict[str, Any]]] = {
    "sqlite": measure_sqlite,
    "postgresql": measure_postgresql,
}


def main() -> int:
    """Run the benchmark; the exit status is 0 whether or not goals are met."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
    console, began_s = Console(), time.monotonic()
    extent = QUICK if asked.quick else Extent()
    before = Busyness.now()
    result: dict[str, Any] = {"machine": machine(), "settings": asdict(extent)}
    with tempfile.TemporaryDirectory(prefix="bench-console-") as folder:
        for part in asked.parts:
            console.print(f"[dim]{time.monotonic() - began_s:5.0f} s[/]  measuring {part}")
            own = Path(folder) / part
            own.mkdir()
            result[part] = PARTS[part](own, extent)
    result["goals"] = [asdict(goal) for goal in goals(result)]
    result["took_s"] = time.monotonic() - began_s
    result["machine"]["load_after"] = os.getloadavg()[0]
    result["machine"]["others_busy_cores"] = Busyness.now().others_cores(before)
    report.write(result, asked.results)
    report.print_result(console, result)
    console.print(f"written: {asked.results}/console.json and console.png", highlight=False)
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.console", description="how long the console's pages take"
    )
    parser.add_argument("--quick", action="store_true", help="a rough run of about a minute")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
