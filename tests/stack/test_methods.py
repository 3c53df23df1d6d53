"""Every method of the recipes, on a tiny model: trains, is saved, loaded, merged, and judged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import AdapterRefused, TrainingError
from retrain.examples import Example
from retrain.recipe import Recipe, load_recipe
from retrain.recipe_rules import MERGEABLE
from retrain.registry import ledger
from retrain.registry.merging import plan_merge
from retrain.registry.servability import check_model, servability
from retrain.registry.servable import read_config
from retrain.runs.progress import Reporter
from retrain.runs.spec import trained_folder
from retrain.tokens import encode, use_template
from tests.training_world import (
    Workshop,
    conversation,
    make_tiny_model,
    tiny_workshop,
)

pytestmark = [
    pytest.mark.stack,
    # torch, transformers and trl are imported in this process; their warnings are theirs
    pytest.mark.filterwarnings("ignore"),
]
METHODS = ("lora", "dora", "ia3", "oft", "peanut", "prefix", "prompt", "full")


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a small dataset."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("methods"), 16) as opened:
        yield opened


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
    spec = workshop.job()
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


def test_adapter_is_continued(workshop: Workshop, tmp_path: Path) -> None:
    """An (IA)3 goes on from where it was: the recipe says it is the same, and it starts as it."""
    import torch

    from retrain.training.methods import base_for, save_trained, trainable

    recipe = small("sft-ia3")
    spec = workshop.job()
    first = trainable(spec, recipe, base_for(spec, recipe))
    for name, weights in first.named_parameters():
        if "ia3_l" in name:
            torch.nn.init.normal_(weights, mean=1.0, std=0.1)
    folder = save_trained(first, spec, tmp_path, None)
    assert recipe.differences(read_config(folder)) == []
    assert small("sft-lora").differences(read_config(folder)) == [
        "method is ia3, the recipe says lora"
    ]

    further = workshop.job(mode="incremental", live_adapter=str(folder))
    second = trainable(further, recipe, base_for(further, recipe))
    assert any(weights.requires_grad for weights in second.parameters())
    torch.testing.assert_close(logits(second), logits(first))


@pytest.mark.parametrize(
    ("recipe", "changes", "told"),
    [
        (
            small("sft-qlora"),
            {},
            "method qlora needs a CUDA GPU and bitsandbytes.* use method lora",
        ),
        (small("sft-full"), {"mode": "incremental"}, "method full: train in full"),
        (small("sft-dora"), {"mode": "incremental"}, "needs a live adapter"),
        (small("sft-lora", layers=3), {}, "layers is 3, the base model has 2"),
        (small("sft-lora", target_modules=("nowhere",)), {}, "sft-lora: .*nowhere"),
    ],
)
def test_what_does_not_fit_is_told(
    workshop: Workshop, recipe: Recipe, changes: dict[str, Any], told: str
) -> None:
    """A recipe that cannot be carried out here, or on this model, stops with the mend."""
    import torch

    from retrain.training.methods import base_for, trainable

    if recipe.method == "qlora" and torch.cuda.is_available():
        pytest.skip("there is a GPU: qlora trains")
    spec = workshop.job(**changes)
    with pytest.raises(TrainingError, match=told):
        trainable(spec, recipe, base_for(spec, recipe))


def test_completions_are_learnt(workshop: Workshop, tmp_path: Path) -> None:
    """Rows of prompt and completion train and are evaluated without any chat template."""
    from retrain.gate.evaluation import evaluate
    from retrain.training import sft

    data = tmp_path / "texts"
    data.mkdir()
    for split in ("train", "validation", "test"):
        rows = [{"prompt": f"{n} and one is", "completion": f" {n + 1}."} for n in range(12)]
        pq.write_table(pa.Table.from_pylist(rows), data / f"{split}.parquet")
    recipe = small("sft-completion", learning_rate=1e-2)
    spec = workshop.job(dataset=str(data))
    reporter = Reporter(io.StringIO(), tmp_path)
    outcome = sft.train(spec, recipe, reporter)
    assert outcome.train_examples == 12
    assert evaluate(spec, recipe, reporter).evaluations["test"].candidate.examples == 8


@pytest.mark.parametrize("method", ["prefix", "full"])
def test_result_is_evaluated(workshop: Workshop, tmp_path: Path, method: str) -> None:
    """What cannot be served can be compared: a learnt prefix, and a model of its own."""
    from retrain.gate.evaluation import evaluate
    from retrain.training import sft

    recipe = small(f"sft-{method}", epochs=6, learning_rate=1e-2)
    spec = workshop.job()
    reporter = Reporter(io.StringIO(), tmp_path)
    sft.train(spec, recipe, reporter)
    compared = evaluate(spec, recipe, reporter).evaluations["test"]
    assert compared.candidate.loss < compared.live.loss


def test_packed_examples_do_not_see_each_other(workshop: Workshop, tmp_path: Path) -> None:
    """A packed row has the loss that its examples have apart, and no more."""
    import torch
    from torch.nn import functional

    from retrain.tokens import IGNORED
    from retrain.training import sft
    from retrain.training.methods import base_for, trainable

    recipe = small("sft-packing", batch_size=1, max_length=512)
    spec = workshop.job()
    tokenizer = sft.AutoTokenizer.from_pretrained(spec.base_model)
    model = trainable(spec, recipe, base_for(spec, recipe))
    material = sft.read_material(spec, recipe, tokenizer)
    material = replace(material, train=material.train[:5])
    apart, count = 0.0, 0
    with torch.inference_mode():
        for each in material.train:
            said = model.eval()(input_ids=torch.tensor([each.input_ids])).logits[0, :-1]
            labels = torch.tensor(each.labels[1:])
            apart += float(functional.cross_entropy(said, labels, reduction="sum"))
            count += int((labels != IGNORED).sum())
    trainer = sft.make_trainer(model, tokenizer, material, recipe, tmp_path)
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == 1
    assert trainer.compute_loss(model, batches[0]).item() == pytest.approx(apart / count, rel=1e-4)


def test_instruction_template_is_the_new_model_s(
    workshop: Workshop, tmp_path: Path, base_model: Path
) -> None:
    """A base model without a chat template learns the guide's, and is refused a second one."""
    from retrain.training import sft

    plain = make_tiny_model(base_model, tmp_path / "plain")
    (plain / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer = sft.AutoTokenizer.from_pretrained(plain)
    tokenizer.chat_template = None
    example = Example(tuple(conversation(1, "Sure, {subject}.")))
    with pytest.raises(TrainingError, match=r"no chat template.*sft-instruction"):
        encode(tokenizer, example)
    encoded = encode(use_template(tokenizer, "instruction"), example)
    text = tokenizer.decode(encoded.input_ids)
    assert text.startswith("### Instruction:\nHow long does the ")
    assert "\n\n### Response:\nSure, " in text
    assert text.endswith(tokenizer.eos_token)
    chatty = sft.AutoTokenizer.from_pretrained(base_model)
    with pytest.raises(TrainingError, match="a chat template of its own"):
        use_template(chatty, "instruction")


def test_every_answer_of_a_conversation_is_learnt(base_model: Path) -> None:
    """With learnt_turns = all the ids are those of the whole, and both answers have labels."""
    from transformers import AutoTokenizer

    from retrain.tokens import IGNORED

    tokenizer = AutoTokenizer.from_pretrained(base_model)
    turns = [*conversation(1, "First {subject}."), *conversation(2, "Then {subject}.")]
    last = encode(tokenizer, Example(tuple(turns)))
    every = encode(tokenizer, Example(tuple(turns)), turns="all")
    assert every.input_ids == last.input_ids
    learnt = tokenizer.decode([label for label in every.labels if label != IGNORED])
    assert learnt.count(tokenizer.eos_token) == 2
    assert learnt.startswith("First ")
    assert "Then " in learnt
    assert "How long" not in learnt


@pytest.mark.parametrize("method", ["dora", "ia3", "oft", "peanut", "full"])
def test_merged_model_answers_as_trained(workshop: Workshop, tmp_path: Path, method: str) -> None:
    """`ratchet merge` makes a base model that says what base and adapter said; twice is once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from retrain.registry.merging import Merge
    from retrain.training.merge import merge
    from retrain.training.methods import base_for, load_trained, save_trained, trainable

    recipe = small(f"sft-{method}")
    spec = workshop.job()
    model = trainable(spec, recipe, base_for(spec, recipe))
    for weights in model.parameters():
        if weights.requires_grad:
            torch.nn.init.normal_(weights, std=0.1)
    tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
    trained = save_trained(model, spec, tmp_path, tokenizer)
    asked = Merge(
        adapter="desk--v1",
        trained=trained,
        method=method,
        base_model=Path(spec.base_model),
        into=tmp_path / "merged",
        made_of={"adapter": "desk--v1", "adapter_hash": "abc"},
        instruction_template=False,
    )
    stages: list[str] = []
    done = merge(asked, stages.append)
    assert done.fresh
    assert stages
    loaded = AutoModelForCausalLM.from_pretrained(done.folder)
    wanted = logits(load_trained(spec.base_model, trained, torch.float32))
    torch.testing.assert_close(logits(loaded), wanted, atol=1e-4, rtol=1e-4)
    assert {"lineage.json", "config.json", "model.safetensors", "tokenizer_config.json"} <= {
        path.name for path in done.folder.iterdir()
    }
    again = merge(asked, stages.append)
    assert not again.fresh
    assert again.lineage == done.lineage


def test_merge_that_answers_otherwise_is_not_written(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe stops a merge that went wrong, and nothing lies in the folder."""
    import torch

    from retrain.registry.merging import Merge
    from retrain.training import merge as merging
    from retrain.training.methods import base_for, save_trained, trainable

    recipe = small("sft-dora")
    spec = workshop.job()
    model = trainable(spec, recipe, base_for(spec, recipe))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.1)
    trained = save_trained(model, spec, tmp_path, None)
    into = tmp_path / "merged"
    asked = Merge("desk--v1", trained, "dora", Path(spec.base_model), into, {}, False)
    monkeypatch.setattr(merging, "MAX_DIFFERENCE", 0.0)
    with pytest.raises(TrainingError, match="answers otherwise than base and adapter do"):
        merging.merge(asked, print)
    assert not into.exists()


@pytest.mark.parametrize(("method", "rank"), [("dora", 16), ("full", 0)])
def test_run_of_an_unservable_method_is_registered_and_merged(
    workshop: Workshop, tmp_path: Path, method: str, rank: int
) -> None:
    """From the request to a base model: judged, refused traffic with the mend, and merged."""
    recipe = workshop.recipe(method, like=f"sft-{method}", epochs=1, learning_rate=0.01)
    adapter = workshop.train(workshop.request(recipe=recipe))
    assert (adapter.method, adapter.servable, adapter.rank) == (method, False, rank)
    assert adapter.gate["decision"]
    with pytest.raises(
        AdapterRefused, match=rf"method {method}\) cannot take traffic.*ratchet merge"
    ):
        ledger.require_gate_or_override(adapter)

    with workshop.store.session() as session:
        ledger.record_override(session, adapter.name, operator="ann", reason="a test of merging")
        session.commit()
        adapter = ledger.find(session, adapter.name)
    asked = plan_merge(adapter, tmp_path / "new-base", workshop.settings.engine)
    from retrain.training.merge import merge

    done = merge(asked, print)
    assert done.lineage["adapter_hash"] == adapter.content_hash
    check_model(done.folder)
