"""How the processes of a run divide the model: `retrain.parallel` says it, here torch does it.

A plan and this process's place in it go in; DeepSpeed's configuration for transformers' trainer, a
base model that is loaded in parts, and in the end the trained weights in one piece come out.
Imports torch, and DeepSpeed only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import distributed

from core.files import write_atomic
from retrain.model_shape import read_shape
from retrain.parallel.plan import Parallel
from retrain.parallel.sharded import fsdp_values
from retrain.parallel.value import Value, sources, table
from retrain.parallel.zero import deepspeed_values
from retrain.recipe import Recipe
from retrain.runs.ranks import Ranks
from retrain.runs.spec import JobSpec
from retrain.training.agreement import is_first
from retrain.training.methods import learnt, resolve_dtype

PLAN_FILE = "parallel.json"  # in the run's folder, for people


@contextmanager
def joined(parallel: Parallel, ranks: Ranks) -> Generator[None]:
    """Meet the other processes, each at its own GPU, before anything is loaded."""
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.local)
    if parallel.by_deepspeed:
        _join_by_deepspeed()
    elif parallel.strategy == "fsdp" and not distributed.is_initialized():
        # weights that wait in the host's memory are exchanged by gloo
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend)
    if not parallel.by_deepspeed:
        with _without_deepspeed():
            yield
        return
    try:
        yield
    finally:
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()  # the first process goes on alone, with whole models


@contextmanager
def _without_deepspeed() -> Generator[None]:
    """Let accelerate (1.15) not load DeepSpeed, which it does to ask whether a model is one of its.

    Where both are installed that loads MLflow too. Measured: 2 of 27 CPU seconds of a tiny run.
    """
    from accelerate.utils import other

    before = other.is_deepspeed_available
    other.is_deepspeed_available = bool  # never
    try:
        yield
    finally:
        other.is_deepspeed_available = before


def _join_by_deepspeed() -> None:
    import deepspeed

    if not torch.cuda.is_available():
        # gloo is enough: DeepSpeed's own exchange on CPUs would be compiled first, for a minute
        deepspeed.ops.__compatible_ops__ = {}  # pyright: ignore[reportAttributeAccessIssue]
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)


@contextmanager
def dividing(spec: JobSpec, recipe: Recipe) -> Generator[None]:
    """Load models in parts: where weights are divided, no process holds a whole one."""
    if not (spec.parallel.by_deepspeed and spec.parallel.weights_divided):
        yield
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig

    kept = HfDeepSpeedConfig(table(values_of(spec, recipe)))  # holds while it is referred to
    yield
    del kept


def values_of(spec: JobSpec, recipe: Recipe) -> tuple[Value, ...]:
    """Return what the library that divides is told; nothing where nothing is divided.

    `recipe` is that of one process.
    """
    parallel = spec.parallel
    if parallel.by_deepspeed:
        return deepspeed_values(
            parallel,
            recipe,
            hidden=read_shape(Path(spec.base_model)).hidden,
            bfloat16=resolve_dtype(recipe.dtype) is torch.bfloat16,
        )
    return fsdp_values(parallel) if parallel.strategy == "fsdp" else ()


def arguments(spec: JobSpec, recipe: Recipe, run_folder: Path) -> dict[str, Any]:
    """Return what transformers' trainer is given beside the recipe; keep it for people to see."""
    values = values_of(spec, recipe)
    if spec.parallel.started and is_first():
        plan = asdict(spec.parallel) | {"values": table(values), "sources": sources(values)}
        write_atomic(run_folder / PLAN_FILE, msgspec.json.format(msgspec.json.encode(plan)))
    if spec.parallel.by_deepspeed:
        return {"deepspeed": table(values)}
    return {"save_only_model": True} if spec.parallel.strategy == "fsdp" else {}


def keep_states(trainer: Any, parallel: Parallel) -> None:
    """Let checkpoints under FSDP be whole: the adapter, which each process has, and its states.

    transformers (5.19) refuses the states of every model that was loaded in parts, since the first
    process would write its part only; and it lets that process alone save an adapter, for which
    PEFT (0.21) would gather the base's parts too, and wait for the others for ever. Not by
    `state_dict`: FSDP divides anew whatever was gathered when it is called, and the next step of a
    process that did not call it waits for what the others no longer send.
    """
    if parallel.strategy != "fsdp":
        return
    trainer.args.save_only_model = False
    save = trainer._save

    def save_adapter(output_dir: str) -> None:
        save(output_dir, learnt(trainer.model))

    trainer._save = save_adapter


def gathered(trainer: Any, parallel: Parallel) -> dict[str, Any] | None:
    """Return the trained weights in one piece; None where they are all of the model's that count.

    All processes must call it: each sends its part, and with ZeRO 3 the first one alone gets all.
    """
    if parallel.strategy == "fsdp":
        return learnt(trainer.model)
    if not (parallel.by_deepspeed and parallel.weights_divided):
        return None
    adapter = hasattr(trainer.model, "peft_config")
    # transformers' trainer saves its checkpoints by the same
    return trainer.deepspeed._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=adapter)


def size(weights: torch.Tensor) -> int:
    """Return how many numbers they are, of all parts together."""
    return int(getattr(weights, "ds_numel", weights.numel()))
