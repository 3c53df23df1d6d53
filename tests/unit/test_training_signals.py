"""What people and gates say of the live adapter, then and now; wishes for a training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from core.settings import RetrainSettings
from feedback.drift_tables import DriftReport
from feedback.tables import Adapter, Application, TrainingRequest
from retrain.drift_reports import answer_reports
from retrain.evaluations import evaluations_of, kept
from retrain.falls import fall_of
from retrain.ratings import read_ratings, read_score
from retrain.signals import Signals, read_signals
from retrain.situation import Drift, Measure, Tally
from retrain.state import live_adapter
from tests.ready_store import ready_store
from tests.unit.policy_world import DAY, NOW, add_adapter, answer, rate, say

RULES = RetrainSettings(rating_min=10)
BORN = NOW - 30 * DAY  # the live adapter's first answers


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a session on a store with a live adapter."""
    store = ready_store(f"sqlite:///{tmp_path}/store.db")
    with store.session() as opened:
        opened.add(Application(name="desk"))
        opened.commit()
        add_adapter(opened, "desk--v1", "desk--d1")
        yield opened
    store.close()


def ratings(session: Session, rules: RetrainSettings = RULES) -> Measure | str:
    """Return what the reader says of the live adapter."""
    live = live_adapter(session, "desk")
    assert live is not None
    return read_ratings(session, live, NOW, rules)


def test_the_first_week_is_held_against_the_last(session: Session) -> None:
    """What lies between is neither."""
    rate(session, BORN, 9, 10)
    rate(session, BORN + 15 * DAY, 0, 10)
    rate(session, NOW - DAY, 6, 12)
    assert ratings(session) == Measure("ratings", Tally(9, 10), Tally(6, 12))


def test_too_few_ratings_are_told(session: Session) -> None:
    """There is no measure before both periods have enough of them."""
    assert ratings(session) == "ratings: desk--v1 has answered nobody yet"
    rate(session, BORN, 5, 9)
    told = ratings(session)
    assert isinstance(told, str)
    assert told.startswith("ratings: no healthy period of the live adapter with 10 end users'")
    rate(session, BORN + DAY, 1, 1)
    rate(session, NOW - DAY, 9, 9)
    assert ratings(session) == "ratings: 9 since the baseline, 10 are needed"


def test_rare_ratings_are_gathered_over_more_weeks(session: Session) -> None:
    """Neither period is longer than it must be, and they do not overlap."""
    rate(session, BORN, 5, 5)
    rate(session, BORN + 8 * DAY, 5, 5)
    rate(session, NOW - 10 * DAY, 4, 6)
    rate(session, NOW - DAY, 3, 6)
    assert ratings(session) == Measure("ratings", Tally(10, 10), Tally(7, 12))


def test_a_week_of_errors_is_no_baseline(session: Session) -> None:
    """The first healthy week after it is."""
    rate(session, BORN, 2, 10)
    answer(session, BORN, status="error")
    rate(session, BORN + 8 * DAY, 9, 10)
    rate(session, NOW - DAY, 9, 10)
    assert ratings(session) == Measure("ratings", Tally(9, 10), Tally(9, 10))


def test_each_person_counts_once(session: Session) -> None:
    """Their first rating; stars as well as thumbs; no odd, changed or unseen ones."""
    rate(session, BORN, 8, 10)
    for _ in range(9):
        answer(session, NOW - DAY, good=False, subject="angry")
    stars = answer(session, NOW - DAY)
    say(session, stars, NOW - DAY, kind="rating", rating=4)
    low = answer(session, NOW - DAY)
    say(session, low, NOW - DAY, kind="rating", rating=3)
    odd = answer(session, NOW - DAY)
    say(session, odd, NOW - DAY, thumbs=False, anomaly="burst")
    changed = answer(session, NOW - DAY)
    say(session, changed, NOW - DAY, thumbs=False, effective=False)
    retracted = answer(session, NOW - DAY)
    say(session, retracted, NOW - DAY, retracted=True)
    answer(session, NOW - DAY, good=False, shadow_of="another")
    answer(session, NOW - DAY, good=False, adapter="desk--v0")
    session.commit()
    few = RULES.model_copy(update={"rating_min": 3})
    assert ratings(session, few) == Measure("ratings", Tally(8, 10), Tally(1, 3))


def test_a_young_adapter_has_no_baseline_yet(session: Session) -> None:
    """Its first week is not over."""
    rate(session, NOW - DAY, 10, 10)
    assert "is over yet" in str(ratings(session))


def test_a_named_score_is_a_metric(session: Session) -> None:
    """Its mean, then and now; what is not from 0 to 1 is none."""
    for at, number in ((BORN, 0.9), (NOW - DAY, 0.5)):
        for _ in range(10):
            say(session, answer(session, at), at, kind="score", name="helpful", number=number)
        say(session, answer(session, at), at, kind="score", name="helpful", number=7.0)
        say(session, answer(session, at), at, kind="score", name="other", number=0.0)
    session.commit()
    live = live_adapter(session, "desk")
    assert live is not None
    measure = read_score(session, live, "helpful", NOW, RULES)
    assert isinstance(measure, Measure)
    assert (measure.baseline.share, measure.recent.share) == pytest.approx((0.9, 0.5))
    assert (measure.name, measure.recent.total) == ("score helpful", 10)
    watching = RULES.model_copy(update={"watched_score": "helpful"})
    assert read_signals(session, watching, "desk", live, NOW).evaluations == (measure,)
    assert read_signals(session, RULES, "desk", live, NOW).evaluations == ()
    other = RULES.model_copy(update={"watched_score": "unheard"})
    assert read_signals(session, other, "desk", live, NOW).evaluations == ()


def gate(score: float, questions: int = 100, **values: Any) -> dict[str, Any]:
    """Return a gate's record with this score of both sides on the test split."""
    side = {"task_score": score, "examples": questions}
    suite = {"metric": "exact_match", "candidate": score, "live": score, "questions": questions}
    length = suite | {"metric": "within_length"}
    base = suite | {"kept": 0.9}
    general = suite | {"against": "base"}
    return {
        "numbers": {"test": {"candidate": side, "live": side}},
        "suites": {"test": suite, "length": length, "general": general, "retention": base},
    } | values


def adapter(name: str, days: int, record: dict[str, Any]) -> Adapter:
    """Return an adapter that was made so many days ago."""
    return Adapter(
        name=name,
        application="desk",
        base_model="b",
        path=name,
        content_hash="0",
        run_id="r",
        dataset_id="d",
        rank=16,
        created_by="ann",
        created_at=NOW - days * DAY,
        gate=record,
    )


def test_the_newest_gate_against_the_live_adapter_says_how_it_does_now() -> None:
    """Its own gate is the baseline; retention and other rules are no metric of its answers."""
    live = adapter("desk--v1", 30, gate(0.8))
    others = [
        adapter("desk--v0", 40, gate(0.1, compared_with="desk--v1")),
        live,
        adapter("desk--v2", 20, gate(0.9, compared_with="desk--v1")),
        adapter("desk--v3", 10, gate(0.5, compared_with="desk--v1")),
        adapter("desk--v4", 5, gate(0.1, compared_with="the base model")),
    ]
    then, now = Tally(80.0, 100), Tally(50.0, 100)
    assert evaluations_of(live, others) == (
        Measure("task score on test", then, now),
        Measure("exact_match on test", then, now),
    )
    assert evaluations_of(live, others[:2]) == ()


def test_gates_without_numbers_say_nothing() -> None:
    """Older rows, and those of adapters from elsewhere, have none; a loss is no score."""
    newer = adapter("desk--v2", 10, gate(0.5, compared_with="desk--v1"))
    for record in ({}, {"numbers": {"test": {"candidate": {"task_score": None, "examples": 8}}}}):
        live = adapter("desk--v1", 30, record)
        assert evaluations_of(live, [live, newer]) == ()
    assert evaluations_of(adapter("desk--v1", 30, gate(37.5)), [newer]) == ()
    assert kept(adapter("desk--v1", 1, {})) is None
    assert kept(adapter("desk--v1", 1, gate(0.5))) == 0.9


def test_wishes_of_people_and_of_erasures_are_told_apart(session: Session) -> None:
    """A person's wish is by hand; an erasure asks for a full training."""

    def read(**values: Any) -> Signals:
        return read_signals(session, RULES, "desk", None, NOW, **values)

    assert read() == Signals()
    erasure = TrainingRequest(
        id="1", application="desk", reason="gone", requested_by="erasure", full=True
    )
    session.add(erasure)
    session.commit()
    assert read() == Signals(full_asked=True, erasure_asks=True)
    session.add(TrainingRequest(id="2", application="desk", reason="new tone", requested_by="ann"))
    session.commit()
    assert read().requested_by == "ann: new tone"
    assert read(requested_by="olga").requested_by == "olga"
    erasure.run_id = "run"
    session.commit()
    assert read() == Signals(requested_by="ann: new tone")


def report(id_: str, severity: str, days: float, adapter: str = "desk--v1") -> DriftReport:
    """Return a drift report of so many days ago."""
    made = NOW - days * DAY
    return DriftReport(
        id=id_,
        application="desk",
        adapter=adapter,
        made_at=made,
        window_start=made - DAY,
        window_end=made,
        reference_id="r",
        severity=severity,
        reason=f"{id_} is longer",
        folder="/reports",
    )


def test_new_subjects_of_a_report_are_the_share_of_traffic_that_moved(session: Session) -> None:
    """All clusters of its window together."""
    row = report("a", "act", 1)
    row.numbers = {"clusters": [{"share": 0.375}, {"share": 0.25}]}
    session.add(row)
    session.commit()
    drift = read_signals(session, RULES, "desk", live_adapter(session, "desk"), NOW).drift
    assert drift is not None
    assert drift.new_share == 0.625


def test_an_act_stands_over_what_is_watched_after_it(session: Session) -> None:
    """Its cool-down makes the next windows `watch`; a calm one ends it."""
    live = live_adapter(session, "desk")
    assert live is not None
    for number, (severity, counts) in enumerate(
        (("watch", "0"), ("act", "1"), ("watch", "1"), ("none", "3"), ("watch", "4"), ("act", "5"))
    ):
        session.add(report(str(number), severity, 9 - number))
        session.commit()
        drift = read_signals(session, RULES, "desk", live, NOW).drift
        assert drift is not None
        assert drift.report_id == counts


def test_the_newest_drift_report_on_the_live_adapter_counts(session: Session) -> None:
    """One on another adapter says nothing of it; a run answers all that ask for action."""
    live = live_adapter(session, "desk")
    assert read_signals(session, RULES, "desk", live, NOW).drift is None
    session.add_all([report("a", "act", 3), report("b", "act", 2), report("w", "watch", 9)])
    session.add(report("other", "none", 1, adapter="desk--v0"))
    session.commit()
    drift = read_signals(session, RULES, "desk", live, NOW).drift
    assert drift == Drift("b", "act", "b is longer", NOW - 2 * DAY)
    answer_reports(session, "desk", "run-1")
    session.commit()
    answer_reports(session, "desk", "run-2")
    session.commit()
    answered = {row.id: row.run_id for row in session.exec(select(DriftReport))}
    assert answered == {"a": "run-1", "b": "run-1", "w": None, "other": None}
    drift = read_signals(session, RULES, "desk", live, NOW).drift
    assert drift is not None
    assert drift.run_id == "run-1"


@pytest.mark.parametrize(
    ("before", "now", "sure"),
    [
        (Tally(56, 70), Tally(48, 80), True),
        (Tally(56, 70), Tally(60, 80), False),
        (Tally(10, 10), Tally(0, 20), True),
    ],
)
def test_a_fall_is_believed_when_chance_would_not_do_that(
    before: Tally, now: Tally, sure: bool
) -> None:
    """The bound is Newcombe's: his example 56/70 against 48/80 has 0.0524 to 0.3339 at 95 %."""
    fall = fall_of(Measure("ratings", before, now), 0.025)
    assert fall is not None
    assert (fall.at_least > 0.0) is sure
    if (before.good, now.good) == (56, 48):
        assert fall.at_least == pytest.approx(0.0524, abs=5e-5)
