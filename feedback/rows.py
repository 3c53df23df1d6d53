"""Events as rows: what a batch of events means in the tables.

Events and an open session go in; rows are written, once per event however often it comes, and
the caller commits. Feedback may come before its interaction. Knows nothing of the event log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlmodel import Session, col, select

from core.ids import subject_digest
from feedback.bulk import Bulk, Row, Target, bulk_of
from feedback.effective import Claim, Vote, disputed, effective_votes
from feedback.events import ErasureRequested, FeedbackGiven, InteractionFinished, Received
from feedback.tables import Application, Erasure

INTERACTIONS = Target(
    "interaction",
    (
        *("id", "application", "subject", "adapter", "arm", "rollout_id", "step", "endpoint"),
        *("requested_model", "messages", "answer", "status", "error", "finish_reason", "stream"),
        *("parameters", "prompt_tokens", "completion_tokens", "latency_s", "ttft_s", "itl_s"),
        *(
            "cost",
            "started_at",
            "event_id",
            "shadow_of",
            "redactions",
            "extra",
            "refused",
            "stratum",
        ),
    ),
)
FEEDBACK = Target(
    "feedback",
    (
        *("event_id", "client_id", "interaction_id", "application", "subject", "kind"),
        *("retracted", "thumbs", "rating", "name", "number", "text", "other", "effective"),
        *("given_at", "redactions", "extra"),
    ),
)
_OWNERS = "SELECT id, application FROM interaction WHERE id {ids}"
_KNOWN = (
    "SELECT interaction_id, client_id, application, retracted FROM feedback "
    "WHERE interaction_id {ids}"
)
_VOTES = (
    "SELECT event_id, interaction_id, application, subject, kind, name, other, retracted, "
    "given_at, effective FROM feedback WHERE interaction_id {ids}"
)

_ENCODER = msgspec.json.Encoder()


def write_rows(session: Session, batch: Sequence[Received]) -> None:
    """Write the rows of a batch of events that are not there yet, and mark the effective feedback.

    Rollout events are an audit trail: the conductor has written their rows itself.
    """
    bulk = bulk_of(session)
    _add_applications(session, batch)
    finished, given = _finished(batch), _given(batch)
    touched = sorted(finished.keys() | {interaction_id for interaction_id, _ in given})
    owners = _add_interactions(bulk, finished, touched)
    _add_feedback(bulk, given, touched, owners)
    _add_erasures(session, batch)


def _finished(batch: Iterable[Received]) -> dict[str, Received]:
    """Return the finished interactions by their ids; of two with one id the first wins."""
    found: dict[str, Received] = {}
    for received in batch:
        if isinstance(received.event, InteractionFinished):
            found.setdefault(received.event.interaction_id, received)
    return found


def _given(batch: Iterable[Received]) -> dict[tuple[str, str], Received]:
    """Return the feedback by interaction and client id; the first wins here, too."""
    found: dict[tuple[str, str], Received] = {}
    for received in batch:
        event = received.event
        if isinstance(event, FeedbackGiven):
            found.setdefault((event.interaction_id, event.client_id), received)
    return found


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


def _add_interactions(
    bulk: Bulk, finished: Mapping[str, Received], touched: Sequence[str]
) -> dict[str, str]:
    """Add the interactions that are not there yet; return the applications of those `touched`.

    Ids are looked for, because a table that is partitioned by time cannot keep them unique.
    """
    owners: dict[str, str] = dict(bulk.select(_OWNERS, touched))
    new = {id_: received for id_, received in finished.items() if id_ not in owners}
    bulk.insert(INTERACTIONS, list(new.values()), partial(_interaction_row, bulk))
    return owners | {id_: received.event.application for id_, received in new.items()}


def _add_feedback(
    bulk: Bulk,
    given: Mapping[tuple[str, str], Received],
    touched: Sequence[str],
    owners: Mapping[str, str],
) -> None:
    """Add the feedback that is not there yet, and mark which of all `touched` counts."""
    known = [Claim(*row) for row in bulk.select(_KNOWN, touched)]
    there = {(claim.interaction_id, claim.client_id) for claim in known}
    new = [received for key, received in given.items() if key not in there]
    bulk.insert(FEEDBACK, new, partial(_feedback_row, bulk))
    claims = [_claim(received) for received in new]
    _mark_effective(bulk, sorted(disputed(known, claims, owners)))


def _interaction_row(bulk: Bulk, received: Received) -> Row:
    e = received.event
    assert isinstance(e, InteractionFinished)
    return (
        *(e.interaction_id, e.application, e.subject, e.adapter, e.arm, e.rollout_id, e.step),
        *(e.endpoint, e.requested_model, _json(e.messages), e.answer, e.status, e.error),
        *(e.finish_reason, e.stream, _json(e.parameters), e.prompt_tokens, e.completion_tokens),
        *(e.latency_s, e.ttft_s, e.itl_s, e.cost, bulk.instant(e.started_at), e.event_id),
        *(e.shadow_of, _json(e.redactions), received.extra, e.refused, e.stratum),
    )


def _feedback_row(bulk: Bulk, received: Received) -> Row:
    e = received.event
    assert isinstance(e, FeedbackGiven)
    return (
        *(e.event_id, e.client_id, e.interaction_id, e.application, e.subject, e.kind),
        *(e.retracted, e.thumbs, e.rating, e.name, e.number, e.text, e.other, not e.retracted),
        *(bulk.instant(e.given_at), _json(e.redactions), received.extra),
    )


def _claim(received: Received) -> Claim:
    e = received.event
    assert isinstance(e, FeedbackGiven)
    return Claim(e.interaction_id, e.client_id, e.application, e.retracted)


def _json(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def _mark_effective(bulk: Bulk, interaction_ids: Sequence[str]) -> None:
    """Make the rows of these interactions say which of them count."""
    if not interaction_ids:
        return
    votes = [Vote(*row) for row in bulk.select(_VOTES, interaction_ids)]
    owners: dict[str, str] = dict(bulk.select(_OWNERS, interaction_ids))
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
