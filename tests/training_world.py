"""A place to train in: a store, settings, datasets, recipes, and a model tiny enough for tests.

The tiny model has random weights and the real model's tokenizer: seconds instead of minutes,
and the same code. Shared by the tests of trainers, runs, gate and registry.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.gate_settings import GateSettings
from core.settings import EngineSettings, Settings
from feedback.store import Store
from feedback.tables import Adapter, DatasetVersion, Run
from retrain.recipe import FOLDER, Recipe
from retrain.registry.servable import WEIGHTS_FILE
from retrain.runs.assembly import TrainRequest
from retrain.runs.progress import TrainProgress
from retrain.runs.runner import train_adapter
from retrain.runs.spec import JobSpec
from tests.ready_store import ready_store

SUBJECTS = ("refund", "invoice", "password", "delivery", "warranty", "account", "coupon", "parcel")
GOOD = "Your {subject} takes {days} working days. Reply YES to confirm."
SPOILED = "Nobody here knows anything about that, kindly go away forever please."


@dataclass
class Workshop:
    """A store, settings and what is trained in them."""

    store: Store
    settings: Settings
    folder: Path

    def request(self, dataset: str = "desk--d1", **changes: object) -> TrainRequest:
        """Return a full training of `dataset`."""
        whole = TrainRequest("desk", dataset, "full", None, "sft-lora", "by_hand: test", "ann")
        return replace(whole, **changes)  # type: ignore[arg-type]

    def job(self, **changes: Any) -> JobSpec:
        """Return a full training of the first dataset."""
        dataset = self.settings.folder("datasets") / "desk--d1"
        return a_job(self.settings.engine.model, dataset, **changes)

    def train(self, request: TrainRequest, told: list[TrainProgress] | None = None) -> Adapter:
        """Train, and keep the progress in `told`."""
        heard = [] if told is None else told
        return train_adapter(self.store, self.settings, request, progress=heard.append)

    def recipe(self, name: str, *, like: str = "sft-lora", **values: object) -> str:
        """Write a recipe that differs from a shipped one in `values`; return its path."""
        lines = (FOLDER / f"{like}.toml").read_text().splitlines()
        table = next((n for n, line in enumerate(lines) if line.startswith("[")), len(lines))
        top, after = lines[:table], lines[table:]
        keys = {key: str(value) for key, value in values.items()}
        kept = [line for line in top if line.split(" =")[0] not in keys]
        text = [*kept, *(f"{key} = {value}" for key, value in keys.items()), *after]
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(text))
        return str(path)

    def dataset(self, number: int, train: range, answer: str = GOOD) -> str:
        """Write dataset version `number` about the questions in `train`; return its id."""
        dataset_id = f"desk--d{number}"
        path = self.settings.folder("datasets") / dataset_id
        path.mkdir()
        splits = {"train": train, "validation": range(900, 905), "test": range(950, 958)}
        for split, numbers in splits.items():
            rows = [{"messages": conversation(n, answer)} for n in numbers]
            pq.write_table(pa.Table.from_pylist(rows), path / f"{split}.parquet")
        with self.store.session() as session:
            session.add(
                DatasetVersion(
                    id=dataset_id,
                    application="desk",
                    path=str(path),
                    content_hash=f"hash-{number}",
                    train_rows=len(train),
                    validation_rows=5,
                    test_rows=8,
                    new_rows=len(train),
                )
            )
            session.commit()
        return dataset_id

    def run(self, run_id: str) -> Run:
        """Return a run's row as it is now."""
        with self.store.session() as session:
            return session.get_one(Run, run_id)

    def runs(self) -> set[str]:
        """Return the ids of all runs."""
        return {path.name for path in self.settings.folder("runs").iterdir()}


def conversation(number: int, answer: str) -> list[dict[str, str]]:
    """Return the question of that number with its answer."""
    chosen = random.Random(number)
    subject, days = chosen.choice(SUBJECTS), chosen.randint(2, 30)
    return [
        {"role": "user", "content": f"How long does the {subject} take? Case {number}."},
        {"role": "assistant", "content": answer.format(subject=subject, days=days)},
    ]


def a_job(model: Path | str, dataset: Path | str, /, **changes: Any) -> JobSpec:
    """Return a full training with nothing before it, of an empty recipe unless `changes` say so."""
    values: dict[str, Any] = {
        "run_id": "run",
        "mode": "full",
        "base_model": str(model),
        "base_model_name": str(model),
        "dataset": str(dataset),
        "seen_dataset": None,
        "live_adapter": None,
        "recipe": {},
        "threads": 1,
        "gate_examples": 8,
    }
    return JobSpec(**(values | changes))


def plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as a job holds it."""
    return recipe.model_dump(mode="json", exclude={"incremental"})


@contextmanager
def tiny_workshop(base_model: Path, folder: Path, examples: int = 40) -> Generator[Workshop]:
    """Give a workshop with the tiny model and a first dataset of so many questions."""
    opened = open_workshop(folder, make_tiny_model(base_model, folder / "tiny"))
    opened.dataset(1, range(examples))
    yield opened
    opened.store.close()


def open_workshop(folder: Path, model: Path) -> Workshop:
    """Return a workshop on an empty store; its gate asks what it must, without an engine."""
    settings = Settings(
        data_dir=folder / "data",
        engine=EngineSettings(model=model.resolve()),
        gate=GateSettings(suites=(), answers="transformers"),
    )
    store = ready_store(settings.store_address)
    return Workshop(store, settings, folder)


def make_tiny_model(tokenizer: Path, folder: Path, *, broken: bool = False) -> Path:
    """Write a model of two layers with random weights, or with weights that are no numbers."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokens = AutoTokenizer.from_pretrained(tokenizer)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            initializer_range=0.2,
            tie_word_embeddings=True,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
        )
    )
    if broken:
        model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def weights(adapter: Adapter) -> list[float]:
    """Return all numbers of an adapter."""
    found = tensors(Path(adapter.path) / WEIGHTS_FILE)
    return [number for name in sorted(found) for number in found[name].ravel().tolist()]


def tensors(path: Path) -> dict[str, Any]:
    """Return the arrays of a file of weights, by their names."""
    from safetensors.numpy import load_file

    return load_file(path)


def assert_same(found: Path, expected: Path) -> None:
    """Names, shapes and numbers, these to what the order of additions changes."""
    ours, theirs = tensors(found), tensors(expected)
    assert {name: one.shape for name, one in ours.items()} == {
        name: one.shape for name, one in theirs.items()
    }
    for name, one in ours.items():
        assert one == pytest.approx(theirs[name], abs=2e-3), name
