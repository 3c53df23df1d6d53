"""Which strategies go with which recipes: plan and recipe in, what does not fit out. Pure.

Refused is also what may well work and was never tried: a run that trains something else than it was
asked for costs more than a refusal. What was tried is in docs/how-to/several-devices.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.launcher_settings import Strategy
from retrain.parallel.plan import Parallel
from retrain.recipe import Recipe
from retrain.recipe_rules import Method, Trainer

# What trains to the same weights in two processes as in one. Source: tests/stack.
BY_SEVERAL: frozenset[Trainer] = frozenset({"sft", "dpo", "kto", "reward"})
BY_DIVIDING: frozenset[Trainer] = frozenset({"sft"})
METHODS: dict[Strategy, frozenset[Method]] = {
    "zero1": frozenset({"lora", "full"}),
    "zero2": frozenset({"lora", "full"}),
    "zero3": frozenset({"lora", "full"}),
    "fsdp": frozenset({"lora"}),
}
LEAST_KTO_BATCH = 2  # each answer is held against another prompt of its batch


def parallel_faults(parallel: Parallel, recipe: Recipe) -> list[str]:
    """Return what does not fit together, each with its mend; nothing when all does.

    `recipe` is that of one process (`retrain.runs.ranks.shared`).
    """
    return [*_of_settings(parallel), *_of_trainer(parallel, recipe), *_of_method(parallel, recipe)]


def _of_settings(parallel: Parallel) -> Iterator[str]:
    if parallel.offload and parallel.strategy == "ddp":
        yield (
            "launchers.offload is true, and strategy ddp divides nothing that could be offloaded: "
            "set launchers.strategy to zero2 or zero3, or offload to false"
        )
    if parallel.strategy == "fsdp" and parallel.processes == 1:
        yield (
            "launchers.strategy is fsdp with one process, which has nobody to divide with: use "
            "more processes, or zero3 with offload"
        )
    if parallel.starter == "accelerate" and parallel.started and parallel.processes == 1:
        yield (
            "launchers.starter is accelerate, which starts one process without a rank: set it to "
            "torchrun"
        )


def _of_trainer(parallel: Parallel, recipe: Recipe) -> Iterator[str]:
    trainer = recipe.trainer
    if parallel.strategy != "ddp" and trainer not in BY_DIVIDING:
        yield (
            f"launchers.strategy is {parallel.strategy}, which trainer {trainer} was never tried "
            "with: set it to ddp"
        )
    elif parallel.processes > 1 and trainer not in BY_SEVERAL:
        yield (
            f"trainer {trainer} was never tried in several processes ({parallel.processes} are "
            "asked for), where its groups of answers would be spread over them: use one"
        )
    if parallel.processes > 1 and trainer == "kto" and recipe.batch_size < LEAST_KTO_BATCH:
        yield (
            f"each of {parallel.processes} processes has a batch of {recipe.batch_size}, and kto "
            f"needs {LEAST_KTO_BATCH}: raise batch_size, or make gradient_accumulation a multiple "
            f"of {parallel.processes}"
        )


def _of_method(parallel: Parallel, recipe: Recipe) -> Iterator[str]:
    strategy, method = parallel.strategy, recipe.method
    if strategy == "ddp" or method in METHODS[strategy]:
        return
    if method == "full":
        yield f"method full is not divided by {strategy} here: set launchers.strategy to zero3"
        return
    known = " or ".join(sorted(METHODS[strategy], reverse=True))
    yield (
        f"launchers.strategy is {strategy}, which method {method} was never tried with: use method "
        f"{known}, or strategy ddp"
    )
