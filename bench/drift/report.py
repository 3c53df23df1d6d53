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

OURS, OTHERS, GREY = "#1f6f8b", "#c2a05a", "#8a8a8a"

Numbers = Mapping[str, Any]


def print_result(console: Console, result: Numbers) -> None:
    """Print what was measured, and the goals."""
    console.print(_calm_table(result["calm"]))
    console.print(_drift_table(result["drifts"]))
    for drift, one in result["drifts"].items():
        if "slow" in one:
            console.print(_slow_table(drift, one["slow"]))
    print_goals(console, result)


def _calm_table(calm: Numbers) -> Table:
    table = Table(title="Without drift", title_justify="left")
    for name in ("said by", "alarms", "checks", "share", "95 % upper limit", "s a check"):
        table.add_column(name, justify="right" if name != "said by" else "left")
    seconds = {"evidently": calm["evidently_seconds_a_check"]}
    for name in ("watch_or_act", "act", "evidently"):
        one = calm[name]
        table.add_row(
            {"watch_or_act": "Ratchet: watch or act", "act": "Ratchet: act"}.get(name, "Evidently"),
            str(one["alarms"]),
            str(one["checks"]),
            _percent(one["share"]),
            _percent(one["upper"]),
            _number(seconds.get(name, calm["seconds_a_check"])),
        )
    return table


def _drift_table(drifts: Numbers) -> Table:
    table = Table(title="With drift: windows until it is said", title_justify="left")
    for name in (
        "drift",
        "stories",
        "watch, median",
        "act, median",
        "found in time",
        "Evidently, first window",
    ):
        table.add_column(name, justify="right" if name != "drift" else "left")
    for drift, one in drifts.items():
        table.add_row(
            drift,
            str(one["stories"]),
            _number(one["watch_delay_median"]),
            _number(one["act_delay_median"]),
            f"{_percent(one['found_within_stated'])} in {one['stated_windows']}",
            _percent(one["evidently"]["share"]),
        )
    return table


def _slow_table(drift: str, slow: Numbers) -> Table:
    table = Table(title=f"{drift}, ratings alone: found by window", title_justify="left")
    table.add_column("")
    for window in range(1, len(slow["ours"]) + 1):
        table.add_column(str(window), justify="right")
    for name, shares in (
        (f"ours, {slow['stories']} stories", slow["ours"]),
        (f"oracle, alpha {slow['alpha']:g}", slow["oracle"]),
        ("oracle, all of alpha", slow["oracle_with_all_of_alpha"]),
    ):
        table.add_row(name, *(_percent(share) for share in shares))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.3g} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def draw(result: Numbers) -> Figure:
    """Return the false alarms beside the goal, and the delays of each drift."""
    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    alarms, delays = figure.subplots(1, 2, width_ratios=(1, 2))
    _draw_alarms(alarms, result["calm"])
    _draw_delays(delays, result["drifts"])
    for axes in (alarms, delays):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_alarms(axes: Axes, calm: Numbers) -> None:
    names = ("watch or act", "act", "Evidently")
    rates = [calm[name] for name in ("watch_or_act", "act", "evidently")]
    shares = [100.0 * (one["share"] or 0.0) for one in rates]
    above = [
        100.0 * (one["upper"] or 0.0) - share for one, share in zip(rates, shares, strict=True)
    ]
    axes.bar(names, shares, yerr=[[0.0] * 3, above], capsize=4, color=[OURS, OURS, OTHERS])
    axes.axhline(1.0, color=GREY, linestyle="--")
    axes.set_title("False alarms, % of checks (95 % upper limit)", fontsize=9)


def _draw_delays(axes: Axes, drifts: Numbers) -> None:
    names = list(drifts)[::-1]
    watch = [drifts[name]["watch_delay_median"] or 0.0 for name in names]
    act = [drifts[name]["act_delay_median"] or 0.0 for name in names]
    places = range(len(names))
    axes.barh([place + 0.2 for place in places], watch, height=0.35, color=OURS, label="watch")
    axes.barh([place - 0.2 for place in places], act, height=0.35, color=OTHERS, label="act")
    axes.set_yticks(list(places), names, fontsize=8)
    axes.set_xlabel("windows of 2,000 rows, median")
    axes.set_title("Until an injected drift is said", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
