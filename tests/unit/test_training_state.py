"""What the policy is told: counts, lineage and last starts, read from the tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import Session

from core.settings import EngineSettings, Settings
from feedback.store import Store
from feedback.tables import Adapter, Application, DatasetMember, Run
from retrain.state import Signals, read_state

SETTINGS = Settings(engine=EngineSettings(model=Path("models/base")))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a session on a store that knows the application `desk`."""
    store = Store(f"sqlite:///{tmp_path}/store.db")
    store.create_tables()
    with store.session() as opened:
        opened.add(Application(name="desk"))
        opened.commit()
        yield opened
    store.close()


def add_dataset(session: Session, dataset_id: str, interactions: range) -> None:
    """Add the lineage of a dataset version."""
    for number in interactions:
        session.add(
            DatasetMember(dataset_id=dataset_id, interaction_id=f"i{number}", split="train")
        )
    session.commit()


def add_adapter(session: Session, name: str, dataset_id: str, parent: str | None = None) -> None:
    """Add an adapter that is live from now on."""
    session.add(
        Adapter(
            name=name,
            application="desk",
            base_model="models/base",
            path=f"/adapters/{name}",
            content_hash="0",
            run_id="run",
            dataset_id=dataset_id,
            parent_adapter=parent,
            rank=16,
            created_by="ann",
        )
    )
    session.get_one(Application, "desk").live_adapter = name
    session.commit()


def add_run(session: Session, reason: str, hour: int, status: str = "finished") -> None:
    """Add a run on dataset `desk--d1` that started at `hour`."""
    session.add(
        Run(
            id=f"run-{reason}-{hour}",
            application="desk",
            dataset_id="desk--d1",
            recipe="sft-lora",
            mode="full",
            reason=reason,
            status=status,
            folder="/runs/x",
            started_at=datetime(2026, 3, 1, hour, tzinfo=UTC),
        )
    )
    session.commit()


def test_before_the_first_adapter_everything_is_new(session: Session) -> None:
    """All examples count as new, and nothing is live."""
    add_dataset(session, "desk--d1", range(10))
    state = read_state(session, SETTINGS, "desk", "desk--d1")
    assert (state.total_examples, state.new_examples) == (10, 10)
    assert state.live_adapter is None
    assert state.base_model == "models/base"
    assert not state.already_trained


def test_new_is_what_the_live_adapter_did_not_learn_from(session: Session) -> None:
    """Growth counts against the live adapter's dataset, not against the version before."""
    add_dataset(session, "desk--d1", range(10))
    add_dataset(session, "desk--d2", range(12))
    add_dataset(session, "desk--d3", range(2, 15))
    add_adapter(session, "desk--v1", "desk--d1")
    state = read_state(session, SETTINGS, "desk", "desk--d3")
    assert (state.total_examples, state.new_examples) == (13, 5)
    assert state.trained_base_model == "models/base"


def test_increments_count_back_to_the_last_full_training(session: Session) -> None:
    """Two continuations after a full training are two increments."""
    add_adapter(session, "desk--v1", "desk--d1")
    assert read_state(session, SETTINGS, "desk", "desk--d1").increments == 0
    add_adapter(session, "desk--v2", "desk--d1", parent="desk--v1")
    add_adapter(session, "desk--v3", "desk--d1", parent="desk--v2")
    assert read_state(session, SETTINGS, "desk", "desk--d1").increments == 2


def test_last_starts_are_known_by_trigger(session: Session) -> None:
    """The newest start of each trigger counts, failed ones too: they cool down as well."""
    add_run(session, "growth: 12% new", 9)
    add_run(session, "growth: 15% new", 11, status="failed")
    add_run(session, "drop: fell", 10)
    last = read_state(session, SETTINGS, "desk", "desk--d1").last_started
    assert last == {
        "growth": datetime(2026, 3, 1, 11, tzinfo=UTC),
        "drop": datetime(2026, 3, 1, 10, tzinfo=UTC),
    }


def test_only_a_finished_run_has_trained_the_dataset(session: Session) -> None:
    """After a failed run the same dataset may be tried again."""
    add_run(session, "growth: x", 9, status="failed")
    assert not read_state(session, SETTINGS, "desk", "desk--d1").already_trained
    add_run(session, "growth: x", 10)
    assert read_state(session, SETTINGS, "desk", "desk--d1").already_trained
    assert not read_state(session, SETTINGS, "desk", "desk--d2").already_trained


def test_signals_of_other_stages_are_handed_on(session: Session) -> None:
    """Scores, drift, schedule and wish reach the policy as they are."""
    signals = Signals(0.8, 0.7, domain_shift=True, scheduled=True, requested_by="ann")
    state = read_state(session, SETTINGS, "desk", "desk--d1", signals)
    assert (state.baseline_score, state.recent_score) == (0.8, 0.7)
    assert state.domain_shift
    assert state.scheduled
    assert state.requested_by == "ann"
