"""How processes share a training: plans, DeepSpeed's and FSDP's values, commands, and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import TrainingError
from core.launcher_settings import (
    KubernetesJobSettings,
    LaunchersSettings,
    LocalSettings,
    RayLaunchSettings,
    SlurmSettings,
)
from core.settings import RetrainSettings, Settings
from retrain.parallel.plan import ALONE, Parallel, planned
from retrain.parallel.rules import parallel_faults
from retrain.parallel.sharded import fsdp_values
from retrain.parallel.starting import module_arguments
from retrain.parallel.value import sources, table
from retrain.parallel.zero import deepspeed_values
from retrain.recipe import Recipe, load_recipe


def recipe(name: str = "sft-lora", **changes: object) -> Recipe:
    return load_recipe(name).for_mode("full").model_copy(update=changes)


def deepspeed(strategy: Any, *, offload: bool = False, **changes: object) -> dict[str, Any]:
    plan = Parallel(2, strategy, offload=offload)
    values = deepspeed_values(plan, recipe("sft-lora", **changes), hidden=64, bfloat16=False)
    return table(values)


@pytest.mark.parametrize(
    ("launcher", "processes"), [("local", 3), ("kubernetes", 4), ("slurm", 5), ("ray", 6)]
)
def test_a_plan_is_of_the_place_where_runs_are_trained(launcher: Any, processes: int) -> None:
    """As many processes as that place has devices; the strategy is the same everywhere."""
    places = LaunchersSettings(
        local=LocalSettings(processes=3),
        kubernetes=KubernetesJobSettings(gpus=4),
        slurm=SlurmSettings(processes=5),
        ray=RayLaunchSettings(gpus=6.0),
        strategy="zero2",
        offload=True,
        starter="accelerate",
    )
    settings = Settings(launchers=places, retrain=RetrainSettings(launcher=launcher))
    assert planned(settings) == Parallel(processes, "zero2", offload=True, starter="accelerate")


def test_a_place_without_gpus_has_one_process() -> None:
    """Zero devices of a pod, or a share of one, are a process nevertheless."""
    places = LaunchersSettings(
        kubernetes=KubernetesJobSettings(gpus=0), ray=RayLaunchSettings(gpus=0.5)
    )
    for launcher in ("kubernetes", "ray"):
        settings = Settings(launchers=places, retrain=RetrainSettings(launcher=launcher))
        assert planned(settings) == ALONE


def test_strategies_say_what_they_divide() -> None:
    """As ZeRO counts its stages; FSDP divides weights as stage 3 does, but not by DeepSpeed."""
    found = {
        name: (Parallel(2, name).stage, Parallel(2, name).by_deepspeed)  # type: ignore[arg-type]
        for name in ("ddp", "zero1", "zero2", "zero3", "fsdp")
    }
    assert found == {
        "ddp": (0, False),
        "zero1": (1, True),
        "zero2": (2, True),
        "zero3": (3, True),
        "fsdp": (3, False),
    }
    assert Parallel(2, "zero3").weights_divided
    assert not Parallel(2, "zero2").weights_divided


def test_batches_clipping_and_type_are_the_recipes() -> None:
    """transformers refuses a configuration that says otherwise than its trainer does."""
    found = deepspeed("zero1", batch_size=4, gradient_accumulation=3, max_grad_norm=0.5)
    assert found["train_micro_batch_size_per_gpu"] == 4
    assert found["gradient_accumulation_steps"] == 3
    assert found["train_batch_size"] == 24
    assert found["gradient_clipping"] == 0.5
    assert found["bf16"] == {"enabled": False}
    assert found["zero_optimization"]["stage"] == 1
    sixteen = deepspeed_values(Parallel(2, "zero1"), recipe(), hidden=64, bfloat16=True)
    assert table(sixteen)["bf16"] == {"enabled": True}


def test_stage_three_gathers_what_is_saved() -> None:
    """Buffers fit the model's width; the lower stages have no such values."""
    zero = deepspeed("zero3")["zero_optimization"]
    assert zero["stage3_gather_16bit_weights_on_model_save"] is True
    assert zero["reduce_bucket_size"] == 4096
    assert zero["stage3_prefetch_bucket_size"] == 3686
    assert zero["stage3_param_persistence_threshold"] == 640
    assert not [key for key in deepspeed("zero2")["zero_optimization"] if "stage3" in key]


def test_offload_takes_states_and_at_stage_three_weights_too() -> None:
    """By torch's own optimiser, which needs no compiler; without offload nothing is said of it."""
    two, three = deepspeed("zero2", offload=True), deepspeed("zero3", offload=True)
    assert two["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    assert "offload_param" not in two["zero_optimization"]
    assert three["zero_optimization"]["offload_param"] == {"device": "cpu"}
    assert two["zero_force_ds_cpu_optimizer"] is False
    assert "offload" not in json.dumps(deepspeed("zero3"))
    assert "zero_force_ds_cpu_optimizer" not in deepspeed("zero3")


def test_every_value_has_a_source() -> None:
    """In the file that people see, each key is followed by where its value is from."""
    values = deepspeed_values(
        Parallel(2, "zero3", offload=True), recipe(), hidden=64, bfloat16=False
    )
    told = sources(values)
    assert set(told) == {value.key for value in values}
    assert all(told.values())
    assert told["gradient_clipping"] == "the recipe: max_grad_norm"


def test_fsdp_has_a_part_for_each_process() -> None:
    """Offloaded where that is asked for."""
    assert table(fsdp_values(Parallel(4, "fsdp", offload=True))) == {
        "fsdp_size": 4,
        "fsdp_cpu_offload": True,
        "fsdp_mixed_precision": False,
    }


def test_one_process_needs_no_starter() -> None:
    """Unless DeepSpeed divides, which asks for its rank; the module comes last, then the folder."""
    assert module_arguments(ALONE) == ["-m", "retrain.runs.job"]
    several = module_arguments(Parallel(2))
    assert several[:2] == ["-m", "torch.distributed.run"]
    assert "--nproc-per-node=2" in several
    assert several[-2:] == ["-m", "retrain.runs.job"]
    assert "--nproc-per-node=1" in module_arguments(Parallel(1, "zero2", offload=True))
    accelerated = module_arguments(Parallel(2, starter="accelerate"))
    assert accelerated[1:4] == ["accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    assert "--num_processes=2" in accelerated
    assert accelerated[-2:] == ["-m", "retrain.runs.job"]


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (ALONE, "grpo-lora"),
        (Parallel(2), "sft-dora"),
        (Parallel(2), "dpo-lora"),
        (Parallel(2), "reward-lora"),
        (Parallel(2, "zero1"), "sft-lora"),
        (Parallel(2, "zero2"), "sft-lora"),
        (Parallel(2, "zero3", offload=True), "sft-lora"),
        (Parallel(1, "zero2", offload=True), "sft-lora"),
        (Parallel(2, "fsdp"), "sft-lora"),
        (Parallel(2, "zero3"), "sft-full"),
        (Parallel(2, starter="accelerate"), "sft-lora"),
    ],
)
def test_what_was_tried_passes(plan: Parallel, name: str) -> None:
    """One process trains all that there is."""
    assert parallel_faults(plan, recipe(name)) == []


@pytest.mark.parametrize(
    ("plan", "name", "told"),
    [
        (Parallel(2, offload=True), "sft-lora", "true with strategy ddp, which divides nothing"),
        (
            Parallel(2, "fsdp", offload=True),
            "sft-lora",
            "fsdp, which was never tried.*zero1, zero2",
        ),
        (Parallel(1, "zero2"), "sft-lora", "zero2 with one process.*use more processes, or ddp"),
        (Parallel(2, "zero2"), "dpo-lora", "is zero2, which trainer dpo was never.*set it to ddp"),
        (Parallel(2), "rloo-lora", r"rloo was never tried in several processes \(2 are"),
        (Parallel(2), "grpo-lora", "grpo was never tried in several processes"),
        (Parallel(2), "kto-lora", "kto was never tried in several processes"),
        (Parallel(2, "zero3"), "sft-qlora", "method qlora was never.*use method full or method"),
        (Parallel(2, "zero2"), "sft-dora", "dora was never.*use method full or method lora, or"),
        (
            Parallel(2, "fsdp"),
            "sft-full",
            "method full was never.*use method lora",
        ),
    ],
)
def test_what_was_never_tried_is_refused_with_the_mend(
    plan: Parallel, name: str, told: str
) -> None:
    """With the value that is wrong."""
    (fault,) = parallel_faults(plan, recipe(name))
    with pytest.raises(TrainingError, match=told):
        raise TrainingError(fault)
