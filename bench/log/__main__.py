"""The whole benchmark: every part on real processes, results written, all stopped.

.venv/bin/python -m bench.log [--quick] [--parts commits ingest feedback ...]
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
from bench.log import report
from bench.log.commits import measure_commits
from bench.log.figures import QUICK, Extent, goals
from bench.log.ingest import measure_ingest
from bench.log.outage import measure_outage
from bench.log.rating import measure_feedback
from bench.log.relaying import measure_catch_up, measure_relay
from bench.report import machine

RESULTS = Path("bench/results")

Say = Callable[[str], None]
PARTS: dict[str, Callable[[Path, Extent, Say], dict[str, Any]]] = {
    "commits": lambda folder, extent, _: measure_commits(folder, extent),
    "ingest": lambda folder, extent, _: measure_ingest(folder, extent),
    "feedback": lambda folder, extent, _: measure_feedback(folder, extent),
    "relay": lambda folder, extent, _: measure_relay(folder, extent),
    "catch_up": measure_catch_up,
    "outage": lambda folder, extent, _: asdict(measure_outage(folder, extent.outage_events)),
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
    console.print(f"written: {asked.results}/log.json and log.png", highlight=False)
    return 0


def run(parts: Sequence[str], extent: Extent, say: Say) -> dict[str, Any]:
    """Return the result of measuring `parts`."""
    result: dict[str, Any] = {"machine": machine(), "settings": asdict(extent)}
    with tempfile.TemporaryDirectory(prefix="bench-log-") as folder:
        for part in parts:
            say(f"measuring {part}")
            own = Path(folder) / part
            own.mkdir()
            result[part] = PARTS[part](own, extent, say)
    result["goals"] = [asdict(goal) for goal in goals(result)]
    result["machine"]["load_after"] = os.getloadavg()[0]
    return result


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.log", description="what the event log costs and holds"
    )
    parser.add_argument("--quick", action="store_true", help="a rough run of about two minutes")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
