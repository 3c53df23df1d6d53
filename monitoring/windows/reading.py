"""DETECT's edge to the store: which interactions a window has, and a sample of them with votes.

Ids and times are read of so many at most, texts of the sample only: the cost of a window stays the
same however much traffic there is. Answers that nobody saw, embeddings, and what was asked of an
adapter by its exact name are no traffic of it. Works alike on SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from core.clock import as_utc
from core.settings import Settings
from feedback.tables import Application, Feedback, Interaction, Rollout
from monitoring.windows.features import Asked, Vote

AT_ONCE = 500  # ids in one query: every database takes so many
NO_ANSWERS = "/v1/embeddings"
BASE = "base"  # what the settings and folders call the base model


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose interactions: an application's that one adapter answered; None is the base model."""

    application: str
    adapter: str | None

    @property
    def name(self) -> str:
        """What people and folders call it."""
        return self.adapter or BASE


class Seen(NamedTuple):
    """An interaction without its texts."""

    id: str
    started_at: datetime
    status: str


@dataclass(frozen=True, slots=True)
class Span:
    """After an instant (None: from the beginning) and up to another."""

    after: datetime | None
    until: datetime


def scopes(session: Session, settings: Settings) -> list[Scope]:
    """Return what has traffic by the tables: live adapters, and both arms of active rollouts."""
    found: list[Scope] = []
    for name, rules in settings.applications.items():
        owner = session.get(Application, name)
        adapters = [owner.live_adapter if owner else None]
        if rules.adapter is not None:
            adapters = [None if rules.adapter == BASE else rules.adapter]
        active = select(Rollout).where(
            Rollout.application == name, col(Rollout.finished_at).is_(None)
        )
        for rollout in session.exec(active):
            adapters += [rollout.baseline_adapter, rollout.canary_adapter]
        found += [Scope(name, adapter) for adapter in dict.fromkeys(adapters)]
    return found


def seen(
    session: Session, scope: Scope, span: Span, limit: int, *, newest: bool = False
) -> list[Seen]:
    """Return at most `limit` interactions of the span, the oldest or the newest, in time order."""
    order = (col(Interaction.started_at), col(Interaction.id))
    query = (
        select(Interaction.id, Interaction.started_at, Interaction.status)
        .where(*_of(scope, span))
        .order_by(*((column.desc() for column in order) if newest else order))
        .limit(limit)
    )
    rows = [Seen(id_, as_utc(at), status) for id_, at, status in session.exec(query)]
    return rows[::-1] if newest else rows


def sample(ids: Sequence[str], limit: int) -> list[str]:
    """Return at most `limit` ids, in their order: those that hash lowest, the same ones always."""
    chosen = set(sorted(ids, key=_draw)[:limit])
    return [id_ for id_ in ids if id_ in chosen]


def read_asked(session: Session, ids: Sequence[str]) -> list[Asked]:
    """Return the interactions that are there, in the order of `ids`."""
    found: dict[str, Asked] = {}
    for part in _parts(ids):
        query = select(Interaction).where(col(Interaction.id).in_(part))
        for row in session.exec(query):
            found[row.id] = _asked(row)
    session.expunge_all()  # their texts are not kept
    return [found[id_] for id_ in ids if id_ in found]


def read_votes(session: Session, ids: Sequence[str]) -> dict[str, list[Vote]]:
    """Return the effective feedback of each interaction, the last one last."""
    found: defaultdict[str, list[Vote]] = defaultdict(list)
    for part in _parts(ids):
        query = (
            select(Feedback.interaction_id, Feedback.kind, Feedback.thumbs, Feedback.rating)
            .where(col(Feedback.interaction_id).in_(part), col(Feedback.effective).is_(True))
            .order_by(col(Feedback.given_at), col(Feedback.event_id))
        )
        for id_, kind, thumbs, rating in session.exec(query):
            found[id_].append(Vote(kind, thumbs, rating))
    return found


def _of(scope: Scope, span: Span) -> Iterator[ColumnElement[bool]]:
    yield col(Interaction.application) == scope.application
    yield col(Interaction.started_at) <= span.until
    if span.after is not None:
        yield col(Interaction.started_at) > span.after
    adapter = col(Interaction.adapter)
    yield adapter.is_(None) if scope.adapter is None else adapter == scope.adapter
    yield col(Interaction.requested_model) != scope.name  # who names it exactly measures
    yield col(Interaction.shadow_of).is_(None)
    yield col(Interaction.endpoint) != NO_ANSWERS


def _asked(row: Interaction) -> Asked:
    return Asked(
        interaction_id=row.id,
        messages=row.messages,
        answer=row.answer,
        started_at=as_utc(row.started_at),
        status=row.status,
        refused=row.refused,
        parameters=row.parameters,
        prompt_tokens=row.prompt_tokens,
        answer_tokens=row.completion_tokens,
        latency_s=row.latency_s,
        ttft_s=row.ttft_s,
        cost=row.cost,
    )


def _draw(id_: str) -> Any:
    return blake2b(id_.encode(), digest_size=8, key=b"windows").digest(), id_


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
