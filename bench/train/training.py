"""The first part: plain TRL and our recipe on the same conversations, each in its own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from bench.train.children import WEIGHTS, Cost, heldout_losses, run, saved
from bench.train.corpus import write_corpus
from bench.train.figures import ON_CPU, OURS, Extent, Training, compared
from retrain.runs.spec import CHECKPOINT_FOLDER

Say = Callable[[str], None]


def measure_training(folder: Path, model: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return each training, and ours compared with the plain ones."""
    dataset = write_corpus(folder / "data", train=extent.train, heldout=extent.heldout)
    tokens = _tokens(dataset, model) * extent.epochs
    costs: dict[str, Cost] = {}
    steps: dict[str, list[tuple[int, Path]]] = {}
    stopped: dict[str, float] = {}
    for number, name in enumerate((OURS, *extent.plain)):
        output = folder / f"training-{number}"
        limit_s = None if name == OURS else extent.patience * costs[OURS].seconds
        cost = run(
            *_words(name, dataset, model, output, extent), output.with_suffix(".log"), limit_s
        )
        say(f"{name}: {cost.seconds:.0f} s, {cost.peak_mb:,.0f} MB{', stopped' * cost.stopped}")
        if cost.stopped:
            stopped[name] = cost.seconds
            continue
        costs[name] = cost
        steps[name] = saved(output / CHECKPOINT_FOLDER if name == OURS else output)
    adapters = [path for found in steps.values() for _, path in found]
    losses = heldout_losses(dataset, model, adapters, folder / "heldout.log")
    trainings = {name: _seen(costs[name], steps[name], losses, tokens) for name in costs}
    return {
        "conversations": extent.train,
        "tokens": tokens,
        "trainings": {name: asdict(training) for name, training in trainings.items()},
        "stopped_after_s": stopped,
        "compared": compared(trainings, losses["base"]),
    }


def _words(
    name: str, dataset: Path, model: Path, output: Path, extent: Extent
) -> tuple[str, list[str]]:
    """Return the module that trains, and its arguments."""
    words = [
        *(str(dataset), str(model), str(output)),
        *("--epochs", str(extent.epochs), "--batch-size", str(extent.batch_size)),
        *("--save-steps", str(extent.save_steps)),
        *(["--cpu"] if name == ON_CPU else []),
    ]
    return ("bench.train.recipe_run" if name == OURS else "bench.train.plain_trl"), words


def _seen(
    cost: Cost, steps: list[tuple[int, Path]], losses: dict[str, float], tokens: float
) -> Training:
    at_s = [(path / WEIGHTS).stat().st_mtime - cost.began for _, path in steps]
    done = steps[-1][0] - steps[0][0]
    # between the first and the last saved step nothing is loaded or warmed up
    share = done / steps[-1][0]
    return Training(
        seconds=cost.seconds,
        cpu_s=cost.cpu_s,
        peak_mb=cost.peak_mb,
        tokens_per_s=tokens * share / (at_s[-1] - at_s[0]),
        steps=tuple(step for step, _ in steps),
        at_s=tuple(at_s),
        losses=tuple(losses[str(path)] for _, path in steps),
    )


def _tokens(dataset: Path, model: Path) -> int:
    """Return the tokens of one epoch, without padding."""
    from transformers import AutoTokenizer  # heavy

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    rows = parquet.read_table(dataset / "train.parquet").column("messages").to_pylist()
    texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in rows]
    return sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])
