"""The result as people read it: a table and a drawing.

The dictionary that the run put together comes in. Knows nothing of how it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.report import print_goals

COLOURS = {
    "direct": "#8a8a8a",
    "ratchet-durable": "#1f6f8b",
    "ratchet-async": "#67b0c8",
    "litellm": "#c8553d",
    "vllm-router": "#d9a441",
}

Numbers = Mapping[str, Any]


def print_result(console: Console, result: Numbers) -> None:
    """Print what was measured, what could not be, and the goals."""
    console.print(_targets_table(result))
    for name, reason in result["missing"].items():
        console.print(f"[bold red]{name} was not measured:[/] {reason}", highlight=False)
    print_goals(console, result)


MEASURES = {
    "added p50, ms": ("latency", "added_p50_ms", ".2f"),
    "added p95, ms": ("latency", "added_p95_ms", ".2f"),
    "added p99, ms": ("latency", "added_p99_ms", ".2f"),
    "CPU a request at 200/s, ms": ("latency", "cpu_ms_per_request", ".3f"),
    "highest rate, requests/s": ("sustained", "rate_per_s", ",.0f"),
    "CPU a request there, ms": ("sustained", "cpu_ms_per_request", ".3f"),
    "streams/s, paced": ("streams", "per_s", ".0f"),
    "streams/s, unpaced": ("streams_unpaced", "per_s", ",.0f"),
    "resident memory, MB": ("memory", "end_mb", ".0f"),
    "its growth": ("memory", "growth", ".1%"),
}


def _targets_table(result: Numbers) -> Table:
    targets = result["targets"]
    table = Table(title="Gateway benchmark", title_justify="left")
    table.add_column("")
    for name in targets:
        table.add_column(name.replace("-", "\n"), justify="right")
    for title, (part, name, form) in MEASURES.items():
        cells = [_shown(numbers, part, name, form) for numbers in targets.values()]
        if any(cell != "-" for cell in cells):
            table.add_row(title, *cells)
    return table


def _shown(numbers: Numbers, part: str, name: str, form: str) -> str:
    value = numbers.get(part, {}).get(name)
    return "-" if value is None else format(value, form)


def draw(result: Numbers) -> Figure:
    """Return four drawings: added latency, highest rate, CPU per request, memory."""
    figure = Figure(figsize=(11.0, 7.5), layout="constrained")
    latency, rate, cpu, memory = figure.subplots(2, 2).flat
    targets = result["targets"]
    _draw_latency(latency, targets)
    _bars(rate, targets, lambda own: own["sustained"]["rate_per_s"], "{:,.0f}")
    rate.set_title("Highest sustained rate, requests/s on one core")
    _bars(cpu, targets, lambda own: own["sustained"]["cpu_ms_per_request"], "{:.2f}")
    cpu.set_title("CPU per request at that rate, ms")
    _draw_memory(memory, targets)
    for axes in (latency, rate, cpu, memory):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_latency(axes: Axes, targets: Mapping[str, Numbers]) -> None:
    names = ("p50", "p95", "p99")
    shown = [name for name in targets if name != "direct" and "latency" in targets[name]]
    width = 0.8 / max(1, len(shown))
    for number, name in enumerate(shown):
        values = [_or_nan(targets[name]["latency"].get(f"added_{share}_ms")) for share in names]
        at = [place + (number - (len(shown) - 1) / 2) * width for place in range(len(names))]
        bars = axes.bar(at, values, width, color=COLOURS[name], label=name)
        axes.bar_label(bars, _labels(values, "{:.1f}"), fontsize=7)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_xticks(range(len(names)), names)
    axes.set_title("Added latency at 200 requests/s, ms")
    if shown:
        axes.legend(frameon=False, fontsize=8)


def _bars(
    axes: Axes,
    targets: Mapping[str, Numbers],
    read: Callable[[Numbers], float | None],
    form: str,
) -> None:
    values = {name: _or_nan(read(own)) for name, own in targets.items() if "sustained" in own}
    bars = axes.barh(list(values), list(values.values()), color=[COLOURS[name] for name in values])
    axes.bar_label(bars, _labels(values.values(), form), padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _labels(values: Iterable[float], form: str) -> list[str]:
    """Return what stands at each bar; one that could not be measured is not called 0."""
    return ["none" if math.isnan(value) else form.format(value) for value in values]


def _draw_memory(axes: Axes, targets: Mapping[str, Numbers]) -> None:
    for name, own in targets.items():
        if "memory" in own:
            done, resident_mb = zip(*own["memory"]["samples"], strict=True)
            axes.plot(done, resident_mb, color=COLOURS[name], label=name)
    axes.set_xscale("symlog", linthresh=1000.0)
    axes.set_xlim(left=0.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("requests")
    axes.set_title("Resident memory, MB")
    axes.legend(frameon=False, fontsize=8)
