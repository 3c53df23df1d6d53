"""The whole benchmark: trainings, what they keep, then answers; results written, all stopped.

.venv/bin/python -m bench.train [--quick] [--parts training keeping answers]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.running import Benchmark, Say, Work
from bench.train import report
from bench.train.answers import measure_answers
from bench.train.children import ENVIRONMENT
from bench.train.figures import QUICK, Extent, goals
from bench.train.keeping import measure_keeping
from bench.train.training import measure_training

MODEL = Path("models/smollm2-135m-instruct")

Part = Callable[[Path, Path, Extent, Say], dict[str, Any]]
PARTS: dict[str, Part] = {
    "training": measure_training,
    "keeping": measure_keeping,
    "answers": measure_answers,
}


def measure(work: Work[Extent]) -> dict[str, Any]:
    """Return the result of the parts that were asked for, with the base model in its folder."""
    model: Path = work.asked.model.resolve()
    result: dict[str, Any] = {
        "model": model.name,
        "settings": asdict(work.extent),
        "environment": dict(ENVIRONMENT),
    }
    for part in work.parts():
        result[part] = PARTS[part](work.folder, model, work.extent, work.say)
    return result


BENCHMARK = Benchmark(
    name="train",
    about="what a training costs beside plain TRL",
    quick_about="a rough run, one plain script only",
    extent=Extent(),
    quick=QUICK,
    measure=measure,
    goals=goals,
    report=report,
    parts=tuple(PARTS),
    options=[("--model", {"type": Path, "default": MODEL, "help": "folder of the base model"})],
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
