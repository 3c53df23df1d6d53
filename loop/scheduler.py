"""Runs the jobs: of all schedulers that are started on a store, one leads, and only it runs them.

Parts and jobs go in; what they did is in `JobState` and the log. A job never overlaps itself,
missed times become one, a failure is told and the job comes again at its next time. Who does not
lead tries to, again and again. Knows nothing of what jobs do. Run it by `ratchet scheduler`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, timedelta

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import SQLAlchemyError

from core.clock import utc_now
from core.errors import RatchetError
from core.outage import Outage
from loop import job_ledger
from loop.jobs import Job
from loop.leadership import Leader, LeadershipLostError, Term, fenced, leader_of
from loop.wiring import Parts

LONGEST_MESSAGE = 500  # characters of an error that JobState keeps; the log has it whole

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of a job went."""

    ok: bool
    message: str


def run_scheduler(parts: Parts, stop: threading.Event, jobs: Sequence[Job]) -> None:
    """Lead whenever nobody else does, and run the jobs then, until `stop` is set."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a run that is skipped is no news
    leader, outage = leader_of(parts.store), Outage("scheduler")
    try:
        while not stop.is_set():
            try:
                term = leader.acquire()
                outage.end()
                if term is not None:
                    _lead(parts, jobs, leader, term, stop)
                else:
                    stop.wait(parts.settings.scheduler.take_over_every_s)
            except SQLAlchemyError as error:
                stop.wait(outage.begin(error))
    finally:
        leader.release()


def run_job(parts: Parts, job: Job, term: Term) -> Outcome:
    """Run a job now and note how it went; the parts' store is fenced by the term.

    Raises: LeadershipLostError, and what the database says when not even that can be noted.
    """
    now = utc_now()
    with parts.store.session() as session:
        job_ledger.begin(session, job.name, term, now, now + timedelta(seconds=job.every_s))
    outcome = _outcome(parts, job)
    with parts.store.session() as session:
        job_ledger.finish(session, job.name, utc_now(), ok=outcome.ok, message=outcome.message)
    return outcome


def _outcome(parts: Parts, job: Job) -> Outcome:
    try:
        return Outcome(True, job.run(parts))
    except LeadershipLostError:
        raise
    except Exception as error:  # the job edge: whatever it was, the job comes again
        _log.error("job_failed", job=job.name, exc_info=error)
        return Outcome(False, _told(error)[:LONGEST_MESSAGE])


def _told(error: Exception) -> str:
    """Return an error in a line; of SQLAlchemy's, not the statement and its values."""
    if isinstance(error, RatchetError):
        return error.message
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _lead(
    parts: Parts, jobs: Sequence[Job], leader: Leader, term: Term, stop: threading.Event
) -> None:
    """Run the jobs until the term is over or `stop` is set; return when none runs any more."""
    _log.info("scheduler_leads", epoch=term.epoch, holder=term.holder)
    with (
        fenced(parts.store, term) as store,
        _running(replace(parts, store=store), jobs, term) as scheduler,
    ):
        while not stop.wait(parts.settings.scheduler.check_every_s):
            if not leader.holds(term):
                _log.warning("scheduler_lost_leadership", epoch=term.epoch)
                break
            _hurry(scheduler, parts, jobs)
    leader.release()


@contextmanager
def _running(parts: Parts, jobs: Sequence[Job], term: Term) -> Generator[BackgroundScheduler]:
    """Give the scheduler of a term; in the end, wait for what runs: nothing overlaps it later."""
    scheduler = BackgroundScheduler(
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(parts.settings.scheduler.threads)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone=UTC,
    )
    now = utc_now()
    with parts.store.session() as session:
        first = {
            job.name: job_ledger.first_time(session, job.name, job.every_s, now) for job in jobs
        }
    for job in jobs:
        scheduler.add_job(
            _run_safely,
            "interval",
            seconds=job.every_s,
            id=job.name,
            args=(parts, job, term),
            next_run_time=first[job.name],
        )
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.shutdown(wait=True)


def _run_safely(parts: Parts, job: Job, term: Term) -> None:
    try:
        run_job(parts, job, term)
    except LeadershipLostError as error:
        _log.warning("job_not_written", job=job.name, error=error.message)
    except SQLAlchemyError as error:  # the database is away: nothing can be noted in it
        _log.error("job_not_noted", job=job.name, error=_told(error))


def _hurry(scheduler: BackgroundScheduler, parts: Parts, jobs: Sequence[Job]) -> None:
    """Run at once what people wait for."""
    try:
        with parts.store.session() as session:
            names = job_ledger.wanted(session, {job.name for job in jobs})
    except SQLAlchemyError as error:
        _log.warning("wishes_not_read", error=_told(error))
        return
    for name in names:
        scheduler.modify_job(name, next_run_time=utc_now())
