"""Events as rows: what a batch of events means in the tables.

Events and an open session go in; rows are written, once per event however often it comes, and
the caller commits. Feedback may come before its interaction. Knows nothing of the event log.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import insert, or_
from sqlmodel import Session, SQLModel, col, select

from core.clock import as_utc
from feedback.events import Event, FeedbackGiven, InteractionFinished
from feedback.tables import Application, Feedback, Interaction

E = TypeVar("E", InteractionFinished, FeedbackGiven)
Row = dict[str, Any]


def write_rows(session: Session, events: Sequence[Event]) -> None:
    """Write the rows of `events` that are not there yet, and mark which feedback is effective.

    Rollout events are an audit trail: the conductor has written their rows itself.
    """
    interactions = [event for event in events if isinstance(event, InteractionFinished)]
    feedback = [event for event in events if isinstance(event, FeedbackGiven)]
    _add_applications(session, {event.application for event in (*interactions, *feedback)})
    _add_interactions(session, interactions)
    _add_feedback(session, feedback)
    _mark_effective(session, {event.interaction_id for event in (*interactions, *feedback)})


def _add_applications(session: Session, names: set[str]) -> None:
    known = session.exec(select(Application.name).where(col(Application.name).in_(names)))
    session.add_all([Application(name=name) for name in sorted(names.difference(known))])


def _add_interactions(session: Session, events: list[InteractionFinished]) -> None:
    known = session.exec(
        select(Interaction.event_id, Interaction.id).where(
            or_(
                col(Interaction.event_id).in_([event.event_id for event in events]),
                col(Interaction.id).in_([event.interaction_id for event in events]),
            )
        )
    )
    seen: set[Hashable] = {key for row in known for key in row}
    fresh = _fresh(events, seen, lambda event: (event.event_id, event.interaction_id))
    _insert(session, Interaction, [_interaction_row(event) for event in fresh])


def _add_feedback(session: Session, events: list[FeedbackGiven]) -> None:
    known = session.exec(
        select(Feedback.event_id, Feedback.interaction_id, Feedback.client_id).where(
            or_(
                col(Feedback.event_id).in_([event.event_id for event in events]),
                col(Feedback.interaction_id).in_([event.interaction_id for event in events]),
            )
        )
    )
    seen: set[Hashable] = {key for row in known for key in (row[0], (row[1], row[2]))}
    fresh = _fresh(
        events, seen, lambda event: (event.event_id, (event.interaction_id, event.client_id))
    )
    _insert(session, Feedback, [_feedback_row(event) for event in fresh])


def _fresh(
    events: list[E], seen: set[Hashable], keys_of: Callable[[E], tuple[Hashable, Hashable]]
) -> list[E]:
    """Return the events of which neither key was seen, each key once: the first wins."""
    fresh: list[E] = []
    for event in events:
        keys = keys_of(event)
        if seen.isdisjoint(keys):
            fresh.append(event)
        seen.update(keys)
    return fresh


def _insert(session: Session, table: type[SQLModel], rows: list[Row]) -> None:
    if rows:
        session.exec(insert(table), params=rows)


def _interaction_row(event: InteractionFinished) -> Row:
    row = msgspec.structs.asdict(event)
    del row["schema"]
    row["id"] = row.pop("interaction_id")
    row["messages"] = msgspec.to_builtins(event.messages)
    row["started_at"] = as_utc(event.started_at)
    row["extra"] = {}
    return row


def _feedback_row(event: FeedbackGiven) -> Row:
    row = msgspec.structs.asdict(event)
    del row["schema"]
    row["given_at"] = as_utc(event.given_at)
    row["extra"] = {}
    return row


def _mark_effective(session: Session, interaction_ids: set[str]) -> None:
    """Make the last feedback of each subject and kind effective, and every other one not.

    One that another application gave than the one that owns the interaction never is.
    """
    owners = dict(
        session.exec(
            select(Interaction.id, Interaction.application).where(
                col(Interaction.id).in_(interaction_ids)
            )
        ).all()
    )
    given = session.exec(
        select(Feedback)
        .where(col(Feedback.interaction_id).in_(interaction_ids))
        .order_by(col(Feedback.given_at), col(Feedback.event_id))
    ).all()
    own = [row for row in given if owners.get(row.interaction_id) in (None, row.application)]
    last = {(row.interaction_id, row.subject, row.kind): row.event_id for row in own}
    effective = set(last.values())
    for row in given:
        row.effective = row.event_id in effective
