"""The result as people read it: a table and a drawing.

The dictionary that the run put together comes in. Knows nothing of how it was simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.canary.figures import OURS, POWERS
from bench.report import print_goals

COLOURS = {
    OURS: "#1f6f8b",
    "ratings alone": "#8fc1d4",
    "z-test, watched": "#8a8a8a",
    "Mann-Whitney": "#c2a05a",
    "expected loss": "#b5645a",
}
ENDS = {"promoted": "promotion", "rolled_back": "roll_back"}

Numbers = Mapping[str, Any]


def print_result(console: Console, result: Numbers) -> None:
    """Print what came out, and the goals."""
    for name, scenario in result["scenarios"].items():
        console.print(_table(name, scenario))
    for name, scenario in result["scenarios"].items():
        if (told := scenario.get("to_fixed_sample")) and told["fixed"] is not None:
            console.print(
                f"{name}: {told['mean']:.0f} ratings to the proof on average; a z-test that looks "
                f"once needs {told['fixed']} for a power of {told['power']:.4f}",
                highlight=False,
            )
    console.print(_powers_table(result["scenarios"]))
    print_goals(console, result)


def _table(name: str, scenario: Numbers) -> Table:
    right = ", ".join(f"{end.replace('_', '-')} {scenario[end]}" for end in ENDS.values())
    table = Table(title=f"{name} ({right})", title_justify="left")
    for head in ("", "promoted", "rolled back", "paused", "undecided", "ratings", "answers"):
        table.add_column(head, justify="right" if head else "left")
    for rule, numbers in scenario["rules"].items():
        table.add_row(
            rule,
            _share(numbers["promoted"]),
            _share(numbers["rolled_back"]),
            *(f"{numbers[end]['share']:.1%}" for end in ("paused", "undecided")),
            *(_number(numbers[of]["median"]) for of in ("ratings", "answers")),
        )
    return table


def _powers_table(scenarios: Numbers) -> Table:
    title = "Ratings on average, ours giving up in time for the power / a z-test that looks once"
    table = Table(title=title, title_justify="left")
    table.add_column("power")
    for power in POWERS:
        table.add_column(f"{power:.0%}", justify="right")
    for name, scenario in scenarios.items():
        if "to_fixed_sample" in scenario:
            lower = {one["power"]: one for one in scenario["to_fixed_sample"]["lower_powers"]}
            table.add_row(name, *(_ratio(lower.get(power)) for power in POWERS))
    return table


def _ratio(numbers: Numbers | None) -> str:
    if numbers is None:
        return "not reached"
    return f"{numbers['mean']:.0f} / {numbers['fixed']} = {numbers['ratio']:.2f}"


def _share(numbers: Numbers) -> str:
    return f"{numbers['share']:.2%} (≤ {numbers['upper']:.2%})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def draw(result: Numbers) -> Figure:
    """Return false decisions by scenario and rule, and ratings to decisions."""
    figure = Figure(figsize=(13.0, 5.5), layout="constrained")
    wrong, when = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_wrong(wrong, result)
    _draw_when(when, result)
    for axes in (wrong, when):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_wrong(axes: Axes, result: Numbers) -> None:
    """Draw a group of bars for each end that would be wrong."""
    cases = [
        (name, end, scenario)
        for name, scenario in result["scenarios"].items()
        for end, right in ENDS.items()
        if scenario[right] == "wrong"
    ]
    height = 0.8 / len(COLOURS)
    for place, (rule, colour) in enumerate(COLOURS.items()):
        shares = [scenario["rules"][rule][end]["share"] for _, end, scenario in cases]
        at = np.arange(len(cases)) + (place - (len(COLOURS) - 1) / 2) * height
        axes.barh(at, shares, height, color=colour, label=rule)
    names = [f"{name}: {end.replace('_', ' ')}" for name, end, _ in cases]
    axes.set_yticks(range(len(cases)), names, fontsize=8)
    axes.invert_yaxis()
    for limit in (result["alpha_promote"], result["alpha_roll_back_all"]):
        axes.axvline(limit, color="#222222", linestyle="--", linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:.0%}")
    axes.set_title("Wrong decisions; dashed: what is stated of promotions and of roll-backs")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_when(axes: Axes, result: Numbers) -> None:
    """Draw the average ratings to a proof beside those of the fixed sample."""
    told = {
        name: scenario["to_fixed_sample"]
        for name, scenario in result["scenarios"].items()
        if scenario.get("to_fixed_sample", {}).get("fixed") is not None
    }
    at = np.arange(len(told))
    for place, (key, label) in enumerate((("mean", "e-process"), ("fixed", "fixed sample"))):
        values = [numbers[key] for numbers in told.values()]
        colour = COLOURS[OURS] if key == "mean" else COLOURS["z-test, watched"]
        bars = axes.bar(at + 0.4 * place - 0.2, values, 0.4, color=colour, label=label)
        axes.bar_label(bars, [f"{value:.0f}" for value in values], fontsize=8)
    axes.set_xticks(at, [name.replace(", ", ",\n") for name in told], fontsize=8)
    axes.set_title("Ratings to a proof, at equal power")
    axes.legend(frameon=False, fontsize=8)
