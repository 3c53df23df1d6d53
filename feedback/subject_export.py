"""All that is held of a person, as one plain document that can be handed to them.

A session and a person go in; a mapping that JSON can hold comes out. Texts are as they are kept,
that is redacted. Knows nothing of where it is written.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, SQLModel, col, select

from core.clock import utc_now
from core.ids import subject_digest
from feedback.erasure import Person, interaction_ids, lineage
from feedback.tables import (
    DatasetMember,
    Erasure,
    Feedback,
    Interaction,
    JudgedPair,
    ReviewItem,
)


def export_subject(session: Session, person: Person) -> dict[str, Any]:
    """Return everything of the person: interactions, feedback, and what was made of them."""
    now = utc_now()
    made = lineage(session, person, interaction_ids(session, person, now))
    interactions = select(Interaction).where(
        Interaction.application == person.application, Interaction.subject == person.subject
    )
    feedback = select(Feedback).where(
        Feedback.application == person.application, Feedback.subject == person.subject
    )
    members = select(DatasetMember).where(
        DatasetMember.subject == person.subject, col(DatasetMember.dataset_id).in_(made.datasets)
    )
    items = select(ReviewItem).where(
        ReviewItem.application == person.application, ReviewItem.subject == person.subject
    )
    theirs = select(Interaction.id).where(
        Interaction.application == person.application, Interaction.subject == person.subject
    )
    judged = select(JudgedPair).where(col(JudgedPair.interaction_id).in_(theirs))
    return {
        "application": person.application,
        "subject": person.subject,
        "exported_at": now.isoformat(),
        "interactions": _plain(session, interactions.order_by(col(Interaction.started_at))),
        "feedback": _plain(session, feedback.order_by(col(Feedback.given_at))),
        "dataset_examples": _plain(session, members),
        "review_items": _plain(session, items),
        "judged_pairs": _plain(session, judged),
        "adapters_trained_on_them": list(made.adapters),
        "erasures": [erasure_state(row) for row in erasures_of(session, person)],
    }


def erasures_of(session: Session, person: Person) -> list[Erasure]:
    """Return the person's erasures, oldest first."""
    query = select(Erasure).where(
        Erasure.application == person.application,
        Erasure.subject_digest == subject_digest(person.subject),
    )
    return list(session.exec(query.order_by(col(Erasure.requested_at))))


def erasure_state(erasure: Erasure) -> dict[str, Any]:
    """Return what may be told of an erasure: all but whom it was about."""
    return erasure.model_dump(mode="json", exclude={"subject", "subject_digest"})


def _plain(session: Session, query: Any) -> list[dict[str, Any]]:
    rows: list[SQLModel] = list(session.exec(query))
    return [row.model_dump(mode="json") for row in rows]
