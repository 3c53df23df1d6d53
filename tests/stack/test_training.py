"""Runs as they are: the real subprocess, TRL and PEFT; the real model once, a tiny one mostly.

The tiny model has random weights and the real model's tokenizer: seconds instead of minutes,
and the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import StateError, TrainingError
from feedback.tables import Adapter
from retrain.examples import Example
from retrain.recipe import load_recipe
from retrain.registry import ledger
from retrain.registry.servable import check_servable
from retrain.runs.checkpoints import newest_complete
from retrain.runs.progress import TrainProgress
from retrain.runs.runner import resume_run, train_adapter
from retrain.runs.spec import CHECKPOINT_FOLDER
from tests.training_world import (
    GOOD,
    SPOILED,
    Workshop,
    conversation,
    make_tiny_model,
    open_workshop,
    tiny_workshop,
    weights,
)

pytestmark = [
    pytest.mark.stack,
    # torch, transformers and trl are imported in this process too; their warnings are theirs
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a first dataset."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


@pytest.fixture(scope="module")
def quick(workshop: Workshop) -> str:
    """Give the recipe that the tiny model learns by."""
    return workshop.recipe(
        "quick", rank=4, learning_rate=0.01, epochs=6, save_every_steps=4, eval_every_steps=4
    )


@pytest.fixture(scope="module")
def first(workshop: Workshop, quick: str) -> Adapter:
    """Give the adapter of a training that nothing disturbed."""
    return workshop.train(workshop.request(recipe=quick))


def test_run_on_the_real_model_makes_a_better_adapter(base_model: Path, tmp_path: Path) -> None:
    """A few steps lower the held-out loss, the gate passes, and all that is promised is there."""
    shop = open_workshop(tmp_path, base_model)
    shop.dataset(1, range(32))
    recipe = shop.recipe(
        "short", learning_rate=2e-3, layers=6, epochs=3, save_every_steps=12, eval_every_steps=6
    )
    told: list[TrainProgress] = []
    adapter = shop.train(shop.request(recipe=recipe), told)
    test = adapter.gate["numbers"]["test"]
    assert test["candidate"]["loss"] < 0.8 * test["live"]["loss"]
    assert (adapter.name, adapter.status) == ("desk--v1", "gated")
    assert list(dict.fromkeys(p.phase for p in told)) == [
        "import",
        "load",
        "tokenize",
        "train",
        "evaluate",
        "done",
    ]
    assert max(p.step for p in told if p.phase == "train") == 12
    ledger.verify(adapter)
    assert check_servable(Path(adapter.path), shop.settings.engine).rank == 16
    assert (Path(adapter.path) / ledger.CARD_FILE).read_text().count("desk--v1")
    run = shop.run(adapter.run_id)
    assert run.status == "finished"
    assert run.metrics["test_loss"] == pytest.approx(test["candidate"]["loss"])
    expected, measured = run.details["expected"], run.details["measured"]
    assert expected["fits"]
    # measured: docs/experiments.md, "Before a run"
    assert 1 / 1.5 < measured["memory_gb"] / expected["memory_gb"] < 1.5
    assert measured["seconds"] > 0
    assert "| what | expected | measured |" in Path(run.folder, "report.md").read_text()
    shop.store.close()


def test_killed_run_goes_on_from_its_checkpoint(
    workshop: Workshop, quick: str, first: Adapter
) -> None:
    """Killed after step 10, it resumes at step 8 and ends with the very same weights."""
    before = workshop.runs()

    def kill_at_ten(progress: TrainProgress) -> None:
        if progress.phase == "train" and progress.step == 10:
            for child in psutil.Process().children():
                if "retrain.runs.job" in child.cmdline():  # not a broker, nor a worker's tracker
                    child.kill()

    with pytest.raises(TrainingError, match="killed by signal 9"):
        train_adapter(
            workshop.store, workshop.settings, workshop.request(recipe=quick), progress=kill_at_ten
        )
    (run_id,) = workshop.runs() - before
    assert workshop.run(run_id).status == "failed"
    checkpoints = Path(workshop.run(run_id).folder) / CHECKPOINT_FOLDER
    newest = newest_complete(checkpoints)
    assert newest is not None
    half_written = checkpoints / "checkpoint-9"
    half_written.mkdir()
    told: list[TrainProgress] = []
    adapter = resume_run(workshop.store, workshop.settings, run_id, progress=told.append)
    assert [p.resumed_from for p in told if p.resumed_from] == [newest[1]]
    assert min(p.step for p in told if p.loss is not None) == newest[1] + 1
    assert not half_written.exists()
    assert workshop.run(run_id).status == "finished"
    assert adapter.name != first.name
    assert weights(adapter) == weights(first)
    with pytest.raises(StateError, match="is finished"):
        resume_run(workshop.store, workshop.settings, run_id)


def test_increment_continues_the_live_adapter(workshop: Workshop, first: Adapter) -> None:
    """At a learning rate of almost nothing the parent's weights stay; old data are mixed in."""
    workshop.dataset(2, range(52))
    still = workshop.recipe("still", rank=4)
    text = Path(still).read_text().replace("learning_rate = 5e-5", "learning_rate = 1e-12")
    Path(still).write_text(text)
    request = workshop.request(
        "desk--d2", mode="incremental", parent_adapter=first.name, recipe=still
    )
    adapter = workshop.train(request)
    assert weights(adapter) == pytest.approx(weights(first), abs=1e-6)
    assert adapter.parent_adapter == first.name
    assert adapter.gate["compared_with"] == first.name
    assert adapter.model_metadata["metrics"]["new_examples"] == 12
    assert adapter.model_metadata["training_data"]["size"] == 16


def test_spoiled_dataset_cannot_vouch_for_itself(
    workshop: Workshop, quick: str, first: Adapter
) -> None:
    """Its own test questions are spoiled as well; those of the live adapter are not."""
    workshop.dataset(3, range(40), answer=SPOILED)
    request = workshop.request("desk--d3", parent_adapter=first.name, recipe=quick)
    adapter = workshop.train(request)
    assert adapter.status == "candidate"
    assert adapter.gate["decision"] == "fail"
    assert {reason.split(":")[0] for reason in adapter.gate["reasons"]} == {"regression"}
    asked = [Example(tuple(conversation(number, GOOD))).key for number in range(950, 958)]
    assert set(adapter.gate["failed"]) & set(asked)  # named by their hashes
    spoiled = adapter.gate["numbers"]["test"]
    assert spoiled["candidate"]["loss"] < spoiled["live"]["loss"]


def test_training_stops_early_when_nothing_improves(workshop: Workshop) -> None:
    """Three evaluations without improvement end a run of thirty steps."""
    recipe = workshop.recipe(
        "stuck", rank=4, learning_rate=1e-12, epochs=6, save_every_steps=1, eval_every_steps=1
    )
    metrics = workshop.train(workshop.request(recipe=recipe)).model_metadata["metrics"]
    assert metrics["stopped_early"]
    assert metrics["steps"] < 30


def test_loss_that_is_not_a_number_stops_the_run(base_model: Path, tmp_path: Path) -> None:
    """The error names loss, step and what to change; the row keeps it."""
    model = make_tiny_model(base_model, tmp_path / "broken", broken=True)
    shop = open_workshop(tmp_path, model)
    shop.dataset(1, range(16))
    told = "loss is nan at step 1: lower learning_rate"
    with pytest.raises(TrainingError, match=told):
        shop.train(shop.request())
    (run_id,) = shop.runs()
    run = shop.run(run_id)
    assert run.status == "failed"
    assert told in (run.error or "")
    shop.store.close()


@pytest.mark.parametrize("packing", [False, True])
def test_loss_is_that_of_trl(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packing: bool
) -> None:
    """The short cut past masked positions changes neither the loss nor its gradient."""
    import torch

    from retrain.training import methods, sft
    from retrain.training.answer_trainer import AnswerTrainer

    base = load_recipe("sft-lora")
    recipe = base.model_copy(update={"rank": 4, "packing": packing, "max_length": 128})
    spec = workshop.job()
    found: list[tuple[float, list[float]]] = []
    for short_cut in (True, False):
        monkeypatch.setattr(AnswerTrainer, "_may_skip_positions", always(short_cut))
        torch.manual_seed(1)
        base_weights = methods.load_base(spec.base_model, torch.float32)
        tokenizer = sft.AutoTokenizer.from_pretrained(spec.base_model)
        model = methods.trainable(spec, recipe, base_weights)
        for name, value in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.1)  # nought would hide the other gradient
        trainer = sft.make_trainer(
            model, tokenizer, sft.read_material(spec, recipe, tokenizer), recipe, tmp_path
        )
        batch = next(iter(trainer.get_train_dataloader()))
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((loss.item(), gradient.tolist()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)


def always(answer: bool) -> Callable[..., bool]:
    """Return a function of anything that says `answer`."""

    def say(*_: object) -> bool:
        return answer

    return say
