"""Ratchet's side: the shipped recipe by the code of a run, without the gate that follows it.

Differs from `sft-lora` in what both sides share (epochs, batch size) and in how often it saves,
so that there are adapters to measure; all of them are kept.

    python -m bench.train.recipe_run DATASET MODEL OUTPUT --epochs 2 --batch-size 8 --save-steps 6
"""

from __future__ import annotations

import argparse
import os
import sys
from io import TextIOBase
from pathlib import Path
from typing import cast

from retrain.recipe import Recipe, load_recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec


def main(words: list[str]) -> None:
    """Train, leaving a checkpoint every `--save-steps` steps."""
    asked = _arguments(words)
    import torch  # heavy, and of no use to --help

    from retrain.training import sft

    torch.set_num_threads(asked.threads)
    asked.output.mkdir(parents=True, exist_ok=True)
    spec = JobSpec(
        run_id="bench",
        mode="full",
        base_model=str(asked.model),
        base_model_name=asked.model.name,
        dataset=str(asked.dataset),
        seen_dataset=None,
        live_adapter=None,
        recipe={},
        threads=asked.threads,
        gate_examples=0,
    )
    sft.train(spec, _recipe(asked), Reporter(cast(TextIOBase, sys.stdout), asked.output))


def _recipe(asked: argparse.Namespace) -> Recipe:
    return load_recipe("sft-lora").model_copy(
        update={
            "epochs": asked.epochs,
            "batch_size": asked.batch_size,
            "save_every_steps": asked.save_steps,
            "eval_every_steps": asked.save_steps,
            "keep_checkpoints": 1_000,
        }
    )


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.train.recipe_run")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--save-steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args(words)


if __name__ == "__main__":
    main(sys.argv[1:])
