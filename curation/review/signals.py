"""CURATE: what sampling asks of each candidate, gathered: votes, doubts, and who wrote it.

A table of candidates and a session come in, light rows go out. Columns that stages may have added
are used where they are there: `logprob`, `novelty`, `failed_gate`. Knows no texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_
from sqlmodel import Session, col, select

from curation.review.queue import parts
from curation.review.sampling import Light
from feedback.tables import Feedback

Table = Any  # pyarrow's, which has no types

GOOD_RATING, BAD_RATING = 4, 2  # of 5. Guide: "rated 4 or better"; 3 says neither
AUGMENTED = frozenset({"paraphrase", "back_translation", "synthetic", "failures"})  # table.Source


def light_rows(session: Session, table: Table) -> list[Light]:
    """Return a light row of each candidate, in their order."""
    interactions: list[str] = table["interaction_id"].to_pylist()
    votes = count_votes(session, sorted(set(interactions)))
    rows = zip(
        table["candidate_id"].to_pylist(),
        interactions,
        table["source"].to_pylist(),
        _values(table, "logprob"),
        _values(table, "novelty"),
        _values(table, "failed_gate"),
        strict=True,
    )
    return [
        Light(
            candidate_id=id_,
            logprob=logprob,
            votes_for=votes[interaction][0],
            votes_against=votes[interaction][1],
            novelty=novelty,
            failed_gate=bool(failed),
            augmented=source in AUGMENTED,
        )
        for id_, interaction, source, logprob, novelty, failed in rows
    ]


def count_votes(session: Session, interaction_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return how many effective votes each interaction has for it and against it."""
    votes: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for some in parts(interaction_ids):
        query = select(Feedback.interaction_id, Feedback.thumbs, Feedback.rating).where(
            col(Feedback.interaction_id).in_(some),
            col(Feedback.effective).is_(True),
            or_(col(Feedback.thumbs).is_not(None), col(Feedback.rating).is_not(None)),
        )
        for id_, thumbs, rating in session.exec(query):
            good, bad = votes[id_]
            is_good = thumbs is True or (rating or 0) >= GOOD_RATING
            is_bad = thumbs is False or (rating or GOOD_RATING) <= BAD_RATING
            votes[id_] = good + is_good, bad + is_bad
    return votes


def _values(table: Table, name: str) -> list[Any]:
    if name in table.column_names:
        return table[name].to_pylist()
    return [None] * table.num_rows
