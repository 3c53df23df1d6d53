"""What people said of the live adapter in a span of time, added up by the database.

An adapter and a span go in, tallies come out: one rating for each end user (their first effective
one), the named scores that applications send, and the share of answers that were errors. Works
alike on SQLite and PostgreSQL. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Subquery, case, func
from sqlmodel import Session, col, select

from core.clock import as_utc
from core.settings import RetrainSettings
from feedback.tables import Adapter, Feedback, Interaction
from retrain.periods import Reader, Span, measured
from retrain.situation import Measure, Tally

GOOD_RATING = 4  # of 5: satisfied, as in a top-two-box score


def read_ratings(
    session: Session, live: Adapter, now: datetime, rules: RetrainSettings
) -> Measure | str:
    """Return the share of good ratings of the live adapter, then and now; or why there is none."""
    reader = Reader(
        "ratings",
        lambda span: _ratings(session, live, span),
        lambda span: _errors(session, live, span),
    )
    return _measured(session, live, reader, now, rules)


def read_score(
    session: Session, live: Adapter, name: str, now: datetime, rules: RetrainSettings
) -> Measure | str:
    """Return the mean of a named score from 0 to 1, then and now; or why there is none."""
    reader = Reader(
        f"score {name}",
        lambda span: _scores(session, live, name, span),
        lambda span: _errors(session, live, span),
    )
    return _measured(session, live, reader, now, rules)


def _measured(
    session: Session, live: Adapter, reader: Reader, now: datetime, rules: RetrainSettings
) -> Measure | str:
    made = as_utc(live.created_at)
    query = select(func.min(Interaction.started_at)).where(*_answered(live, Span(made, now)))
    since = session.exec(query).first()
    if since is None:
        return f"{reader.name}: {live.name} has answered nobody yet"
    return measured(reader, as_utc(since), now, rules)


def _ratings(session: Session, live: Adapter, span: Span) -> Tally:
    """Count the first effective rating of each end user; who has no name stands for one answer."""
    is_good = case(
        (col(Feedback.kind) == "thumbs", col(Feedback.thumbs).is_(True)),
        else_=col(Feedback.rating) >= GOOD_RATING,
    )
    votes = _one_each(live, span, case((is_good, 1.0), else_=0.0), _is_rating())
    return _sum(session, votes)


def _scores(session: Session, live: Adapter, name: str, span: Span) -> Tally:
    """Add up the first effective score of that name of each end user, if it is from 0 to 1."""
    number = col(Feedback.number)
    named = (col(Feedback.kind) == "score") & (col(Feedback.name) == name) & number.between(0, 1)
    return _sum(session, _one_each(live, span, number, named))


def _one_each(live: Adapter, span: Span, worth: Any, counts: ColumnElement[bool]) -> Subquery:
    """Return each end user's votes in order of time; votes that look odd count for nobody."""
    unit = func.coalesce(Interaction.subject, Interaction.id)
    oldest_first = (col(Feedback.given_at), col(Feedback.event_id))
    place = func.row_number().over(partition_by=unit, order_by=oldest_first)
    sound = col(Feedback.effective).is_(True) & col(Feedback.anomaly).is_(None)
    return (
        select(worth.label("worth"), place.label("place"))
        .select_from(Interaction)
        .join(Feedback, col(Feedback.interaction_id) == Interaction.id)
        .where(*_answered(live, span), sound, counts)
        .subquery()
    )


def _sum(session: Session, votes: Subquery) -> Tally:
    query = select(func.count(), func.sum(votes.c.worth)).where(votes.c.place == 1)
    total, good = session.exec(query).one()
    return Tally(min(float(good or 0.0), total), total)


def _errors(session: Session, live: Adapter, span: Span) -> float:
    """Return the share of errors among all answers, 0 of none."""
    failed = func.sum(case((col(Interaction.status) == "error", 1), else_=0))
    total, errors = session.exec(select(func.count(), failed).where(*_answered(live, span))).one()
    return errors / total if total else 0.0


def _answered(live: Adapter, span: Span) -> tuple[ColumnElement[bool], ...]:
    """Return what picks the interactions that people saw the adapter answer in the span."""
    return (
        col(Interaction.application) == live.application,
        col(Interaction.adapter) == live.name,
        col(Interaction.shadow_of).is_(None),
        col(Interaction.started_at) >= span.start,
        col(Interaction.started_at) < span.end,
    )


def _is_rating() -> ColumnElement[bool]:
    thumbs = (col(Feedback.kind) == "thumbs") & col(Feedback.thumbs).is_not(None)
    stars = (col(Feedback.kind) == "rating") & col(Feedback.rating).is_not(None)
    return thumbs | stars
