"""The whole benchmark: simulated, decided, written.

.venv/bin/python -m bench.canary [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.canary import report
from bench.canary.figures import QUICK, Extent, allowed_roll_backs, goals
from bench.canary.scenarios import SCENARIOS
from bench.canary.simulating import simulate_all
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
    console.print(f"written: {asked.results}/canary.json and canary.png", highlight=False)
    return 0


def run(extent: Extent, say: Say) -> dict[str, Any]:
    """Return the result of one run."""
    rules = SCENARIOS[0].rules
    result: dict[str, Any] = {
        "machine": machine(),
        "settings": asdict(extent),
        "rules": rules.model_dump(mode="json"),
        "alpha_promote": rules.alpha_promote,
        "alpha_roll_back_all": allowed_roll_backs(rules),
        "simulated": [asdict(scenario) for scenario in SCENARIOS],
        "scenarios": simulate_all(extent, say),
    }
    result["goals"] = [asdict(goal) for goal in goals(result)]
    result["machine"]["load_after"] = os.getloadavg()[0]
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.canary", description="how often a canary is decided wrongly"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rollouts")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
