"""Trainings that were asked for: by an erasure, by a person, and not yet taken up.

A session goes in; open wishes come out, and are closed by the run that fulfils them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from feedback.tables import TrainingRequest

ERASER = "erasure"  # `requested_by` of what an erasure asks for; decision 0026


def open_requests(session: Session, application: str) -> list[TrainingRequest]:
    """Return the wishes that no run has taken up, oldest first."""
    query = select(TrainingRequest).where(
        TrainingRequest.application == application, col(TrainingRequest.run_id).is_(None)
    )
    return list(session.exec(query.order_by(col(TrainingRequest.requested_at))))


def take_up(session: Session, requests: Sequence[TrainingRequest], run_id: str) -> None:
    """Note that a run fulfils these wishes. The caller commits."""
    for request in requests:
        request.run_id = run_id
        session.add(request)
