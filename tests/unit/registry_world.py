"""A registry on disk: settings, a store, and adapters as finished runs leave them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.registry_settings import RegistrySettings
from core.settings import EngineSettings, Settings
from feedback.store import Store
from feedback.tables import Adapter, DatasetVersion, Run
from retrain.gate.verdict import Evaluated, Evaluation, decide
from retrain.recipe import load_recipe
from retrain.registry import ledger
from retrain.registry.record import FinishedRun
from retrain.registry.shelf import shelve
from retrain.registry.signing import open_signer
from retrain.runs.spec import Comparison, JobResult, TrainOutcome
from tests.fakes.lora import write_base_config, write_lora
from tests.ready_store import ready_store

OUTCOME = TrainOutcome(
    steps=40,
    epochs=5.0,
    train_loss=0.9,
    best_validation_loss=0.7,
    stopped_early=False,
    train_examples=64,
    new_examples=64,
    skipped_too_long=1,
    tokens_per_s=350.0,
    trainable_parameters=4_884_480,
)


@dataclass
class Registry:
    """A store and what lies beside it."""

    settings: Settings
    store: Store

    def dataset(self, id_: str = "desk--d1", content_hash: str = "abc") -> DatasetVersion:
        """Return the dataset version of that id, made if there is none."""
        with self.store.session() as session:
            known = session.get(DatasetVersion, id_)
            if known is None:
                known = DatasetVersion(
                    id=id_,
                    application=id_.partition("--")[0],
                    path=str(self.settings.folder("datasets") / id_),
                    content_hash=content_hash,
                    train_rows=64,
                    validation_rows=8,
                    test_rows=10,
                    new_rows=64,
                )
                session.add(known)
                session.commit()
            return known

    def trained(self, run_id: str, *, seed: int = 0, strength: float = 0.5) -> Path:
        """Return a run's folder with an adapter of random weights in it."""
        folder = self.settings.folder("runs") / run_id
        write_lora(
            folder / "adapter", self.settings.engine.model, rank=4, seed=seed, strength=strength
        )
        return folder

    def add(
        self, run_id: str = "run-1", *, loss: float = 0.4, parent: str | None = None, **seeds: Any
    ) -> Adapter:
        """Return the registered adapter of a run that ended with `loss` on its test questions."""
        folder = self.trained(run_id, **seeds)
        live = Evaluation(loss=1.0, task_score=0.5, examples=10)
        candidate = Evaluation(loss, 0.9, 10, 0.6)
        finished = FinishedRun(
            run=Run(
                id=run_id,
                application="desk",
                dataset_id="desk--d1",
                recipe="sft-lora",
                mode="incremental" if parent else "full",
                parent_adapter=parent,
                reason="growth: 12% new",
                status="running",
                folder=str(folder),
                hyperparameters=load_recipe("sft-lora").hyperparameters(),
            ),
            dataset=self.dataset(),
            result=JobResult(OUTCOME, {"test": Comparison(candidate, live)}, {"train": 60.0}),
            verdict=decide(Evaluated({"test": (candidate, live)}), self.settings.gate),
            rank=4,
            base_model=str(self.settings.engine.model),
            created_by="ann",
            settings_hash="settings",
        )
        with self.store.session() as session:
            place = ledger.reserve_folder(session, "desk", self.settings.folder("adapters"))
            signer = open_signer(self.settings)
            adapter = ledger.register(session, shelve(place, folder / "adapter", finished, signer))
            session.commit()
            return adapter


@contextmanager
def open_registry(folder: Path, **options: Any) -> Generator[Registry]:
    """Give a registry of its own in `folder`; options are those of the settings' section."""
    model = write_base_config(folder / "model")
    settings = Settings(
        data_dir=folder / "data",
        engine=EngineSettings(model=model),
        registry=RegistrySettings(**options),
    )
    store = ready_store(settings.store_address)
    try:
        yield Registry(settings, store)
    finally:
        store.close()
