"""CURATE, first stage: judged interactions out of the store, shards of candidates into a folder.

Reads plain columns in order of time, a few thousand at a time, so that memory stays flat however
many there are. What signals mean is said in `signals`. Knows nothing of later stages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
from sqlalchemy import func
from sqlmodel import Session, col, select

from core.clock import as_utc
from curation.signals import JUDGING_KINDS, TAKEN, Judged, Others, Row, Vote, candidates_of
from curation.table import CANDIDATES, DROPS, Outcome, Why
from feedback.tables import Feedback, Interaction

RECENT = 5_000  # interactions that stand for all traffic: a share of 1 % is known to 0.3 points
BATCH_ROWS = 5_000  # interactions whose feedback is looked at together

Columns = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which interactions may be selected: started at `since` or later, and before `until`."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, started_at: datetime) -> bool:
        """Whether an interaction that started then may be selected."""
        since = self.since is None or started_at >= as_utc(self.since)
        return since and (self.until is None or started_at < as_utc(self.until))


@dataclass(slots=True)
class Exposures:
    """How many of the judged answers each adapter gave; a new adapter gave few."""

    answers: Counter[str | None] = field(default_factory=Counter[str | None])

    def weight(self, adapter: str | None, max_weight: float) -> float:
        """Return how much an answer of `adapter` counts: the inverse of its share, 1 on average.

        Source: inverse propensity weighting (Horvitz and Thompson 1952), clipped (Bottou et al.
        2013, section 4.2).
        """
        total, mine = sum(self.answers.values()), self.answers[adapter]
        if not mine:
            return 1.0
        weight = total / (len(self.answers) * mine)
        return min(max_weight, max(1.0 / max_weight, weight))


def select_candidates(
    session: Session, application: str, selection: Selection, *, leave_out_anomalies: bool = True
) -> Iterator[Outcome]:
    """Yield what the judged interactions of `application` teach, oldest first, batch by batch.

    Interactions that nobody judged are not read, hence neither kept nor dropped.
    """
    for batch in _batches(_judged(session, application, selection)):
        others = _others(session, application, batch)
        rows: list[Row] = []
        drops: list[dict[str, str]] = []
        for judged in batch:
            found = candidates_of(judged, others, leave_out_anomalies=leave_out_anomalies)
            if isinstance(found, Why):
                drops.append(_drop(judged.id, found))
            else:
                rows.extend(found)
        yield Outcome(pa.Table.from_pylist(rows, CANDIDATES), pa.Table.from_pylist(drops, DROPS))


def read_interactions(
    session: Session, application: str, ids: Sequence[str]
) -> Iterator[list[Judged]]:
    """Yield these interactions as far as the store still holds them, without their feedback."""
    for start in range(0, len(ids), BATCH_ROWS):
        part = ids[start : start + BATCH_ROWS]
        yield list(_interactions(session, application, part, with_votes=False).values())


def judged_interactions(session: Session, application: str, ids: Sequence[str]) -> Others:
    """Return these interactions as far as the store still holds them, with what was said of them.

    As many ids as one statement takes.
    """
    return _interactions(session, application, ids, with_votes=True)


def recent_prompts(session: Session, application: str, limit: int = RECENT) -> list[str]:
    """Return what users said in the newest interactions of `application`, judged or not."""
    query = (
        select(Interaction.messages)
        .where(Interaction.application == application, col(Interaction.shadow_of).is_(None))
        .order_by(col(Interaction.started_at).desc())
        .limit(limit)
    )
    return ["\n".join(_said(messages)) for messages in session.exec(query)]


def exposures(session: Session, application: str, selection: Selection) -> Exposures:
    """Return how many answers each adapter gave in the time of the selection."""
    query = (
        select(Interaction.adapter, func.count())
        .where(Interaction.application == application, col(Interaction.shadow_of).is_(None))
        .group_by(col(Interaction.adapter))
    )
    return Exposures(Counter(dict(session.exec(_within(query, selection)).all())))


def _said(messages: Any) -> Iterator[str]:
    """Yield the texts of user messages; what has another shape is no text."""
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                yield content


def _judged(session: Session, application: str, selection: Selection) -> Iterator[Judged]:
    columns: Columns = (*_INTERACTION, *_VOTE, Feedback.application)
    query: Any = (
        select(*columns)
        .join(Feedback, col(Feedback.interaction_id) == col(Interaction.id))
        .where(Interaction.application == application)
        .where(col(Feedback.effective), col(Feedback.kind).in_(JUDGING_KINDS))
        .order_by(col(Interaction.started_at), col(Interaction.id))
        .order_by(col(Feedback.given_at), col(Feedback.event_id))
        .execution_options(yield_per=BATCH_ROWS)
    )
    width = len(_INTERACTION)
    found: Iterator[Columns] = session.exec(_within(query, selection))
    for _, rows in groupby(found, key=lambda row: row[0]):
        whole = list(rows)
        # compared here: in the query it leads SQLite to sort all rows instead of walking in time
        votes = [Vote(*row[width:-1]) for row in whole if row[-1] == application]
        if votes:
            yield _interaction(whole[0][:width], votes)


def _others(session: Session, application: str, batch: Sequence[Judged]) -> Others:
    """Return the interactions that votes of this batch point at, with what was said of them."""
    ids = sorted({v.other for judged in batch for v in judged.votes if v.other})
    return _interactions(session, application, ids, with_votes=True) if ids else {}


def _interactions(
    session: Session, application: str, ids: Sequence[str], *, with_votes: bool
) -> Mapping[str, Judged]:
    votes: dict[str, list[Vote]] = {}
    if with_votes:
        said = (
            select(Feedback.interaction_id, Feedback.application, *_VOTE)
            .where(col(Feedback.interaction_id).in_(ids))
            .where(col(Feedback.effective), col(Feedback.kind).in_((*JUDGING_KINDS, *TAKEN)))
            .order_by(col(Feedback.given_at), col(Feedback.event_id))
        )
        for of, owner, *vote in session.exec(said):
            if owner == application:
                votes.setdefault(of, []).append(Vote(*vote))
    # by id alone: with the application in the query SQLite reads all that it has, at each batch
    query = select(Interaction.application, *_INTERACTION).where(col(Interaction.id).in_(ids))
    return {
        row[1]: _interaction(row[1:], votes.get(row[1], []))
        for row in session.exec(query)
        if row[0] == application
    }


_INTERACTION: Columns = (
    Interaction.id,
    Interaction.messages,
    Interaction.answer,
    Interaction.started_at,
    Interaction.subject,
    Interaction.adapter,
    Interaction.status,
    Interaction.finish_reason,
    Interaction.redactions,
)
_VOTE: Columns = (
    Feedback.kind,
    Feedback.subject,
    Feedback.thumbs,
    Feedback.rating,
    Feedback.name,
    Feedback.text,
    Feedback.other,
    Feedback.anomaly,
    Feedback.redactions,
)


def _interaction(columns: Sequence[Any], votes: list[Vote]) -> Judged:
    id_, messages, answer, started_at, subject, adapter, status, finish_reason, redactions = columns
    return Judged(
        id_, messages, answer, as_utc(started_at), votes, subject, adapter, status, finish_reason,
        redactions,
    )  # fmt: skip


def _within(query: Any, selection: Selection) -> Any:
    if selection.since is not None:
        query = query.where(col(Interaction.started_at) >= as_utc(selection.since))
    if selection.until is not None:
        query = query.where(col(Interaction.started_at) < as_utc(selection.until))
    return query


def _batches(judged: Iterator[Judged]) -> Iterator[list[Judged]]:
    batch: list[Judged] = []
    for one in judged:
        batch.append(one)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _drop(interaction_id: str, why: Why) -> dict[str, str]:
    return {
        "candidate_id": interaction_id,
        "interaction_id": interaction_id,
        "reason": why.reason,
        "detail": why.detail,
    }
