"""What users get: latency, throughput, errors, votes, cost, lengths, novelty, and busy engines.

Reads the sums of hours and days alone, so a page costs the same at a thousand and at a million
interactions. Tiles for the last day and charts over the chosen time go out.

Source: the fine-tuning guide's dashboard, and its thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from feedback.tables import AdapterReplica, EngineReplica
from loop.console import charts
from loop.console.engine_use import EngineUse, engine_use
from loop.console.kept import Kept
from loop.console.novelty import EXPECTED, Told, draw_novelty, most_novel, read_novelty
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.sums import (
    RANGES,
    Period,
    Range,
    Total,
    arrange,
    hour_of,
    read_days,
    read_hours,
    stamp_of,
    total_since,
)
from loop.wiring import Parts
from monitoring.days import midnight
from monitoring.histogram import doublings, merged, quantile

USE_EVERY_S = 5.0
# The guide's defaults for alerts: the first that is broken colours the tile
MAX_ERROR_SHARE, MAX_P95_S, MIN_SATISFACTION, MAX_COST = 0.05, 2.0, 3.5, 0.10


@dataclass(frozen=True, slots=True)
class Tile:
    """One number, with whether it is as it should be."""

    name: str
    value: str
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """What a page is drawn from."""

    day: Sequence[Any]  # hours of the last 24
    shown: Sequence[Any]  # hours or days of the range
    novelty: Sequence[Told]


def metrics_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the page of live metrics."""
    use: Kept[EngineUse | None] = Kept(engine_use, USE_EVERY_S)
    drawn: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {}  # with what it was drawn from

    def numbers(session: Session, application: str, name: str) -> dict[str, Any]:
        """Return tiles and charts, drawn anew only where a sum or a window has changed."""
        chosen, now = RANGES[name], utc_now()
        since = chosen.start(now)
        novelty = read_novelty(session, application, since)
        stamp = (stamp_of(session, application, since), hour_of(now), novelty[-1:])
        found = drawn.get((application, name))
        if found is None or found[0] != stamp:
            read = _read(session, application, chosen, now, novelty)
            found = stamp, _numbers(read, now, chosen)
            drawn[application, name] = found
        return found[1]

    @get("/metrics", sync_to_thread=True)
    def show_metrics(request: Request[Any, Any, Any]) -> Template:
        visitor = sessions.caller(request)
        asked = request.query_params.get("range", "day")
        chosen = asked if asked in RANGES else "day"
        with parts.store.session() as session:
            context = numbers(session, visitor.application, chosen)
            engines = _engines(session, use)
        ranges = [(name, known.words) for name, known in RANGES.items()]
        context = context | {"engines": engines, "ranges": ranges, "chosen": chosen}
        return page(request, visitor, "metrics.html", "metrics", **context)

    return [show_metrics]


def _read(
    session: Session, application: str, chosen: Range, now: datetime, novelty: Sequence[Told]
) -> Read:
    start = chosen.start(now)
    if chosen.by_day:
        day = read_hours(session, application, _yesterday(now))
        return Read(day, read_days(session, application, start), novelty)
    rows = read_hours(session, application, min(start, _yesterday(now)))
    return Read(rows, rows, novelty)


def _numbers(read: Read, now: datetime, chosen: Range) -> dict[str, Any]:
    """Return what the page shows of these rows."""
    day, today = total_since(read.day, _yesterday(now)), total_since(read.day, midnight(now))
    period = arrange(read.shown, now, chosen)
    novel = draw_novelty(read.novelty, chosen.start(now), now)
    return {
        "tiles": tiles(day, today, most_novel(read.novelty, now)),
        "charts": [*draw(period), novel, *_lengths(period.points)],
        "rolled_at": max((as_utc(row.rolled_at) for row in read.day), default=None),
    }


def tiles(day: Total, today: Total, novel: Told | None) -> list[Tile]:
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
        Tile(
            "Novel prompts",
            _share(novel.rate if novel else None),
            f"{novel.adapter or 'base model'}; {EXPECTED:.0%} is usual"
            if novel
            else "not measured",
        ),
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
    rate = [charts.Line("requests", period.rate("requests"))]
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
    ]


def _lengths(points: Sequence[Total]) -> list[charts.Chart]:
    found: list[charts.Chart] = []
    for title, name in (("Prompts", "prompt_lengths"), ("Answers", "answer_lengths")):
        histogram = merged(point.histogram(name) for point in points)
        counts = [(str(low), float(count)) for low, _, count in doublings(histogram)]
        found.append(charts.bars(f"{title} by length, tokens from", counts))
    return found


def _engines(session: Session, use: Kept[EngineUse | None]) -> list[dict[str, Any]]:
    replicas = session.exec(select(AdapterReplica)).all()
    engines = session.exec(select(EngineReplica).order_by(col(EngineReplica.engine))).all()
    return [
        {
            "row": engine,
            "adapters": sum(r.engine == engine.engine and r.state == "ready" for r in replicas),
            "use": use.known(engine.engine) if engine.state == "up" else None,
        }
        for engine in engines
    ]


def _yesterday(now: datetime) -> datetime:
    return hour_of(now) - timedelta(hours=24)


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
