"""Interactions and feedback → sums by the hour, so that pages never count a million rows.

DETECT's roll-up. An hour is made anew, from its rows, whenever the number of its rows is not what
it was: whatever comes late, or is erased, is found by counting within `LOOK_BACK`. Writes
MetricHour; the days follow by `monitoring.days`. Knows nothing of pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Integer, String, cast, delete, func, type_coerce
from sqlalchemy import select as sa_select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from core.clock import as_utc
from feedback.console_tables import MetricHour
from feedback.store import Store
from feedback.tables import Application, Feedback, Interaction
from monitoring.days import HISTOGRAMS, roll_up_days
from monitoring.histogram import bucket

HOUR = timedelta(hours=1)
LOOK_BACK = timedelta(days=2)  # our choice: what comes later than that needs `--all`
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # before any interaction
COUNTED_KINDS: Mapping[str, str] = {  # of feedback: the column that counts it
    "task_completed": "completed",
    "abandoned": "abandoned",
    "escalated": "escalated",
    "regenerated": "regenerated",
    "correction": "corrected",
}


class Size(NamedTuple):
    """How many rows an hour has: if these are the same, so are its sums."""

    interactions: int = 0
    facts: int = 0
    effective: int = 0


class Sums:
    """What one adapter did in one hour, while it is counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.cost = 0.0
        self.histograms: dict[str, Counter[str]] = {name: Counter() for name in HISTOGRAMS}

    def add_interaction(self, row: Any) -> None:
        """Count one interaction; what nobody saw counts for its cost alone."""
        self.counts["interactions"] += 1
        if row.cost is not None:
            self.counts["costed"] += 1
            self.cost += row.cost
        if row.shadow_of is not None:
            return
        self.counts["requests"] += 1
        self.counts["errors"] += row.status == "error"
        self.counts["disconnected"] += row.status == "disconnected"
        self.counts["prompt_tokens"] += row.prompt_tokens or 0
        self.counts["completion_tokens"] += row.completion_tokens or 0
        values = (row.latency_s, row.ttft_s, row.prompt_tokens, row.completion_tokens)
        for name, value in zip(HISTOGRAMS, values, strict=True):
            if value is not None:
                self.histograms[name][bucket(value)] += 1

    def add_feedback(self, row: Any) -> None:
        """Count one row of feedback; one that no longer counts is only numbered."""
        self.counts["facts"] += 1
        if not row.effective:
            return
        self.counts["effective"] += 1
        if row.kind == "thumbs" and row.thumbs is not None:
            self.counts["thumbs_up" if row.thumbs else "thumbs_down"] += 1
        elif row.kind == "rating" and row.rating is not None:
            self.counts["ratings"] += 1
            self.counts["rating_sum"] += row.rating
        elif row.kind in COUNTED_KINDS:
            self.counts[COUNTED_KINDS[row.kind]] += 1


def roll_up(store: Store, now: datetime, *, everything: bool = False, at_most: int = 96) -> int:
    """Make up to `at_most` stale hours of each application anew, the newest first.

    Returns how many that were; the days' sums follow. `everything`: all hours that there ever were,
    stale or not.
    """
    with store.session() as session:
        names = session.exec(select(Application.name)).all()
    done = 0
    for name in names:
        with store.session() as session:
            whole = everything or _reaches_further(session, name)
            since = EPOCH if whole else _floor(now - LOOK_BACK)
            stale = _stale(session, name, since, everything=everything)
        for hour in stale if everything else stale[:at_most]:
            done += _make(store, name, hour, now)
        roll_up_days(store, name, now - LOOK_BACK, now, everything=everything)
    return done


def _reaches_further(session: Session, application: str) -> bool:
    """Return whether there are interactions older than the oldest sums: a past not yet made."""
    kept = select(func.min(MetricHour.hour)).where(MetricHour.application == application)
    began = select(func.min(Interaction.started_at)).where(Interaction.application == application)
    oldest, made = session.exec(began).first(), session.exec(kept).first()
    return bool(oldest) and (not made or as_utc(oldest) < as_utc(made))


def _stale(
    session: Session, application: str, since: datetime, *, everything: bool
) -> Sequence[datetime]:
    """Return the hours whose sums are not those of their rows, the newest first."""
    there = _sizes(session, application, since)
    kept = _kept(session, application, since)
    hours = there.keys() | kept.keys()
    return sorted((h for h in hours if everything or there.get(h) != kept.get(h)), reverse=True)


def _sizes(session: Session, application: str, since: datetime) -> dict[datetime, Size]:
    began, given = _hour_of(session, Interaction.started_at), _hour_of(session, Feedback.given_at)
    served = session.exec(
        select(began, func.count())
        .where(Interaction.application == application, col(Interaction.started_at) >= since)
        .group_by(began)
    ).all()
    said = session.exec(
        select(given, func.count(), func.sum(cast(col(Feedback.effective), Integer)))
        .where(col(Feedback.given_at) >= since, Feedback.application == application)
        .group_by(given)
    ).all()
    sizes = {_parsed(hour): Size(count) for hour, count in served}
    for hour, facts, effective in said:
        own = sizes.get(_parsed(hour), Size())
        sizes[_parsed(hour)] = own._replace(facts=facts, effective=effective)
    return sizes


def _kept(session: Session, application: str, since: datetime) -> dict[datetime, Size]:
    rows = session.exec(
        select(
            MetricHour.hour,
            func.sum(MetricHour.interactions),
            func.sum(MetricHour.facts),
            func.sum(MetricHour.effective),
        )
        .where(MetricHour.application == application, col(MetricHour.hour) >= since)
        .group_by(col(MetricHour.hour))
    )
    return {as_utc(hour): Size(*map(int, sizes)) for hour, *sizes in rows}


def _make(store: Store, application: str, hour: datetime, now: datetime) -> int:
    """Write the sums of one hour in a transaction; return 1, or 0 if somebody else was quicker."""
    with store.session() as session:
        by_adapter = _counted(session, application, hour)
        session.exec(
            delete(MetricHour).where(
                col(MetricHour.application) == application, col(MetricHour.hour) == hour
            )
        )
        session.add_all(
            _row(application, hour, adapter, sums, now) for adapter, sums in by_adapter.items()
        )
        try:
            session.commit()
        except IntegrityError:
            return 0
    return 1


def _counted(session: Session, application: str, hour: datetime) -> dict[str, Sums]:
    by_adapter: dict[str, Sums] = {}
    for row in _interactions(session, application, hour):
        by_adapter.setdefault(row.adapter or "", Sums()).add_interaction(row)
    for row in _feedback(session, application, hour):
        by_adapter.setdefault(row.adapter or "", Sums()).add_feedback(row)
    return by_adapter


def _interactions(session: Session, application: str, hour: datetime) -> Iterable[Any]:
    columns = ("adapter", "status", "shadow_of", "latency_s", "ttft_s", "cost")
    tokens = ("prompt_tokens", "completion_tokens")
    began = col(Interaction.started_at)
    query = select(*(getattr(Interaction, name) for name in (*columns, *tokens))).where(
        Interaction.application == application, began >= hour, began < hour + HOUR
    )
    return session.connection().execute(query)


def _feedback(session: Session, application: str, hour: datetime) -> Iterable[Any]:
    given = col(Feedback.given_at)
    columns = (getattr(Feedback, name) for name in ("kind", "thumbs", "rating", "effective"))
    query = (
        sa_select(*columns, col(Interaction.adapter))
        .join(Interaction, col(Interaction.id) == col(Feedback.interaction_id), isouter=True)
        .where(given >= hour, given < hour + HOUR, col(Feedback.application) == application)
    )
    return session.connection().execute(query)


def _row(application: str, hour: datetime, adapter: str, sums: Sums, now: datetime) -> MetricHour:
    values: dict[str, Any] = {
        **sums.counts,
        **{name: dict(counts) for name, counts in sums.histograms.items()},
    }
    place: dict[str, Any] = {"application": application, "hour": hour, "adapter": adapter}
    return MetricHour(**place, rolled_at=now, cost=sums.cost, **values)


def _hour_of(session: Session, column: Any) -> Any:
    """Return the SQL for the hour in which an instant lies, as `2026-11-26 10`."""
    if session.get_bind().dialect.name == "sqlite":
        return func.substr(type_coerce(column, String), 1, 13)  # the text, not parsed
    return func.to_char(func.timezone("UTC", column), "YYYY-MM-DD HH24")


def _parsed(hour: str) -> datetime:
    return datetime.strptime(f"{hour} +0000", "%Y-%m-%d %H %z")


def _floor(at: datetime) -> datetime:
    return as_utc(at).replace(minute=0, second=0, microsecond=0)
