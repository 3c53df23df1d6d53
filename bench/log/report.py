"""The result as people read it: tables and a drawing.

The dictionary that the run put together comes in. Knows nothing of how it was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.report import print_goals

OURS, RAW = "#1f6f8b", "#8a8a8a"

Numbers = Mapping[str, Any]

# title: path to our number, path to the raw one beside it (none: there is no such), form
MEASURES: Mapping[str, tuple[str, str | None, str]] = {
    "appended, 1 caller, events/s": ("commits.callers.1.events_per_s", "commits.fsyncs_per_s", ""),
    "appended, 16 callers": ("commits.callers.16.events_per_s", "commits.fsyncs_per_s", ""),
    "appended, 64 callers": ("commits.callers.64.events_per_s", "commits.fsyncs_per_s", ""),
    "appended, 256 callers": ("commits.callers.256.events_per_s", "commits.fsyncs_per_s", ""),
    "ingested, SQLite": ("ingest.sqlite.events_per_s", "ingest.sqlite.raw_rows_per_s", ""),
    "ingested, PostgreSQL": (
        "ingest.postgresql.events_per_s",
        "ingest.postgresql.raw_rows_per_s",
        "",
    ),
    "relayed": ("relay.events_per_s", "relay.raw_per_s", ""),
    "feedback p50, ms": ("feedback.p50_ms", None, ".2f"),
    "feedback p99, ms": ("feedback.p99_ms", None, ".2f"),
    "relayed after the outage, s": ("catch_up.relayed_s", None, ".1f"),
    "stored after the outage, s": ("catch_up.stored_s", None, ".1f"),
    "writer's growth in an outage, MB": ("outage.writer_growth_mb", None, ".1f"),
    "relay's growth in an outage, MB": ("outage.relay_growth_mb", None, ".1f"),
}


def print_result(console: Console, result: Numbers) -> None:
    """Print what was measured, and the goals."""
    table = Table(title="Event log benchmark", title_justify="left")
    for name in ("", "ours", "raw", "ratio"):
        table.add_column(name, justify="left" if not name else "right")
    for title, (ours, raw, form) in MEASURES.items():
        own, other = number(result, ours), raw and number(result, raw)
        if own is not None:
            shown = format(other, ",.0f") if other else ""
            share = f"{own / other:.2f}" if other else ""
            table.add_row(title, format(own, form or ",.0f"), shown, share)
    console.print(table)
    print_goals(console, result)


def number(result: Numbers, path: str) -> float | None:
    """Return the number at a path of names joined by dots; None: it was not measured."""
    found: Any = result
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def draw(result: Numbers) -> Figure:
    """Return the rates beside the raw ones, and appended events by callers."""
    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    rates, callers = figure.subplots(1, 2)
    _draw_rates(rates, result)
    _draw_callers(callers, result)
    for axes in (rates, callers):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_rates(axes: Axes, result: Numbers) -> None:
    shown = [
        (title, own, other)
        for title, (ours, raw, _) in MEASURES.items()
        if raw and not title.startswith("appended")
        if (own := number(result, ours)) and (other := number(result, raw))
    ]
    for place, (_, own, other) in enumerate(shown):
        labels = ("ours", "raw") if place == 0 else (None, None)
        for offset, value, colour, label in (
            (-0.2, own, OURS, labels[0]),
            (0.2, other, RAW, labels[1]),
        ):
            bars = axes.bar(place + offset, value, 0.4, color=colour, label=label)
            axes.bar_label(bars, [f"{value:,.0f}"], fontsize=8)
    axes.set_xticks(range(len(shown)), [title for title, _, _ in shown])
    axes.set_title("Events/s, and the same bytes in bulk")
    if shown:
        axes.legend(frameon=False, fontsize=8)


def _draw_callers(axes: Axes, result: Numbers) -> None:
    by_callers = result.get("commits", {}).get("callers", {})
    if by_callers:
        counts = [int(name) for name in by_callers]
        axes.plot(counts, [own["events_per_s"] for own in by_callers.values()], "o-", color=OURS)
        axes.axhline(result["commits"]["fsyncs_per_s"], color=RAW, linestyle="--")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
    axes.set_xlabel("callers that wait at once; dashed: fsyncs/s of the disk")
    axes.set_title("Acknowledged events/s")
