"""The drawings of a rollout's report: shares, evidence and confidence over time.

DETECT's picture. In come series of plain numbers over hours or minutes since the rollout
began; out goes one inline `<svg>` each. Knows nothing of tables, rollouts' rows or HTML pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from monitoring.drawing import (
    CANARY,
    INK,
    LINE,
    MUTED,
    SIZE_IN,
    SMALL_SIZE_IN,
    canvas,
    floats,
    marker,
    styled,
    svg,
)

LOG10_SHOWN = 8.0  # evidence beyond one to 100 million is not worth the height
Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")  # labels of 20 and 40 lie too close for one side


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
    with styled():
        figure, axes = _canvas(axis, SMALL_SIZE_IN)
        for curve in curves:
            _plot(axes, axis, curve).set_drawstyle("steps-post")
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.0%}")
        return svg(figure, axes, title, legend=len(curves) > 1)


def draw_evidence(
    axis: Axis, curves: Sequence[Curve], limits: Sequence[Limit], *, title: str
) -> str:
    """Return log10 e-values over time with at most two thresholds, as an SVG."""
    with styled():
        figure, axes = _canvas(axis, SIZE_IN)
        for curve in curves:
            _plot(axes, axis, curve)
        for limit, side in zip(limits, SIDES, strict=False):
            _mark(axes, limit, side)
        axes.set_ylim(*_log10_range(curves))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(lambda value, _place: f"{10.0**value:g}")
        return svg(figure, axes, title, legend=True)


def draw_interval(axis: Axis, low: Curve, high: Curve, *, border: float, title: str) -> str:
    """Return the confidence sequence of a difference (-1 to 1) over time, as an SVG.

    `border` is the difference that a promotion must exceed.
    """
    with styled():
        figure, axes = _canvas(axis, SIZE_IN)
        edges = (floats(low.values), floats(high.values))
        axes.fill_between(axis.times, *edges, color=CANARY, alpha=0.25, linewidth=0)
        _plot(axes, axis, low)
        _plot(axes, axis, high)
        axes.axhline(border, color=INK, linewidth=1.0)
        axes.set_ylim(-1.03, 1.03)
        axes.yaxis.set_major_formatter(
            lambda value, _place: f"{100.0 * value:+.0f}" if value else "0"
        )
        return svg(figure, axes, title, legend=False)


def _canvas(axis: Axis, size_in: tuple[float, float]) -> tuple[Figure, Axes]:
    figure, axes = canvas(size_in)
    for change in axis.changes:
        axes.axvline(change, color=LINE, linewidth=1.0)
    axes.set_xlabel(f"{axis.unit} since the rollout began")
    return figure, axes


def _plot(axes: Axes, axis: Axis, curve: Curve) -> Line2D:
    (line,) = axes.plot(
        axis.times,
        floats(curve.values),
        color=curve.colour,
        label=curve.label,
        linestyle="--" if curve.dashed else "-",
        marker=marker(len(axis.times)),
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
