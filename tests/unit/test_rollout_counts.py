"""Counting a rollout on a real store: exposures by step and arm, one rating per subject."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from sqlmodel import Session

from core.settings import CanarySettings
from core.sticky import position
from feedback.tables import Feedback, Interaction, Rollout
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts
from monitoring.counts import count_rollout
from tests.ready_store import ready_store

RULES = CanarySettings(shares=(0.1, 0.2, 0.5), latency_over_s=10.0)
BEGAN = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
ROLLOUT = Rollout(
    id="r1",
    application="support",
    canary_adapter="support--v2",
    state="canary",
    salt="s",
    state_since=BEGAN,
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
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


def count(
    session: Session,
    rules: CanarySettings = RULES,
    *,
    rollout: Rollout = ROLLOUT,
    now: datetime = BEGAN,
) -> RolloutCounts:
    """Count as of the beginning, when no answer is old enough for the response window."""
    session.flush()
    return count_rollout(session, rollout, rules, now)


def canary(session: Session, rules: CanarySettings = RULES, now: datetime = BEGAN) -> ArmCounts:
    """Return the canary's counts of the only step."""
    (step,) = count(session, rules, now=now).steps
    return step.canary


def subject_at(low: float, high: float) -> str:
    """Return a subject whose place in the rollout lies between two shares."""
    names = (f"subject-{number}" for number in range(100_000))
    return next(n for n in names if low <= position("support", "s", n) < high)


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
        StepCounts(0, ArmCounts(exposures=1, subjects=1), ArmCounts()),
        StepCounts(2, ArmCounts(exposures=1, subjects=1), ArmCounts(exposures=2, subjects=2)),
    )


def test_errors_and_slow_answers_are_told_apart(session: Session) -> None:
    """Slow is a good answer over the limit; a slow error is an error only."""
    expose(session, "fast", latency_s=10.0)
    expose(session, "slow", latency_s=10.1)
    expose(session, "error", latency_s=30.0, status="error")
    expose(session, "left", latency_s=30.0, status="disconnected")
    assert canary(session) == ArmCounts(exposures=4, errors=1, slow=1, subjects=4)


def test_first_rating_of_a_subject_is_its_vote(session: Session) -> None:
    """A subject who rates three answers counts once, as it first rated."""
    for name, second, good in (("late", 90, True), ("first", 61, False), ("mid", 70, True)):
        expose(session, name, subject="ann")
        rate(session, name, good, second=second)
    assert canary(session) == ArmCounts(exposures=3, ratings=1, good=0, subjects=1)


def test_who_will_come_to_the_canary_counts_from_then_on(session: Session) -> None:
    """A subject with a place below the largest share votes as canary, one above as baseline."""
    mover, stayer = subject_at(0.1, 0.5), subject_at(0.5, 1.0)
    for subject in (mover, stayer):
        expose(session, f"{subject}-0", subject=subject, arm="baseline", step=0)
        rate(session, f"{subject}-0", good=True, second=10)
        arm = "canary" if subject == mover else "baseline"
        expose(session, f"{subject}-2", subject=subject, arm=arm, step=2)
        rate(session, f"{subject}-2", good=False, second=20)
    first, second = count(session).steps
    assert (first.baseline.ratings, first.baseline.good) == (1, 1)
    assert (second.canary.ratings, second.canary.good) == (1, 0)
    assert second.baseline.ratings == 0


def test_a_vote_that_comes_late_belongs_to_the_step_that_earned_it(session: Session) -> None:
    """The step is that of the answer; after the feedback window nothing counts."""
    late = timedelta(seconds=RULES.feedback_window_s)
    expose(session, "a", step=0)
    expose(session, "b", step=1)
    expose(session, "c", step=1)
    rate(session, "a", given_at=BEGAN + late)
    rate(session, "b", given_at=BEGAN + late + timedelta(seconds=2))
    first, second = count(session).steps
    assert (first.canary.ratings, second.canary.ratings) == (1, 0)


def test_the_watch_counts_everyone_anew(session: Session) -> None:
    """Who voted before the promotion has one more vote after it."""
    subject = subject_at(0.0, 0.1)
    for step in (0, 3):
        expose(session, f"s{step}", subject=subject, step=step)
        rate(session, f"s{step}", second=60 + step)
    assert [step.canary.ratings for step in count(session).steps] == [1, 1]


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
    assert canary(session) == ArmCounts(exposures=3, ratings=3, good=2, subjects=3)


@pytest.mark.parametrize(("stars", "good"), [(5, 1), (4, 1), (3, 0), (1, 0)])
def test_four_stars_are_good(session: Session, stars: int, good: int) -> None:
    """A rating of four or five is good."""
    expose(session, "a")
    rate(session, "a", kind="rating", thumbs=None, rating=stars)
    assert canary(session) == ArmCounts(exposures=1, ratings=1, good=good, subjects=1)


def test_only_effective_ratings_count(session: Session) -> None:
    """A changed vote counts as changed; comments and corrections are no votes."""
    expose(session, "a", subject="ann")
    rate(session, "a", good=True, second=10, effective=False)
    rate(session, "a", good=False, second=20)
    expose(session, "b", subject="bob")
    rate(session, "b", kind="comment", thumbs=None, text="thanks")
    assert canary(session) == ArmCounts(exposures=2, ratings=1, good=0, subjects=2)


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


def test_odd_answers_are_counted_by_their_kind(session: Session) -> None:
    """Each guardrail's event on an answer that went well; an error has none of them."""
    for status in ("ok", "error"):
        for name, odd in {
            "late": {"ttft_s": 3.1},
            "long": {"completion_tokens": 1_025},
            "short": {"completion_tokens": 1},
            "cut": {"finish_reason": "length"},
            "cut too": {"finish_reason": "max_tokens"},
            "refusal": {"refused": True},
            "fine": {"ttft_s": 3.0, "completion_tokens": 1_024, "finish_reason": "stop"},
        }.items():
            expose(session, f"{status} {name}", status=status, **odd)
    assert canary(session) == ArmCounts(
        exposures=14,
        errors=7,
        slow_start=1,
        long=1,
        short=1,
        truncated=2,
        refusals=1,
        subjects=14,
    )


def test_feedback_on_young_answers_is_waited_for(session: Session) -> None:
    """Only exposures older than the window are settled; only feedback within it counts."""
    rules = RULES.model_copy(update={"response_window_s": 100.0})
    for name in ("down", "up", "none", "late"):
        expose(session, name)
    expose(session, "young", second=1)
    rate(session, "down", good=False, second=99)
    rate(session, "up", good=True, second=100)
    rate(session, "late", good=False, second=101)
    rate(session, "young", good=False, second=2)
    seen = canary(session, rules, now=BEGAN + timedelta(seconds=100))
    assert (seen.exposures, seen.settled, seen.thumbs_down, seen.unrated) == (5, 4, 1, 2)


def test_one_subject_cannot_fill_a_guardrail(session: Session) -> None:
    """Of a subject and step only so many exposures count; 0 lifts the limit."""
    for step in (0, 1):
        for number in range(4):
            name = f"{step}-{number}"
            expose(session, name, subject="ann", status="error", step=step, second=number)
    two = RULES.model_copy(update={"exposures_per_subject": 2})
    assert [(s.canary.exposures, s.canary.errors) for s in count(session, two).steps] == [
        (2, 2),
        (2, 2),
    ]
    unlimited = RULES.model_copy(update={"exposures_per_subject": 0})
    assert [s.canary.errors for s in count(session, unlimited).steps] == [4, 4]
    assert [s.canary.subjects for s in count(session, two).steps] == [1, 0]


def test_a_resumed_canary_looks_at_new_subjects(session: Session) -> None:
    """Whom it saw before the pause tells nothing of the arms as they are now."""
    expose(session, "before")
    expose(session, "after", second=50)
    resumed = ROLLOUT.model_copy(update={"state_since": BEGAN + timedelta(seconds=50)})
    (step,) = count(session, rollout=resumed).steps
    assert (step.canary.exposures, step.canary.subjects) == (2, 1)


def test_strata_are_counted_apart(session: Session) -> None:
    """Each named value is a stratum of its own, the others are pooled."""
    for name, stratum in (("a", "en"), ("b", "en"), ("c", "de"), ("d", "fr"), ("e", None)):
        expose(session, name, stratum=stratum)
        rate(session, name)
    rules = CanarySettings(stratify_by="metadata.language", strata=("de", "en"))
    steps = count(session, rules).steps
    found = {s.stratum: (s.canary.exposures, s.canary.ratings) for s in steps}
    assert found == {"de": (1, 1), "en": (2, 2), "other": (2, 2)}


def test_many_exposures_are_counted_in_time_that_grows_with_them(session: Session) -> None:
    """20,000 take some 0.2 s; joined without an index they took 5 s, and 60,000 took 22 s."""
    rows = [
        {
            "id": f"i{number}",
            "application": "support",
            "subject": f"s{number % 7_000}",
            "arm": "baseline",
            "rollout_id": "r1",
            "step": 0,
            "endpoint": "/v1/chat/completions",
            "requested_model": "support",
            "status": "ok",
            "messages": [],
            "parameters": {},
            "redactions": {},
            "extra": {},
            "latency_s": 1.0,
            "started_at": BEGAN + timedelta(seconds=number),
            "event_id": f"e{number}",
        }
        for number in range(20_000)
    ]
    session.connection().execute(insert(Interaction), rows)
    given = [
        {
            "event_id": f"f{number}",
            "client_id": "c",
            "interaction_id": f"i{number}",
            "application": "support",
            "kind": "thumbs",
            "thumbs": True,
            "redactions": {},
            "extra": {},
            "given_at": BEGAN + timedelta(seconds=number + 9),
        }
        for number in range(0, 20_000, 10)
    ]
    session.connection().execute(insert(Feedback), given)
    began_s = time.process_time()
    (step,) = count(session, now=BEGAN + timedelta(days=1)).steps
    assert time.process_time() - began_s < 2.0
    assert step.baseline.exposures == 20_000
    assert step.baseline.unrated == 18_000
