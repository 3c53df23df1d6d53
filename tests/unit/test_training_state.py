"""What the policy is told: counts, lineage and last starts, read from the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from core.settings import EngineSettings, ErasureSettings, RetrainSettings, Settings
from feedback.tables import Application, Rollout
from retrain.policy import decide
from retrain.runs.attending import attended
from retrain.signals import Signals
from retrain.situation import Drift, Failures, Measure, State, Tally
from retrain.state import live_adapter, read_state
from tests.ready_store import ready_store
from tests.unit.policy_world import DAY, NOW, add_adapter, add_dataset, add_run

SETTINGS = Settings(engine=EngineSettings(model=Path("models/base")))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a session on a store that knows the application `desk`."""
    store = ready_store(f"sqlite:///{tmp_path}/store.db")
    with store.session() as opened:
        opened.add(Application(name="desk"))
        opened.commit()
        yield opened
    store.close()


def read(session: Session, dataset_id: str | None = "desk--d1", **values: Any) -> State:
    """Return the state of `desk`."""
    return read_state(session, SETTINGS, "desk", dataset_id, **values)


def test_before_the_first_adapter_everything_is_new(session: Session) -> None:
    """All examples count as new, and nothing is live."""
    add_dataset(session, "desk--d1", range(10))
    state = read(session)
    assert (state.total_examples, state.new_examples) == (10, 10)
    assert state.live_adapter is None
    assert state.base_model == "models/base"
    assert not state.already_trained
    assert (state.trained_at, state.work, state.failures) == (None, None, None)


def test_without_a_dataset_there_are_no_examples(session: Session) -> None:
    """An application may be asked about before anything was curated."""
    assert read(session, None).total_examples == 0


def test_new_is_what_the_live_adapter_did_not_learn_from(session: Session) -> None:
    """Growth counts against the live adapter's dataset, not against the version before."""
    add_dataset(session, "desk--d1", range(10))
    add_dataset(session, "desk--d2", range(12))
    add_dataset(session, "desk--d3", range(2, 15))
    add_adapter(session, "desk--v1", "desk--d1")
    state = read(session, "desk--d3")
    assert (state.total_examples, state.new_examples) == (13, 5)
    assert state.trained_base_model == "models/base"


def test_increments_count_back_to_the_last_full_training(session: Session) -> None:
    """Each continuation is a step, with what it kept of what there was before it."""
    add_adapter(session, "desk--v1", "desk--d1", gate=retention(0.90))
    assert read(session).steps_kept == ()
    add_adapter(session, "desk--v2", "desk--d1", parent_adapter="desk--v1", gate=retention(0.9))
    add_adapter(session, "desk--v3", "desk--d1", parent_adapter="desk--v2", gate=retention(0.81))
    add_adapter(session, "desk--v4", "desk--d1", parent_adapter="desk--v3")
    assert read(session).steps_kept == (1.0, pytest.approx(0.9), None)


def retention(kept: float) -> dict[str, Any]:
    """Return a gate that measured what was kept of the base model's score."""
    return {"suites": {"retention": {"kept": kept}}}


def test_the_next_increment_after_the_last_allowed_one_is_a_full_training(
    session: Session,
) -> None:
    """Error accumulation is bounded: after N increments the N+1th begins from the base model."""
    rules = RetrainSettings(max_increments=3)
    add_dataset(session, "desk--d1", range(80))
    add_dataset(session, "desk--d2", range(100))
    modes: list[str | None] = []
    for number in range(1, 6):
        parent = f"desk--v{number - 1}" if modes and modes[-1] == "incremental" else None
        add_adapter(session, f"desk--v{number}", "desk--d1", parent_adapter=parent)
        plan = decide(read(session, "desk--d2"), rules, NOW)
        modes.append(plan.mode)
    assert modes == ["incremental", "incremental", "incremental", "full", "incremental"]


def test_last_starts_are_known_by_trigger(session: Session) -> None:
    """The newest start of each trigger counts, failed ones too: they cool down as well."""
    add_run(session, "growth: 12% new", 9)
    add_run(session, "growth: 15% new", 11, status="failed")
    add_run(session, "rating: fell", 10)
    assert read(session).last_started == {
        "growth": datetime(2026, 3, 1, 11, tzinfo=UTC),
        "rating": datetime(2026, 3, 1, 10, tzinfo=UTC),
    }


def test_only_a_finished_run_has_trained_the_dataset(session: Session) -> None:
    """After a failed run the same dataset may be tried again; a reward model answers nobody."""
    add_run(session, "growth: x", 8, status="failed")
    add_run(session, "by_hand: x", 9, hyperparameters={"trainer": "reward"})
    assert not read(session).already_trained
    add_run(session, "growth: x", 10)
    assert read(session).already_trained
    assert not read(session, "desk--d2").already_trained


def test_a_run_on_another_base_model_has_not_trained_the_dataset(session: Session) -> None:
    """Its adapter does not fit the base model that is served now."""
    run = add_run(session, "growth: x", 10)
    add_adapter(session, "desk--v1", "desk--d1", run_id=run.id, base_model="models/older")
    state = read(session)
    assert not state.already_trained
    assert state.base_model_changed


def test_a_run_from_before_the_taint_has_not_trained_the_dataset(session: Session) -> None:
    """The dataset was written anew without the person since then."""
    run = add_run(session, "growth: x", 10)
    tainted = {"tainted_at": NOW.replace(hour=11)}
    add_adapter(session, "desk--v1", "desk--d1", run_id=run.id, **tainted)
    state = read(session)
    assert (state.tainted, state.replaces_tainted, state.already_trained) == (True, True, False)
    add_run(session, "tainted: x", 12)
    assert read(session).already_trained


def test_the_settings_say_whether_a_tainted_adapter_is_replaced(session: Session) -> None:
    """Who only marks them trains nothing, unless that was asked for before."""
    add_adapter(session, "desk--v1", "desk--d1", tainted_at=NOW)
    marks = SETTINGS.model_copy(update={"erasure": ErasureSettings(adapters="mark")})
    assert not read_state(session, marks, "desk", None).replaces_tainted
    asked = Signals(erasure_asks=True)
    assert read_state(session, marks, "desk", None, asked).replaces_tainted


def test_the_last_good_training_is_known(session: Session) -> None:
    """A finished run's start; of an adapter from elsewhere, when it came."""
    add_adapter(session, "desk--v1", "desk--d1")
    assert read(session).trained_at == NOW - 30 * DAY
    add_run(session, "growth: x", 9)
    add_run(session, "growth: y", 10, status="failed")
    assert read(session).trained_at == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_failures_in_a_row_are_counted(session: Session) -> None:
    """Only the newest ones, and not those of before a success."""
    add_run(session, "growth: a", 6, status="failed")
    add_run(session, "growth: b", 7)
    assert read(session).failures is None
    add_run(session, "growth: c", 8, status="cancelled", finished_at=NOW)
    assert read(session).failures == Failures(1, NOW)
    add_run(session, "growth: d", 9, status="failed")
    assert read(session).failures == Failures(2, NOW.replace(hour=9))


def test_a_run_that_somebody_waits_for_is_at_work(session: Session, tmp_path: Path) -> None:
    """One that broke off is not: it may be resumed, and nobody else waits for it."""
    add_run(session, "growth: x", 9, status="running", folder=str(tmp_path))
    assert read(session).work is None
    with attended(tmp_path):
        work = read(session).work
    assert work is not None
    assert work.told.endswith("is running")
    assert work.untainted


def test_a_rollout_is_at_work(session: Session) -> None:
    """Until it is over; one of an adapter from before the taint is told apart."""
    run = add_run(session, "growth: x", 9)
    add_adapter(session, "desk--v2", "desk--d1", run_id=run.id)
    add_adapter(session, "desk--v1", "desk--d1", tainted_at=NOW)
    rollout = Rollout(
        id="r", application="desk", canary_adapter="desk--v2", state="canary", salt="s"
    )
    session.add(rollout)
    session.commit()
    work = read(session).work
    assert work is not None
    assert work.told == "desk--v2 is in its rollout (canary)"
    assert not work.untainted
    rollout.finished_at = NOW
    session.commit()
    assert read(session).work is None


def test_a_recipe_of_another_shape_is_told(session: Session, tmp_path: Path) -> None:
    """An adapter of rank 4 cannot be continued by a recipe of rank 16."""
    add_adapter(session, "desk--v1", "desk--d1", path=str(tmp_path))
    assert read(session).unfit is None  # no files: the training would say so
    shape = {"r": 4, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(shape))
    told = read(session).unfit
    assert told is not None
    assert told.startswith("recipe sft-lora makes another adapter: rank is 4")


def test_signals_of_other_stages_are_handed_on(session: Session) -> None:
    """Ratings, evaluations, drift and wish reach the policy as they are."""
    fell = Measure("ratings", Tally(8, 10), Tally(7, 10))
    drift = Drift("d", "act", "longer", NOW, new_share=0.6)
    signals = Signals(fell, (fell,), drift, requested_by="ann", full_asked=True)
    state = read(session, signals=signals)
    assert (state.ratings, state.evaluations) == (fell, (fell,))
    assert state.moved_share == 0.6
    assert state.full_asked
    assert state.requested_by == "ann"
    assert read(session, signals=Signals("12 of 30")).ratings_note == "12 of 30"


def test_an_unknown_application_has_no_live_adapter(session: Session) -> None:
    """The base model answers whoever is not known."""
    assert live_adapter(session, "nobody") is None
