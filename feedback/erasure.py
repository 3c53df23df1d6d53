"""A person's rows: which there are, what was made of them, and how they go.

A session and a person go in. The application's `user` is known here only by its keyed hash. What
others said about the person's interactions goes with them: it may quote what was answered.
Dataset folders, spools and adapters in traffic are the business of others. The caller commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_
from sqlmodel import Session, col, select

from core.clock import utc_now
from core.ids import subject_digest
from feedback.tables import Adapter, DatasetMember, DatasetVersion, Erasure, Feedback, Interaction

BATCH = 500  # ids in one statement: every database takes so many


@dataclass(frozen=True, slots=True)
class Person:
    """An end user of an application, by the keyed hash of the application's name for them."""

    application: str
    subject: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """What was made of a person's interactions; adapters that continue such ones are among them."""

    datasets: tuple[str, ...]
    adapters: tuple[str, ...]


def open_erasure(
    session: Session, person: Person, erasure_id: str, requested_by: str, at: datetime
) -> Erasure:
    """Return the row of an erasure, new or begun before: from now on older events stay out."""
    known = session.get(Erasure, erasure_id)
    if known is not None:
        return known
    erasure = Erasure(
        id=erasure_id,
        application=person.application,
        subject_digest=subject_digest(person.subject),
        subject=person.subject,
        requested_by=requested_by,
        requested_at=at,
    )
    session.add(erasure)
    return erasure


def interaction_ids(session: Session, person: Person, until: datetime) -> list[str]:
    """Return the person's interactions up to `until`, those that nobody saw among them."""
    query = select(Interaction.id).where(
        Interaction.application == person.application,
        Interaction.subject == person.subject,
        col(Interaction.started_at) <= until,
    )
    return list(session.exec(query))


def count_feedback(session: Session, person: Person, ids: Sequence[str], until: datetime) -> int:
    """Return how many feedback are the person's, or about the person's interactions."""
    own = session.exec(
        select(func.count()).select_from(Feedback).where(*_given_by(person, until))
    ).one()
    about = 0
    for part in _parts(ids):
        query = (
            select(func.count())
            .select_from(Feedback)
            .where(
                col(Feedback.interaction_id).in_(part),
                or_(
                    col(Feedback.subject).is_(None),
                    col(Feedback.subject) != person.subject,
                    col(Feedback.given_at) > until,
                ),
            )
        )
        about += session.exec(query).one()
    return own + about


def lineage(session: Session, person: Person, ids: Sequence[str]) -> Lineage:
    """Return the dataset versions with the person's examples, and the adapters made of them."""
    datasets = set(
        session.exec(
            select(DatasetVersion.id)
            .join(DatasetMember, col(DatasetMember.dataset_id) == col(DatasetVersion.id))
            .where(DatasetVersion.application == person.application)
            .where(DatasetMember.subject == person.subject)
        )
    )
    for part in _parts(ids):
        members = select(DatasetMember.dataset_id).where(
            col(DatasetMember.interaction_id).in_(part)
        )
        datasets.update(session.exec(members))
    adapters = session.exec(select(Adapter).where(Adapter.application == person.application)).all()
    return Lineage(tuple(sorted(datasets)), tuple(sorted(_made_of(adapters, datasets))))


def taint(session: Session, adapters: Sequence[str], erasure_id: str) -> None:
    """Mark adapters as trained on somebody who was erased."""
    for name in adapters:
        adapter = session.get_one(Adapter, name)
        adapter.tainted_at = adapter.tainted_at or utc_now()
        adapter.tainted_by = sorted({*adapter.tainted_by, erasure_id})
        session.add(adapter)


def delete_rows(
    session: Session, person: Person, ids: Sequence[str], until: datetime
) -> dict[str, int]:
    """Delete the interactions, the feedback and the lineage rows; return how many of each."""
    feedback = session.exec(delete(Feedback).where(*_given_by(person, until))).rowcount
    members = interactions = 0
    for part in _parts(ids):
        about = delete(Feedback).where(col(Feedback.interaction_id).in_(part))
        feedback += session.exec(about).rowcount
        of = delete(DatasetMember).where(col(DatasetMember.interaction_id).in_(part))
        members += session.exec(of).rowcount
        rows = delete(Interaction).where(col(Interaction.id).in_(part))
        interactions += session.exec(rows).rowcount
    return {"interactions": interactions, "feedback": feedback, "dataset_members": members}


def _given_by(person: Person, until: datetime) -> tuple[Any, ...]:
    return (
        col(Feedback.application) == person.application,
        col(Feedback.subject) == person.subject,
        col(Feedback.given_at) <= until,
    )


def _made_of(adapters: Sequence[Adapter], datasets: set[str]) -> set[str]:
    """Return the adapters trained on one of `datasets`, and those that continue such ones."""
    tainted = {adapter.name for adapter in adapters if adapter.dataset_id in datasets}
    while True:
        more = {adapter.name for adapter in adapters if adapter.parent_adapter in tainted}
        if more <= tainted:
            return tainted
        tainted |= more


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
