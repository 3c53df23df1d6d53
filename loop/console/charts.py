"""Numbers → inline SVG, drawn here in microseconds, coloured and scaled by the page's style sheet.

Pure. Lines over time and bars go in; a `Chart` with its drawing, its legend and what it says in
words comes out. No inline style: the console's policy forbids it. (The reports' drawings by
matplotlib take 40 ms each and bring styles of their own.) Knows nothing of tables.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

WIDTH, HEIGHT = 420, 180  # about the size at which a phone shows it: its texts are read there
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 26
TONES = ("t1", "t2", "t3", "t4", "t5")
MINUTE, HOUR, DAY = 60, 3_600, 86_400
TIME_STEPS = (
    *(MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE),
    *(HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR),
    *(DAY, 2 * DAY, 5 * DAY, 10 * DAY, 30 * DAY, 90 * DAY, 365 * DAY),
)
MAX_TIME_TICKS = 5  # more would touch each other on a phone

Form = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a value for each place, None where there is none (the line breaks there)."""

    label: str
    values: Sequence[float | None]
    tone: str = "t1"
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A level that matters: a threshold, a border."""

    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title, its legend of (label, tone, dashed), and its words."""

    title: str
    svg: str
    legend: tuple[tuple[str, str, bool], ...] = ()
    said: str = ""
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """The places of all values: seconds since 1970 for `is_time`, else plain numbers."""

    places: Sequence[float]
    is_time: bool = True
    changes: Sequence[float] = ()  # where something began: thin upright lines


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to the drawing's coordinates."""

    low: float
    high: float
    first: float
    last: float

    def x(self, place: float) -> float:
        """Return where a place lies."""
        span = (self.last - self.first) or 1.0
        return LEFT + (place - self.first) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value lies; what is beyond the edge is drawn on it."""
        span = (self.high - self.low) or 1.0
        share = min(1.0, max(0.0, (value - self.low) / span))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def plain(value: float) -> str:
    """Return a number as an axis shows it: 1,200, 12k, 0.05."""
    if value and abs(value) < 0.01:
        return f"{value:.1g}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def percent(value: float) -> str:
    """Return a share as an axis shows it."""
    return f"{100 * value:.3g}%"


def lines(
    title: str,
    axis: Axis,
    drawn: Sequence[Line],
    form: Form = plain,
    *,
    marks: Sequence[Mark] = (),
    limits: tuple[float | None, float | None] = (0.0, None),
) -> Chart:
    """Return lines over the axis; `limits` fix the lowest and highest value that are shown."""
    known = [v for line in drawn for v in line.values if v is not None]
    if not known:
        return Chart(title, "", is_empty=True)
    scale = _scale(axis, [*known, *(mark.value for mark in marks)], limits)
    parts = [
        *_grid(scale, form),
        *_places(scale, axis),
        *(_mark(scale, mark) for mark in marks),
        *(_path(scale, axis, line) for line in drawn),
    ]
    legend = tuple((line.label, line.tone, line.dashed) for line in drawn)
    said = _said(drawn, form)
    return Chart(title, _svg(title, said, parts), legend if len(drawn) > 1 else (), said)


def band(
    title: str, axis: Axis, low: Line, high: Line, form: Form = plain, *, border: Mark
) -> Chart:
    """Return what lies between two lines, and a level that it should leave."""
    known = [v for line in (low, high) for v in line.values if v is not None]
    if not known:
        return Chart(title, "", is_empty=True)
    scale = _scale(axis, [*known, border.value], (None, None))
    pairs = zip(axis.places, low.values, high.values, strict=True)
    kept = [(p, lo, hi) for p, lo, hi in pairs if lo is not None and hi is not None]
    forth = [f"{scale.x(p):.1f},{scale.y(hi):.1f}" for p, _, hi in kept]
    back = [f"{scale.x(p):.1f},{scale.y(lo):.1f}" for p, lo, _ in reversed(kept)]
    parts = [
        *_grid(scale, form),
        *_places(scale, axis),
        f'<polygon class="band" points="{" ".join([*forth, *back])}"/>',
        *(_path(scale, axis, line) for line in (low, high)),
        _mark(scale, border),
    ]
    said = _said((low, high), form)
    return Chart(title, _svg(title, said, parts), (), said)


def bars(title: str, counts: Sequence[tuple[str, float]], form: Form = plain) -> Chart:
    """Return a bar for each named count."""
    if not any(count for _, count in counts):
        return Chart(title, "", is_empty=True)
    scale = _scale(Axis([0.0, float(len(counts))], False), [c for _, c in counts], (0.0, None))
    every = math.ceil(len(counts) / 8)  # labels that would touch are left out
    parts = list(_grid(scale, form))
    for place, (label, count) in enumerate(counts):
        x, width = scale.x(place + 0.1), scale.x(place + 0.9) - scale.x(place + 0.1)
        y = scale.y(count)
        shown = (HEIGHT - BOTTOM) - y
        parts.append(
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{shown:.1f}">'
            f"<title>{escape(label)}: {escape(form(count))}</title></rect>"
        )
        if place % every == 0:
            parts.append(_text(x + width / 2, HEIGHT - 9, label, "middle"))
    said = ", ".join(f"{label}: {form(count)}" for label, count in counts)
    return Chart(title, _svg(title, said, parts), (), said)


def rows(title: str, values: Sequence[tuple[str, float]], *, border: float) -> Chart:
    """Return a lying bar for each named value; one that reaches the border has another colour."""
    if not values:
        return Chart(title, "", is_empty=True)
    high = 1.06 * max(border, *(value for _, value in values))
    step, left = 18, 130
    wide = WIDTH - RIGHT - left
    parts: list[str] = []
    for place, (label, value) in enumerate(values):
        y, long = TOP + place * step, max(0.0, value) / high * wide
        kind = "bar over" if value >= border else "bar"
        parts.append(_text(left - 6, y + 11, label, "end"))
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{y + 1}" width="{long:.1f}" height="{step - 5}">'
            f"<title>{escape(label)}: {value:.2g}</title></rect>"
        )
    bottom = TOP + len(values) * step
    x = left + border / high * wide
    parts.append(f'<path class="mark" d="M{x:.1f} {TOP}V{bottom}"/>')
    parts.append(_text(x, bottom + 12, plain(border), "middle"))
    said = ", ".join(f"{label}: {value:.2g}" for label, value in values)
    return Chart(title, _svg(title, said, parts, bottom + 16), (), said)


def joined_up(values: Sequence[float | None], places: Sequence[float]) -> list[float | None]:
    """Return values with the gaps between two known ones filled by a straight line."""
    known = [(at, value) for at, value in enumerate(values) if value is not None]
    filled = list(values)
    for (a, first), (b, last) in itertools.pairwise(known):
        slope = (last - first) / ((places[b] - places[a]) or 1.0)
        for at in range(a + 1, b):
            filled[at] = first + slope * (places[at] - places[a])
    return filled


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round values between two, about `count` of them."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (1, 2, 2.5, 5, 10) if size * n >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def time_ticks(first: float, last: float) -> list[tuple[float, str]]:
    """Return round instants (UTC) between two, with their labels."""
    span = max(last - first, 1.0)
    step = next((s for s in TIME_STEPS if span / s <= MAX_TIME_TICKS), TIME_STEPS[-1])
    form = "%H:%M" if step < DAY else "%d %b"
    places = range(math.ceil(first / step), math.floor(last / step) + 1)
    return [(n * step, f"{datetime.fromtimestamp(n * step, UTC):{form}}") for n in places]


def _scale(axis: Axis, values: Iterable[float], limits: tuple[float | None, float | None]) -> Scale:
    known = list(values)
    low = min(known) if limits[0] is None else limits[0]
    high = max(known) if limits[1] is None else limits[1]
    if high <= low:
        high = low + (abs(low) or 1.0)
    margin = 0.06 * (high - low)
    if limits[1] is None:
        high += margin
    if limits[0] is None:
        low -= margin
    return Scale(low, high, axis.places[0], axis.places[-1])


def _grid(scale: Scale, form: Form) -> Iterable[str]:
    for value in ticks(scale.low, scale.high):
        y = scale.y(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield _text(LEFT - 6, y + 4, form(value), "end")


def _places(scale: Scale, axis: Axis) -> Iterable[str]:
    for change in axis.changes:
        yield f'<path class="change" d="M{scale.x(change):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
    if axis.is_time:
        named = time_ticks(scale.first, scale.last)
    else:
        named = [(value, plain(value)) for value in ticks(scale.first, scale.last)]
    for place, label in named:
        x = scale.x(place)
        side = "end" if x > WIDTH - 30 else "middle"
        yield _text(min(x, WIDTH - 2), HEIGHT - 9, label, side)


def _mark(scale: Scale, mark: Mark) -> str:
    y = scale.y(mark.value)
    above = y - 4 if y > TOP + 14 else y + 12
    return f'<path class="mark" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>' + _text(
        LEFT + 4, above, mark.label, "start", "said"
    )


def _path(scale: Scale, axis: Axis, line: Line) -> str:
    steps: list[str] = []
    lone: list[str] = []
    values = list(line.values)
    for number, (place, value) in enumerate(zip(axis.places, values, strict=True)):
        if value is None:
            continue
        begins = number == 0 or values[number - 1] is None
        ends = number + 1 == len(values) or values[number + 1] is None
        x, y = f"{scale.x(place):.1f}", f"{scale.y(value):.1f}"
        steps.append(f"{'M' if begins else 'L'}{x} {y}")
        if begins and ends:
            lone.append(f'<circle class="dot {line.tone}" cx="{x}" cy="{y}" r="2.5"/>')
    dashed = " dashed" if line.dashed else ""
    return f'<path class="line {line.tone}{dashed}" d="{"".join(steps)}"/>' + "".join(lone)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _said(drawn: Sequence[Line], form: Form) -> str:
    told: list[str] = []
    for line in drawn:
        known = [value for value in line.values if value is not None]
        if known:
            lowest, highest = form(min(known)), form(max(known))
            told.append(f"{line.label}: now {form(known[-1])}, from {lowest} to {highest}")
    return "; ".join(told)


def _svg(title: str, said: str, parts: Iterable[str], height: int = HEIGHT) -> str:
    spoken = escape(f"{title}. {said}", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{spoken}">'
        f"{''.join(parts)}</svg>"
    )
