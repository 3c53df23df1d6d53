"""Votes that look odd, so that curation may leave them out: marks, never deletions.

    burst             one person votes faster than anybody reads
    rates_everything  one person gives many votes, all of the same value
    contradicts       one person says of one answer what cannot both be meant

Votes and the rules go in, a mark for each odd vote comes out: pure. Then the edge: the newest votes
of the store, at each look, with as many before them as they are judged by. The canary's verdict
counts every vote: who could have some marked could steer it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, NamedTuple

from sqlmodel import Session, col, select

from core.clock import as_utc
from core.settings import FeedbackSettings
from feedback.bulk import bulk_of
from feedback.tables import Feedback

Mark = Literal["burst", "rates_everything", "contradicts"]

RATED = frozenset({"thumbs", "rating", "score"})
LOW, HIGH = 2, 4  # of five stars: beside a thumb up, beside a thumb down
FLIPS = 3  # of one thumb: to and fro, and once more. Our choice


class Vote(NamedTuple):
    """One feedback of a known person, as far as it is judged."""

    event_id: str
    interaction_id: str
    person: tuple[str, str]  # application and subject
    kind: str
    value: str  # equal for equal votes
    effective: bool
    given_at: datetime


def odd_votes(votes: Iterable[Vote], rules: FeedbackSettings) -> dict[str, Mark]:
    """Return the mark of each vote that has one; the first of the list above that fits."""
    marks: dict[str, Mark] = {}
    by_person: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    for vote in votes:
        by_person[vote.person].append(vote)
    for own in by_person.values():
        own.sort(key=lambda vote: vote.given_at)
        rated = [vote for vote in own if vote.effective and vote.kind in RATED]
        marks |= dict.fromkeys(_contradicting(own), "contradicts")
        marks |= dict.fromkeys(_everything(rated, rules), "rates_everything")
        marks |= dict.fromkeys(_bursts(rated, rules), "burst")
    return marks


def mark_anomalies(session: Session, rules: FeedbackSettings, now: datetime) -> int:
    """Mark the votes of the last `window_s`, and take back marks; return how many changed.

    The caller commits.
    """
    window = timedelta(seconds=rules.window_s)
    query = select(Feedback).where(
        col(Feedback.given_at) >= now - 2 * window, col(Feedback.subject).is_not(None)
    )
    rows = session.exec(query).all()
    marks = odd_votes([_vote(row) for row in rows], rules)
    changed = [
        (marks.get(row.event_id), row.event_id)
        for row in rows
        if as_utc(row.given_at) >= now - window and row.anomaly != marks.get(row.event_id)
    ]
    bulk_of(session).update_flag("feedback", "anomaly", "event_id", changed)
    return len(changed)


def _bursts(rated: Sequence[Vote], rules: FeedbackSettings) -> Iterator[str]:
    span = timedelta(seconds=rules.burst_s)
    for last in range(rules.burst_votes - 1, len(rated)):
        first = last - rules.burst_votes + 1
        if rated[last].given_at - rated[first].given_at <= span:
            yield from (vote.event_id for vote in rated[first : last + 1])


def _everything(rated: Sequence[Vote], rules: FeedbackSettings) -> Iterator[str]:
    by_kind: dict[str, list[Vote]] = defaultdict(list)
    for vote in rated:
        by_kind[vote.kind].append(vote)
    for own in by_kind.values():
        if len(own) >= rules.everything_votes and len({vote.value for vote in own}) == 1:
            yield from (vote.event_id for vote in own)


def _contradicting(own: Sequence[Vote]) -> Iterator[str]:
    by_answer: dict[str, list[Vote]] = defaultdict(list)
    for vote in own:
        by_answer[vote.interaction_id].append(vote)
    for votes in by_answer.values():
        thumbs = [vote for vote in votes if vote.kind == "thumbs"]
        standing = {vote.kind: vote for vote in votes if vote.effective}
        if _flips(thumbs) >= FLIPS or _contradict(standing):
            yield from (vote.event_id for vote in standing.values() if vote.kind in RATED)


def _flips(thumbs: Sequence[Vote]) -> int:
    values = [vote.value for vote in thumbs]
    return sum(before != after for before, after in pairwise(values))


def _contradict(standing: Mapping[str, Vote]) -> bool:
    thumb = standing["thumbs"].value if "thumbs" in standing else None
    rating = int(standing["rating"].value) if "rating" in standing else None
    if thumb == "True":
        return "flag" in standing or (rating is not None and rating <= LOW)
    return thumb == "False" and rating is not None and rating >= HIGH


def _vote(row: Feedback) -> Vote:
    values = {"thumbs": row.thumbs, "rating": row.rating, "score": (row.name, row.number)}
    value = "retracted" if row.retracted else str(values.get(row.kind))
    person = (row.application, row.subject or "")
    given_at = as_utc(row.given_at)
    return Vote(row.event_id, row.interaction_id, person, row.kind, value, row.effective, given_at)
