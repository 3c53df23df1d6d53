"""The jobs of the whole service: what is done again and again, by one leader, whoever else runs.

A job is a plain function of the parts that returns in a line what it did. Each may be broken off
and run again. `jobs_of` is the list of them all; `loop.scheduler` runs them, `ratchet jobs` shows
them. What each process does for itself (its spools, its lag) is `loop.chores`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.clock import utc_now
from core.errors import NotFoundError
from core.settings import Settings
from curation.judgements import expire_judged
from curation.review.erasure import expire_reviews
from feedback.anomalies import mark_anomalies
from feedback.retention import cutoffs, expire
from loop.drift_job import check_drift
from loop.erasing import carry_out_requests
from loop.retrain_job import plan_retraining
from loop.rollup_job import roll_up_metrics
from loop.window_job import collect_windows
from loop.wiring import Parts
from monitoring.alerts.channels.directory import open_channels
from monitoring.alerts.checking import check
from monitoring.alerts.outbox import deliver
from retrain.registry.mlflow_models import sync_models

NOTHING = "nothing to do"


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do every so many seconds; `run` returns what it did, in a line."""

    name: str
    every_s: float
    run: Callable[[Parts], str]


def jobs_of(settings: Settings) -> tuple[Job, ...]:
    """Return all jobs of a service."""
    every = settings.scheduler
    return (
        Job("mark_anomalies", settings.feedback.mark_every_s, mark_votes),
        Job("carry_out_erasures", every.erasures_every_s, erase_people),
        Job("retain", every.retention_every_s, retain),
        Job("sync_mlflow", every.mlflow_every_s, list_in_mlflow),
        Job("check_alerts", every.alerts_every_s, check_alerts),
        Job("deliver_alerts", every.deliveries_every_s, deliver_alerts),
        Job("roll_up_metrics", settings.console.roll_up_every_s, roll_up_metrics),
        Job("collect_windows", settings.monitoring.every_s, collect_windows),
        Job("check_drift", every.drift_every_s, check_drift),
        Job("plan_retraining", every.plans_every_s, plan_retraining),
    )


def job_named(settings: Settings, name: str) -> Job:
    """Return that job. Raises: NotFoundError."""
    for job in jobs_of(settings):
        if job.name == name:
            return job
    raise NotFoundError(f"no job {name!r}: `ratchet jobs list` shows them")


def mark_votes(parts: Parts) -> str:
    """Mark the votes that look odd."""
    with parts.store.session() as session:
        count = mark_anomalies(session, parts.settings.feedback, utc_now())
        session.commit()
    return f"{count} marks changed" if count else NOTHING


def erase_people(parts: Parts) -> str:
    """Carry out the erasures that were asked for."""
    count = carry_out_requests(parts)
    return f"{count} erasures carried out" if count else NOTHING


def retain(parts: Parts) -> str:
    """Delete what is older than its application keeps it; make PostgreSQL's next partitions."""
    expired = expire(parts.store, cutoffs(parts.settings, utc_now()))
    if not expired:
        return NOTHING
    with parts.store.session() as session:
        for application in parts.settings.applications:
            expire_reviews(session, application)
            expire_judged(session, application)
        session.commit()
    dropped = f", months dropped: {', '.join(expired.partitions)}" if expired.partitions else ""
    return f"deleted {expired.interactions} interactions, {expired.feedback} feedback{dropped}"


def list_in_mlflow(parts: Parts) -> str:
    """Make MLflow's registry equal to ours, where one is set."""
    if parts.settings.registry.mlflow_uri is None:
        return "registry.mlflow_uri is not set"
    with parts.store.session() as session:
        count = sync_models(session, parts.settings)
    return f"{count} model versions changed" if count else NOTHING


def check_alerts(parts: Parts) -> str:
    """Look at every alert rule once."""
    with parts.store.session() as session:
        checked = check(session, parts.source, parts.settings, utc_now())
        session.commit()
    return str(checked)


def deliver_alerts(parts: Parts) -> str:
    """Tell what waits in the alerts' outbox."""
    rules = parts.settings.alerts
    return str(deliver(parts.store, open_channels(rules), rules, utc_now()))
