"""The drawings of a search: losses by trial, what matters, each value against the loss.

Plain numbers go in, one `<svg>` each comes out. Knows nothing of Optuna or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.figure import Figure

from retrain.search.space import Number
from retrain.watching.drawing import FIRST, HARM, MUTED, SECOND, SIZE_IN, STYLE, canvas, svg

ROW_IN = 0.32  # height of one bar
PANEL_IN = 2.1  # width of one value's panel
HEIGHT_IN = 2.4


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial with its loss: at its end, or where it was pruned."""

    number: int
    loss: float
    pruned: bool
    values: Mapping[str, Number]


def draw_history(tried: Sequence[Tried]) -> str:
    """Return the loss of each trial, and the best so far."""
    with canvas(SIZE_IN, "trial", "validation loss") as (figure, axes):
        whole = [one for one in tried if not one.pruned]
        pruned = [one for one in tried if one.pruned]
        for points, colour, label, marker in (
            (whole, FIRST, "trained to the end", "o"),
            (pruned, MUTED, "pruned", "x"),
        ):
            if points:
                axes.scatter(
                    [one.number for one in points],
                    [one.loss for one in points],
                    color=colour,
                    marker=marker,
                    s=22,
                    label=label,
                )
        best = [min(one.loss for one in whole[: at + 1]) for at in range(len(whole))]
        if best:
            numbers = [one.number for one in whole]
            axes.step(numbers, best, where="post", color=SECOND, label="the best so far")
        if tried:
            figure.legend(loc="outside upper left", ncols=3)
        return svg(figure, "validation loss by trial")


def draw_importances(shares: Mapping[str, float]) -> str:
    """Return how much each parameter matters, as bars."""
    height = 0.9 + ROW_IN * len(shares)
    with canvas((SIZE_IN[0], height), "share of the differences in loss that it explains", "") as (
        figure,
        axes,
    ):
        axes.grid(visible=False)
        names = list(shares)[::-1]
        axes.barh(names, [shares[name] for name in names], color=FIRST, height=0.6)
        for place, name in enumerate(names):
            axes.annotate(f" {shares[name]:.0%}", (shares[name], place), va="center")
        axes.set_xlim(0, max(shares.values()) * 1.12)
        return svg(figure, "importance of the parameters")


def draw_slices(tried: Sequence[Tried], logarithmic: frozenset[str]) -> str:
    """Return one panel per parameter: its values against the loss."""
    names = list(tried[0].values)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(PANEL_IN * columns + 0.4, HEIGHT_IN * rows), layout="constrained")
        all_axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, axes in enumerate(all_axes.flat):
            if place >= len(names):
                axes.set_visible(False)
                continue
            name = names[place]
            for one in tried:
                colour, marker = (MUTED, "x") if one.pruned else (FIRST, "o")
                axes.scatter(one.values[name], one.loss, color=colour, marker=marker, s=18)
            axes.set_xlabel(name)
            if name in logarithmic:
                axes.set_xscale("log")
            if place % columns == 0:
                axes.set_ylabel("validation loss")
        return svg(figure, "each parameter against the validation loss")


def draw_parallel(tried: Sequence[Tried]) -> str:
    """Return each trial as a line through its values, each scaled; the best stands out."""
    whole = [one for one in tried if not one.pruned]
    names = [*whole[0].values, "loss"]
    rows = [[*map(float, one.values.values()), one.loss] for one in whole]
    lows = [min(column) for column in zip(*rows, strict=True)]
    highs = [max(column) for column in zip(*rows, strict=True)]
    best = min(range(len(rows)), key=lambda at: rows[at][-1])
    with canvas(SIZE_IN, "", "from lowest to highest") as (figure, axes):
        for at, row in enumerate(rows):
            scaled = [
                (value - low) / (high - low) if high > low else 0.5
                for value, low, high in zip(row, lows, highs, strict=True)
            ]
            style = (HARM, 1.0, 2.2) if at == best else (MUTED, 0.45, 1.0)
            axes.plot(range(len(names)), scaled, color=style[0], alpha=style[1], lw=style[2])
        axes.set_xticks(range(len(names)), names, rotation=20)
        axes.set_ylim(-0.05, 1.05)
        return svg(figure, "values of all trials; the best one stands out")
