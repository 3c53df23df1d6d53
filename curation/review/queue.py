"""CURATE: candidates become review items.

Rows of the table of candidates and the sampling's picks come in, rows of ReviewItem go out, with
their texts redacted before they are rows. Each candidate has one item for ever. Knows nothing of
reviewers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

import msgspec
from sqlalchemy import update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from core.ids import new_id
from curation.review.comparison import Compared
from curation.review.leases import changed, insert_new, is_adapter
from curation.review.sampling import Pick
from curation.review.words import Because
from feedback.events import Message
from feedback.redaction.redactor import Redactor
from feedback.tables import Interaction, ReviewItem

Table = Any  # pyarrow's, which has no types

BATCH = 500  # ids in one statement: every database takes so many


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate for the queue: a demonstration, or with `rejected` a pair.

    `messages` ends in the answer to learn.
    """

    candidate_id: str
    interaction_id: str
    messages: tuple[Message, ...]
    because: tuple[Because, ...]
    rejected: str | None = None
    subject: str | None = None
    priority: float = 0.0
    placeholders: tuple[str, ...] = ()  # of the interaction as it was logged
    seeds: tuple[str, ...] = ()  # of what a model wrote: interactions that it was made from


@dataclass(frozen=True, slots=True)
class Known:
    """A conversation whose right decision is known, by which reviewers are measured."""

    messages: tuple[Message, ...]
    expected: Literal["approve", "reject"]
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of proposals."""

    added: int
    known: int  # were in the queue before
    no_room: int  # left out, because `review.max_open` items wait


def propose(table: Table, picks: Sequence[Pick]) -> list[Proposal]:
    """Return the picked rows of a table of candidates, in the order of the picks."""
    import pyarrow as pa

    from curation.table import pc

    chosen = {pick.candidate_id: pick for pick in picks}
    wanted = pc.is_in(table["candidate_id"], value_set=pa.array(list(chosen), pa.string()))
    rows = {row["candidate_id"]: row for row in table.filter(wanted).to_pylist()}
    return [_proposal(rows[id_], pick) for id_, pick in chosen.items() if id_ in rows]


def _proposal(row: Mapping[str, Any], pick: Pick) -> Proposal:
    return Proposal(
        candidate_id=pick.candidate_id,
        interaction_id=row["interaction_id"],
        messages=tuple(Message(part["role"], part["content"]) for part in row["messages"]),
        because=pick.because,
        rejected=row["rejected"],
        subject=row["subject"],
        priority=pick.priority,
        placeholders=tuple(row["placeholders"] or ()),
        seeds=tuple(row.get("seeds") or ()),
    )


def proposed_item(
    application: str, proposal: Proposal, redactor: Redactor, needed: int
) -> ReviewItem:
    """Return the item of a candidate."""
    texts = [message.content for message in proposal.messages]
    lost = [] if proposal.rejected is None else [proposal.rejected]
    clean = redactor.conversation(proposal.placeholders).redact_all([*texts, *lost])
    return ReviewItem(
        id=new_id(),
        application=application,
        candidate_id=proposal.candidate_id,
        interaction_id=proposal.interaction_id,
        kind="demonstration" if proposal.rejected is None else "pair",
        subject=proposal.subject,
        messages=_plain(proposal.messages, clean),
        rejected=clean[-1] if lost else None,
        seeds=list(proposal.seeds),
        sampled_because=list(proposal.because),
        priority=proposal.priority,
        needed=needed,
    )


def compared_item(
    application: str, compared: Compared, redactor: Redactor, needed: int
) -> ReviewItem:
    """Return the item of a prompt that two adapters answered."""
    texts = [message.content for message in compared.messages]
    conversation = redactor.conversation()
    *clean, a, b = conversation.redact_all([*texts, compared.answer_a, compared.answer_b])
    names = [name or "" for name in (compared.adapter_a, compared.adapter_b)]
    return ReviewItem(
        id=new_id(),
        application=application,
        candidate_id=":".join(["compared", compared.interaction_id, *names]),
        interaction_id=compared.interaction_id,
        kind="comparison",
        subject=compared.subject,
        messages=_plain(compared.messages, clean),
        adapter_a=compared.adapter_a,
        adapter_b=compared.adapter_b,
        answer_a=a,
        answer_b=b,
        needed=needed,
    )


def known_item(application: str, known: Known, redactor: Redactor) -> ReviewItem:
    """Return the item of a conversation with a known answer, which every reviewer may get once."""
    clean = [message.content for message in known.messages]
    lost = [] if known.rejected is None else [known.rejected]
    clean = redactor.conversation().redact_all([*clean, *lost])
    messages = _plain(known.messages, clean)
    digest = sha256(msgspec.json.encode([messages, clean])).hexdigest()
    return ReviewItem(
        id=new_id(),
        application=application,
        candidate_id=f"calibration:{digest}",
        kind="calibration",
        messages=messages,
        rejected=clean[-1] if lost else None,
        expected=known.expected,
        needed=0,
    )


def add_items(
    session: Session, items: Iterable[ReviewItem], room: int | None, at: datetime
) -> Filled:
    """Add items that are not there yet, in their order, while there is room (None: no limit).

    One that was withdrawn is opened again, for which it needs room too. The caller commits.
    """
    added = known = no_room = 0
    for item in items:
        if room is not None and added >= room and not _is_open(session, item):
            no_room += 1
        elif _add(session, item, at):
            added += 1
        else:
            known += 1
    return Filled(added, known, no_room)


def withdraw_absent(session: Session, application: str, present: Set[str], at: datetime) -> int:
    """Withdraw the open items of candidates that are not among `present`; return how many."""
    query = select(ReviewItem.id, ReviewItem.candidate_id).where(
        ReviewItem.application == application,
        ReviewItem.state == "open",
        col(ReviewItem.kind).in_(("demonstration", "pair")),
    )
    gone = [id_ for id_, candidate in session.exec(query) if candidate not in present]
    count = 0
    for some in parts(gone):
        still = update(ReviewItem).where(
            col(ReviewItem.id).in_(some), col(ReviewItem.state) == "open"
        )
        count += changed(session, still.values(state="withdrawn", closed_at=at))
    return count


def shadow_pairs(
    session: Session, application: str, a: str | None, b: str | None, limit: int
) -> list[Compared]:
    """Return the newest prompts that adapter `a` answered while `b` answered unseen beside it."""
    seen, unseen = aliased(Interaction), aliased(Interaction)
    query = (
        select(seen, unseen)
        .join(unseen, col(unseen.shadow_of) == col(seen.id))
        .where(seen.application == application, unseen.application == application)
        .where(is_adapter(seen.adapter, a), is_adapter(unseen.adapter, b))
        .where(seen.status == "ok", unseen.status == "ok", seen.answer != unseen.answer)
        .order_by(col(seen.started_at).desc())
        .limit(limit)
    )
    return [
        Compared(
            interaction_id=one.id,
            messages=tuple(msgspec.convert(part, Message) for part in one.messages),
            adapter_a=a,
            adapter_b=b,
            answer_a=one.answer,
            answer_b=other.answer,
            subject=one.subject,
        )
        for one, other in session.exec(query)
    ]


def parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Return the ids in as many at once as every database takes."""
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _plain(messages: Sequence[Message], texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"role": message.role, "content": text}
        for message, text in zip(messages, texts, strict=False)
    ]


def _is_open(session: Session, item: ReviewItem) -> bool:
    """Return whether the candidate's item is there, and was not withdrawn."""
    query = select(ReviewItem.id).where(
        ReviewItem.application == item.application,
        ReviewItem.candidate_id == item.candidate_id,
        ReviewItem.state != "withdrawn",
    )
    return session.exec(query).first() is not None


def _add(session: Session, item: ReviewItem, at: datetime) -> bool:
    """Insert an item, or open the withdrawn one of its candidate; return whether either was so."""
    item.created_at = at
    if insert_new(session, item):
        return True
    reopened = (
        update(ReviewItem)
        .where(
            col(ReviewItem.application) == item.application,
            col(ReviewItem.candidate_id) == item.candidate_id,
            col(ReviewItem.state) == "withdrawn",
        )
        .values(state="open", closed_at=None)
    )
    return bool(changed(session, reopened))
