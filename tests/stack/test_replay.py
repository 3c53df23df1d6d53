"""What an increment forgets, with and without replay: the held-out loss of the earlier task.

The tiny model learns one task in full, then another one incrementally, on a dataset version that
holds both: as the recipe's replay share says, old examples are mixed in or left out.
"""

from __future__ import annotations

import io
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrain.examples import Example, Message
from retrain.recipe import load_recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, TrainOutcome, trained_folder
from tests.training_world import GOOD, SUBJECTS, conversation, make_tiny_model

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]

FULL = {"learning_rate": 0.02, "epochs": 6, "replay_share": 0.0}
FURTHER = {"learning_rate": 0.02, "epochs": 6}
OLD, NEW = range(32), range(500, 508)  # a fifth is new: within what may be an increment
HELD_OUT = range(900, 912)


def other(number: int) -> list[Message]:
    """Return a conversation of the second task."""
    chosen = random.Random(number)
    subject = chosen.choice(SUBJECTS)
    asked = f"Please cancel my {subject}, number {number}."
    told = f"Cancelled! Anything else besides the {subject}? Bye now."
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]


@dataclass(frozen=True)
class Bench:
    """A tiny model, two dataset versions of it, and its adapter that knows the first task."""

    folder: Path
    model: Path

    def dataset(self, name: str, rows: list[list[Message]], held_out: list[list[Message]]) -> Path:
        """Write a dataset version."""
        path = self.folder / name
        path.mkdir()
        splits = {"train": rows, "validation": held_out[:4], "test": held_out}
        for split, conversations in splits.items():
            table = pa.Table.from_pylist([{"messages": rows} for rows in conversations])
            pq.write_table(table, path / f"{split}.parquet")
        return path

    def train(self, name: str, dataset: Path, *, share: float = 0.0) -> TrainOutcome:
        """Train into the folder of that name: in full, or as an increment of `full`."""
        from retrain.training import sft

        first = name == "full"
        changes: dict[str, Any] = FULL if first else FURTHER | {"replay_share": share}
        recipe = load_recipe("sft-lora").for_mode("full" if first else "incremental")
        recipe = recipe.model_copy(
            update={"rank": 8, "save_every_steps": 500, "eval_every_steps": 500} | changes
        )
        spec = JobSpec(
            run_id=name,
            mode="full" if first else "incremental",
            base_model=str(self.model),
            base_model_name=str(self.model),
            dataset=str(dataset),
            seen_dataset=None if first else str(self.folder / "d1"),
            live_adapter=None if first else str(self.trained("full")),
            recipe={},
            threads=len(os.sched_getaffinity(0)),
            gate_examples=8,
        )
        run = self.folder / name
        run.mkdir()
        return sft.train(spec, recipe, Reporter(io.StringIO(), run))

    def trained(self, name: str) -> Path:
        """Return where the adapter of that training is."""
        return trained_folder(self.folder / name)

    def loss(self, name: str, held_out: list[list[Message]]) -> float:
        """Return the mean negative log-likelihood of the answers' tokens, in nats."""
        import torch
        from transformers import AutoTokenizer

        from retrain.tokens import encode, use_template
        from retrain.training.methods import load_trained

        tokenizer = use_template(AutoTokenizer.from_pretrained(self.model), "chat")
        model = load_trained(str(self.model), self.trained(name), torch.float32).eval()
        total, tokens = 0.0, 0
        for messages in held_out:
            encoded = encode(tokenizer, Example(tuple(messages)))
            labels = torch.tensor([encoded.labels])
            count = int((labels[:, 1:] != -100).sum())
            with torch.inference_mode():
                found = model(input_ids=torch.tensor([encoded.input_ids]), labels=labels)
            total, tokens = total + float(found.loss) * count, tokens + count
        return total / tokens


@pytest.fixture
def bench(base_model: Path, tmp_path: Path) -> Bench:
    """Give a bench."""
    return Bench(tmp_path, make_tiny_model(base_model, tmp_path / "tiny"))


def test_replay_keeps_more_of_the_earlier_task(bench: Bench) -> None:
    """Both increments learn the new task; the one with replay loses far less of the old one."""
    old = [conversation(number, GOOD) for number in OLD]
    new = [other(number) for number in NEW]
    asked_old = [conversation(number, GOOD) for number in HELD_OUT]
    asked_new = [other(number) for number in HELD_OUT]
    first = bench.dataset("d1", old, asked_old)
    both = bench.dataset("d2", old + new, asked_new)
    bench.train("full", first)
    alone = bench.train("alone", both, share=0.0)
    mixed = bench.train("mixed", both, share=0.5)
    assert (alone.train_examples, mixed.train_examples) == (8, 16)
    assert alone.new_examples == mixed.new_examples == 8

    names = ("full", "alone", "mixed")
    on_old = {name: bench.loss(name, asked_old) for name in names}
    on_new = {name: bench.loss(name, asked_new) for name in names}
    print({"old task": on_old, "new task": on_new})
    assert on_new["alone"] < 0.85 * on_new["full"]
    assert on_new["mixed"] < 0.85 * on_new["full"]
    forgot_alone = on_old["alone"] - on_old["full"]
    forgot_mixed = max(on_old["mixed"] - on_old["full"], 0.0)
    assert forgot_alone > 0.1
    assert forgot_mixed < 0.5 * forgot_alone
