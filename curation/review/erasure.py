"""CURATE, backwards: a person's review items, with all that reviewers said of them.

A session, the application, the person's hash and their interactions come in. What is said of an
answer may quote it, so the reviews go with the items. The caller commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from curation.review.leases import changed
from curation.review.queue import parts
from feedback.tables import Interaction, Review, ReviewItem, ReviewLease


def erase_reviews(
    session: Session, application: str, subject: str, interaction_ids: Sequence[str]
) -> int:
    """Delete a person's items, their leases and reviews; return how many items and reviews."""
    mine = col(ReviewItem.application) == application
    ids = set(session.exec(select(ReviewItem.id).where(mine, ReviewItem.subject == subject)))
    for some in parts(interaction_ids):
        about = select(ReviewItem.id).where(mine, col(ReviewItem.interaction_id).in_(some))
        ids.update(session.exec(about))
    theirs = frozenset(interaction_ids)
    written = select(ReviewItem.id, ReviewItem.seeds).where(
        mine, ReviewItem.kind == "demonstration"
    )
    ids.update(id_ for id_, seeds in session.exec(written) if not theirs.isdisjoint(seeds))
    return _delete(session, ids)


def expire_reviews(session: Session, application: str) -> int:
    """Delete items whose interaction the store holds no longer; return as `erase_reviews`."""
    there = select(Interaction.id).where(col(Interaction.id) == col(ReviewItem.interaction_id))
    gone = select(ReviewItem.id).where(
        ReviewItem.application == application,
        col(ReviewItem.interaction_id).is_not(None),
        ~there.exists(),
    )
    return _delete(session, session.exec(gone))


def _delete(session: Session, item_ids: Iterable[str]) -> int:
    count = 0
    for some in parts(sorted(item_ids)):
        changed(session, delete(ReviewLease).where(col(ReviewLease.item_id).in_(some)))
        of_items: tuple[tuple[Any, Any], ...] = (
            (Review, Review.item_id),
            (ReviewItem, ReviewItem.id),
        )
        count += sum(
            changed(session, delete(table).where(col(column).in_(some)))
            for table, column in of_items
        )
    return count
