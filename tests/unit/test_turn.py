"""A turn of the loop goes stage by stage, and ends where a stage says no."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

from core.clock import utc_now
from core.errors import GateError, NotFoundError, StateError, TrainingError
from core.settings import ApplicationSettings, load_settings
from feedback.tables import (
    Adapter,
    AdapterReplica,
    DatasetMember,
    DatasetVersion,
    EngineReplica,
    Rollout,
)
from loop.conductor import Conductor
from loop.narration import Narrator
from loop.turn import (
    curate,
    plan_training,
    retrain,
    start_canary,
    tell_gate,
    turn,
    wait_for_decision,
    wait_for_end,
)
from loop.wiring import Parts, open_parts
from retrain.policy import Plan
from tests.unit.loop_world import add_adapters, write_settings_file


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """A store with the application `desk`, an adapter that passed the gate and one that did not."""
    monkeypatch.setenv("RATCHET_SETTINGS", str(tmp_path / "ratchet.toml"))
    with open_parts(load_settings(write_settings_file(tmp_path))) as opened:
        add_adapters(opened.store)
        yield opened


@pytest.fixture
def told() -> io.StringIO:
    """What the narrator says."""
    return io.StringIO()


@pytest.fixture
def narrator(told: io.StringIO) -> Narrator:
    """A narrator that writes where the test reads."""
    return Narrator(Console(file=told, width=200))


def dataset(parts: Parts, rows: int) -> DatasetVersion:
    """Return a dataset version with so many examples."""
    row = DatasetVersion(
        id="desk--d1",
        application="desk",
        path="/datasets/desk--d1",
        content_hash="0" * 64,
        train_rows=rows,
        validation_rows=0,
        test_rows=0,
        new_rows=rows,
    )
    with parts.store.session() as session:
        session.add(row)
        for number in range(rows):
            session.add(DatasetMember(dataset_id=row.id, interaction_id=str(number), split="train"))
        session.commit()
    return row


def replica_says(parts: Parts, state: str) -> None:
    """Let the engine say something of `desk--v1`."""
    with parts.store.session() as session:
        session.merge(EngineReplica(engine="e", state="up"))
        session.merge(AdapterReplica(adapter="desk--v1", engine="e", state=state))
        session.commit()


def conductor(parts: Parts) -> Conductor:
    return Conductor(parts.store, parts.log, parts.settings.canary)


def test_an_unknown_application_is_named_before_anything_is_done(
    parts: Parts, narrator: Narrator, told: io.StringIO
) -> None:
    """The error lists the applications there are; no stage has begun."""
    with pytest.raises(NotFoundError, match="no application 'nobody'; the settings name: desk"):
        turn(parts, "nobody", narrator)
    with pytest.raises(NotFoundError, match="nobody"):
        curate(parts, "nobody", narrator)
    assert told.getvalue() == ""


def test_the_policy_says_no_without_examples(parts: Parts) -> None:
    """Nothing is trained on an empty dataset, whoever asks."""
    plan = plan_training(parts, "desk", dataset(parts, rows=0), requested_by="olga")
    assert not plan.train
    assert "no approved examples" in plan.reason


def test_a_first_adapter_is_trained_in_full(parts: Parts) -> None:
    """With examples and no live adapter the policy says yes and why."""
    plan = plan_training(parts, "desk", dataset(parts, rows=30))
    assert (plan.train, plan.mode, plan.trigger) == (True, "full", "first")


def test_a_persons_wish_is_the_reason(parts: Parts) -> None:
    """Who asked by hand is kept with the plan."""
    plan = plan_training(parts, "desk", dataset(parts, rows=30), requested_by="olga")
    assert "asked for by olga" in plan.reason


def test_a_plan_not_to_train_is_not_carried_out(parts: Parts, narrator: Narrator) -> None:
    """The error has the policy's reason."""
    plan = Plan(False, None, "its cool-down is left")
    with pytest.raises(TrainingError, match="its cool-down is left"):
        retrain(parts, "desk", dataset(parts, rows=30), plan, narrator)


def test_an_adapter_whose_gate_failed_is_not_started(parts: Parts) -> None:
    """The gate's reason is told, and there is no rollout."""
    with pytest.raises(GateError, match="loss is up"):
        start_canary(parts, "desk--v2")
    with parts.store.session() as session:
        assert session.get_one(Adapter, "desk--v2").status == "candidate"


def test_an_application_that_takes_no_canaries_starts_none(parts: Parts) -> None:
    """The settings to change are named."""
    kept_out = ApplicationSettings(api_key=SecretStr("key"), canary=False)
    settings = parts.settings.model_copy(update={"applications": {"desk": kept_out}})
    with pytest.raises(StateError, match=r"applications\.desk\.adapter"):
        start_canary(replace(parts, settings=settings), "desk--v1")


def test_the_gates_reasons_are_told_as_they_are(
    parts: Parts, narrator: Narrator, told: io.StringIO
) -> None:
    """Brackets in a reason are words, not colours."""
    with parts.store.session() as session:
        adapter = session.get_one(Adapter, "desk--v2")
    tell_gate(adapter, narrator)
    assert "gate for desk--v2: fail" in told.getvalue()
    assert "loss is up [by 9 %]" in told.getvalue()


def test_waiting_ends_with_the_decision(
    parts: Parts, narrator: Narrator, told: io.StringIO
) -> None:
    """Each move is told once, in the words of its reason; a promotion is a decision."""
    rollout = start_canary(parts, "desk--v1")
    replica_says(parts, "ready")
    assert conductor(parts).check(rollout.id).state == "canary"

    def promote() -> None:
        conductor(parts).promote(rollout.id, operator="olga", reason="see [/INC-12]")

    later = threading.Timer(0.2, promote)
    later.start()
    decided = wait_for_decision(parts, rollout.id, narrator)
    later.join()
    assert decided.state == "watch"
    lines = [line.split(" at ")[0].strip() for line in told.getvalue().splitlines()]
    assert lines == ["canary", "watch"]
    assert "see [/INC-12]" in told.getvalue()


def test_waiting_for_the_end_outlasts_the_watch(parts: Parts, narrator: Narrator) -> None:
    """The watch can still reverse a promotion, so it is not the end."""
    rollout = start_canary(parts, "desk--v1")
    replica_says(parts, "ready")
    conductor(parts).check(rollout.id)
    conductor(parts).promote(rollout.id, operator="olga", reason="in a hurry")

    def end() -> None:
        conductor(parts).roll_back(rollout.id, operator="olga", reason="a complaint")

    later = threading.Timer(0.2, end)
    later.start()
    assert wait_for_end(parts, rollout.id, narrator).state == "rolled_back"
    later.join()


def test_a_rollout_that_ended_is_not_waited_for(parts: Parts, narrator: Narrator) -> None:
    """A rollback is a decision too."""
    rollout = start_canary(parts, "desk--v1")
    with parts.store.session() as session:
        row = session.get_one(Rollout, rollout.id)
        row.state, row.finished_at = "rolled_back", utc_now()
        session.add(row)
        session.commit()
    assert wait_for_decision(parts, rollout.id, narrator).state == "rolled_back"


def test_waiting_for_an_unknown_rollout_is_an_error(parts: Parts, narrator: Narrator) -> None:
    """It would else last for ever."""
    with pytest.raises(NotFoundError, match="r9"):
        wait_for_decision(parts, "r9", narrator)
