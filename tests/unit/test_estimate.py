"""Memory and time before a training: sizes that are known, and what would fit instead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import DataError
from retrain.estimate import (
    GB,
    Device,
    Plan,
    Shape,
    estimate,
    shape_of,
    trained_weights,
)
from retrain.model_shape import read_shape
from retrain.recipe import load_recipe
from retrain.recipe_plan import plan_of

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
SEVEN = Shape(6_738_415_616, 32, 4096, 11008, 32000)  # Llama 2 7B
PLAN = Plan(batch=1, tokens=512, bits=16, checkpointing=True)
A10, SMALL, A100 = Device(24 * GB, 6e13), Device(12 * GB, 3e13), Device(80 * GB, 1.5e14)


def test_known_models_have_their_known_sizes() -> None:
    """SmolLM2-135M and Llama 3 8B, within a hundredth."""
    assert shape_of(SMOLLM2).parameters == pytest.approx(134_515_008, rel=0.01)
    assert shape_of(LLAMA_8B).parameters == pytest.approx(8_030_261_248, rel=0.01)
    assert trained_weights(shape_of(SMOLLM2), Plan(rank=16)) == pytest.approx(4_884_480, rel=0.3)


def test_the_guides_table_of_sizes_comes_out() -> None:
    """7B: LoRA on an A10 of 24 GB, in 4 bits on 12 GB, in full on no single 80 GB."""
    assert estimate(SEVEN, PLAN, A10, total_tokens=1).fits
    assert not estimate(SEVEN, PLAN, SMALL, total_tokens=1).fits
    assert estimate(SEVEN, replace(PLAN, method="qlora"), SMALL, total_tokens=1).fits
    full = replace(PLAN, method="full")
    assert not estimate(SEVEN, full, A100, total_tokens=1).fits
    shared = replace(full, processes=4, zero=3)
    assert estimate(SEVEN, shared, A100, total_tokens=1).fits
    offloaded = replace(full, offload=True)
    assert estimate(SEVEN, offloaded, A100, total_tokens=1).parts["optimiser"] == 0.0


def test_the_first_change_that_fits_is_told() -> None:
    """The least harmful first; what fits needs none."""
    assert estimate(SEVEN, PLAN, A10, total_tokens=1).suggestion is None
    loose = replace(PLAN, checkpointing=False, batch=8)
    told = estimate(SEVEN, loose, A10, total_tokens=1).suggestion
    assert told is not None
    assert told.startswith("gradient_checkpointing = true: ")
    told = estimate(SEVEN, replace(loose, batch=64), A10, total_tokens=1).suggestion
    assert told is not None
    assert told.startswith("gradient checkpointing and batch_size = ")
    told = estimate(SEVEN, replace(loose, method="full"), SMALL, total_tokens=1).suggestion
    assert told is not None
    assert told.startswith("method qlora, ")
    shared = replace(loose, method="full", processes=8)
    tiny = Device(3 * GB, 1e13)
    told = estimate(SEVEN, shared, tiny, total_tokens=1).suggestion
    assert told is not None
    assert told.startswith("ZeRO 3 beside that")
    none = estimate(SEVEN, replace(loose, offload=True), Device(1 * GB, 1e13), total_tokens=1)
    assert none.suggestion == "a smaller base model, or a larger device"
    qlora = replace(PLAN, method="qlora", rank=512)
    told = estimate(SEVEN, qlora, Device(20 * GB, 1e13), total_tokens=1).suggestion
    assert told is not None
    assert told.startswith("the optimiser's states offloaded")


def test_time_is_operations_by_what_is_reached() -> None:
    """Frozen weights need no gradient of their own: a LoRA takes some two thirds of it all."""
    plan = replace(PLAN, checkpointing=False)
    lora = estimate(SEVEN, plan, A100, total_tokens=1_000_000).seconds
    full = estimate(SEVEN, replace(plan, method="full"), A100, total_tokens=1_000_000).seconds
    assert full == pytest.approx(6 * SEVEN.parameters * 1e6 / A100.flops)
    assert 0.66 < lora / full < 0.72
    again = estimate(SEVEN, PLAN, A100, total_tokens=1_000_000).seconds
    assert again == pytest.approx(lora * 4 / 3)
    two = estimate(SEVEN, replace(plan, processes=2), A100, total_tokens=1_000_000).seconds
    assert two == pytest.approx(lora / 2)


def test_a_recipe_decides_the_plan() -> None:
    """Of the shipped recipe, as it is trained here."""
    plan = plan_of(load_recipe("sft-lora").for_mode("full"), 4096)
    assert (plan.method, plan.rank, plan.batch, plan.tokens) == ("lora", 16, 8, 512)
    assert plan.label_share < 1.0


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    """By its configuration's path."""
    with pytest.raises(DataError, match=r"config\.json does not describe a language model"):
        read_shape(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2))
    assert read_shape(tmp_path).layers == 30
