"""What the other stages say of an application: ratings, evaluations, drift, wishes.

Reads rows in the caller's session; `Signals` come out. What the datasets, runs and adapters say is
`retrain.state`'s. Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session, col, select

from core.settings import RetrainSettings
from feedback.tables import Adapter
from retrain.drift_reports import newest_drift
from retrain.evaluations import evaluations_of
from retrain.ratings import read_ratings, read_score
from retrain.requests import ERASER, open_requests
from retrain.situation import Drift, Measure


@dataclass(frozen=True, slots=True)
class Signals:
    """What the tables of this stage cannot tell; `ratings` are a note where there are too few."""

    ratings: Measure | str = "no ratings were read"
    evaluations: tuple[Measure, ...] = ()
    drift: Drift | None = None
    requested_by: str | None = None
    full_asked: bool = False
    erasure_asks: bool = False  # a training without an erased person was asked for


def read_signals(
    session: Session,
    rules: RetrainSettings,
    application: str,
    live: Adapter | None,
    now: datetime,
    *,
    requested_by: str | None = None,
) -> Signals:
    """Return what is said now of the application, whose live adapter is `live`.

    `requested_by` asks for a training at once; wishes that no run took up yet count as well.
    """
    wishes = open_requests(session, application)
    persons = [wish for wish in wishes if wish.requested_by != ERASER]
    wish = f"{persons[0].requested_by}: {persons[0].reason}" if persons else None
    signals = Signals(
        requested_by=requested_by or wish,
        full_asked=any(wish.full for wish in wishes),
        erasure_asks=len(persons) < len(wishes),
    )
    if live is None:
        return signals
    return replace(
        signals,
        ratings=read_ratings(session, live, now, rules),
        evaluations=_evaluations(session, live, now, rules),
        drift=newest_drift(session, live),
    )


def _evaluations(
    session: Session, live: Adapter, now: datetime, rules: RetrainSettings
) -> tuple[Measure, ...]:
    """Return the gates' metrics and, where the settings name one, that of people's scores."""
    query = select(Adapter).where(Adapter.application == live.application)
    others = session.exec(query.order_by(col(Adapter.created_at))).all()
    found = evaluations_of(live, others)
    if rules.watched_score is None:
        return found
    score = read_score(session, live, rules.watched_score, now, rules)
    return found if isinstance(score, str) else (*found, score)
