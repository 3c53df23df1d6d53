"""What would fit when a training does not: in their order, and only what really fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retrain.estimate import GB, Plan, memory_parts, shape_of
from retrain.mends import mends
from tests.unit.test_estimate import LLAMA_8B, PLAN, SEVEN, SMOLLM2

LOOSE = replace(PLAN, checkpointing=False, batch=8)
SMALL = shape_of(SMOLLM2)


def words(plan: Plan, gb: float) -> list[str]:
    """Return what would fit a model of 7 thousand million weights into so many GB."""
    found = mends(SEVEN, plan, gb * GB)
    assert all(mend.memory_bytes <= gb * GB for mend in found[:-1])
    return [mend.words for mend in found]


def test_changes_that_fit_alone_are_told_in_their_order() -> None:
    """A smaller batch learns from as many a step; the mildest of a kind is enough."""
    told = words(LOOSE, 24)
    assert told[0] == "batch_size = 2 with gradient_accumulation = 4"
    assert told[1] == "gradient_checkpointing = true"
    assert told[-1].startswith("a base model of at most some ")
    assert not any(word.startswith(("rank", "a launchers")) for word in told)
    accumulated = words(replace(LOOSE, batch=6, accumulation=2), 19)
    assert accumulated[0] == "batch_size = 1 with gradient_accumulation = 12"


def test_the_sizes_that_are_told_are_those_of_the_estimate() -> None:
    """Each mend carries what would be held then."""
    (first, *_) = mends(SEVEN, LOOSE, 24 * GB)
    changed = replace(LOOSE, batch=2, accumulation=4)
    assert first.memory_bytes == sum(memory_parts(SEVEN, changed).values())
    assert str(first).endswith(f" ({first.memory_bytes / GB:.2f} GB)")


def test_four_bits_are_for_gpus() -> None:
    """A processor has none."""
    on_gpu = words(PLAN, 12)
    assert on_gpu[0] == 'method = "qlora" (recipe sft-qlora)'
    on_cpu = words(replace(PLAN, cpu=True), 12)
    assert len(on_cpu) == 1  # weights alone are 13.5 GB: only a smaller model
    assert on_cpu[0].startswith("a base model")


def test_a_lora_instead_of_all_weights() -> None:
    """Alone; of several processes each can have a part."""
    full = replace(PLAN, method="full", rank=0)
    assert words(full, 60)[0] == 'method = "lora" with rank = 16 (recipe sft-lora)'
    assert any("zero3" in one for one in words(replace(full, processes=4), 60))


def test_several_processes_need_not_all_hold_all() -> None:
    """What each holds of a large model is then a quarter."""
    told = words(replace(PLAN, processes=4), 12)
    assert 'launchers.strategy = "zero3", which shares weights, gradients and states' in told
    assert not any("zero3" in one for one in words(PLAN, 12))


def test_a_smaller_rank_where_the_rank_is_what_is_large() -> None:
    """Its mildest half that fits."""
    wide = replace(PLAN, rank=512)
    assert "rank = 128" in words(wide, 20)


def test_what_fits_only_together_is_told_together() -> None:
    """As few levers as it takes, from the mildest on."""
    plan = replace(LOOSE, method="full", rank=0, batch=64, tokens=2048)
    told = words(plan, 30)
    assert told[0] == (
        "batch_size = 1 with gradient_accumulation = 64 and gradient_checkpointing = true and "
        'method = "lora" with rank = 16 (recipe sft-lora)'
    )


def test_where_nothing_fits_only_a_larger_machine_does() -> None:
    """Libraries alone take more than there is."""
    assert words(replace(PLAN, zero=3, processes=2), 0.1) == ["a machine with more memory"]


@pytest.mark.parametrize("gb", [2.0, 3.0, 4.0])
def test_a_smaller_model_is_as_large_as_can_be(gb: float) -> None:
    """One hundredth more would not fit."""
    plan = Plan(batch=16, tokens=512, cpu=True, lean=True)
    told = mends(SMALL, plan, gb * GB)[-1]
    assert told.words.startswith("a base model of at most some ")
    assert told.memory_bytes <= gb * GB
    assert told.memory_bytes > gb * GB - sum(memory_parts(SMALL, plan).values()) / SMALL.layers


def test_prefixes_work_through_the_cache() -> None:
    """So gradient checkpointing is no mend for them, though it is for the rest."""
    plan = Plan(method="prefix", rank=0, batch=4, tokens=2048)
    shape = shape_of(LLAMA_8B)
    assert not any("checkpointing" in one.words for one in mends(shape, plan, 40 * GB))
