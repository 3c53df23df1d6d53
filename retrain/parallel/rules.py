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

# What trained to the same weights in two processes as in one.
BY_SEVERAL: frozenset[Trainer] = frozenset({"sft", "dpo", "reward"})
BY_DIVIDING: frozenset[Trainer] = frozenset({"sft"})
METHODS: dict[Strategy, frozenset[Method]] = {
    "zero1": frozenset({"lora", "full"}),
    "zero2": frozenset({"lora", "full"}),
    "zero3": frozenset({"lora", "full"}),
    "fsdp": frozenset({"lora"}),
}


def parallel_faults(parallel: Parallel, recipe: Recipe) -> list[str]:
    """Return what does not fit together, each with its mend; nothing when all does.

    `recipe` is that of one process (`retrain.runs.ranks.shared`).
    """
    return [*_of_settings(parallel), *_of_trainer(parallel, recipe), *_of_method(parallel, recipe)]


def _of_settings(parallel: Parallel) -> Iterator[str]:
    if parallel.offload and not parallel.by_deepspeed:
        known = "which was never tried" if parallel.strategy == "fsdp" else "which divides nothing"
        yield (
            f"launchers.offload is true with strategy {parallel.strategy}, {known}: set it to "
            "false, or the strategy to zero1, zero2 or zero3"
        )
    elif parallel.strategy != "ddp" and parallel.processes == 1 and not parallel.offload:
        yield (
            f"launchers.strategy is {parallel.strategy} with one process, which has nobody to "
            "divide with: use more processes, or ddp"
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
            "asked for): use one"
        )


def _of_method(parallel: Parallel, recipe: Recipe) -> Iterator[str]:
    strategy, method = parallel.strategy, recipe.method
    if strategy == "ddp" or method in METHODS[strategy]:
        return
    known = " or ".join(f"method {name}" for name in sorted(METHODS[strategy]))
    yield (
        f"launchers.strategy is {strategy}, which method {method} was never tried with: use "
        f"{known}, or strategy ddp"
    )
