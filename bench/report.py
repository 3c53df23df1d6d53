"""What every benchmark's result has: the machine, goals, and how both are shown. No measuring."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

NOISY_CORES = 0.2  # of other work: beyond it a p99 tells of the neighbours


@dataclass(frozen=True)
class Goal:
    """A goal and what came out; `measured` None: a part of it could not be measured."""

    name: str
    goal: float
    measured: float | None
    unit: str
    met: bool


def at_most(name: str, goal: float, measured: float | None, unit: str) -> Goal:
    """Return a goal that is met below it."""
    return Goal(name, goal, measured, unit, measured is not None and measured < goal)


def at_least(name: str, goal: float, measured: float | None) -> Goal:
    """Return a ratio's goal, met at or above it."""
    return Goal(name, goal, measured, "ratio", measured is not None and measured >= goal)


def ratio(value: float | None, other: float | None) -> float | None:
    """Return value / other, or None if either was not measured."""
    return None if value is None or not other else value / other


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def print_goals(console: Console, result: Mapping[str, Any]) -> None:
    """Print the goals, and whether the machine was quiet enough to believe them."""
    console.print(_goals_table(result))
    busy = result["machine"]["others_busy_cores"]
    if busy > NOISY_CORES:
        console.print(
            f"[bold red]Not a quiet machine:[/] others kept {busy:.1f} of "
            f"{result['machine']['cores']} cores busy. Ratios in this run are what is left of it.",
            highlight=False,
        )


def _goals_table(result: Mapping[str, Any]) -> Table:
    table = Table(title="Goals", title_justify="left")
    for name in ("goal", "wanted", "measured", "unit", "met"):
        table.add_column(name)
    for goal in result["goals"]:
        measured = "-" if goal["measured"] is None else f"{goal['measured']:.3g}"
        met = "[green]yes[/]" if goal["met"] else "[bold red]no[/]"
        table.add_row(goal["name"], f"{goal['goal']:.3g}", measured, goal["unit"], met)
    return table
