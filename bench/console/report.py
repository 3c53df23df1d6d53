"""The result as people read it: a table and a drawing.

The dictionary that the run put together comes in. Knows nothing of how it was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.console.figures import DATABASES, FIGURES, GOAL_P95_MS
from bench.report import print_goals

COLOURS = {"sqlite": "#1f6f8b", "postgresql": "#8a5a00"}


def print_result(console: Console, result: Mapping[str, Any]) -> None:
    """Print each page's p95 on both databases, and the goals."""
    table = Table(title="Console: p95 of each page, ms", title_justify="left")
    columns = [(database, figure) for database in DATABASES for figure in FIGURES]
    for name in ("page", *(f"{base}, {FIGURES[figure]}" for base, figure in columns)):
        table.add_column(name)
    for name in _names(result):
        table.add_row(name, *(_shown(result, base, name, figure) for base, figure in columns))
    console.print(table)
    for database in DATABASES:
        built = (result.get(database) or {}).get("build")
        if built:
            told = ", ".join(f"{name} {value:,.1f}" for name, value in built.items())
            console.print(f"{database}: {told}", highlight=False)
    print_goals(console, result)


def draw(result: Mapping[str, Any]) -> Figure:
    """Return the p95 of each page beside the goal."""
    figure = Figure(figsize=(9.0, 9.0), layout="constrained")
    axes = figure.subplots()
    names = _names(result)
    drawn = [(database, kind) for database in DATABASES for kind in FIGURES]
    for number, (database, kind) in enumerate(drawn):
        values = [_p95(result, database, name, kind) or 0.0 for name in names]
        places = [place + 0.2 * (number - 1.5) for place in range(len(names))]
        looks: dict[str, Any] = {"color": COLOURS[database]}
        looks |= {"label": f"{database}, {FIGURES[kind]}"}
        axes.barh(places, values, 0.2, alpha=1.0 if kind == "p95_ms" else 0.45, **looks)
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


def _p95(result: Mapping[str, Any], database: str, name: str, figure: str) -> float | None:
    page = ((result.get(database) or {}).get("pages") or {}).get(name)
    return page and page.get(figure)


def _shown(result: Mapping[str, Any], database: str, name: str, figure: str) -> str:
    value = _p95(result, database, name, figure)
    return "-" if value is None else f"{value:.1f}"
