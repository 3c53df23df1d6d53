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
from bench.train.figures import OURS

COLOURS = {OURS: "#1f6f8b"}
GREYS = ("#8a8a8a", "#c2a05a")

Numbers = Mapping[str, Any]


def print_result(console: Console, result: Numbers) -> None:
    """Print what was measured, and the goals."""
    trainings: Numbers = result.get("training", {}).get("trainings", {})
    if trainings:
        console.print(_trainings_table(result["training"]))
        for name, seconds in result["training"]["stopped_after_s"].items():
            console.print(f"{name}: stopped after {seconds:.0f} s, not compared", highlight=False)
    keeping: Numbers = result.get("keeping", {})
    if keeping:
        kill, increment = keeping["kill"], keeping["increment"]
        console.print(
            f"Killed at step {kill['killed_at']}: {kill['lost_steps']} steps done again, loss "
            f"{kill['loss']:.4f} (undisturbed {kill['undisturbed_loss']:.4f}). Increment: "
            f"{increment['after']:.3f} of general questions ({increment['before']:.3f} before)",
            highlight=False,
        )
    answers: Numbers = result.get("answers", {})
    if answers:
        console.print(
            f"Gate: {max(answers['engine_answers_per_s']):.2f} answers/s by vLLM, "
            f"{max(answers['generate_answers_per_s']):.2f} by generate",
            highlight=False,
        )
    print_goals(console, result)


def _trainings_table(training: Numbers) -> Table:
    told = training["compared"]
    table = Table(
        title=f"To a held-out loss of {told['target_loss']:.3f} (base {told['base_loss']:.3f})",
        title_justify="left",
    )
    for name in ("", "seconds to it", "in all", "CPU s", "tokens/s", "peak MB", "lowest loss"):
        table.add_column(name, justify="right" if name else "left")
    for name, one in training["trainings"].items():
        reached = told["seconds_to_target"][name]
        table.add_row(
            name,
            "-" if reached is None else f"{reached:.0f}",
            f"{one['seconds']:.0f}",
            f"{one['cpu_s']:.0f}",
            f"{one['tokens_per_s']:.0f}",
            f"{one['peak_mb']:,.0f}",
            f"{min(one['losses']):.3f}",
        )
    return table


def draw(result: Numbers) -> Figure:
    """Return held-out loss over seconds, and peak memory."""
    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    losses, memory = figure.subplots(1, 2, width_ratios=(2, 1))
    training: Numbers = result.get("training", {})
    if training:
        _draw_losses(losses, training)
        _draw_memory(memory, training["trainings"])
    for axes in (losses, memory):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _colours(names: Mapping[str, Any]) -> dict[str, str]:
    plain = [name for name in names if name != OURS]
    return COLOURS | dict(zip(plain, GREYS, strict=False))


def _draw_losses(axes: Axes, training: Numbers) -> None:
    told = training["compared"]
    for name, one in training["trainings"].items():
        seconds, losses = [0.0, *one["at_s"]], [told["base_loss"], *one["losses"]]
        axes.plot(seconds, losses, "o-", label=name, color=_colours(training["trainings"])[name])
    axes.axhline(told["target_loss"], color="#8a8a8a", linestyle="--")
    axes.set_xlabel("seconds from the start of the process; dashed: the loss to reach")
    axes.set_title("Held-out loss per token of the answer")
    axes.legend(frameon=False, fontsize=8)


def _draw_memory(axes: Axes, trainings: Numbers) -> None:
    names = list(trainings)
    peaks = [trainings[name]["peak_mb"] for name in names]
    bars = axes.bar(names, peaks, color=[_colours(trainings)[name] for name in names])
    axes.bar_label(bars, [f"{peak:,.0f}" for peak in peaks], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title("Peak memory, MB")
