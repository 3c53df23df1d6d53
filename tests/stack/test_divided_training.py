"""DeepSpeed reads the configuration that is made for it, offline. Nothing is trained here."""

from __future__ import annotations

import pytest

from core.launcher_settings import Strategy
from retrain.parallel.plan import Parallel
from retrain.parallel.value import table
from retrain.parallel.zero import deepspeed_values
from retrain.recipe import load_recipe

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
@pytest.mark.parametrize("offload", [False, True])
def test_deepspeed_takes_its_configuration(strategy: Strategy, offload: bool) -> None:
    """Its own class reads it: an unknown key in the stage's table is an error there."""
    from deepspeed.runtime.config import DeepSpeedConfig

    plan = Parallel(1, strategy, offload=offload)
    recipe = load_recipe("sft-lora").for_mode("full")
    found = DeepSpeedConfig(table(deepspeed_values(plan, recipe, hidden=64, bfloat16=True)))
    assert found.zero_optimization_stage == plan.stage
    assert found.train_micro_batch_size_per_gpu == recipe.batch_size
    assert found.gradient_clipping == recipe.max_grad_norm
    assert (found.zero_config.offload_optimizer is not None) is offload
