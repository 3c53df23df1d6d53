"""Pairs and labels to train on, written as curation writes them, and jobs that learn from them.

What is to be learnt is simple: good answers promise days, spoiled ones send people away.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset_files import SCHEMAS, example_file
from retrain.recipe import Recipe, load_recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec
from tests.training_world import GOOD, SPOILED, a_job, conversation, plain

TRAIN, VALIDATION, TEST = range(48), range(900, 908), range(950, 974)
SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
Row = dict[str, Any]

# What lets a tiny model with random weights learn within seconds
QUICK: Row = {
    "rank": 4,
    "learning_rate": 0.01,
    "batch_size": 8,
    "gradient_accumulation": 1,
    "save_every_steps": 4,
    "eval_every_steps": 4,
}


def prompt_of(number: int) -> list[dict[str, str]]:
    """Return the question of that number."""
    return conversation(number, GOOD)[:-1]


def answer_of(number: int, text: str) -> list[dict[str, str]]:
    """Return an answer to the question of that number."""
    return conversation(number, text)[-1:]


def pair(number: int, *, source: str = "preference") -> Row:
    """Return a pair whose good answer was preferred."""
    chosen, rejected = answer_of(number, GOOD), answer_of(number, SPOILED)
    return _row(number, source) | {
        "prompt": prompt_of(number),
        "chosen": chosen,
        "rejected": rejected,
    }


def label(number: int, *, weight: float = 1.0) -> Row:
    """Return a label: even numbers have a good answer that was wanted, odd ones a spoiled one."""
    wanted = number % 2 == 0
    answer = answer_of(number, GOOD if wanted else SPOILED)
    row = _row(number, "thumbs_up" if wanted else "thumbs_down")
    return row | {
        "prompt": prompt_of(number),
        "completion": answer,
        "label": wanted,
        "weight": weight,
    }


def demonstration(number: int) -> Row:
    """Return a demonstration of a good answer."""
    return _row(number, "thumbs_up") | {"messages": conversation(number, GOOD)}


def write_kind(
    folder: Path, kind: str, make: Callable[[int], Row], splits: dict[str, range] | None = None
) -> None:
    """Write the files of one kind into a version's folder."""
    for split, numbers in (splits or SPLITS).items():
        write_rows(folder, kind, split, [make(number) for number in numbers])


def write_rows(folder: Path, kind: str, split: str, rows: Sequence[Row]) -> None:
    """Write one file of a version."""
    path = folder / example_file(kind, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMAS[kind]), path)


def make_dataset(folder: Path) -> Path:
    """Write a version with demonstrations, pairs and labels; return its folder."""
    write_kind(folder, "demonstration", demonstration)
    write_kind(folder, "pair", pair)
    write_kind(folder, "label", label)
    return folder


def quick_recipe(name: str, values: Row | None = None, table: Row | None = None) -> Recipe:
    """Return a shipped recipe with `QUICK` and `values`, and `table` in the trainer's own table."""
    recipe = load_recipe(name)
    own = "reinforce" if recipe.trainer in ("rloo", "grpo") else recipe.trainer
    raw = recipe.model_dump(mode="json", exclude={"incremental"}) | QUICK | (values or {})
    return Recipe.model_validate(raw | {own: raw[own] | (table or {})})


def job(model: Path, dataset: Path, recipe: Recipe, **changes: Any) -> JobSpec:
    """Return a full training of this recipe."""
    return a_job(model, dataset, **({"recipe": plain(recipe), "gate_examples": 64} | changes))


def quiet(folder: Path) -> Reporter:
    """Return a reporter of a run in that folder whose lines nobody reads."""
    folder.mkdir(parents=True, exist_ok=True)
    return Reporter(io.StringIO(), folder)


def _row(number: int, source: str) -> Row:
    return {
        "example_id": f"{number:064x}",
        "interaction_id": f"i{number}",
        "subject": f"subject {number}",
        "source": source,
        "is_new": True,
        "weight": 1.0,
        "seeds": None,
    }
