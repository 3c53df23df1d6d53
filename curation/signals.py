"""CURATE, first stage: what people's signals make of one interaction. Pure.

An answer that somebody approved is a demonstration; a corrected one is a demonstration of the
correction, and a pair with what was served. A preference, and a new answer that was taken instead
of the first, are pairs. A thumb down is a label; one up becomes one in `stages.praise`. A flag
makes a safety test and nothing else. One interaction with its effective feedback comes in, rows of
the table of candidates or a drop go out. Knows nothing of other candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from curation.table import Kind, Source, Why
from feedback.events import Message
from feedback.redaction.placeholders import aligned

GOOD_RATING = 4  # of 5: "good" and "very good"
BAD_RATING = 2
# Signals by which a second answer counts as taken
TAKEN = frozenset({"accepted", "copied", "task_completed"})
# What is read from the store; `TAKEN` alone says nothing of an answer
JUDGING_KINDS = ("thumbs", "rating", "correction", "flag", "preference", "regenerated")
# OpenAI's reasons: "length" and "content_filter" cut an answer, "tool_calls" leaves part of it out
WHOLE_ANSWER = ("stop", None)

TEXT_HEX_CHARS = 12  # 48 bits: no two corrections of one answer share them

Row = dict[str, Any]  # of the table of candidates


@dataclass(frozen=True, slots=True)
class Vote:
    """One effective feedback."""

    kind: str
    subject: str | None = None
    thumbs: bool | None = None
    rating: int | None = None
    name: str | None = None
    text: str | None = None
    other: str | None = None
    anomaly: str | None = None
    redactions: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_praise(self) -> bool:
        """Whether it approves the answer."""
        return bool(self.thumbs) or (self.rating or 0) >= GOOD_RATING

    @property
    def is_blame(self) -> bool:
        """Whether it disapproves the answer."""
        return self.thumbs is False or (self.rating is not None and self.rating <= BAD_RATING)


@dataclass(frozen=True, slots=True)
class Judged:
    """One interaction and its effective feedback in order of time."""

    id: str
    messages: Sequence[Mapping[str, Any]]
    answer: str
    started_at: datetime
    votes: Sequence[Vote]
    subject: str | None = None
    adapter: str | None = None
    status: str = "ok"
    finish_reason: str | None = None
    redactions: Mapping[str, str] = field(default_factory=dict[str, str])


Others = Mapping[str, Judged]  # by id: what preferences and regenerations point at


def candidates_of(
    judged: Judged, others: Others, *, leave_out_anomalies: bool = True
) -> list[Row] | Why:
    """Return what the interaction teaches, or why it teaches nothing."""
    votes = [v for v in judged.votes if not (leave_out_anomalies and v.anomaly)]
    if not votes:
        return Why("votes look odd", ", ".join(sorted({v.anomaly or "" for v in judged.votes})))
    if judged.status != "ok":
        return Why("status is not ok")
    try:
        msgspec.convert(judged.messages, tuple[Message, ...])
    except msgspec.ValidationError as error:
        return Why("messages are not a list of role and content", str(error))
    subject = judged.subject or votes[-1].subject
    if flags := [vote for vote in votes if vote.kind == "flag"]:
        category = flags[-1].name or "flagged"
        return [row_of(judged, subject, "safety", "flag", judged.answer, category=category)]
    rows = [
        {**row, "votes": len({vote.subject or judged.id for vote in votes})}
        for row in _lessons(judged, subject, votes, others)
    ]
    return rows or Why(_nothing(judged, votes, others))


def _lessons(
    judged: Judged, subject: str | None, votes: Sequence[Vote], others: Others
) -> Iterator[Row]:
    praised, blamed = any(v.is_praise for v in votes), any(v.is_blame for v in votes)
    if praised and blamed:  # a careless user, who tells nothing of the answer
        return
    correction = last_correction(judged, votes)
    whole = judged.finish_reason in WHOLE_ANSWER
    if correction and correction.strip():
        # the text is in the id: a reviewer's verdict on one text never counts for another
        of = text_hash(correction)
        lost = judged.answer
        yield row_of(judged, subject, "demonstration", "correction", correction, of=of)
        yield row_of(judged, subject, "pair", "correction", correction, rejected=lost, of=of)
    elif praised and whole and correction is None:
        source: Source = "thumbs_up" if any(v.thumbs for v in votes) else "rating"
        yield row_of(judged, subject, "demonstration", source, judged.answer)
    if blamed:
        yield row_of(judged, subject, "label", "thumbs_down", judged.answer, label=False)
    for vote in votes:
        yield from _pair(judged, subject, vote, others)


def _pair(judged: Judged, subject: str | None, vote: Vote, others: Others) -> Iterator[Row]:
    """Yield the pair that a preference or a regeneration makes, if it makes one."""
    other = others.get(vote.other or "")
    if other is None or not is_comparable(judged, other):
        return
    if vote.kind == "preference":
        yield row_of(
            judged, subject, "pair", "preference", judged.answer, rejected=other.answer, of=other.id
        )
    elif vote.kind == "regenerated" and is_taken(other):
        lost = judged.answer
        yield row_of(
            other, subject, "pair", "regenerated", other.answer, rejected=lost, of=judged.id
        )


def is_comparable(one: Judged, other: Judged) -> bool:
    """Return whether two answers are whole, unlike, and to the same prompt of the same person."""
    if one.subject != other.subject:
        return False
    whole = all(j.status == "ok" and j.finish_reason in WHOLE_ANSWER for j in (one, other))
    return whole and one.messages == other.messages and one.answer.strip() != other.answer.strip()


def is_taken(judged: Judged) -> bool:
    """Return whether somebody used or praised the answer, and nobody blamed it."""
    votes = [vote for vote in judged.votes if vote.anomaly is None]
    used = any(vote.kind in TAKEN or vote.is_praise for vote in votes)
    return used and not any(vote.is_blame for vote in votes)


def text_hash(correction: str) -> str:
    """Return what names a correction's text in ids."""
    return sha256(correction.encode()).hexdigest()[:TEXT_HEX_CHARS]


def _nothing(judged: Judged, votes: Sequence[Vote], others: Others) -> str:
    """Return why an interaction with feedback gives no row."""
    if any(v.is_praise for v in votes) and any(v.is_blame for v in votes):
        return "ratings contradict each other"
    if last_correction(judged, votes) is not None:
        return "correction has no text"
    if any(v.is_praise for v in votes):
        return "answer is not whole"
    if any(v.kind in ("preference", "regenerated") for v in votes):
        return "no answer to compare with"
    return "not approved and not corrected"


def row_of(
    judged: Judged, subject: str | None, kind: Kind, source: Source, answer: str, **more: Any
) -> Row:
    """Return a candidate made of an interaction; `of` names in its id what else it is made of."""
    of = more.pop("of", None)
    return {
        "candidate_id": ":".join((judged.id, kind, *((of,) if of else ()))),
        "interaction_id": judged.id,
        "kind": kind,
        "source": source,
        "subject": subject,
        "adapter": judged.adapter,
        "started_at": judged.started_at,
        "messages": [*judged.messages, {"role": "assistant", "content": answer}],
        "votes": 1,
        "weight": 1.0,
        "placeholders": list(judged.redactions),
        **more,
    }


def last_correction(judged: Judged, votes: Sequence[Vote]) -> str | None:
    """Return the newest correction, "" where its text was not kept, None if nothing was changed.

    Numbered like its interaction: the same value has the same placeholder in both.
    """
    corrections = [vote for vote in votes if vote.kind == "correction"]
    if not corrections:
        return None
    last = corrections[-1]
    text = aligned(last.text or "", last.redactions, judged.redactions)
    return None if text.strip() and text.strip() == judged.answer.strip() else text
