"""CURATE: review items out of the desk for other tools, and what people said there back into it.

Rows of ReviewItem and Review come in, values of `exchange` go out; what was told comes back through
`ReviewDesk.enter`, with the desk's own checks and redaction. Knows no tool's format.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import msgspec
from sqlmodel import Session, col, select

from core.errors import RequestError
from curation.review.desk import ReviewDesk
from curation.review.exchange import Item, Told
from curation.review.words import Choice, Decision
from feedback.events import Message
from feedback.tables import Review, ReviewItem

HANDED_OUT = ("demonstration", "pair")


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What became of decisions from elsewhere; `refused` says of each candidate why."""

    entered: int
    known: int  # of people who have reviewed the candidate: a decision is not changed from outside
    refused: tuple[tuple[str, str], ...]


def hand_out(session: Session, application: str) -> list[Item]:
    """Return the application's items that are not withdrawn, with what was said of them."""
    query = select(ReviewItem).where(
        ReviewItem.application == application,
        col(ReviewItem.kind).in_(HANDED_OUT),
        ReviewItem.state != "withdrawn",
    )
    rows = session.exec(query.order_by(col(ReviewItem.priority).desc(), col(ReviewItem.id))).all()
    said: defaultdict[str, list[Review]] = defaultdict(list)
    reviews = select(Review).where(Review.application == application)
    for review in session.exec(reviews.order_by(col(Review.given_at), col(Review.id))):
        said[review.item_id].append(review)
    return [_item(row, said[row.id]) for row in rows]


def take_back(
    session: Session, desk: ReviewDesk, application: str, told: Iterable[Told]
) -> TakenBack:
    """Enter what people said elsewhere, each by itself; sending it twice enters it once."""
    query = select(ReviewItem.candidate_id, Review.reviewer).where(
        Review.item_id == ReviewItem.id, Review.application == application
    )
    said = set(session.exec(query))
    session.rollback()  # the desk writes: hold no snapshot meanwhile
    entered = known = 0
    refused: list[tuple[str, str]] = []
    for each in told:
        if (each.candidate_id, each.reviewer) in said:
            known += 1
            continue
        try:
            desk.enter(application, each.candidate_id, each.reviewer, each.decision)
        except RequestError as error:
            refused.append((each.candidate_id, error.message))
        else:
            entered += 1
    return TakenBack(entered, known, tuple(refused))


def _item(row: ReviewItem, reviews: Iterable[Review]) -> Item:
    return Item(
        candidate_id=row.candidate_id,
        messages=tuple(msgspec.convert(part, Message) for part in row.messages),
        rejected=row.rejected,
        told=tuple(
            Told(
                row.candidate_id,
                review.reviewer,
                Decision(
                    cast("Choice", review.decision),
                    rubric=review.rubric,
                    reason=review.reason,
                    text=review.text,
                ),
            )
            for review in reviews
        ),
    )
