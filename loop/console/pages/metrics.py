"""What users get: latency, throughput, errors, votes, cost, lengths, and how busy the engines are.

Reads the hourly sums alone, so a page costs the same at a thousand and at a million interactions.
Rows of MetricHour come in; tiles for the last day and charts over the chosen time go out.

Source: the fine-tuning guide's dashboard, and its thresholds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlalchemy import func, select
from sqlmodel import Session, SQLModel, col
from sqlmodel import select as select_rows

from core.clock import as_utc, utc_now
from feedback.console_tables import MetricHour
from feedback.tables import AdapterReplica, EngineReplica
from loop.console import charts
from loop.console.engine_use import EngineUse, engine_use
from loop.console.kept import Kept
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.wiring import Parts
from monitoring.histogram import doublings, merged, quantile

RANGES: Mapping[str, tuple[str, int, int]] = {  # name: words, hours, hours of a point
    "day": ("24 hours", 24, 1),
    "week": ("7 days", 168, 3),
    "month": ("30 days", 720, 24),
}
USE_EVERY_S = 5.0
MAX_ADAPTERS = 4  # lines of one chart; more cannot be told apart
# The guide's defaults for alerts: the first that is broken colours the tile
MAX_ERROR_SHARE, MAX_P95_S, MIN_SATISFACTION, MAX_COST = 0.05, 2.0, 3.5, 0.10
COLUMNS = tuple(SQLModel.metadata.tables["metrichour"].columns)
COUNTS = (
    *("requests", "errors", "cost", "costed", "thumbs_up", "thumbs_down", "ratings", "rating_sum"),
    *("completed", "abandoned", "escalated", "regenerated", "corrected"),
)
HISTOGRAMS = ("latency", "ttft", "prompt_lengths", "answer_lengths")


_counts: Callable[[Any], tuple[float, ...]] = attrgetter(*COUNTS)
_histograms: Callable[[Any], tuple[Mapping[str, int], ...]] = attrgetter(*HISTOGRAMS)


@dataclass
class Total:
    """The sum of some hours."""

    counts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    histograms: dict[str, list[Mapping[str, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, row: Any) -> None:
        """Add an hour's row."""
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


@dataclass(frozen=True, slots=True)
class Tile:
    """One number, with whether it is as it should be."""

    name: str
    value: str
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True)
class Period:
    """The points of the charts, from the oldest, in all and by adapter."""

    places: Sequence[datetime]
    points: Sequence[Total]
    by_adapter: Mapping[str, Sequence[Total]]
    hours_each: int

    def axis(self) -> charts.Axis:
        """Return the time axis."""
        return charts.Axis([place.timestamp() for place in self.places])

    def line(self, label: str, tone: str, value: Callable[[Total], float | None]) -> charts.Line:
        """Return one line of all adapters together."""
        return charts.Line(label, [value(point) for point in self.points], tone)

    def each(self, value: Callable[[Total], float | None]) -> list[charts.Line]:
        """Return a line for each adapter, or one where there is one."""
        return [
            charts.Line(name or "base model", [value(point) for point in points], tone)
            for (name, points), tone in zip(self.by_adapter.items(), charts.TONES, strict=False)
        ]


def metrics_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the page of live metrics."""
    use: Kept[EngineUse | None] = Kept(engine_use, USE_EVERY_S)
    drawn: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {}  # with what it was drawn from

    def numbers(session: Session, application: str, chosen: str) -> dict[str, Any]:
        """Return tiles and charts, drawn anew only where a sum has changed."""
        _, hours, each = RANGES[chosen]
        now = utc_now()
        since = now - timedelta(hours=hours)
        stamp = (_stamp(session, application, since), _floor(now))
        found = drawn.get((application, chosen))
        if found is None or found[0] != stamp:
            found = stamp, _numbers(read_hours(session, application, since), now, hours, each)
            drawn[application, chosen] = found
        return found[1]

    @get("/metrics", sync_to_thread=True)
    def show_metrics(request: Request[Any, Any, Any]) -> Template:
        visitor = sessions.caller(request)
        asked = request.query_params.get("range", "day")
        chosen = asked if asked in RANGES else "day"
        with parts.store.session() as session:
            context = numbers(session, visitor.application, chosen)
            engines = _engines(session, use)
        ranges = [(name, words) for name, (words, _, _) in RANGES.items()]
        context = context | {"engines": engines, "ranges": ranges, "chosen": chosen}
        return page(request, visitor, "metrics.html", "metrics", **context)

    return [show_metrics]


def _stamp(session: Session, application: str, since: datetime) -> Any:
    """Return what changes whenever one of the sums does."""
    query = select(func.max(col(MetricHour.rolled_at)), func.count()).where(
        col(MetricHour.application) == application, col(MetricHour.hour) >= _floor(since)
    )
    return tuple(session.connection().execute(query).one())


def _numbers(rows: Sequence[Any], now: datetime, hours: int, each: int) -> dict[str, Any]:
    """Return what the page shows of these rows."""
    return {
        "tiles": tiles(_sum(rows, now - timedelta(hours=24)), _sum(rows, _midnight(now))),
        "charts": draw(arrange(rows, now, hours, each)),
        "rolled_at": max((as_utc(row.rolled_at) for row in rows), default=None),
    }


def read_hours(session: Session, application: str, since: datetime) -> Sequence[Any]:
    """Return the hours' sums since then, the oldest first, as plain rows: faster than objects."""
    query = (
        select(*COLUMNS)
        .where(col(MetricHour.application) == application, col(MetricHour.hour) >= _floor(since))
        .order_by(col(MetricHour.hour))
    )
    return session.connection().execute(query).all()


def arrange(rows: Iterable[Any], now: datetime, hours: int, each: int) -> Period:
    """Return rows as points of `each` hours that end now; the busiest adapters have their own."""
    rows = list(rows)
    busy: dict[str, int] = defaultdict(int)
    for row in rows:
        busy[row.adapter] += row.requests
    shown = sorted(sorted(busy, key=lambda name: -busy[name])[:MAX_ADAPTERS])
    end = _floor(now) + timedelta(hours=1)
    count = hours // each
    start = end - timedelta(hours=count * each)
    points = [Total() for _ in range(count)]
    by_adapter = {name: [Total() for _ in range(count)] for name in shown}
    for row in rows:
        place = int((as_utc(row.hour) - start).total_seconds() // (3_600 * each))
        if 0 <= place < count:
            points[place].add(row)
            if row.adapter in by_adapter:
                by_adapter[row.adapter][place].add(row)
    places = [start + timedelta(hours=each * number) for number in range(count)]
    return Period(places, points, by_adapter, each)


def tiles(day: Total, today: Total) -> list[Tile]:
    """Return the numbers of the last 24 hours, and of today where it is about spending."""
    p95 = quantile(day.histogram("latency"), 0.95)
    errors, satisfied, cost = day.error_share, day.satisfaction, day.cost_each
    votes = day.counts["thumbs_up"] + day.counts["thumbs_down"]
    return [
        Tile("Requests", f"{day.counts['requests']:,.0f}", "in 24 hours"),
        Tile("Errors", _share(errors), "at most 5 %", _over(errors, MAX_ERROR_SHARE)),
        Tile("Latency p95", _time(p95), "at most 2 s", _over(p95, MAX_P95_S)),
        Tile("Thumbs up", _share(day.thumbs_ratio), f"of {votes:,.0f} votes"),
        Tile(
            "Satisfaction",
            "-" if satisfied is None else f"{satisfied:.2f} of 5",
            "at least 3.5",
            satisfied is not None and satisfied < MIN_SATISFACTION,
        ),
        Tile("Completed", _share(day.completion), "of tasks with an end"),
        Tile("Escalated", _share(day.escalation), "of requests"),
        Tile("Cost a request", _money(cost), "at most 0.10", _over(cost, MAX_COST)),
        Tile("Spent today", _money(today.counts["cost"]), "since midnight UTC"),
    ]


def draw(period: Period) -> list[charts.Chart]:
    """Return the charts, in the order of the guide's dashboard."""
    axis, zero = period.axis(), (0.0, 1.0)
    per_hour = period.hours_each

    def latency(share: float) -> Callable[[Total], float | None]:
        return lambda point: quantile(point.histogram("latency"), share)

    speeds = [
        period.line("p50", "t1", latency(0.5)),
        period.line("p95", "t2", latency(0.95)),
        period.line("p99", "t3", latency(0.99)),
    ]
    ttft = [period.line("p95", "t1", lambda point: quantile(point.histogram("ttft"), 0.95))]
    rate = [period.line("requests", "t1", lambda point: point.counts["requests"] / per_hour)]
    spent = [period.line("cost", "t1", lambda point: point.counts["cost"])]
    good = period.each(lambda point: point.thumbs_ratio)
    return [
        charts.lines("Latency, seconds", axis, speeds),
        charts.lines("Requests an hour", axis, rate),
        charts.lines(
            "Errors, share of requests",
            axis,
            [period.line("errors", "t2", lambda point: point.error_share)],
            charts.percent,
            marks=(charts.Mark("5%", MAX_ERROR_SHARE),),
        ),
        charts.lines("Thumbs up, by adapter", axis, good, charts.percent, limits=zero),
        charts.lines(
            "Satisfaction, 1 to 5",
            axis,
            period.each(lambda point: point.satisfaction),
            marks=(charts.Mark("3.5", MIN_SATISFACTION),),
            limits=(1.0, 5.0),
        ),
        charts.lines(
            "Tasks completed, and requests escalated",
            axis,
            [
                period.line("completed", "t1", lambda point: point.completion),
                period.line("escalated", "t2", lambda point: point.escalation),
            ],
            charts.percent,
            limits=zero,
        ),
        charts.lines("Time to first token, p95, seconds", axis, ttft),
        charts.lines(
            "Cost a request", axis, [period.line("cost", "t1", lambda point: point.cost_each)]
        ),
        charts.lines(f"Spent, each {_each(per_hour)}", axis, spent),
        *_lengths(period.points),
    ]


def _lengths(points: Sequence[Total]) -> list[charts.Chart]:
    found: list[charts.Chart] = []
    for title, name in (("Prompts", "prompt_lengths"), ("Answers", "answer_lengths")):
        histogram = merged(point.histogram(name) for point in points)
        counts = [(str(low), float(count)) for low, _, count in doublings(histogram)]
        found.append(charts.bars(f"{title} by length, tokens from", counts))
    return found


def _engines(session: Session, use: Kept[EngineUse | None]) -> list[dict[str, Any]]:
    replicas = session.exec(select_rows(AdapterReplica)).all()
    engines = session.exec(select_rows(EngineReplica).order_by(col(EngineReplica.engine))).all()
    return [
        {
            "row": engine,
            "adapters": sum(r.engine == engine.engine and r.state == "ready" for r in replicas),
            "use": use.known(engine.engine) if engine.state == "up" else None,
        }
        for engine in engines
    ]


def _sum(rows: Iterable[Any], since: datetime) -> Total:
    total = Total()
    for row in rows:
        if as_utc(row.hour) >= _floor(since):
            total.add(row)
    return total


def _floor(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _over(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _money(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"


def _time(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _each(hours: int) -> str:
    return {1: "hour", 24: "day"}.get(hours, f"{hours} hours")
