"""CURATE: one reviewer's decision becomes a row, and an item's last one its verdict.

A session, a lease's token and a decision come in. The lease is claimed first: who comes too late
claims nothing, and of two that come at once each waits for the other's rows before it counts them.
The audit log keeps each decision beside it. The caller commits. Knows nothing of queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlmodel import Session, col, select

from core.errors import ConflictError, RequestError
from core.ids import new_id
from curation.review import leases
from curation.review.words import (
    Choice,
    Decision,
    ReviewVerdict,
    ShownKind,
    check,
    position,
    preferred,
    verdict,
)
from feedback.audit import HumanAct, actor_named, record
from feedback.redaction.placeholders import PLACEHOLDER
from feedback.redaction.redactor import Redactor
from feedback.tables import Review, ReviewItem, ReviewLease

DONE: Mapping[str, str] = {  # by choice: what the audit log calls it
    "approve": "review_approved",
    "reject": "review_rejected",
    "correct": "review_corrected",
    "prefer": "review_compared",
    "skip": "review_skipped",
}


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a decision."""

    item_id: str
    choice: str
    text: str | None  # the correction as it was written: redacted
    repeated: bool  # the same was said by this token before; nothing changed


def decide(
    session: Session,
    redactor_of: Callable[[str], Redactor],
    reviewer: str,
    token: str,
    decision: Decision,
    now: datetime,
) -> Decided:
    """Write what a reviewer says of the item that they hold.

    Raises: RequestError, ConflictError.
    """
    lease = leases.claim(session, reviewer, token, now)
    if lease is None:
        return _repeated(session, redactor_of, reviewer, token, decision)
    query = select(ReviewItem).where(ReviewItem.id == lease.item_id)
    item = session.exec(query.with_for_update()).one_or_none()
    if item is None or item.state != "open":
        raise ConflictError(
            "the item was withdrawn while you had it: nothing was written, take the next one"
        )
    review = _review(item, lease, decision, redactor_of(item.application), now)
    if not leases.insert_new(session, review):
        raise ConflictError("you have reviewed this item before: take the next one")
    if decision.choice == "skip":
        leases.free_skipped(session, lease)
    else:
        _settle(session, item, now)
    record(session, _act(item, review))
    return Decided(item.id, review.decision, review.text, repeated=False)


def _review(
    item: ReviewItem, lease: ReviewLease, decision: Decision, redactor: Redactor, now: datetime
) -> Review:
    """Return the row of a decision. Raises: RequestError."""
    check(decision, _shown_kind(item))
    shown = position(item.id, lease.reviewer) if item.kind == "comparison" else None
    reason, text = _redacted(item, decision, redactor)
    if text is not None and text == item.messages[-1]["content"]:
        raise RequestError("text is the answer as it is: change it, or say approve", field="text")
    return Review(
        id=new_id(),
        application=item.application,
        item_id=item.id,
        reviewer=lease.reviewer,
        token=lease.token,
        decision=decision.choice,
        preferred=preferred(decision.preferred, shown) if decision.preferred and shown else None,
        position=shown,
        rubric=dict(decision.rubric),
        reason=reason,
        text=text,
        given_at=now,
    )


def _act(item: ReviewItem, review: Review) -> HumanAct:
    """Return what the audit log keeps: who said what of which item, and none of its words."""
    place = ("review", item.id, item.application)
    details = {"rubric": review.rubric} if review.rubric else {}
    return HumanAct(actor_named(review.reviewer), DONE[review.decision], *place, details=details)


def _shown_kind(item: ReviewItem) -> ShownKind:
    if item.kind == "comparison":
        return "comparison"
    return "demonstration" if item.rejected is None else "pair"


def _redacted(item: ReviewItem, decision: Decision, redactor: Redactor) -> tuple[str, str | None]:
    """Return reason and correction with placeholders that the item does not use for others."""
    own = [part["content"] for part in item.messages] + [item.rejected or ""]
    conversation = redactor.conversation(
        match[0] for text in own for match in PLACEHOLDER.finditer(text)
    )
    text = None if decision.text is None else conversation.redact(decision.text)
    return conversation.redact(decision.reason), text


def _settle(session: Session, item: ReviewItem, now: datetime) -> None:
    """Close an item that all have decided; let one more reviewer decide a draw."""
    query = (
        select(Review.decision, Review.text)
        .where(Review.item_id == item.id, Review.decision != "skip")
        .order_by(col(Review.given_at), col(Review.id))
    )
    rows = session.exec(query).all()
    choices: list[tuple[Choice, str | None]] = [(cast("Choice", said), text) for said, text in rows]
    if not item.needed or len(choices) < item.needed:
        return
    said = None if item.kind == "comparison" else verdict(choices, item.needed)
    if item.kind != "comparison" and said is None:
        item.needed += 1
    else:
        _close(item, said, now)
    session.add(item)


def _close(item: ReviewItem, said: ReviewVerdict | None, now: datetime) -> None:
    item.state, item.closed_at = "done", now
    if said is not None:
        item.verdict, item.corrected = said.says, said.text


def _repeated(
    session: Session,
    redactor_of: Callable[[str], Redactor],
    reviewer: str,
    token: str,
    decision: Decision,
) -> Decided:
    """Return what was decided by this token before. Raises: ConflictError."""
    query = select(Review).where(Review.token == token, Review.reviewer == reviewer)
    review = session.exec(query).one_or_none()
    item = None if review is None else session.get(ReviewItem, review.item_id)
    if review is None or item is None:
        raise leases.ended(token)
    reason, text = _redacted(item, decision, redactor_of(item.application))
    seen = decision.preferred
    said = preferred(seen, position(item.id, reviewer)) if seen else None
    again = (decision.choice, said, dict(decision.rubric), reason, text)
    if again != (review.decision, review.preferred, review.rubric, review.reason, review.text):
        raise ConflictError(
            f"this item was decided by this token already ({review.decision}): take the next one"
        )
    return Decided(review.item_id, review.decision, review.text, repeated=True)
