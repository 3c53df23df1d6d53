"""The report's drawings: SVG text that takes its colours from the page around it.

DETECT's picture. In come series of plain numbers over hours or minutes since the rollout
began; out goes one inline `<svg>` each. The only module that imports matplotlib, and without
pyplot: no figure outlives its call. Knows nothing of tables, rollouts' rows or HTML pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

SIZE_IN = (5.4, 3.0)  # on a phone the page shows it at about its own size
SMALL_SIZE_IN = (5.4, 2.1)
LOG10_SHOWN = 8.0  # evidence beyond one to 100 million is not worth the height
# The colours on the canvas are stand-ins: in the SVG each becomes a variable of the page's
# style, so that one drawing serves light and dark.
THEME = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--baseline)",
    "#050505": "var(--canary)",
    "#060606": "var(--third)",
    "#070707": "var(--fourth)",
    "#080808": "var(--harm)",
}
INK, MUTED, LINE, BASELINE, CANARY, THIRD, FOURTH, HARM = THEME
Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")  # labels of 20 and 40 lie too close for one side

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and scaled
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
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: a value for each time, None where there is none (the line breaks there)."""

    label: str
    values: Sequence[float | None]
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold on the log10 scale."""

    label: str
    log10: float


@dataclass(frozen=True, slots=True)
class Axis:
    """The times of all curves of a drawing, and where a new step or state begins."""

    times: Sequence[float]
    unit: str  # seconds, minutes, hours or days since the rollout began
    changes: Sequence[float] = ()


def draw_shares(axis: Axis, curves: Sequence[Curve], *, title: str) -> str:
    """Return shares (0 to 1) over time, held between the times, as an SVG."""
    with rc_context(_RC):
        figure, axes = _canvas(axis, SMALL_SIZE_IN)
        for curve in curves:
            _plot(axes, axis, curve).set_drawstyle("steps-post")
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.0%}")
        return _svg(figure, axes, title, legend=len(curves) > 1)


def draw_evidence(
    axis: Axis, curves: Sequence[Curve], limits: Sequence[Limit], *, title: str
) -> str:
    """Return log10 e-values over time with at most two thresholds, as an SVG."""
    with rc_context(_RC):
        figure, axes = _canvas(axis, SIZE_IN)
        for curve in curves:
            _plot(axes, axis, curve)
        for limit, side in zip(limits, SIDES, strict=False):
            _mark(axes, limit, side)
        axes.set_ylim(*_log10_range(curves))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(lambda value, _place: f"{10.0**value:g}")
        return _svg(figure, axes, title, legend=True)


def draw_interval(axis: Axis, low: Curve, high: Curve, *, border: float, title: str) -> str:
    """Return the confidence sequence of a difference (-1 to 1) over time, as an SVG.

    `border` is the difference that a promotion must exceed.
    """
    with rc_context(_RC):
        figure, axes = _canvas(axis, SIZE_IN)
        edges = (_floats(low.values), _floats(high.values))
        axes.fill_between(axis.times, *edges, color=CANARY, alpha=0.25, linewidth=0)
        _plot(axes, axis, low)
        _plot(axes, axis, high)
        axes.axhline(border, color=INK, linewidth=1.0)
        axes.set_ylim(-1.03, 1.03)
        axes.yaxis.set_major_formatter(
            lambda value, _place: f"{100.0 * value:+.0f}" if value else "0"
        )
        return _svg(figure, axes, title, legend=False)


def _canvas(axis: Axis, size_in: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size_in, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    for change in axis.changes:
        axes.axvline(change, color=LINE, linewidth=1.0)
    axes.set_xlabel(f"{axis.unit} since the rollout began")
    return figure, axes


def _plot(axes: Axes, axis: Axis, curve: Curve) -> Line2D:
    (line,) = axes.plot(
        axis.times,
        _floats(curve.values),
        color=curve.colour,
        label=curve.label,
        linestyle="--" if curve.dashed else "-",
        marker=_marker(axis),
    )
    return line


def _mark(axes: Axes, limit: Limit, side: Side) -> None:
    axes.axhline(limit.log10, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
    axes.annotate(
        limit.label,
        (0.0 if side == "left" else 1.0, limit.log10),
        xycoords=("axes fraction", "data"),
        xytext=(3 if side == "left" else -3, 2),
        textcoords="offset points",
        ha=side,
        fontsize=8.0,
        color=MUTED,
    )


def _log10_range(curves: Sequence[Curve]) -> tuple[float, float]:
    values = [v for curve in curves for v in curve.values if v is not None]
    low, high = min([-1.0, *values]), max([2.5, *values])
    return max(low, -LOG10_SHOWN) - 0.5, min(high, LOG10_SHOWN) + 0.5


def _marker(axis: Axis) -> str | None:
    return "." if len(axis.times) < 3 else None  # a line of one point is invisible


def _floats(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _svg(figure: Figure, axes: Axes, title: str, *, legend: bool) -> str:
    """Return the figure as an `<svg>` element with a spoken title and themed colours."""
    if legend:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # clip paths are named by hash: another salt keeps two drawings of one page apart
    with rc_context({"svg.hashsalt": title}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _themed(file.getvalue(), title)


def _themed(svg: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # figure_1, axes_1: the same in every drawing
    svg = re.sub(r'font-family: [^;"]*; ', "", svg)  # the page's own font
    for stand_in, variable in THEME.items():
        svg = svg.replace(stand_in, variable)
    spoken = f'<svg role="img" aria-label="{escape(title, quote=True)}" '
    return svg.replace("<svg ", spoken, 1)
