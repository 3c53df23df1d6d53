"""The sums that the page of metrics draws: hours, or for a month days, as points of its charts.

Rows of MetricHour and MetricDay come in, totals of points in all and by adapter go out. What a page
costs depends on the hours shown, never on how many interactions there were. Draws nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col

from core.clock import as_utc
from feedback.console_tables import MetricDay, MetricHour
from loop.console import charts
from monitoring.days import HISTOGRAMS, midnight
from monitoring.histogram import merged

MAX_ADAPTERS = 4  # lines of one chart; more cannot be told apart
COUNTS = (
    *("requests", "errors", "cost", "costed", "thumbs_up", "thumbs_down", "ratings", "rating_sum"),
    *("completed", "abandoned", "escalated", "regenerated", "corrected"),
)
SHOWN = (*COUNTS, *HISTOGRAMS, "adapter", "rolled_at")  # columns that a page reads
HOUR = timedelta(hours=1)
LEAST_HOURS = 0.25  # of a point, before its count says what an hour would bring. Our choice

_counts: Callable[[Any], tuple[float, ...]] = attrgetter(*COUNTS)
_histograms: Callable[[Any], tuple[Mapping[str, int], ...]] = attrgetter(*HISTOGRAMS)


@dataclass(frozen=True, slots=True)
class Range:
    """A choice of time: its words, how many hours it has, and how many of them make a point."""

    words: str
    hours: int
    each: int

    @property
    def by_day(self) -> bool:
        """Whether its points are days, from midnight to midnight UTC."""
        return self.each == 24

    def start(self, now: datetime) -> datetime:
        """Return when the first point begins; the last one is that of `now`."""
        end = midnight(now) + timedelta(days=1) if self.by_day else hour_of(now) + HOUR
        return end - timedelta(hours=self.hours)


RANGES: Mapping[str, Range] = {
    "day": Range("24 hours", 24, 1),
    "week": Range("7 days", 168, 3),
    "month": Range("30 days", 720, 24),
}


@dataclass
class Total:
    """The sum of some rows."""

    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0.0))
    histograms: dict[str, list[Mapping[str, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, row: Any) -> None:
        """Add a row."""
        counts = self.counts
        for name, value in zip(COUNTS, _counts(row), strict=True):
            counts[name] += value
        for name, histogram in zip(HISTOGRAMS, _histograms(row), strict=True):
            self.histograms[name].append(histogram)

    def histogram(self, name: str) -> Mapping[str, int]:
        """Return the sum of a histogram."""
        parts = self.histograms[name]
        if len(parts) > 1:  # once for all that ask
            self.histograms[name] = [merged(parts)]
        return self.histograms[name][0] if parts else {}

    def share(self, part: str, *whole: str) -> float | None:
        """Return one count as a share of the sum of others, or None of none."""
        total = sum(self.counts[name] for name in whole)
        return self.counts[part] / total if total else None

    @property
    def error_share(self) -> float | None:
        """Requests that failed."""
        return self.share("errors", "requests")

    @property
    def thumbs_ratio(self) -> float | None:
        """Thumbs up among thumbs."""
        return self.share("thumbs_up", "thumbs_up", "thumbs_down")

    @property
    def satisfaction(self) -> float | None:
        """The mean rating, 1 to 5."""
        return self.share("rating_sum", "ratings")

    @property
    def completion(self) -> float | None:
        """Tasks that were completed, among those that were completed or abandoned."""
        return self.share("completed", "completed", "abandoned")

    @property
    def escalation(self) -> float | None:
        """Requests that a person had to take over."""
        return self.share("escalated", "requests")

    @property
    def cost_each(self) -> float | None:
        """Cost of a request whose cost is known."""
        return self.share("cost", "costed")


@dataclass(frozen=True)
class Period:
    """The points of the charts, from the oldest, in all and by adapter."""

    places: Sequence[datetime]
    points: Sequence[Total]
    by_adapter: Mapping[str, Sequence[Total]]
    hours_each: int
    hours_last: float  # of the last point, those that have passed

    def axis(self) -> charts.Axis:
        """Return the time axis."""
        return charts.Axis([place.timestamp() for place in self.places])

    def line(self, label: str, tone: str, value: Callable[[Total], float | None]) -> charts.Line:
        """Return one line of all adapters together."""
        return charts.Line(label, [value(point) for point in self.points], tone)

    def rate(self, name: str) -> list[float | None]:
        """Return a count an hour at each point; the last one is not over yet."""
        counts = [point.counts[name] for point in self.points]
        return [*(count / self.hours_each for count in counts[:-1]), counts[-1] / self.hours_last]

    def each(self, value: Callable[[Total], float | None]) -> list[charts.Line]:
        """Return a line for each adapter, or one where there is one."""
        return [
            charts.Line(name or "base model", [value(point) for point in points], tone)
            for (name, points), tone in zip(self.by_adapter.items(), charts.TONES, strict=False)
        ]


def stamp_of(session: Session, application: str, since: datetime) -> Any:
    """Return what changes whenever one of the hours since then does."""
    query = select(func.max(col(MetricHour.rolled_at)), func.count()).where(
        col(MetricHour.application) == application, col(MetricHour.hour) >= since
    )
    return tuple(session.connection().execute(query).one())


def read_hours(session: Session, application: str, since: datetime) -> Sequence[Any]:
    """Return the hours' sums since then, the oldest first, as plain rows: faster than objects."""
    return _read(session, MetricHour, col(MetricHour.hour), application, since)


def read_days(session: Session, application: str, since: datetime) -> Sequence[Any]:
    """Return the days' sums since then, the oldest first."""
    return _read(session, MetricDay, col(MetricDay.day), application, since)


def arrange(rows: Iterable[Any], now: datetime, chosen: Range) -> Period:
    """Return rows as the points of a range; the busiest adapters have their own."""
    rows = list(rows)
    busy: dict[str, int] = defaultdict(int)
    for row in rows:
        busy[row.adapter] += row.requests
    shown = sorted(sorted(busy, key=lambda name: -busy[name])[:MAX_ADAPTERS])
    count, start = chosen.hours // chosen.each, chosen.start(now)
    points = [Total() for _ in range(count)]
    by_adapter = {name: [Total() for _ in range(count)] for name in shown}
    for row in rows:
        place = int((as_utc(row.at) - start).total_seconds() // (3_600 * chosen.each))
        if 0 <= place < count:
            points[place].add(row)
            if row.adapter in by_adapter:
                by_adapter[row.adapter][place].add(row)
    places = [start + timedelta(hours=chosen.each * number) for number in range(count)]
    passed = (now - places[-1]) / HOUR
    return Period(places, points, by_adapter, chosen.each, max(passed, LEAST_HOURS))


def total_since(rows: Iterable[Any], since: datetime) -> Total:
    """Return the sum of the rows that begin then or later."""
    total = Total()
    for row in rows:
        if as_utc(row.at) >= since:
            total.add(row)
    return total


def hour_of(at: datetime) -> datetime:
    """Return when the hour of an instant began."""
    return at.replace(minute=0, second=0, microsecond=0)


def _read(
    session: Session, table: Any, place: Any, application: str, since: datetime
) -> Sequence[Any]:
    query = (
        select(place.label("at"), *(getattr(table, name) for name in SHOWN))
        .where(table.application == application, place >= since)
        .order_by(place)
    )
    return session.connection().execute(query).all()
