"""DETECT's numbers for alerts, read from the store and the spools of this machine.

A `Sight` goes in: a session, the event source, settings, and the window; readings by application
come out, or one of the whole service. Sums are the database's, alike on SQLite and PostgreSQL.
Answers that users never saw (shadow) do not count. Knows nothing of rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from sqlalchemy import DateTime, column, func, inspect, table
from sqlalchemy import case as sql_case
from sqlmodel import Session, col, select

from core.errors import RatchetError
from core.settings import Settings
from feedback.events import SOURCES
from feedback.job_tables import JobState
from feedback.log.protocol import EventSource
from feedback.log.spool_status import SpoolStatus, spool_statuses
from feedback.positions import read_positions
from feedback.tables import Feedback, Interaction, Rollout
from monitoring.alerts.evaluation import SERVICE, Reading

THUMBS_UP, THUMBS_DOWN = 5, 1  # of 5, so that both kinds of votes share a scale. Our choice
Readings = Mapping[str, Reading]

_log = structlog.get_logger(__name__)

# WINDOWS' and DRIFT's table, by the columns that are needed here
_drift = table(
    "driftreport",
    column("application"),
    column("severity"),
    column("reason"),
    column("made_at", DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True)
class Sight:
    """What metrics look at, and since when."""

    session: Session
    source: EventSource
    settings: Settings
    since: datetime


class Metric(NamedTuple):
    """How a metric is read, what it is, and what an application without a row has."""

    read: Callable[[Sight], Readings]
    meaning: str
    of_service: bool = False
    absent: Reading = Reading(None, 0, "nothing in the window")


def error_rate(sight: Sight) -> Readings:
    """Return the share of answers that failed; one that its client broke off is no answer."""
    status = col(Interaction.status)
    failed = func.sum(sql_case((status == "error", 1), else_=0))
    rows = sight.session.exec(
        select(Interaction.application, func.count(), failed)
        .where(*_seen(sight), status.in_(("ok", "error")))
        .group_by(Interaction.application)
    )
    return {
        application: Reading(float(errors) / count, count, f"{errors} of {count} answers")
        for application, count, errors in rows
    }


def latency_p95_ms(sight: Sight) -> Readings:
    """Return the latency that 95 of 100 whole answers do not exceed (nearest rank)."""
    ranked = (
        select(
            col(Interaction.application).label("application"),
            col(Interaction.latency_s).label("latency_s"),
            func.row_number()
            .over(partition_by=col(Interaction.application), order_by=col(Interaction.latency_s))
            .label("place"),
            func.count().over(partition_by=col(Interaction.application)).label("answers"),
        )
        .where(*_seen(sight), Interaction.status == "ok")
        .subquery()
    )
    place = (ranked.c.answers * 95 + 99) // 100
    query = select(ranked.c.application, ranked.c.answers, ranked.c.latency_s)
    return {
        application: Reading(latency_s * 1e3, count, f"of {count} answers")
        for application, count, latency_s in sight.session.exec(
            query.where(ranked.c.place == place)
        )
    }


def user_satisfaction(sight: Sight) -> Readings:
    """Return the mean of the votes that count, 1-5; a thumb is a 5 or a 1."""
    thumb = sql_case((col(Feedback.thumbs).is_(True), THUMBS_UP), else_=THUMBS_DOWN)
    vote = sql_case((col(Feedback.kind) == "thumbs", thumb), else_=col(Feedback.rating))
    rows = sight.session.exec(
        select(Feedback.application, func.count(), func.sum(vote))
        .where(
            Feedback.given_at >= sight.since,
            col(Feedback.effective).is_(True),
            ((col(Feedback.kind) == "thumbs") & col(Feedback.thumbs).is_not(None))
            | ((col(Feedback.kind) == "rating") & col(Feedback.rating).is_not(None)),
        )
        .group_by(Feedback.application)
    )
    return {
        application: Reading(float(total) / count, count, f"{count} votes")
        for application, count, total in rows
    }


def cost_per_request(sight: Sight) -> Readings:
    """Return what a request costs in the mean, of those whose cost is known."""
    cost = col(Interaction.cost)
    rows = sight.session.exec(
        select(Interaction.application, func.count(), func.sum(cost).label("total"))
        .where(*_seen(sight), cost.is_not(None))
        .group_by(Interaction.application)
    )
    return {
        application: Reading(float(total or 0.0) / count, count, f"{count} requests")
        for application, count, total in rows
    }


def rollouts_rolled_back(sight: Sight) -> Readings:
    """Return how many canaries ended as rolled back."""
    rows = sight.session.exec(
        select(Rollout)
        .where(Rollout.state == "rolled_back", col(Rollout.finished_at) >= sight.since)
        .order_by(col(Rollout.finished_at))
    )
    found: dict[str, Reading] = {}
    for row in rows:
        count = found.get(row.application, Reading(0.0)).samples + 1
        detail = f"{row.canary_adapter} in rollout {row.id}: {row.reason}"
        found[row.application] = Reading(float(count), count, detail)
    return found


def drift_acts(sight: Sight) -> Readings:
    """Return how many drift reports ask for an act."""
    rows = sight.session.connection().execute(
        select(_drift.c.application, _drift.c.reason)  # pyright: ignore[reportArgumentType, reportCallIssue] (plain columns)
        .where(_drift.c.severity == "act", _drift.c.made_at >= sight.since)
        .order_by(_drift.c.made_at)
    )
    found: dict[str, Reading] = {}
    for application, reason in rows:
        count = found.get(application, Reading(0.0)).samples + 1
        found[application] = Reading(float(count), count, reason)
    return found


def spool_share(sight: Sight) -> Readings:
    """Return how full the fullest spool of this machine is, 0-1."""
    spools = _spools(sight)
    if not spools:
        return {SERVICE: Reading(None, 0, "no spool on this machine")}
    fullest = max(spools, key=lambda spool: spool.share)
    return {SERVICE: Reading(fullest.share, len(spools), f"the spool {fullest.name}")}


def ingest_lag_s(sight: Sight) -> Readings:
    """Return how long the oldest record has waited for ingest in the spools of this machine."""
    if sight.settings.log.kafka.servers:
        return {SERVICE: Reading(None, 0, "Kafka holds the log: see ingest_lag_records")}
    spools = _spools(sight)
    waiting = sum(spool.waiting for spool in spools)
    oldest_s = max((spool.waiting_s for spool in spools if spool.waiting), default=0.0)
    return {SERVICE: Reading(oldest_s, 1, f"{waiting} records wait")}


def ingest_lag_records(sight: Sight) -> Readings:
    """Return how many records of the log are not in the store."""
    known = read_positions(sight.session)
    positions = {part: known.get(part, 0) for part in sight.source.assigned()}
    behind = sight.source.behind(positions)
    return {SERVICE: Reading(float(sum(behind.values())), 1, f"in {len(behind)} partitions")}


def jobs_failing(sight: Sight) -> Readings:
    """Return how many jobs failed when they last ran."""
    rows = sight.session.exec(select(JobState).where(col(JobState.ok).is_(False)))
    failed = [f"{row.name}: {row.message}" for row in rows]
    return {SERVICE: Reading(float(len(failed)), 1, "; ".join(sorted(failed)))}


NONE_YET = Reading(0.0, 1)  # of what is counted: that there are none is known

METRICS: Mapping[str, Metric] = {
    "error_rate": Metric(error_rate, "share of answers that failed, 0-1"),
    "latency_p95_ms": Metric(latency_p95_ms, "latency of whole answers, 95th percentile"),
    "user_satisfaction": Metric(user_satisfaction, "mean vote, 1-5; thumbs are 5 and 1"),
    "cost_per_request": Metric(cost_per_request, "mean cost, in your prices' currency"),
    "drift_acts": Metric(drift_acts, "drift reports that ask for an act", absent=NONE_YET),
    "rollouts_rolled_back": Metric(rollouts_rolled_back, "canaries taken back", absent=NONE_YET),
    "spool_share": Metric(spool_share, "how full the fullest spool is, 0-1", of_service=True),
    "ingest_lag_s": Metric(ingest_lag_s, "age of the oldest record that waits", of_service=True),
    "ingest_lag_records": Metric(ingest_lag_records, "records not in the store", of_service=True),
    "jobs_failing": Metric(jobs_failing, "jobs whose last run failed", of_service=True),
}
SERVICE_METRICS = frozenset(name for name, metric in METRICS.items() if metric.of_service)


def read_metric(name: str, sight: Sight) -> Readings:
    """Return the metric's readings by application; the empty name is the whole service."""
    if name == "drift_acts" and not _has_drift(sight.session):
        return {}
    try:
        return METRICS[name].read(sight)
    except RatchetError as error:  # a cluster that is away: the other metrics are still to be had
        _log.warning("metric_not_read", metric=name, error=error.message)
        return {SERVICE: Reading(None, 0, error.message)}


def reading_of(name: str, readings: Readings, application: str) -> Reading:
    """Return an application's reading, or what one without a row has."""
    return readings.get(application, METRICS[name].absent)


def _has_drift(session: Session) -> bool:
    return inspect(session.connection()).has_table("driftreport")


def _seen(sight: Sight) -> tuple[Any, ...]:
    """Return what makes an interaction one that somebody saw in the window.

    Applications are named so that the index on them and the time is used.
    """
    return (
        col(Interaction.application).in_(sorted(sight.settings.applications)),
        col(Interaction.started_at) >= sight.since,
        col(Interaction.shadow_of).is_(None),
    )


def _spools(sight: Sight) -> list[SpoolStatus]:
    settings = sight.settings
    positions = {} if settings.log.kafka.servers else read_positions(sight.session)
    return spool_statuses(settings.spool_dir, SOURCES, positions, settings.log.max_bytes)
