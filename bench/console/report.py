"""The result as people read it: a table and a drawing.

The dictionary that the run put together comes in. Knows nothing of how it was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.console.figures import DATABASES, GOAL_P95_MS
from bench.report import print_goals

COLOURS = {"sqlite": "#1f6f8b", "postgresql": "#8a5a00"}


def print_result(console: Console, result: Mapping[str, Any]) -> None:
    """Print each page's p95 on both databases, and the goals."""
    table = Table(title="Console: p95 of each page, ms", title_justify="left")
    for name in ("page", *DATABASES):
        table.add_column(name)
    for name in _names(result):
        table.add_row(name, *(_shown(result, database, name) for database in DATABASES))
    console.print(table)
    for database in DATABASES:
        built = (result.get(database) or {}).get("build")
        if built:
            told = ", ".join(f"{name} {value:,.1f}" for name, value in built.items())
            console.print(f"{database}: {told}", highlight=False)
    print_goals(console, result)


def draw(result: Mapping[str, Any]) -> Figure:
    """Return the p95 of each page beside the goal."""
    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    axes = figure.subplots()
    names = _names(result)
    for offset, database in ((-0.2, "sqlite"), (0.2, "postgresql")):
        values = [_p95(result, database, name) or 0.0 for name in names]
        places = [place + offset for place in range(len(names))]
        axes.barh(places, values, 0.4, color=COLOURS[database], label=database)
    axes.axvline(GOAL_P95_MS, color="#a51d2d", linestyle="--", label="goal")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("p95, ms")
    axes.set_title("Pages of the console")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _names(result: Mapping[str, Any]) -> list[str]:
    pages = (((result.get(database) or {}).get("pages") or {}) for database in DATABASES)
    return list(dict.fromkeys(name for own in pages for name in own))


def _p95(result: Mapping[str, Any], database: str, name: str) -> float | None:
    page = ((result.get(database) or {}).get("pages") or {}).get(name)
    return page and page["p95_ms"]


def _shown(result: Mapping[str, Any], database: str, name: str) -> str:
    value = _p95(result, database, name)
    return "-" if value is None else f"{value:.1f}"
