"""Events of erased people stay out: those that come late, or again from a log that still has them.

A session and a batch of events go in; what is left comes out. What a person does after their
erasure is new and stays. Costs one query for a batch, of a table that is mostly empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, select

from core.clock import as_utc
from core.ids import subject_digest
from feedback.events import FeedbackGiven, InteractionFinished, Received
from feedback.tables import Erasure


def forget_erased(session: Session, batch: Sequence[Received]) -> list[Received]:
    """Return the events that are not of somebody who was erased after they happened."""
    erased = _erased(session)
    if not erased:
        return list(batch)
    return [received for received in batch if not _is_theirs(received, erased)]


def _erased(session: Session) -> dict[tuple[str, str], datetime]:
    """Return until when who was erased, by application and digest."""
    query = select(Erasure.application, Erasure.subject_digest, Erasure.requested_at)
    latest: dict[tuple[str, str], datetime] = {}
    for application, digest, at in session.exec(query):
        known = latest.get((application, digest))
        latest[application, digest] = max(as_utc(at), known) if known else as_utc(at)
    return latest


def _is_theirs(received: Received, erased: dict[tuple[str, str], datetime]) -> bool:
    event = received.event
    if isinstance(event, InteractionFinished):
        happened_at = event.started_at
    elif isinstance(event, FeedbackGiven):
        happened_at = event.given_at
    else:
        return False
    if event.subject is None:
        return False
    until = erased.get((event.application, subject_digest(event.subject)))
    return until is not None and as_utc(happened_at) <= until
