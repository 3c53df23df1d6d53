"""The whole benchmark: simulated, decided, written.

.venv/bin/python -m bench.canary [--quick]
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from bench.canary import report
from bench.canary.figures import QUICK, Extent, allowed_roll_backs, goals
from bench.canary.scenarios import SCENARIOS
from bench.canary.simulating import simulate_all
from bench.running import Benchmark, Work


def measure(work: Work[Extent]) -> dict[str, Any]:
    """Return how the verdict and its rivals decide the simulated rollouts."""
    rules = SCENARIOS[0].rules
    return {
        "settings": asdict(work.extent),
        "rules": rules.model_dump(mode="json"),
        "alpha_promote": rules.alpha_promote,
        "alpha_roll_back_all": allowed_roll_backs(rules),
        "simulated": [asdict(scenario) for scenario in SCENARIOS],
        "scenarios": simulate_all(work.extent, work.say),
    }


BENCHMARK = Benchmark(
    name="canary",
    about="how often a canary is decided wrongly",
    quick_about="fewer and shorter rollouts",
    extent=Extent(),
    quick=QUICK,
    measure=measure,
    goals=goals,
    report=report,
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
