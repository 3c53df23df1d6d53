"""Sums of hours → sums of days (UTC), so that a page of a month reads a row for each day.

DETECT's roll-up, its second half. A day is made anew whenever one of its hours is younger than it,
or its hours do not hold what it holds: an hour that is gone leaves nothing younger behind. Writes
MetricDay and nothing else; `monitoring.hours` calls it after the hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select as sa_select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, func, select

from core.clock import as_utc
from feedback.console_tables import MetricDay, MetricHour, MetricSums
from feedback.store import Store
from monitoring.histogram import merged

DAY = timedelta(days=1)
HISTOGRAMS = ("latency", "ttft", "prompt_lengths", "answer_lengths")
COUNTS = tuple(name for name in MetricSums.model_fields if name not in {*HISTOGRAMS, "rolled_at"})


@dataclass(slots=True)
class Held:
    """What tells whether a day is the sum of its hours: how many rows, and how young."""

    interactions: int = 0
    facts: int = 0
    effective: int = 0
    rolled_at: datetime | None = None

    def add(self, interactions: int, facts: int, effective: int, rolled_at: datetime) -> None:
        """Add a row."""
        self.interactions += interactions
        self.facts += facts
        self.effective += effective
        at = as_utc(rolled_at)
        self.rolled_at = at if self.rolled_at is None else max(self.rolled_at, at)

    def covers(self, hours: Held) -> bool:
        """Return whether a day that holds this is the sum of hours that hold that."""
        same = (self.interactions, self.facts, self.effective) == (
            *(hours.interactions, hours.facts, hours.effective),
        )
        return same and bool(
            self.rolled_at and hours.rolled_at and self.rolled_at >= hours.rolled_at
        )


def roll_up_days(
    store: Store, application: str, since: datetime, now: datetime, *, everything: bool = False
) -> int:
    """Make an application's stale days since then anew; return how many.

    All days there are where the past has none yet, and those that are not stale too with
    `everything`.
    """
    with store.session() as session:
        begin = None if everything or _lacks_a_past(session, application) else midnight(since)
        hours = _held(session, MetricHour, col(MetricHour.hour), application, begin)
        days = _held(session, MetricDay, col(MetricDay.day), application, begin)
    stale = [
        day
        for day in hours.keys() | days.keys()
        if everything or day not in hours or not days.get(day, Held()).covers(hours[day])
    ]
    return sum(_make(store, application, day, now) for day in sorted(stale, reverse=True))


def midnight(at: datetime) -> datetime:
    """Return when the day of an instant began, in UTC."""
    return as_utc(at).replace(hour=0, minute=0, second=0, microsecond=0)


def _lacks_a_past(session: Session, application: str) -> bool:
    """Return whether there are hours older than the oldest day."""
    oldest = session.exec(
        select(func.min(MetricHour.hour)).where(MetricHour.application == application)
    ).first()
    made = session.exec(
        select(func.min(MetricDay.day)).where(MetricDay.application == application)
    ).first()
    return bool(oldest) and (not made or as_utc(oldest) < as_utc(made))


def _held(
    session: Session, table: Any, place: Any, application: str, since: datetime | None
) -> Mapping[datetime, Held]:
    query = sa_select(
        place, table.interactions, table.facts, table.effective, table.rolled_at
    ).where(table.application == application)
    if since is not None:
        query = query.where(place >= since)
    found: dict[datetime, Held] = defaultdict(Held)
    for at, *held in session.connection().execute(query):
        found[midnight(at)].add(*held)
    return found


def _make(store: Store, application: str, day: datetime, now: datetime) -> int:
    """Write the sums of one day in a transaction; return 1, or 0 if somebody else was quicker."""
    with store.session() as session:
        hours = session.exec(
            select(MetricHour).where(
                MetricHour.application == application,
                col(MetricHour.hour) >= day,
                col(MetricHour.hour) < day + DAY,
            )
        ).all()
        session.exec(
            delete(MetricDay).where(
                col(MetricDay.application) == application, col(MetricDay.day) == day
            )
        )
        session.add_all(_rows(application, day, hours, now))
        try:
            session.commit()
        except IntegrityError:
            return 0
    return 1


def _rows(
    application: str, day: datetime, hours: Sequence[MetricHour], now: datetime
) -> Iterable[MetricDay]:
    by_adapter: dict[str, list[MetricHour]] = defaultdict(list)
    for hour in hours:
        by_adapter[hour.adapter].append(hour)
    for adapter, own in by_adapter.items():
        values: dict[str, Any] = {
            **{name: sum(getattr(hour, name) for hour in own) for name in COUNTS},
            **{name: merged(getattr(hour, name) for hour in own) for name in HISTOGRAMS},
        }
        place: dict[str, Any] = {"application": application, "day": day, "adapter": adapter}
        yield MetricDay(**place, rolled_at=now, **values)
