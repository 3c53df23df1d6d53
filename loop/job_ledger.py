"""How each job went last, and which are wanted now: the rows that `ratchet jobs` shows.

Sessions go in. The scheduler writes a start and an end; people write a wish. Knows nothing of
what jobs do.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from core.clock import as_utc
from feedback.job_tables import JobState
from loop.leadership import Term


def begin(session: Session, name: str, term: Term, now: datetime, next_at: datetime) -> None:
    """Note that the job starts now; a wish for it is granted by that."""
    state = _state(session, name)
    state.last_started_at, state.next_at, state.wanted_at = now, next_at, None
    state.leader, state.epoch = term.holder, term.epoch
    session.add(state)
    session.commit()


def finish(session: Session, name: str, now: datetime, *, ok: bool, message: str) -> None:
    """Note how it went."""
    state = _state(session, name)
    state.last_finished_at, state.ok, state.message = now, ok, message
    session.add(state)
    session.commit()


def want(session: Session, name: str, now: datetime) -> None:
    """Ask the leader to run the job at once."""
    state = _state(session, name)
    state.wanted_at = now
    session.add(state)
    session.commit()


def wanted(session: Session, names: Collection[str]) -> list[str]:
    """Return which of these jobs somebody waits for."""
    query = select(JobState.name).where(col(JobState.wanted_at).is_not(None))
    return [name for name in session.exec(query) if name in names]


def first_time(session: Session, name: str, every_s: float, now: datetime) -> datetime:
    """Return when a new leader runs the job first.

    At once if it never ran or was broken off; else when its time is over, whoever ran it.
    """
    state = session.get(JobState, name)
    if state is None or state.last_started_at is None or is_unfinished(state):
        return now
    return max(now, as_utc(state.last_started_at) + timedelta(seconds=every_s))


def is_unfinished(state: JobState) -> bool:
    """Return whether the last run has not ended: it goes on, or its process died."""
    if state.last_started_at is None:
        return False
    ended = state.last_finished_at
    return ended is None or as_utc(ended) < as_utc(state.last_started_at)


def states(session: Session) -> dict[str, JobState]:
    """Return what is known of each job that ever ran, by its name."""
    return {state.name: state for state in session.exec(select(JobState))}


def _state(session: Session, name: str) -> JobState:
    return session.get(JobState, name) or JobState(name=name)
