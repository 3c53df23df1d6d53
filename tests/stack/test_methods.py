"""Every method of the recipes, on a tiny model: trains, is saved, loaded, merged, and judged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrain.recipe import Recipe, load_recipe
from retrain.recipe_rules import MERGEABLE
from retrain.registry.servability import servability
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, trained_folder
from tests.training_world import Workshop, make_tiny_model, open_workshop

pytestmark = [
    pytest.mark.stack,
    # torch, transformers and trl are imported in this process; their warnings are theirs
    pytest.mark.filterwarnings("ignore"),
]
METHODS = ("lora", "dora", "ia3", "oft", "peanut", "prefix", "prompt", "full")


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a small dataset."""
    folder = tmp_path_factory.mktemp("methods")
    opened = open_workshop(folder, make_tiny_model(base_model, folder / "tiny"))
    opened.dataset(1, range(16))
    yield opened
    opened.store.close()


def spec_of(workshop: Workshop, recipe: Recipe, **changes: Any) -> JobSpec:
    """Return a full training of the workshop's dataset."""
    model = workshop.settings.engine.model
    values: dict[str, Any] = {
        "run_id": "run",
        "mode": "full",
        "base_model": str(model),
        "base_model_name": str(model),
        "dataset": str(workshop.settings.folder("datasets") / "desk--d1"),
        "seen_dataset": None,
        "live_adapter": None,
        "recipe": {},
        "threads": 1,
        "gate_examples": 8,
    }
    return JobSpec(**(values | changes))


def small(name: str, **changes: Any) -> Recipe:
    """Return a shipped recipe, made short."""
    short = {
        "epochs": 2,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "max_length": 128,
        "eval_every_steps": 2,
        "save_every_steps": 2,
        "gradient_checkpointing": False,
    }
    return load_recipe(name).for_mode("full").model_copy(update=short | changes)


def logits(model: Any) -> Any:
    """Return what the model says after a few ids."""
    import torch

    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits[:, -5:]


@pytest.mark.parametrize("method", METHODS)
def test_method(workshop: Workshop, tmp_path: Path, method: str) -> None:
    """Trained, it answers otherwise than the base; saved and loaded, merged or not, as trained."""
    import torch
    from peft import PeftModel

    from retrain.training import sft
    from retrain.training.methods import load_base, load_trained

    recipe = small(f"sft-{method}", learning_rate=1e-2)
    spec = spec_of(workshop, recipe)
    outcome = sft.train(spec, recipe, Reporter(io.StringIO(), tmp_path))
    folder = trained_folder(tmp_path)
    assert outcome.steps == 4
    assert outcome.best_validation_loss is not None
    assert outcome.trainable_parameters > 0

    base = logits(load_base(spec.base_model, torch.float32))
    loaded = logits(load_trained(spec.base_model, folder, torch.float32))
    assert not torch.allclose(base, loaded, atol=1e-3)
    if method != "full":
        model = PeftModel.from_pretrained(load_base(spec.base_model, torch.float32), str(folder))
        torch.testing.assert_close(logits(model), loaded, atol=1e-4, rtol=1e-4)

    found = servability(folder, workshop.settings.engine)
    assert found.method == method
    assert found.servable == (method == "lora")
    assert found.servable != bool(found.reasons)
    merges = "ratchet merge" in " ".join(found.reasons)
    assert merges == (method in {*MERGEABLE, "full"} - {"lora"})
