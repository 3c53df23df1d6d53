"""CURATE, beside people's votes: two answers to one prompt, by name, and a judge's word on them.

Interactions or a candidate pair come in; the pair's name, a row to show to a judge, or the row that
its word makes, go out. A pair has one name whoever won it: so people's word on it and a judge's are
known to be of the same answers. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from curation.signals import Judged, Others, Row, is_comparable, last_correction, row_of, text_hash
from curation.table import Why

Side = Literal["a", "b"]

JUDGE = "judge"  # the source of what a model decided
GONE = Why("interaction is gone")
FLAGGED = Why("flagged")
CHANGED = Why("answers cannot be compared any more")


class Pair(NamedTuple):
    """Two answers by what they are of: `a`, an interaction, and `b`, another or a correction."""

    a: str  # of two interactions the lower id, which is the older one
    b: str  # the other interaction, or the hash of a correction of a


@dataclass(frozen=True, slots=True)
class _Answer:
    of: Judged
    text: str


def pair_of(row: Mapping[str, Any]) -> tuple[Pair, Side]:
    """Return the name of a candidate pair, and which of the two is the chosen answer."""
    chosen, _, lost = row["candidate_id"].rpartition(":pair:")
    if row["source"] == "correction":
        return Pair(chosen, lost), "b"  # the correction of that interaction
    pair = Pair(*sorted((chosen, lost)))
    return pair, "a" if pair.a == chosen else "b"


def undecided_row(one: Judged, other: Judged) -> Row | None:
    """Return two answers as a pair for a judge, the older as the chosen; None if they are none."""
    if is_flagged(one) or is_flagged(other) or not is_comparable(one, other):
        return None
    a, b = sorted((one, other), key=lambda judged: judged.id)
    return row_of(a, a.subject, "pair", JUDGE, a.answer, rejected=b.answer, of=b.id)


def judged_row(pair: Pair, winner: Side, found: Others) -> Row | Why:
    """Return the candidate that a judge's word makes, or why it makes none; with its `seeds`.

    Both interactions are its seeds: an erasure of either takes it.
    """
    answers = _answers(pair, found)
    if isinstance(answers, Why):
        return answers
    won, lost = answers if winner == "a" else answers[::-1]
    row = row_of(won.of, won.of.subject, "pair", JUDGE, won.text, rejected=lost.text)
    return row | {
        "candidate_id": f"{pair.a}:pair:{pair.b}:{JUDGE}:{winner}",  # reviewed by itself
        "votes": 0,  # of people
        "seeds": sorted({answer.of.id for answer in answers}),
    }


def is_flagged(judged: Judged) -> bool:
    """Return whether somebody flagged the answer, which then is learnt in no way."""
    return any(vote.kind == "flag" for vote in judged.votes)


def _answers(pair: Pair, found: Others) -> tuple[_Answer, _Answer] | Why:
    one, other = found.get(pair.a), found.get(pair.b)
    if one is None:
        return GONE
    if other is None:
        return _corrected(pair, one)
    if is_flagged(one) or is_flagged(other):
        return FLAGGED
    if not is_comparable(one, other):
        return CHANGED
    return _Answer(one, one.answer), _Answer(other, other.answer)


def _corrected(pair: Pair, judged: Judged) -> tuple[_Answer, _Answer] | Why:
    if is_flagged(judged):
        return FLAGGED
    correction = last_correction(judged, judged.votes)
    if not correction or text_hash(correction) != pair.b:
        return CHANGED  # or the second of two interactions is gone
    return _Answer(judged, judged.answer), _Answer(judged, correction)
