"""CURATE: who holds which item, so that two reviewers never hold the same slot of it.

An item has as many slots as it needs reviewers. A slot is a row that only one insert can make; a
row whose time is over makes way for the next, and a decided one stays. Both databases keep that by
their unique constraints, whatever the processes do at once. Instants are arguments; the caller
commits. Knows nothing of decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel, col, select

from core.errors import ConflictError
from core.ids import new_id
from curation.review.words import ShownKind
from feedback.tables import Review, ReviewItem, ReviewLease

MAX_TOKEN_CHARS = 36  # a UUID's; what else was sent is not repeated whole
LOOKED_AT = 20  # items at a time, of which others may take some in the same moment

Where = ColumnElement[bool]


def insert_new(session: Session, row: SQLModel) -> bool:
    """Insert a row unless it breaks a unique constraint; return whether it was inserted."""
    table: Any = type(row).__table__  # type: ignore[attr-defined]
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**row.model_dump()).on_conflict_do_nothing()
    # asked for, because a driver need not count what an insert did
    inserted = statement.returning(*table.primary_key.columns)
    return session.connection().execute(inserted).first() is not None


def changed(session: Session, statement: Any) -> int:
    """Run an update or delete in the database alone; return how many rows it changed.

    Rows that the session holds are left as they are: SQLite's naive instants cannot be compared
    with ours in Python.
    """
    options = {"synchronize_session": False}
    return session.exec(statement, execution_options=options).rowcount


def held(
    session: Session, application: str, reviewer: str, kinds: Sequence[ShownKind], now: datetime
) -> tuple[ReviewItem, ReviewLease] | None:
    """Return what a reviewer holds of an application and kinds, the oldest first."""
    query = (
        select(ReviewItem, ReviewLease)
        .join(ReviewLease, col(ReviewLease.item_id) == col(ReviewItem.id))
        .where(ReviewLease.reviewer == reviewer, col(ReviewLease.decided_at).is_(None))
        .where(col(ReviewLease.expires_at) > now)
        .where(ReviewItem.application == application, ReviewItem.state == "open")
        .where(or_(_of_kinds(kinds), _is_calibration(kinds)))
        .order_by(col(ReviewLease.leased_at))
    )
    return session.exec(query).first()


def renew(session: Session, lease: ReviewLease, now: datetime, lease_s: float) -> bool:
    """Let a lease end later; return False if it has ended meanwhile."""
    ends = now + timedelta(seconds=lease_s)
    still = update(ReviewLease).where(col(ReviewLease.token) == lease.token, *_is_running(now))
    if not changed(session, still.values(expires_at=ends)):
        return False
    lease.expires_at = ends
    return True


def free_items(
    session: Session, application: str, reviewer: str, kinds: Sequence[ShownKind], now: datetime
) -> list[ReviewItem]:
    """Return the next items that the reviewer may have, in the order in which they are given."""
    query = (
        select(ReviewItem)
        .where(*_is_free(application, reviewer, now), _is_not_held(reviewer, now))
        .where(_of_kinds(kinds))
        .order_by(col(ReviewItem.priority).desc(), col(ReviewItem.created_at), col(ReviewItem.id))
    )
    return list(session.exec(query.limit(LOOKED_AT)))


def free_calibration(
    session: Session, application: str, reviewer: str, kinds: Sequence[ShownKind], now: datetime
) -> list[ReviewItem]:
    """Return the next items with a known answer that the reviewer has not had."""
    query = (
        select(ReviewItem)
        .where(*_is_free(application, reviewer, now), _is_not_held(reviewer, now))
        .where(_is_calibration(kinds))
        .order_by(col(ReviewItem.id))
    )
    return list(session.exec(query.limit(LOOKED_AT)))


def count_free(session: Session, application: str, reviewer: str, now: datetime) -> int:
    """Return how many items, without those for calibration, the reviewer has still before them.

    The one that they hold is among them: else the count would tell an item for calibration.
    """
    query = select(func.count()).select_from(ReviewItem)
    free = _is_free(application, reviewer, now)
    return session.exec(query.where(*free, ReviewItem.kind != "calibration")).one()


def grab(
    session: Session, item: ReviewItem, reviewer: str, now: datetime, lease_s: float
) -> ReviewLease | None:
    """Return a lease on a free slot of the item; None if others were quicker."""
    over = delete(ReviewLease).where(
        col(ReviewLease.item_id) == item.id,
        col(ReviewLease.decided_at).is_(None),
        col(ReviewLease.expires_at) <= now,
    )
    changed(session, over)
    slots = select(ReviewLease.slot).where(ReviewLease.item_id == item.id)
    used = set(session.exec(slots))
    slot = next(number for number in range(len(used) + 1) if number not in used)
    if item.needed and slot >= item.needed:
        return None
    lease = ReviewLease(
        item_id=item.id,
        slot=slot,
        reviewer=reviewer,
        token=new_id(),
        leased_at=now,
        expires_at=now + timedelta(seconds=lease_s),
    )
    return lease if insert_new(session, lease) else None


def own(session: Session, item: ReviewItem, reviewer: str, now: datetime) -> ReviewLease | None:
    """Return the reviewer's running lease on an item."""
    query = select(ReviewLease).where(
        ReviewLease.item_id == item.id, ReviewLease.reviewer == reviewer, *_is_running(now)
    )
    return session.exec(query).one_or_none()


def claim(session: Session, reviewer: str, token: str, now: datetime) -> ReviewLease | None:
    """Mark a lease as decided and return it; None if the reviewer holds none by this token now."""
    mine = (col(ReviewLease.token) == token, col(ReviewLease.reviewer) == reviewer)
    decided = update(ReviewLease).where(*mine, *_is_running(now)).values(decided_at=now)
    if not changed(session, decided):
        return None
    return session.exec(select(ReviewLease).where(*mine)).one()


def let_go(session: Session, reviewer: str, token: str) -> bool:
    """Give up an undecided lease; return whether there was one."""
    mine = delete(ReviewLease).where(
        col(ReviewLease.token) == token,
        col(ReviewLease.reviewer) == reviewer,
        col(ReviewLease.decided_at).is_(None),
    )
    return bool(changed(session, mine))


def count_running(session: Session, application: str, now: datetime) -> int:
    """Return how many slots of an application somebody holds now, undecided."""
    query = (
        select(func.count())
        .select_from(ReviewLease)
        .join(ReviewItem, col(ReviewItem.id) == col(ReviewLease.item_id))
        .where(ReviewItem.application == application, *_is_running(now))
    )
    return session.exec(query).one()


def free_skipped(session: Session, lease: ReviewLease) -> None:
    """Give a skipped item's slot to the next; the review keeps the item from coming back."""
    changed(session, delete(ReviewLease).where(col(ReviewLease.token) == lease.token))


def of_token(
    session: Session, reviewer: str, token: str, now: datetime
) -> tuple[ReviewItem, ReviewLease] | None:
    """Return what the reviewer holds by this token now."""
    query = (
        select(ReviewItem, ReviewLease)
        .join(ReviewLease, col(ReviewLease.item_id) == col(ReviewItem.id))
        .where(ReviewLease.reviewer == reviewer, ReviewLease.token == token, *_is_running(now))
    )
    return session.exec(query).first()


def ended(token: str) -> ConflictError:
    """Return the error for a token by which its sender holds nothing."""
    return ConflictError(
        f"you hold no item by the token {token[:MAX_TOKEN_CHARS]!r}: its lease has ended, so that "
        "another reviewer may have the item, or it was given back. Nothing was written; take the "
        "next one"
    )


def is_adapter(column: Any, name: str | None) -> Any:
    """Return the condition that a column names this adapter; None is the base model."""
    return column.is_(None) if name is None else column == name


def _is_running(now: datetime) -> tuple[Where, Where]:
    return col(ReviewLease.decided_at).is_(None), col(ReviewLease.expires_at) > now


def _is_free(application: str, reviewer: str, now: datetime) -> tuple[Where, ...]:
    """Return what makes an item one that the reviewer may have, or holds already."""
    others = (
        select(func.count())
        .select_from(ReviewLease)
        .where(_of_item(), _is_taken(now), ReviewLease.reviewer != reviewer)
        .scalar_subquery()
    )
    had = select(Review.id).where(
        col(Review.item_id) == col(ReviewItem.id), Review.reviewer == reviewer
    )
    return (
        col(ReviewItem.application) == application,
        col(ReviewItem.state) == "open",
        or_(col(ReviewItem.needed) == 0, others < col(ReviewItem.needed)),
        ~had.exists(),
    )


def _is_not_held(reviewer: str, now: datetime) -> Where:
    """Return what makes an item one that the reviewer does not hold."""
    mine = select(ReviewLease.token).where(
        _of_item(), _is_taken(now), ReviewLease.reviewer == reviewer
    )
    return ~mine.exists()


def _of_item() -> Where:
    return col(ReviewLease.item_id) == col(ReviewItem.id)


def _is_taken(now: datetime) -> Where:
    return or_(col(ReviewLease.decided_at).is_not(None), col(ReviewLease.expires_at) > now)


def _of_kinds(kinds: Sequence[ShownKind]) -> Where:
    return col(ReviewItem.kind).in_(kinds)


def _is_calibration(kinds: Sequence[ShownKind]) -> Where:
    """Return what makes an item one for calibration that looks like one of these kinds."""
    looks = [
        col(ReviewItem.rejected).is_(None) if kind == "demonstration" else
        col(ReviewItem.rejected).is_not(None)
        for kind in kinds if kind != "comparison"
    ]  # fmt: skip
    return and_(col(ReviewItem.kind) == "calibration", or_(False, *looks))
