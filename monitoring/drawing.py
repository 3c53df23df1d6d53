"""What all drawings of the reports share: sizes, colours, style, and the way to SVG text.

A figure goes in, one inline `<svg>` comes out that takes its colours from the page around it.
Matplotlib without pyplot, so no figure outlives its call. Knows nothing of what is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SIZE_IN = (5.4, 3.0)  # on a phone the page shows it at about its own size
SMALL_SIZE_IN = (5.4, 2.1)
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

STYLE: dict[Any, Any] = {
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


@contextmanager
def styled() -> Generator[None]:
    """Draw in the reports' style inside the block."""
    with rc_context(STYLE):
        yield


def canvas(size_in: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return an empty figure with one pair of axes, inside `styled`."""
    figure = Figure(figsize=size_in, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return figure, axes


def floats(values: Sequence[float | None]) -> list[float]:
    """Return the values for matplotlib, whose lines break where one is not a number."""
    return [float("nan") if value is None else value for value in values]


def marker(points: int) -> str | None:
    """Return the marker of a line: one of a single point would be invisible."""
    return "." if points < 3 else None


def svg(figure: Figure, axes: Axes, title: str, *, legend: bool = False, columns: int = 2) -> str:
    """Return the figure as an `<svg>` element with a spoken title and themed colours."""
    if legend:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns)
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # clip paths are named by hash: another salt keeps two drawings of one page apart
    with rc_context({"svg.hashsalt": title}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _themed(file.getvalue(), title)


def _themed(drawn: str, title: str) -> str:
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(
        r"<style.*?</style>", "", drawn, flags=re.DOTALL
    )  # it would style the whole page
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # figure_1, axes_1: the same in every drawing
    drawn = re.sub(r'font-family: [^;"]*; ', "", drawn)  # the page's own font
    for stand_in, variable in THEME.items():
        drawn = drawn.replace(stand_in, variable)
    spoken = f'<svg role="img" aria-label="{escape(title, quote=True)}" '
    return drawn.replace("<svg ", spoken, 1)
