"""The curves of a training as SVG: losses, learning rate, gradient norm.

Points go in, one `<svg>` each comes out; its colours follow the page around it where that has
them, so that one drawing serves light, dark and no page at all. Matplotlib without pyplot. Knows
nothing of runs or files.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retrain.watching.health import Finding, Point

SIZE_IN = (6.4, 3.0)
SMALL_SIZE_IN = (6.4, 1.9)
SMOOTHED_OVER = 60  # a curve of more points than this gets a mean beside it
# Stand-ins on the canvas, and what each becomes in the SVG: the page's colour, or its own.
THEME = {
    "#010101": "var(--ink, #1f2328)",
    "#020202": "var(--muted, #656d76)",
    "#030303": "var(--line, #d0d7de)",
    "#040404": "var(--first, #0969da)",
    "#050505": "var(--second, #bc4c00)",
    "#060606": "var(--harm, #cf222e)",
}
INK, MUTED, LINE, FIRST, SECOND, HARM = THEME
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
}


def draw_losses(points: Sequence[Point], findings: Sequence[Finding]) -> str:
    """Return training and validation loss over the steps; findings that matter as marks."""
    with canvas(SIZE_IN, "steps", "loss") as (figure, axes):
        train = [(p.step, p.loss) for p in points if p.loss is not None]
        held_out = [(p.step, p.validation_loss) for p in points if p.validation_loss is not None]
        many = len(train) > SMOOTHED_OVER
        _line(axes, train, FIRST, label="training", alpha=0.35 if many else 1.0)
        if many:
            _line(axes, _smoothed(train), FIRST, label="training, mean")
        _line(axes, held_out, SECOND, label="validation", marker="o", markersize=3)
        for finding in findings:
            if finding.severity != "hint" and finding.at_step:
                axes.axvline(finding.at_step, color=HARM, linewidth=0.8, linestyle=":")
        if train or held_out:
            figure.legend(loc="outside upper left", ncols=3)
        return svg(figure, "training and validation loss by step")


def draw_series(points: Sequence[Point], name: str, label: str) -> str:
    """Return one other value of the points (`learning_rate`, `grad_norm`) over the steps."""
    with canvas(SMALL_SIZE_IN, "steps", label) as (figure, axes):
        known = [(p.step, getattr(p, name)) for p in points]
        _line(axes, [(step, value) for step, value in known if value is not None], FIRST)
        return svg(figure, f"{label} by step")


@contextmanager
def canvas(
    size_in: tuple[float, float], x_label: str, y_label: str
) -> Generator[tuple[Figure, Axes]]:
    """Give an empty figure in the reports' style, whose x axis counts whole things."""
    with rc_context(STYLE):
        figure = Figure(figsize=size_in, layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        yield figure, axes


def svg(figure: Figure, title: str) -> str:
    """Return the figure as an `<svg>` element with a spoken title and themed colours."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": title}):  # keeps the clip paths of two drawings apart
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<style.*?</style>", "", drawn, flags=re.DOTALL)  # it would style the page
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # figure_1, axes_1: the same in every drawing
    for stand_in, colour in THEME.items():
        drawn = drawn.replace(stand_in, colour)
    spoken = f'<svg role="img" aria-label="{escape(title, quote=True)}" '
    return drawn.replace("<svg ", spoken, 1)


def _line(axes: Axes, pairs: Sequence[tuple[int, float]], colour: str, **style: Any) -> None:
    finite = [(step, value) for step, value in pairs if math.isfinite(value)]
    if finite:
        alone: dict[str, Any] = {"marker": "o"} if len(finite) == 1 else {}
        steps, values = zip(*finite, strict=True)
        axes.plot(steps, values, color=colour, **(alone | style))


def _smoothed(pairs: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the means over a twentieth of the curve, at the middle of each window."""
    width = max(2, len(pairs) // 20)
    means: list[tuple[int, float]] = []
    for end in range(width, len(pairs) + 1):
        window = pairs[end - width : end]
        means.append((window[width // 2][0], sum(value for _, value in window) / width))
    return means
