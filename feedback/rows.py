"""Events as rows: what a batch of events means in the tables.

Events and an open session go in; rows are written, once per event however often it comes, and
the caller commits. Feedback may come before its interaction. Knows nothing of the event log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from sqlmodel import Session, col, select

from core.ids import subject_digest
from feedback.bulk import Bulk, Row, Target, bulk_of
from feedback.effective import Vote, effective_votes
from feedback.events import ErasureRequested, FeedbackGiven, InteractionFinished, Received
from feedback.tables import Application, Erasure

T = TypeVar("T")

INTERACTIONS = Target(
    "interaction",
    (
        *("id", "application", "subject", "adapter", "arm", "rollout_id", "step", "endpoint"),
        *("requested_model", "messages", "answer", "status", "error", "finish_reason", "stream"),
        *("parameters", "prompt_tokens", "completion_tokens", "latency_s", "ttft_s", "itl_s"),
        *("cost", "started_at", "event_id", "shadow_of", "redactions", "extra"),
    ),
    key="id",
)
FEEDBACK = Target(
    "feedback",
    (
        *("event_id", "client_id", "interaction_id", "application", "subject", "kind"),
        *("retracted", "thumbs", "rating", "name", "number", "text", "other", "effective"),
        *("given_at", "redactions", "extra"),
    ),
    key="event_id",
)
_VOTES = (
    "SELECT event_id, interaction_id, application, subject, kind, name, other, retracted, "
    "given_at, effective FROM feedback WHERE interaction_id {ids}"
)
_OWNERS = "SELECT id, application FROM interaction WHERE id {ids}"

_ENCODER = msgspec.json.Encoder()


def write_rows(session: Session, batch: Sequence[Received]) -> None:
    """Write the rows of a batch of events that are not there yet, and mark the effective feedback.

    Rollout events are an audit trail: the conductor has written their rows itself.
    """
    interactions = {
        received.event.interaction_id: received
        for received in reversed(batch)  # of two with one id the first wins
        if isinstance(received.event, InteractionFinished)
    }
    feedback = [received for received in batch if isinstance(received.event, FeedbackGiven)]
    bulk = bulk_of(session)
    _add_applications(session, batch)
    bulk.insert_new(
        INTERACTIONS, [_interaction_row(received, bulk) for received in interactions.values()]
    )
    bulk.insert_new(FEEDBACK, [_feedback_row(received, bulk) for received in feedback])
    touched = interactions.keys() | {_feedback(received).interaction_id for received in feedback}
    _mark_effective(bulk, sorted(touched))
    _add_erasures(session, batch)


def _add_applications(session: Session, batch: Iterable[Received]) -> None:
    names = {
        received.event.application
        for received in batch
        if isinstance(received.event, InteractionFinished | FeedbackGiven)
    }
    known = session.exec(select(Application.name).where(col(Application.name).in_(names)))
    if missing := names.difference(known):
        session.add_all([Application(name=name) for name in sorted(missing)])
        session.flush()


def _interaction_row(received: Received, bulk: Bulk) -> Row:
    e = received.event
    assert isinstance(e, InteractionFinished)
    return (
        *(e.interaction_id, e.application, e.subject, e.adapter, e.arm, e.rollout_id, e.step),
        *(e.endpoint, e.requested_model, _json(e.messages), e.answer, e.status, e.error),
        *(e.finish_reason, e.stream, _json(e.parameters), e.prompt_tokens, e.completion_tokens),
        *(e.latency_s, e.ttft_s, e.itl_s, e.cost, bulk.instant(e.started_at), e.event_id),
        *(e.shadow_of, _json(e.redactions), received.extra),
    )


def _feedback_row(received: Received, bulk: Bulk) -> Row:
    e = _feedback(received)
    return (
        *(e.event_id, e.client_id, e.interaction_id, e.application, e.subject, e.kind),
        *(e.retracted, e.thumbs, e.rating, e.name, e.number, e.text, e.other, not e.retracted),
        *(bulk.instant(e.given_at), _json(e.redactions), received.extra),
    )


def _feedback(received: Received) -> FeedbackGiven:
    assert isinstance(received.event, FeedbackGiven)
    return received.event


def _json(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def _mark_effective(bulk: Bulk, interaction_ids: Sequence[str]) -> None:
    """Make the rows of these interactions say which of them count."""
    votes = [Vote(*row) for row in bulk.select(_VOTES, interaction_ids)]
    if not votes:
        return
    rated = sorted({vote.interaction_id for vote in votes})
    owners = {id_: application for id_, application in bulk.select(_OWNERS, rated)}
    counted = effective_votes(votes, owners)
    wrong = [vote for vote in votes if bool(vote.effective) != (vote.event_id in counted)]
    bulk.update_flag(
        "feedback", "effective", "event_id", [(v.event_id in counted, v.event_id) for v in wrong]
    )


def _add_erasures(session: Session, batch: Iterable[Received]) -> None:
    for received in batch:
        event = received.event
        if isinstance(event, ErasureRequested) and session.get(Erasure, event.erasure_id) is None:
            session.add(
                Erasure(
                    id=event.erasure_id,
                    application=event.application,
                    subject_digest=subject_digest(event.subject),
                    subject=event.subject,
                    requested_by=event.requested_by,
                    requested_at=event.requested_at,
                )
            )
