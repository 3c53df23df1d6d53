"""Odd votes are marked with why, and only while they are odd."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from core.settings import FeedbackSettings
from feedback.anomalies import Vote, mark_anomalies, odd_votes
from feedback.tables import Feedback
from tests.ready_store import ready_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = FeedbackSettings(burst_votes=5, burst_s=10, everything_votes=8)


def vote(
    id: str,
    value: str = "True",
    at_s: float = 0,
    *,
    on: str | None = None,
    kind: str = "thumbs",
    effective: bool = True,
) -> Vote:
    """Return a vote of Ann's on an answer of its own."""
    at = NOW + timedelta(seconds=at_s)
    return Vote(id, on or f"i{id}", ("desk", "ann"), kind, value, effective, at)


def test_faster_than_reading_is_a_burst() -> None:
    """Five within ten seconds, whatever came before at leisure."""
    calm = [vote(f"c{n}", "TF"[n % 2], n * 60) for n in range(7)]
    quick = [vote(f"q{n}", "TF"[n % 2], 1_000 + n) for n in range(5)]
    assert odd_votes([*calm, *quick], RULES) == {f"q{n}": "burst" for n in range(5)}
    assert odd_votes([*calm, *quick[:4]], RULES) == {}


def test_many_votes_of_one_value_are_marked() -> None:
    """One that differs is enough to look like a person."""
    same = [vote(str(n), "False", n * 100) for n in range(8)]
    assert odd_votes(same, RULES) == {str(n): "rates_everything" for n in range(8)}
    assert odd_votes([*same[:7], vote("x", "True", 900)], RULES) == {}
    assert odd_votes(same[:7], RULES) == {}


@pytest.mark.parametrize(
    ("thumb", "kind", "value", "odd"),
    [
        ("True", "rating", "2", True),
        ("True", "rating", "3", False),
        ("False", "rating", "4", True),
        ("False", "rating", "1", False),
        ("True", "flag", "None", True),
        ("False", "flag", "None", False),
        ("True", "comment", "None", False),
    ],
)
def test_what_cannot_both_be_meant_contradicts(
    thumb: str, kind: str, value: str, odd: bool
) -> None:
    """A thumb up beside two stars, or a flag; a thumb down beside four."""
    votes = [vote("a", thumb, on="i"), vote("b", value, 100, on="i", kind=kind)]
    assert ("a" in odd_votes(votes, RULES)) is odd


def test_to_and_fro_contradicts() -> None:
    """The one that stands is marked."""
    votes = [vote(str(n), str(n % 2 == 0), n * 100, on="i", effective=n == 3) for n in range(4)]
    assert odd_votes(votes, RULES) == {"3": "contradicts"}
    assert odd_votes(votes[:3], RULES) == {}


def test_marks_are_written_kept_and_taken_back(tmp_path: Path) -> None:
    """A look changes nothing that stands already; what is older than the window stays as it is."""
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")

    def row(n: int, at: datetime) -> Feedback:
        return Feedback(
            event_id=str(n),
            client_id=str(n),
            interaction_id=f"i{n}",
            application="desk",
            subject="ann",
            kind="thumbs",
            thumbs=n % 2 == 0,
            given_at=at,
        )

    with store.session() as session:
        session.add_all(row(n, NOW + timedelta(seconds=n)) for n in range(5))
        session.commit()
        assert mark_anomalies(session, RULES, NOW + timedelta(seconds=60)) == 5
        session.commit()
        assert mark_anomalies(session, RULES, NOW + timedelta(seconds=70)) == 0
        for found in session.exec(select(Feedback)).all()[:1]:
            found.effective = False  # changed by a later vote
        session.commit()
        assert mark_anomalies(session, RULES, NOW + timedelta(seconds=80)) == 5
        session.commit()
        session.expire_all()
        assert {found.anomaly for found in session.exec(select(Feedback))} == {None}
        assert mark_anomalies(session, RULES, NOW + timedelta(days=1)) == 0
    store.close()
