"""A dataset version's pairs, labels or prompts → the rows that a preference trainer learns from.

A job and its recipe go in; what is learnt, with replay as in SFT, and what validates come out, as
rows of ids. Bad data stop here, before a model is loaded. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from core.errors import DataError, TrainingError
from retrain.examples import Example, Keyed, Message, with_replay, without
from retrain.preference_examples import (
    LABELS,
    PAIRS,
    Label,
    Pair,
    has_kind,
    load_labels,
    load_pairs,
    require_both,
    require_enough,
)
from retrain.recipe import Recipe
from retrain.runs.spec import JobSpec
from retrain.training.material import Material

Row = dict[str, Any]
AiPairs = Literal["also", "only", "no"]
T = TypeVar("T", bound=Keyed)


@dataclass(frozen=True)
class Chosen(Generic[T]):
    """What a run is to learn from and be watched on."""

    train: Sequence[T]
    validation: Sequence[T]
    new: int


def chosen_pairs(spec: JobSpec, recipe: Recipe, ai_pairs: AiPairs) -> Chosen[Pair]:
    """Return the pairs that the recipe takes: people's, an AI judge's, or both.

    Raises: DataError when they are missing, malformed or too few.
    """
    folder = Path(spec.dataset)
    found = {split: load_pairs(folder, split) for split in ("train", "validation")}
    train, validation = (_of_judges(pairs, ai_pairs) for pairs in found.values())
    if found["train"] and not train:
        raise DataError(
            f"dataset {folder.name} has {len(found['train'])} pairs to learn from, but ai_pairs is "
            f'"{ai_pairs}" in recipe {recipe.name}, which leaves none of them: set it to "also"'
        )
    require_enough(train, folder, PAIRS)
    old = _seen_folder(spec, recipe, PAIRS)
    seen = load_pairs(old, "train") if old else []
    return _chosen(spec, recipe, train, validation, seen)


def held_out_pairs(folder: Path) -> list[Pair]:
    """Return the pairs of the test split that people decided; where there are none, a judge's.

    A model that learnt from a judge is not held against the same judge while people have spoken.

    Raises: DataError when they are missing or malformed.
    """
    found = load_pairs(folder, "test")
    return _of_judges(found, "no") or found


def chosen_labels(spec: JobSpec, recipe: Recipe) -> Chosen[Label]:
    """Return the labels to learn from, wanted and unwanted.

    Raises: DataError when they are missing, malformed, too few, or all of one kind.
    """
    folder = Path(spec.dataset)
    train, validation = (load_labels(folder, split) for split in ("train", "validation"))
    require_enough(train, folder, LABELS)
    old = _seen_folder(spec, recipe, LABELS)
    seen = load_labels(old, "train") if old else []
    chosen = _chosen(spec, recipe, train, validation, seen)
    require_both(chosen.train, folder)
    return chosen


def fitting(
    chosen: Chosen[T],
    row: Callable[[T], Row],
    length: Callable[[Row], int],
    recipe: Recipe,
    spec: JobSpec,
) -> Material[Row]:
    """Return the rows of at most `max_length` tokens: a cut answer would teach no end.

    Raises: TrainingError when there is none to learn from.
    """
    rows = [row(example) for example in chosen.train]
    train = [each for each in rows if length(each) <= recipe.max_length]
    validation = [row(example) for example in chosen.validation]
    if not train:
        raise TrainingError(
            f"dataset {Path(spec.dataset).name} has no example of at most {recipe.max_length} "
            f"tokens ({len(rows)} are longer): raise max_length in recipe {recipe.name}"
        )
    kept = [each for each in validation if length(each) <= recipe.max_length]
    return Material(train, kept, chosen.new, len(rows) - len(train))


def conversation(prompt: Sequence[Message], answer: str) -> Example:
    """Return a prompt with an answer to it."""
    return Example((*prompt, {"role": "assistant", "content": answer}))


def _seen_folder(spec: JobSpec, recipe: Recipe, kind: str) -> Path | None:
    """Return the version whose preferences the live adapter has learnt, if it has learnt any.

    One that was made with another trainer has not, whatever version it was made from.
    """
    if spec.seen_dataset is None or spec.live_trainer != recipe.trainer:
        return None
    folder = Path(spec.seen_dataset)
    return folder if has_kind(folder, kind) else None


def _of_judges(pairs: Sequence[Pair], ai_pairs: AiPairs) -> list[Pair]:
    if ai_pairs == "also":
        return list(pairs)
    return [pair for pair in pairs if pair.by_ai == (ai_pairs == "only")]


def _chosen(
    spec: JobSpec, recipe: Recipe, train: Sequence[T], validation: Sequence[T], seen: Sequence[T]
) -> Chosen[T]:
    new = len(without(train, seen))
    if spec.mode == "incremental":
        train = with_replay(train, seen, share=recipe.replay_share, seed=recipe.seed)
    return Chosen(train, validation, new)
