"""What came in since a time: answers that people approved or corrected.

An application goes in, a count comes out: what another curation could add at most, since it looks
closer. Reads rows in the caller's session; curates nothing.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from feedback.tables import Feedback
from retrain.ratings import GOOD_RATING


def count_arrivals(session: Session, application: str, since: datetime | None) -> int:
    """Return how many answers were approved, corrected or preferred since then; None: ever."""
    praised = (col(Feedback.kind) == "thumbs") & col(Feedback.thumbs).is_(True)
    liked = (col(Feedback.kind) == "rating") & (col(Feedback.rating) >= GOOD_RATING)
    taught = col(Feedback.kind).in_(("correction", "preference"))
    query = select(func.count(func.distinct(Feedback.interaction_id))).where(
        col(Feedback.application) == application,
        col(Feedback.effective).is_(True),
        col(Feedback.anomaly).is_(None),
        praised | liked | taught,
    )
    if since is not None:
        query = query.where(col(Feedback.given_at) > since)
    return session.exec(query).one()
