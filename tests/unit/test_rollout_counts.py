"""Counting a rollout on a real store: exposures by step and arm, one rating per subject."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from core.settings import CanarySettings
from feedback.store import Store
from feedback.tables import Feedback, Interaction, Rollout
from monitoring.counts import count_rollout
from monitoring.verdict import ArmCounts, RolloutCounts, StepCounts

RULES = CanarySettings(latency_over_s=10.0)
BEGAN = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
ROLLOUT = Rollout(
    id="r1", application="support", canary_adapter="support--v2", state="canary", salt="s"
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.create_tables()
    with store.session() as session:
        yield session
    store.close()


def expose(session: Session, name: str, **changed: Any) -> None:
    """Store one exposure of the canary; `second` says when its request started."""
    second = changed.pop("second", 0)
    row: dict[str, Any] = {
        "id": name,
        "application": "support",
        "subject": f"subject-{name}",
        "arm": "canary",
        "rollout_id": "r1",
        "step": 0,
        "endpoint": "/v1/chat/completions",
        "requested_model": "support",
        "latency_s": 1.0,
        "started_at": BEGAN + timedelta(seconds=second),
        "event_id": f"event-{name}",
    }
    session.add(Interaction(**(row | changed)))


def rate(session: Session, interaction: str, good: bool = True, **changed: Any) -> None:
    """Store one thumb; `second` says when it was given."""
    second = changed.pop("second", 60)
    row: dict[str, Any] = {
        "event_id": f"thumb-{interaction}-{second}",
        "client_id": f"client-{second}",
        "interaction_id": interaction,
        "application": "support",
        "kind": "thumbs",
        "thumbs": good,
        "given_at": BEGAN + timedelta(seconds=second),
    }
    session.add(Feedback(**(row | changed)))


def count(session: Session) -> RolloutCounts:
    session.flush()
    return count_rollout(session, ROLLOUT, RULES)


def canary(session: Session) -> ArmCounts:
    """Return the canary's counts of the only step."""
    (step,) = count(session).steps
    return step.canary


def test_nothing_exposed_counts_nothing(session: Session) -> None:
    """A rollout without traffic has no steps and no errors in a row."""
    assert count(session) == RolloutCounts()


def test_exposures_are_counted_by_step_and_arm(session: Session) -> None:
    """Every interaction of the rollout counts once, in its own step and arm."""
    expose(session, "a", arm="baseline")
    expose(session, "b", arm="baseline", step=2)
    expose(session, "c", step=2)
    expose(session, "d", step=2, status="disconnected")
    expose(session, "other", rollout_id="r2")
    expose(session, "none", rollout_id=None)
    assert count(session).steps == (
        StepCounts(0, ArmCounts(exposures=1), ArmCounts()),
        StepCounts(2, ArmCounts(exposures=1), ArmCounts(exposures=2)),
    )


def test_errors_and_slow_answers_are_told_apart(session: Session) -> None:
    """Slow is a good answer over the limit; a slow error is an error only."""
    expose(session, "fast", latency_s=10.0)
    expose(session, "slow", latency_s=10.1)
    expose(session, "error", latency_s=30.0, status="error")
    expose(session, "left", latency_s=30.0, status="disconnected")
    assert canary(session) == ArmCounts(exposures=4, errors=1, slow=1)


def test_first_rating_of_a_subject_is_its_vote(session: Session) -> None:
    """A subject who rates three answers counts once, as it first rated."""
    for name, second, good in (("late", 90, True), ("first", 61, False), ("mid", 70, True)):
        expose(session, name, subject="ann")
        rate(session, name, good, second=second)
    assert canary(session) == ArmCounts(exposures=3, ratings=1, good=0)


def test_vote_belongs_to_the_step_and_arm_that_earned_it(session: Session) -> None:
    """A subject who moved to the canary later still votes for the baseline it rated first."""
    expose(session, "before", subject="ann", arm="baseline", step=0)
    expose(session, "after", subject="ann", arm="canary", step=1)
    rate(session, "before", good=True, second=10)
    rate(session, "after", good=False, second=20)
    first, second = count(session).steps
    assert (first.baseline.ratings, first.baseline.good) == (1, 1)
    assert second.canary.ratings == 0


def test_order_of_events_breaks_a_tie(session: Session) -> None:
    """Of two ratings at one instant the one with the lower event id counts."""
    expose(session, "a", subject="ann")
    expose(session, "b", subject="ann")
    rate(session, "a", good=True, event_id="event-2")
    rate(session, "b", good=False, event_id="event-1")
    assert canary(session).good == 0


def test_interaction_without_subject_votes_for_itself(session: Session) -> None:
    """Where nobody is known each interaction is a unit of its own."""
    for name, good in (("a", True), ("b", True), ("c", False)):
        expose(session, name, subject=None)
        rate(session, name, good)
    assert canary(session) == ArmCounts(exposures=3, ratings=3, good=2)


@pytest.mark.parametrize(("stars", "good"), [(5, 1), (4, 1), (3, 0), (1, 0)])
def test_four_stars_are_good(session: Session, stars: int, good: int) -> None:
    """A rating of four or five is good."""
    expose(session, "a")
    rate(session, "a", kind="rating", thumbs=None, rating=stars)
    assert canary(session) == ArmCounts(exposures=1, ratings=1, good=good)


def test_only_effective_ratings_count(session: Session) -> None:
    """A changed vote counts as changed; comments and corrections are no votes."""
    expose(session, "a", subject="ann")
    rate(session, "a", good=True, second=10, effective=False)
    rate(session, "a", good=False, second=20)
    expose(session, "b", subject="bob")
    rate(session, "b", kind="comment", thumbs=None, text="thanks")
    assert canary(session) == ArmCounts(exposures=2, ratings=1, good=0)


def test_feedback_waits_for_its_interaction(session: Session) -> None:
    """A rating that arrived first counts as soon as its interaction is there."""
    expose(session, "a")
    rate(session, "late")
    assert canary(session).ratings == 0
    expose(session, "late")
    assert canary(session).ratings == 1


def test_errors_in_a_row_end_with_the_last_good_answer(session: Session) -> None:
    """Only canary errors that started after its last good answer are in a row."""
    for second, status in enumerate(["error", "ok", "error", "disconnected", "error"]):
        expose(session, f"c{second}", second=second, status=status)
    expose(session, "b", arm="baseline", second=9, status="error")
    assert count(session).trailing_canary_errors == 2
    expose(session, "again", second=10)
    assert count(session).trailing_canary_errors == 0


def test_errors_in_a_row_need_no_good_answer(session: Session) -> None:
    """A canary that never answered has all its errors in a row, over steps too."""
    for second in range(6):
        expose(session, f"c{second}", second=second, status="error", step=second // 3)
    assert count(session).trailing_canary_errors == 6
