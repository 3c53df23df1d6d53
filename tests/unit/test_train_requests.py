"""Requests that cannot be trained are refused before a process starts or a row is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from core.errors import NotFoundError, RatchetError, SettingsError, StateError, TrainingError
from core.files import folder_sha256
from core.settings import EngineSettings, Settings
from feedback.store import Store
from feedback.tables import Adapter, DatasetVersion, Run
from retrain.recipe import load_recipe
from retrain.runs.assembly import TrainRequest, job_for
from retrain.runs.runner import resume_run, train_adapter
from tests.ready_store import ready_store

REQUEST = TrainRequest("desk", "desk--d1", "full", None, "sft-lora", "by_hand: test", "ann")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store with one dataset version."""
    opened = ready_store(f"sqlite:///{tmp_path}/store.db")
    with opened.session() as session:
        session.add(
            DatasetVersion(
                id="desk--d1",
                application="desk",
                path=str(tmp_path / "desk--d1"),
                content_hash="0",
                train_rows=8,
                validation_rows=1,
                test_rows=5,
                new_rows=14,
            )
        )
        session.commit()
    yield opened
    opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings whose base model is a folder with a configuration."""
    model = tmp_path / "base"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return Settings(data_dir=tmp_path / "data", engine=EngineSettings(model=model))


def add_adapter(store: Store, folder: Path, rank: int, base_model: str) -> None:
    """Register the live adapter `desk--v1` of that rank."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"r": rank, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["q_proj"]})
    )
    with store.session() as session:
        session.add(
            Adapter(
                name="desk--v1",
                application="desk",
                base_model=base_model,
                path=str(folder),
                content_hash=folder_sha256(folder),
                run_id="run",
                dataset_id="desk--d1",
                rank=rank,
                created_by="ann",
            )
        )
        session.commit()


def assert_nothing_written(store: Store, settings: Settings) -> None:
    """Neither a row nor a folder of a run exists."""
    with store.session() as session:
        assert session.exec(select(Run)).all() == []
    assert list(settings.folder("runs").iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "error", "told"),
    [
        (replace(REQUEST, dataset_id="desk--d9"), NotFoundError, "no dataset version 'desk--d9'"),
        (replace(REQUEST, recipe="magic"), SettingsError, "no recipe 'magic'"),
        (replace(REQUEST, parent_adapter="desk--v9"), NotFoundError, "no adapter 'desk--v9'"),
        (replace(REQUEST, mode="incremental"), TrainingError, "needs a parent adapter"),
    ],
)
def test_impossible_request_is_refused(
    store: Store, settings: Settings, request_: TrainRequest, error: type[RatchetError], told: str
) -> None:
    """The error names what is missing, and nothing is left behind."""
    with pytest.raises(error, match=told):
        train_adapter(store, settings, request_)
    assert_nothing_written(store, settings)


def test_missing_base_model_is_named_with_its_command(store: Store, tmp_path: Path) -> None:
    """The error says how to prepare the model."""
    absent = EngineSettings(model=tmp_path / "absent")
    settings = Settings(data_dir=tmp_path / "data", engine=absent)
    with pytest.raises(TrainingError, match=r"holds no model: run `python -m retrain\.model"):
        train_adapter(store, settings, REQUEST)
    assert_nothing_written(store, settings)


def test_adapter_of_another_base_cannot_be_continued(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    """What it adds fits one base model only."""
    add_adapter(store, tmp_path / "desk--v1", 16, "models/older")
    request = replace(REQUEST, mode="incremental", parent_adapter="desk--v1")
    with pytest.raises(TrainingError, match=r"trained on models/older.*cannot move.*in full"):
        train_adapter(store, settings, request)
    assert_nothing_written(store, settings)


def test_an_adapter_of_another_base_is_not_loaded_to_compare_with(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    """A full training on a new base is judged against that base; its old questions stay."""
    add_adapter(store, tmp_path / "desk--v1", 16, "models/older")
    request = replace(REQUEST, parent_adapter="desk--v1")
    recipe = load_recipe("sft-lora").for_mode("full")
    with store.session() as session:
        spec = job_for(session, settings, request, recipe, "run-1")
    assert spec.live_adapter is None
    assert spec.seen_dataset == str(tmp_path / "desk--d1")


def test_adapter_of_another_shape_cannot_be_continued(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    """A recipe with another rank than the live adapter's asks for a full training."""
    add_adapter(store, tmp_path / "desk--v1", 4, str(settings.engine.model))
    request = replace(REQUEST, mode="incremental", parent_adapter="desk--v1")
    with pytest.raises(TrainingError, match=r"cannot be continued.*rank is 4.*train in full"):
        train_adapter(store, settings, request)
    assert_nothing_written(store, settings)


def test_unknown_run_cannot_be_resumed(store: Store, settings: Settings) -> None:
    """The error names the run."""
    with pytest.raises(NotFoundError, match="no run 'x'"):
        resume_run(store, settings, "x")


def test_finished_run_cannot_be_resumed(store: Store, settings: Settings, tmp_path: Path) -> None:
    """A run makes one adapter and no second one."""
    with store.session() as session:
        session.add(
            Run(
                id="done",
                application="desk",
                dataset_id="desk--d1",
                recipe="sft-lora",
                mode="full",
                reason="by_hand: test",
                status="finished",
                folder=str(tmp_path),
            )
        )
        session.commit()
    with pytest.raises(StateError, match="run done is finished"):
        resume_run(store, settings, "done")
