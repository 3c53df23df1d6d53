"""DeepSpeed's configuration of a run, each value with its source: plan and recipe in. Pure.

The recipe is that of one process (`retrain.runs.ranks.shared`): batch sizes and clipping are its
values, and transformers' integration refuses a configuration that says otherwise. What is not said
here is DeepSpeed's default. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterator

from retrain.parallel.plan import Parallel
from retrain.parallel.value import Value
from retrain.recipe import Recipe

GUIDE = "the fine-tuning guide, DeepSpeed ZeRO Configuration"
RECIPE = "the recipe"
AUTO = "transformers' formula for `auto`: buffers that fit the model (the guide's 5e8 is 2 GB each)"
PREFETCH = 0.9  # of a layer's matrix. Source: transformers, integrations/deepspeed.py
PERSISTENT = 10  # rows of a matrix: what is smaller is not worth a gathering. Source: the same


def deepspeed_values(
    parallel: Parallel, recipe: Recipe, *, hidden: int, bfloat16: bool
) -> tuple[Value, ...]:
    """Return DeepSpeed's configuration of stage 1, 2 or 3 for a model so wide.

    `recipe` has the batches of one process; `bfloat16`: weights are computed with in 16 bits.
    """
    batch = recipe.batch_size * recipe.gradient_accumulation * parallel.processes
    found = [
        Value("train_micro_batch_size_per_gpu", recipe.batch_size, f"{RECIPE}: batch_size"),
        Value(
            "gradient_accumulation_steps",
            recipe.gradient_accumulation,
            f"{RECIPE}: gradient_accumulation",
        ),
        Value("train_batch_size", batch, "the product of both and the processes"),
        Value("gradient_clipping", recipe.max_grad_norm, f"{RECIPE}: max_grad_norm"),
        Value("bf16.enabled", bfloat16, f"{RECIPE}: dtype {recipe.dtype}, on this machine"),
        Value("zero_optimization.stage", parallel.stage, f"launchers.strategy {parallel.strategy}"),
        Value("zero_optimization.overlap_comm", True, GUIDE),
        Value("zero_optimization.contiguous_gradients", True, GUIDE),
        Value("zero_optimization.reduce_bucket_size", hidden * hidden, AUTO),
        Value("zero_allow_untested_optimizer", True, "torch's AdamW, as with every strategy"),
        Value("steps_per_print", 0, "progress is told by the job"),
        Value("wall_clock_breakdown", False, "the same"),
    ]
    if parallel.weights_divided:
        found += _of_divided_weights(hidden)
    if parallel.offload:
        found += _of_offload(parallel)
    return tuple(found)


def _of_divided_weights(hidden: int) -> Iterator[Value]:
    zero = "zero_optimization"
    yield Value(
        f"{zero}.stage3_gather_16bit_weights_on_model_save",
        True,
        "else what is saved of a divided model is empty",
    )
    yield Value(f"{zero}.stage3_prefetch_bucket_size", int(PREFETCH * hidden * hidden), AUTO)
    yield Value(f"{zero}.stage3_param_persistence_threshold", PERSISTENT * hidden, AUTO)


def _of_offload(parallel: Parallel) -> Iterator[Value]:
    zero = "zero_optimization"
    yield Value(f"{zero}.offload_optimizer.device", "cpu", f"{GUIDE}; launchers.offload")
    if parallel.weights_divided:
        yield Value(f"{zero}.offload_param.device", "cpu", f"{GUIDE}; launchers.offload")
    yield Value(
        "zero_force_ds_cpu_optimizer",
        False,
        "torch's AdamW also there: DeepSpeed's own needs a compiler on the machine",
    )
