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
    memory_parts,
    reached_flops,
    row_tokens,
    shape_of,
    trained_weights,
)
from retrain.model_shape import read_model_type, read_shape
from retrain.recipe import load_recipe
from retrain.recipe_plan import Lengths, Place, plan_of, tokens_of

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
    assert estimate(SEVEN, PLAN, A10, total_tokens=1).memory_bytes < 24 * GB


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
    watched = estimate(SEVEN, plan, A100, total_tokens=0, watched_tokens=1_000_000).seconds
    assert watched == pytest.approx(2 * SEVEN.parameters * 1e6 / A100.flops)  # forwards only


def test_what_the_short_cuts_keep_is_far_less() -> None:
    """The same batch as a row; dropout keeps inputs beside it; short ones make a shorter row."""
    shape = shape_of(SMOLLM2)
    usual = Plan(tokens=300, label_share=0.2)
    lean = replace(usual, cpu=True, lean=True)
    parts = memory_parts(shape, lean)
    assert parts["activations"] < 0.7 * memory_parts(shape, usual)["activations"]
    assert parts["logits"] < memory_parts(shape, usual)["logits"]
    dropped = memory_parts(shape, replace(lean, dropout=True))
    assert dropped["activations"] > 1.2 * parts["activations"]
    assert (row_tokens(lean), row_tokens(replace(lean, mean_tokens=100.0))) == (2400, 1600)
    whole = memory_parts(shape, replace(lean, method="full"))
    assert whole["logits"] > parts["logits"]  # its vocabulary matrix is trained


def test_upper_layers_alone_keep_and_cost_less() -> None:
    """What lies below them is only passed forward; more layers than there are are all of them."""
    shape, plan = shape_of(SMOLLM2), Plan(tokens=300, cpu=True, lean=True)
    upper = replace(plan, layers=6)
    whole, part = memory_parts(shape, plan), memory_parts(shape, upper)
    assert part["activations"] == pytest.approx(whole["activations"] / 5)
    assert part["gradients"] == pytest.approx(whole["gradients"] / 5)
    assert memory_parts(shape, replace(plan, layers=99)) == whole
    seconds = [estimate(shape, each, A10, total_tokens=1e6).seconds for each in (plan, upper)]
    assert 0.5 < seconds[1] / seconds[0] < 0.65


def test_speed_and_operations_are_two_sides_of_one() -> None:
    """A device that trained so many tokens a second takes that long for as many again."""
    flops = reached_flops(SEVEN, PLAN, 500.0)
    assert estimate(SEVEN, PLAN, Device(GB, flops), total_tokens=1_000).seconds == pytest.approx(2)


def test_a_recipe_its_data_and_its_place_decide_the_plan() -> None:
    """Of the shipped recipe, as it is trained here, and of pairs on a GPU."""
    recipe = load_recipe("sft-lora").for_mode("full")
    lengths = Lengths(rows=80, mean=100.0, longest=4096, answer_share=0.2, watched_rows=10)
    plan = plan_of(recipe, lengths, Place(cpu=True), "llama")
    assert (plan.method, plan.rank, plan.batch, plan.tokens) == ("lora", 16, 8, 512)
    assert (plan.mean_tokens, plan.bits, plan.label_share, plan.lean) == (100.0, 32, 0.2, True)
    assert not plan_of(recipe, lengths, Place(cpu=True), "gpt2").lean
    assert tokens_of(recipe, lengths) == (80 * 100 * 5, 10 * 100 * 50 / 20)
    pairs = load_recipe("dpo-lora").for_mode("full")
    plan = plan_of(pairs, lengths, Place(bfloat16=True, processes=2), "llama")
    assert (plan.batch, plan.bits, plan.lean) == (2 * pairs.batch_size, 16, False)
    assert tokens_of(pairs, lengths)[0] == 2 * 80 * 100 * pairs.epochs
    packed = recipe.model_copy(update={"packing": True, "assistant_only_loss": False})
    plan = plan_of(packed, lengths, Place(cpu=True), "llama")
    assert (plan.mean_tokens, plan.label_share, plan.lean) == (512, 1.0, False)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    """By its configuration's path."""
    with pytest.raises(DataError, match=r"config\.json does not describe a language model"):
        read_shape(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2))
    assert read_shape(tmp_path).layers == 30
    assert read_model_type(tmp_path) == ""
