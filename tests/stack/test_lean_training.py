"""The trainer's short cuts against what they stand for: the same losses and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from retrain.recipe import Recipe, load_recipe
from tests.training_world import (
    GOOD,
    Workshop,
    conversation,
    tiny_workshop,
)

torch: Any = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.stack,
    # torch, transformers and trl are imported in this process too; their warnings are theirs
    pytest.mark.filterwarnings("ignore"),
]

AMD = "vendor_id : AuthenticAMD\nflags : fpu avx2 avx512f avx512_bf16\n"


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a dataset."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("lean"), 24) as opened:
        yield opened


def prepared(workshop: Workshop, folder: Path, **changes: object) -> Any:
    """Return a trainer of the tiny model, its adapter away from nought."""
    from retrain.training import methods, sft

    recipe: Recipe = load_recipe("sft-lora").model_copy(update={"rank": 4} | changes)
    spec = workshop.job()
    torch.manual_seed(1)
    tokenizer = sft.AutoTokenizer.from_pretrained(spec.base_model)
    model = methods.trainable(spec, recipe, methods.base_for(spec, recipe))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)  # nought would hide the other gradient
    material = sft.read_material(spec, recipe, tokenizer)
    return sft.make_trainer(model, tokenizer, material, recipe, folder)


def loss_and_gradient(trainer: Any, batch: dict[str, Any]) -> tuple[float, Any]:
    """Return the loss of a batch, and all gradients in one row."""
    trainer.model.train()
    trainer.model.zero_grad(set_to_none=True)
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    given = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(given)


def keep_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainers that are made from now on compute batches as they come."""
    from retrain.training import answer_trainer

    def leave(_: object) -> bool:
        return False

    monkeypatch.setattr(answer_trainer, "make_lean", leave)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 1},
        {"assistant_only_loss": False},
        {"layers": 1},
        {"use_rslora": True},
        {"dropout": 0.0, "target_modules": ("q_proj", "v_proj")},
        {"method": "dora"},
        {"method": "full"},
    ],
    ids=["default", "one", "all tokens", "upper layer", "rslora", "attention", "dora", "full"],
)
def test_row_has_the_loss_and_gradient_of_its_batch(
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, object],
) -> None:
    """One row without padding, its beginning computed once, teaches the same."""
    lean = prepared(workshop, tmp_path, **changes)
    batch = next(iter(lean.get_train_dataloader()))
    assert lean.takes_rows
    row = lean._row(batch)
    assert row.ids_1_N.numel() <= int(batch["attention_mask"].sum())
    found = loss_and_gradient(lean, batch)
    keep_batches(monkeypatch)
    plain = prepared(workshop, tmp_path, **changes)
    assert not plain.takes_rows
    expected = loss_and_gradient(plain, batch)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    # float64 is as far from either of them as they are from each other: up to 1.2e-5
    assert (found[1] - expected[1]).norm() < 1e-4 * expected[1].norm()


def test_row_has_the_loss_of_its_batch_on_the_real_model(
    base_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Thirty layers, grouped heads and a long shared prompt change nothing either."""
    from retrain.training.lean_model import make_lean
    from retrain.training.methods import load_base
    from retrain.training.shared_prefix import fold

    from transformers import AutoTokenizer  # isort: skip

    tokenizer = AutoTokenizer.from_pretrained(base_model)
    system = {"role": "system", "content": "You are the desk of Brindlemoor. " * 4}
    texts = [
        tokenizer.apply_chat_template([system, *conversation(n, GOOD)], tokenize=False)
        for n in range(3)
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[:, :60] = -100
    row = fold(batch["input_ids"], batch["attention_mask"], labels)
    assert row is not None
    assert row.prefix > 30
    model = load_base(str(base_model), torch.float32)
    with torch.inference_mode():
        whole = model.base_model(**batch, use_cache=False).last_hidden_state[:, :-1]
        assert make_lean(model)
        from retrain.training.lean_model import PASSED_ON

        folded = model.base_model(
            input_ids=row.ids_1_N,
            position_ids=row.positions_1_N,
            attention_mask=PASSED_ON,
            use_cache=False,
            row=row,
        ).last_hidden_state[0]
    expected = whole[labels[:, 1:] != -100]
    assert torch.allclose(folded[row.predicting_K], expected, atol=2e-3)
    assert torch.equal(row.labels_K, labels[:, 1:][labels[:, 1:] != -100])


def test_what_is_not_plain_keeps_its_own_code(workshop: Workshop, tmp_path: Path) -> None:
    """Dropout is PEFT's to compute; checkpointing is for those who want memory above all."""
    trainer = prepared(workshop, tmp_path, dropout=0.1)
    modules = [m for m in trainer.model.modules() if type(m).__module__.startswith("peft")]
    assert not any("forward" in vars(module) for module in modules)
    assert not prepared(workshop, tmp_path, gradient_checkpointing=True).takes_rows


def test_virtual_tokens_are_left_to_peft(workshop: Workshop, tmp_path: Path) -> None:
    """Prompt tuning puts them before the batch in its own `forward`, which no row passes."""
    from peft import PromptTuningConfig, get_peft_model

    trainer = prepared(workshop, tmp_path)
    base = trainer.model.unload()
    prompted = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    assert not trainer._may_skip_positions(prompted)


def test_saved_model_says_nothing_of_rows(workshop: Workshop, tmp_path: Path) -> None:
    """Whoever loads a model that was trained so finds an attention that transformers knows."""
    trainer = prepared(workshop, tmp_path, method="full")
    assert trainer.takes_rows
    trainer.model.save_pretrained(tmp_path / "model")
    assert "shared_prefix" not in (tmp_path / "model" / "config.json").read_text()


def test_model_with_a_window_keeps_its_batches(workshop: Workshop, tmp_path: Path) -> None:
    """A row has no distances for a sliding window."""
    from retrain.training.lean_model import make_lean

    trainer = prepared(workshop, tmp_path, gradient_checkpointing=True)
    trainer.model.config.layer_types = ["full_attention", "sliding_attention"]
    assert not make_lean(trainer.model)


def test_batch_that_cannot_be_folded_is_left_as_it_is() -> None:
    """Padding on the left, and nothing to learn."""
    from retrain.training.shared_prefix import fold

    ids = torch.tensor([[1, 2, 3], [1, 2, 4]])
    left = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert fold(ids, left, ids) is None
    assert fold(ids, torch.ones_like(ids), torch.full_like(ids, -100)) is None


def test_row_ends_what_is_shared_before_anything_to_be_learnt() -> None:
    """The token before the first label belongs to each example, as does all after it."""
    from retrain.training.shared_prefix import fold

    ids = torch.tensor([[5, 6, 7, 8, 1], [5, 6, 7, 8, 2], [5, 6, 7, 9, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    labels = ids.clone()
    labels[:, :3] = -100
    row = fold(ids, mask, labels)
    assert row is not None
    assert (row.prefix, row.rests) == (2, (3, 3, 2))
    assert row.ids_1_N.tolist() == [[5, 6, 7, 8, 1, 7, 8, 2, 7, 9]]
    assert row.positions_1_N.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 2, 3]]
    assert row.predicting_K.tolist() == [2, 3, 5, 6, 8]
    assert row.labels_K.tolist() == [8, 1, 8, 2, 9]


def reference_lora(x: Any, w: Any, a: Any, b: Any) -> Any:
    """LoRA as PEFT has it."""
    return x @ w.T + (x @ a.T) @ b.T * 2.0


def reference_product(x: Any, w: Any) -> Any:
    """A linear layer as PyTorch has it."""
    return x @ w.T


def reference_norm(x: Any, w: Any) -> Any:
    """The norm as transformers has it."""
    return w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def reference_swiglu(gate: Any, up: Any) -> Any:
    """The gated activation as transformers has it."""
    return torch.nn.functional.silu(gate) * up


def reference_loss(x: Any, w: Any) -> Any:
    """The loss as PyTorch has it."""
    return torch.nn.functional.cross_entropy(x @ w.T, some_labels(x, w), reduction="sum")


def some_labels(x: Any, w: Any) -> Any:
    """Return a label for each row of `x`."""
    return torch.arange(len(x)) % len(w)


def operation(name: str, *tensors: Any) -> Any:
    """Return what the operation of that name makes of the tensors."""
    from retrain.training import lean

    match name:
        case "lora":
            return lean.lora_linear(*tensors, scale=2.0)
        case "norm":
            return lean.rms_norm(*tensors, epsilon=1e-5)
        case "loss":
            return lean.answer_loss(*tensors, labels_N=some_labels(*tensors))
        case "swiglu":
            return lean.swiglu(*tensors)
        case _:
            return lean.frozen_linear(*tensors)


REFERENCES: dict[str, Callable[..., Any]] = {
    "lora": reference_lora,
    "frozen": reference_product,
    "norm": reference_norm,
    "swiglu": reference_swiglu,
    "loss": reference_loss,
}


@pytest.mark.parametrize("name", ["lora", "frozen", "norm", "swiglu", "loss"])
def test_operation_has_the_gradient_that_autograd_finds(name: str) -> None:
    """Written out or found by autograd, a gradient is the same."""
    torch.manual_seed(3)
    shapes = {
        "lora": ((150, 24), (40, 24), (4, 24), (40, 4)),
        "frozen": ((150, 24), (40, 24)),
        "norm": ((150, 24), (24,)),
        "swiglu": ((150, 24), (150, 24)),
        "loss": ((150, 24), (300, 24)),  # more rows than logits at once
    }[name]
    frozen = name != "swiglu"  # the second tensor: a weight of the base model
    results: list[tuple[Any, list[Any]]] = []
    values = [torch.randn(shape) for shape in shapes]
    for function in (partial(operation, name), REFERENCES[name]):
        inputs = [
            value.clone().requires_grad_(not (frozen and place == 1))
            for place, value in enumerate(values)
        ]
        output = function(*inputs)
        (output * torch.linspace(0.5, 1.5, output.numel()).view_as(output)).sum().backward()
        results.append((output.detach(), [x.grad for x in inputs if x.grad is not None]))
    (output, gradients), (expected, expected_gradients) = results
    assert torch.allclose(output, expected, rtol=1e-4, atol=1e-4)
    assert len(gradients) == len(expected_gradients)
    for found, right in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(found, right, rtol=1e-4, atol=1e-4)


def test_products_choose_by_the_processor() -> None:
    """oneDNN where MKL leaves AVX-512 alone; both multiply the same, transposed or not."""
    from retrain.training.products import neglected_by_mkl, prefers_onednn, times

    assert neglected_by_mkl(AMD)
    assert not neglected_by_mkl(AMD.replace("AuthenticAMD", "GenuineIntel"))
    assert not neglected_by_mkl(AMD.replace("avx512", "other"))
    assert not neglected_by_mkl("")
    assert isinstance(prefers_onednn(), bool)
    x, weight = torch.randn(37, 24), torch.randn(40, 24)
    for other in (weight, weight.t().contiguous().t()):
        assert torch.allclose(times(x, other), x @ weight.T, atol=1e-4)
