"""The third part: what a kill costs, and what an increment forgets.

A kill: the recipe's training is killed without warning after more than half of its steps and begun
again; its adapter's held-out loss is compared with that of the training that nobody disturbed.
Forgetting: that adapter is continued on new conversations as the recipe's increments are, with old
ones mixed in; before and after it answers the gate's general questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from bench.train.children import WEIGHTS, heldout_losses, run, run_killed
from bench.train.corpus import write_corpus
from bench.train.figures import Extent, told_of_kill
from retrain.runs.progress import read_all

Say = Callable[[str], None]
MODULE = "bench.train.recipe_run"


def measure_keeping(folder: Path, model: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return what was lost by a kill, and by an increment."""
    dataset = write_corpus(folder / "data", train=extent.train, heldout=extent.heldout)
    whole = folder / "training-0"
    if not (whole / "adapter" / WEIGHTS).is_file():  # the first part has trained it otherwise
        run(MODULE, _words(dataset, model, whole, extent), folder / "whole.log")
    killed = measure_kill(folder, model, extent)
    say(f"killed at step {killed['killed_at']}, went on from {killed['resumed_from']}")
    losses = heldout_losses(
        dataset,
        model,
        [whole / "adapter", folder / "killed" / "adapter"],
        folder / "kept.log",
    )
    undisturbed = losses[str(whole / "adapter")]
    told = told_of_kill(killed, losses[str(folder / "killed" / "adapter")], undisturbed)
    return {"kill": told, "increment": measure_increment(folder, model, extent, say)}


def measure_kill(folder: Path, model: Path, extent: Extent) -> dict[str, Any]:
    """Return where a training was killed and where it went on; it ends in `killed`."""
    output = folder / "killed"
    words = _words(folder / "data", model, output, extent)

    def is_late() -> bool:
        steps = [one for one in read_all(output) if one.phase == "train"]
        return bool(steps) and steps[-1].step > 0.6 * steps[-1].total_steps

    run_killed(MODULE, words, folder / "killed.log", is_late)
    killed_at = max(one.step for one in read_all(output) if one.phase == "train")
    run(MODULE, words, folder / "resumed.log")
    resumed = [one.resumed_from for one in read_all(output) if one.resumed_from is not None]
    return {
        "killed_at": killed_at,
        "resumed_from": resumed[-1] if resumed else 0,
        "interval": extent.save_steps,
    }


def measure_increment(folder: Path, model: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return the general questions answered before and after an increment."""
    grown = _grown(folder, extent)
    words = [
        *(str(folder / "data"), str(grown), str(model)),
        *(str(folder / "training-0" / "adapter"), str(folder / "increment")),
    ]
    log = folder / "increment.log"
    run("bench.train.increment", words, log)
    told: dict[str, Any] = json.loads(log.read_text().strip().splitlines()[-1])
    say(f"general questions: {told['before']:.3f} before, {told['after']:.3f} after the increment")
    return told | {"new_conversations": extent.new}


def _grown(folder: Path, extent: Extent) -> Path:
    """Return the dataset version that has new conversations besides."""
    old = folder / "data"
    new = write_corpus(folder / "new", train=extent.new, heldout=extent.heldout)
    grown = folder / "grown"
    grown.mkdir()
    rows = [*_rows(old / "train.parquet"), *_rows(new / "train.parquet")]
    for split, kept in (
        ("train", rows),
        ("validation", _rows(old / "validation.parquet")),
        ("test", _rows(old / "test.parquet")),
    ):
        parquet.write_table(pa.Table.from_pylist(kept), grown / f"{split}.parquet")
    return grown


def _rows(path: Path) -> list[dict[str, Any]]:
    return parquet.read_table(path).to_pylist()


def _words(dataset: Path, model: Path, output: Path, extent: Extent) -> list[str]:
    return [
        *(str(dataset), str(model), str(output)),
        *("--epochs", str(extent.epochs), "--batch-size", str(extent.batch_size)),
        *("--save-steps", str(extent.save_steps)),
    ]
