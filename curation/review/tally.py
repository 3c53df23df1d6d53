"""CURATE: what the rows of review say, counted and gathered, and nothing of it changed.

Sessions come in, counts, verdicts and what agreement and comparison ask go out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from core.errors import NotFoundError
from curation.review import leases
from curation.review.agreement import Given
from curation.review.comparison import Preference, other_way
from curation.review.words import Position, Preferred, ReviewVerdict, Says
from feedback.tables import Review, ReviewItem

State = Literal["open", "done", "withdrawn"]
LEARNT = ("demonstration", "pair")  # the kinds of candidates


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of an application's queue; calibration items are in none of the items' counts."""

    open: int
    done: int
    withdrawn: int
    leased: int  # slots that somebody holds now
    reviews: int  # decisions given, skips among them
    skips: int
    approved: int  # of the done ones that are no comparisons
    rejected: int
    corrected: int
    mine_done: int  # by the reviewer who asks; 0 without one
    mine_left: int  # open items before them, the one that they hold among them
    by_reason: dict[str, int]  # open items by why they were sampled
    by_reviewer: dict[str, int]  # decisions by reviewer


def progress(session: Session, application: str, reviewer: str | None, now: datetime) -> Progress:
    """Return the counts of an application's queue."""
    states = _counted(session, application, ReviewItem.state)
    verdicts = _counted(session, application, ReviewItem.verdict)
    by_reviewer = _reviews_by(session, application, Review.reviewer)
    skips = _reviews_by(session, application, Review.decision).get("skip", 0)
    reasons = select(ReviewItem.sampled_because).where(*_of_queue(application, "open"))
    return Progress(
        open=states.get("open", 0),
        done=states.get("done", 0),
        withdrawn=states.get("withdrawn", 0),
        leased=leases.count_running(session, application, now),
        reviews=sum(by_reviewer.values()),
        skips=skips,
        approved=verdicts.get("approved", 0),
        rejected=verdicts.get("rejected", 0),
        corrected=verdicts.get("corrected", 0),
        mine_done=by_reviewer.get(reviewer or "", 0),
        mine_left=leases.count_free(session, application, reviewer, now) if reviewer else 0,
        by_reason=dict(Counter(reason for row in session.exec(reasons) for reason in row)),
        by_reviewer=by_reviewer,
    )


def count_open(session: Session, application: str) -> int:
    """Return how many items wait, without those for calibration."""
    query = select(func.count()).select_from(ReviewItem)
    return session.exec(query.where(*_of_queue(application, "open"))).one()


def count_by(session: Session, application: str, reviewer: str) -> int:
    """Return how many decisions a reviewer has given."""
    query = select(func.count()).select_from(Review)
    mine = (Review.application == application, Review.reviewer == reviewer)
    return session.exec(query.where(*mine)).one()


def candidates(session: Session, application: str) -> set[str]:
    """Return the candidates whose items are open or done."""
    query = select(ReviewItem.candidate_id).where(
        ReviewItem.application == application,
        ReviewItem.state != "withdrawn",
        col(ReviewItem.kind).in_(LEARNT),
    )
    return set(session.exec(query))


def item_of(session: Session, application: str, candidate_id: str) -> ReviewItem:
    """Return the item of a candidate. Raises: NotFoundError."""
    query = select(ReviewItem).where(
        ReviewItem.application == application, ReviewItem.candidate_id == candidate_id
    )
    item = session.exec(query).one_or_none()
    if item is None:
        raise NotFoundError(
            f"no candidate {candidate_id!r} of {application} is in review: fill the queue first",
            field="candidate_id",
        )
    return item


def items(session: Session, application: str, state: State | None, limit: int) -> list[ReviewItem]:
    """Return items, those first that are given out first."""
    query = select(ReviewItem).where(ReviewItem.application == application)
    if state is not None:
        query = query.where(ReviewItem.state == state)
    order = (col(ReviewItem.priority).desc(), col(ReviewItem.created_at), col(ReviewItem.id))
    return list(session.exec(query.order_by(*order).limit(limit)))


def outcomes(session: Session, application: str) -> dict[str, ReviewVerdict]:
    """Return the verdict on each candidate whose review is done."""
    query = select(ReviewItem.candidate_id, ReviewItem.verdict, ReviewItem.corrected).where(
        ReviewItem.application == application,
        ReviewItem.state == "done",
        col(ReviewItem.kind).in_(LEARNT),
    )
    return {id_: ReviewVerdict(cast(Says, says), text) for id_, says, text in session.exec(query)}


def given(session: Session, application: str) -> Iterator[Given]:
    """Return the decisions that agreement is about: all but skips."""
    query = (
        select(Review, ReviewItem.expected)
        .join(ReviewItem, col(ReviewItem.id) == col(Review.item_id))
        .where(Review.application == application, Review.decision != "skip")
    )
    for review, expected in session.exec(query):
        yield Given(
            item_id=review.item_id,
            reviewer=review.reviewer,
            decision=review.decision,
            preferred=review.preferred,
            rubric=review.rubric,
            expected=expected,
        )


def preferences(
    session: Session, application: str, a: str | None, b: str | None
) -> Iterator[Preference]:
    """Return what reviewers preferred of two adapters, whichever of them an item calls `a`."""
    one_way = leases.is_adapter(col(ReviewItem.adapter_a), a) & leases.is_adapter(
        col(ReviewItem.adapter_b), b
    )
    reverse = leases.is_adapter(col(ReviewItem.adapter_a), b) & leases.is_adapter(
        col(ReviewItem.adapter_b), a
    )
    query = (
        select(Review.item_id, Review.preferred, Review.position, ReviewItem.adapter_a)
        .join(ReviewItem, col(ReviewItem.id) == col(Review.item_id))
        .where(Review.application == application, Review.decision == "prefer")
        .where(ReviewItem.kind == "comparison", or_(one_way, reverse))
    )
    for item_id, preferred, shown, first_name in session.exec(query):
        one = Preference(item_id, cast(Preferred, preferred), cast(Position, shown))
        yield one if first_name == a else other_way(one)


def _counted(session: Session, application: str, column: Any) -> dict[str, int]:
    """Return how many items of the queue have each value of a column."""
    query = select(column, func.count()).where(*_of_queue(application)).group_by(column)
    return {value: count for value, count in session.exec(query)}


def _reviews_by(session: Session, application: str, column: Any) -> dict[str, int]:
    query = select(column, func.count()).where(Review.application == application)
    return dict(session.exec(query.group_by(column)).all())


def _of_queue(application: str, state: State | None = None) -> tuple[Any, ...]:
    of = (ReviewItem.application == application, ReviewItem.kind != "calibration")
    return of if state is None else (*of, ReviewItem.state == state)
