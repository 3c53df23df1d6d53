"""A rollout is counted alike on SQLite and on a real PostgreSQL, and judged from the counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.canary_settings import CanarySettings
from core.ids import new_id
from core.sticky import position
from feedback.store import Store
from feedback.tables import Feedback, Interaction, Rollout
from monitoring.arms import ArmCounts, RolloutCounts, counts_from_dict, counts_to_dict
from monitoring.counts import count_rollout
from tests.ready_store import ready_store

BEGAN = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
RULES = CanarySettings(
    shares=(0.5,),
    stratify_by="metadata.language",
    strata=("de", "en"),
    exposures_per_subject=2,
    response_window_s=600.0,
)
ROLLOUT = Rollout(
    id="r1",
    application="shop",
    canary_adapter="shop--v2",
    state="canary",
    salt="salt",
    state_since=BEGAN,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        opened = ready_store(f"sqlite:///{tmp_path / 's.db'}")
    else:
        opened = ready_store(request.getfixturevalue("ready_postgresql_url"))
    yield opened
    opened.close()


def fill(store: Store) -> None:
    """Let 40 people ask three times each; every second one rates the first answer."""
    with store.session() as session:
        for number in range(40):
            subject = f"person-{number}"
            canary = position("shop", "salt", subject) < 0.5
            for turn in range(3):
                interaction = Interaction(
                    id=f"{subject}-{turn}",
                    event_id=new_id(),
                    application="shop",
                    subject=subject,
                    arm="canary" if canary else "baseline",
                    rollout_id="r1",
                    step=0,
                    endpoint="/v1/chat/completions",
                    requested_model="shop",
                    latency_s=11.0 if turn == 0 else 1.0,
                    ttft_s=4.0,
                    completion_tokens=1,
                    finish_reason="length",
                    refused=canary,
                    stratum=("de", "en", "fr", None)[number % 4],
                    started_at=BEGAN + timedelta(seconds=turn),
                )
                session.add(interaction)
            if number % 2 == 0:
                session.add(
                    Feedback(
                        event_id=new_id(),
                        client_id=new_id(),
                        interaction_id=f"{subject}-0",
                        application="shop",
                        subject=subject,
                        kind="thumbs",
                        thumbs=canary,
                        given_at=BEGAN + timedelta(seconds=600 + number % 4),
                    )
                )
        session.commit()


def test_counts_are_the_same_on_both(store: Store) -> None:
    """Limits, windows, strata and who counts where, down to every number."""
    fill(store)
    with store.session() as session:
        counts = count_rollout(session, ROLLOUT, RULES, BEGAN + timedelta(seconds=601))
    assert counts == counts_from_dict(counts_to_dict(counts))
    assert [step.stratum for step in counts.steps] == ["de", "en", "other"]
    people = sum(s.baseline.subjects + s.canary.subjects for s in counts.steps)
    votes = sum(s.baseline.ratings + s.canary.ratings for s in counts.steps)
    assert (people, votes) == (40, 20)
    assert counts == RolloutCounts(counts.steps, 0)
    for step in counts.steps:
        assert_arm(step.baseline, good=0, refusals=0)
        assert_arm(step.canary, good=step.canary.ratings, refusals=step.canary.exposures)
    rated = {s.stratum: s.baseline.ratings + s.canary.ratings for s in counts.steps}
    assert rated == {"de": 10, "en": 0, "other": 10}
    late = next(s for s in counts.steps if s.stratum == "other")  # rated after 602 s
    assert late.baseline.unrated == late.baseline.settled


def assert_arm(arm: ArmCounts, *, good: int, refusals: int) -> None:
    """Check what every person does alike: two of three exposures count, both are settled."""
    people = arm.subjects
    assert (arm.exposures, arm.settled, arm.slow) == (2 * people, 2 * people, people)
    assert (arm.slow_start, arm.short, arm.truncated) == (arm.exposures,) * 3
    assert (arm.good, arm.refusals, arm.long, arm.errors) == (good, refusals, 0, 0)
    assert arm.unrated + arm.thumbs_down <= arm.settled
