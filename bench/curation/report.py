"""The result as people read it: tables and a drawing.

The dictionary that the run put together comes in. Knows nothing of how it was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.curation.figures import GOAL_S, at_path
from bench.report import print_goals

OURS, RAW = "#1f6f8b", "#8a8a8a"
SHOWN_SHARE = 0.02  # of the time: stages below it are drawn as one
ROWS = "row stages"

Numbers = Mapping[str, Any]


def print_result(console: Console, result: Numbers) -> None:
    """Print what was measured, and the goals."""
    for table in (_sizes(result), _stages(result), _near(result), _plants(result)):
        if table.row_count:
            console.print(table)
    print_goals(console, result)


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left")
    return table


def _sizes(result: Numbers) -> Table:
    table = _table("Pipeline", "interactions", "s", "per s", "peak GB (PSS)", "examples")
    for size, told in (at_path(result, "pipeline.sizes") or {}).items():
        table.add_row(
            f"{int(size):,}", f"{told['wall_s']:,.1f}", f"{told['interactions_per_s']:,.0f}",
            f"{told['peak_pss_gb']:.2f}", f"{sum(told['rows'].values()):,}",
        )  # fmt: skip
    fit = at_path(result, "pipeline.fit")
    if fit:
        table.caption = (
            f"{fit['fixed_s']:.1f} s and {fit['per_million_s']:,.0f} s a million, "
            f"R² {fit['r_squared']:.4f}; power {fit['exponent']:.2f}"
        )
    return table


def _stages(result: Numbers) -> Table:
    table = _table("Stages at the largest size", "stage", "rows", "dropped", "rows/s", "s")
    sizes = at_path(result, "pipeline.sizes")
    if not sizes:
        return table
    told = sizes[max(sizes, key=int)]
    counts = {stage["name"]: stage for stage in told["stages"]}
    for name, rate in told["stage_rates"].items():
        count = counts.get(name)
        seconds = (
            told["row_stages"].get(name, {}).get("cpu_s", 0.0) or told["spans"][name]["wall_s"]
        )
        rows = count["before"] if count else told["row_stages"][name]["rows"]
        dropped = count["before"] - count["after"] if count else 0
        table.add_row(name, f"{rows:,}", f"{dropped:,}", f"{rate:,.0f}", f"{seconds:.1f}")
    table.caption = "row stages: seconds of CPU over all workers, rows/s of one core"
    return table


def _near(result: Numbers) -> Table:
    table = _table("Near dedupe", "", "texts", "texts/s", "recall", "precision", "ours to it")
    near: Numbers = result.get("near", {})
    for name in ("ours", "datasketch", "datatrove"):
        told = near.get(name)
        if not told or "missing" in told:
            continue
        ratio = near.get(f"to_{name}")
        table.add_row(
            name, f"{told['texts']:,}", f"{told['texts_per_s']:,.0f}", _share(told["recall"]),
            _share(told["precision"]), f"{ratio:.1f}" if ratio else "",
        )  # fmt: skip
    return table


def _plants(result: Numbers) -> Table:
    table = _table("Plants, and how many came out as they should", "kind", "planted", "right")
    for kind, told in (at_path(result, "leaks.plants") or {}).items():
        table.add_row(kind, f"{told['planted']:,}", _share(told["share"]))
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def draw(result: Numbers) -> Figure:
    """Return time against interactions with the fit, and the stages of each size as bars."""
    figure = Figure(figsize=(12.0, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes: Numbers = at_path(result, "pipeline.sizes") or {}
    if sizes:
        _draw_fit(left, sizes, at_path(result, "pipeline.fit"))
        _draw_stages(right, sizes)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_fit(axes: Axes, sizes: Numbers, fit: Numbers | None) -> None:
    counts = sorted(map(int, sizes))
    axes.plot(counts, [sizes[str(count)]["wall_s"] for count in counts], "o", color=OURS)
    if fit:
        line = [fit["fixed_s"] + fit["per_million_s"] * count / 1e6 for count in (0, counts[-1])]
        label = f"power {fit['exponent']:.2f}, R² {fit['r_squared']:.4f}"
        axes.plot([0, counts[-1]], line, "--", color=RAW, label=label)
        axes.legend(frameon=False)
    if counts[-1] >= 500_000:
        axes.axhline(GOAL_S, color=RAW, linewidth=0.8)
    axes.set_xlabel("interactions")
    axes.set_ylabel("s")
    axes.set_title("Time of the default pipeline, and a line through it")


def _draw_stages(axes: Axes, sizes: Numbers) -> None:
    """Draw the seconds of each stage; those of row stages by their parts of the CPU."""
    counts = sorted(map(int, sizes))
    by_size = [stage_seconds(sizes[str(count)]) for count in counts]
    shown = [
        name
        for name, value in by_size[-1].items()
        if value > SHOWN_SHARE * sum(by_size[-1].values())
    ]
    colours = matplotlib.colormaps["tab20"].resampled(20)
    bottom = [0.0] * len(counts)
    for place, name in enumerate([*shown, "all others"]):
        values = [
            told.get(name, 0.0)
            if name in shown
            else sum(value for other, value in told.items() if other not in shown)
            for told in by_size
        ]
        labels = [f"{count:,}" for count in counts]
        axes.bar(labels, values, bottom=bottom, color=colours(place % 20), label=name)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    axes.set_title("Where the time goes, s")
    axes.legend(frameon=False, fontsize=7, reverse=True, loc="upper left")


def stage_seconds(told: Numbers) -> dict[str, float]:
    """Return the seconds of each stage, the pass of the row stages parted by their CPU."""
    seconds = {name: own["wall_s"] for name, own in told["spans"].items() if name != ROWS}
    pass_s = told["spans"].get(ROWS, {}).get("wall_s", 0.0)
    spent = {name: own["cpu_s"] for name, own in told["row_stages"].items()}
    total = sum(spent.values()) or 1.0
    return {name: pass_s * own / total for name, own in spent.items()} | seconds
