"""Which of a run's processes this one is; torch's launcher says so, and here alone it is read.

The environment goes in, `Ranks` comes out: no setting, since it differs by process (decision 0034).
The first process (rank 0) speaks for all: it alone holds the run's lock, tells progress, evaluates
and writes results. The first that fails leaves its words in the run's folder. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.errors import TrainingError
from retrain.recipe import Recipe

WORDS_FILE = "failed.json"


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of its run."""

    rank: int = 0
    processes: int = 1
    local: int = 0  # among those of this machine: its GPU's number
    started: bool = False  # by torch's launcher, with which it ends

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0


class LastWords(msgspec.Struct, frozen=True):
    """Why a process ended."""

    rank: int
    words: str


def read_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return which process this is: the only one, unless torch's launcher has started several."""
    rank, processes, local = (
        int(environment.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    return Ranks(rank, processes, local, started="RANK" in environment)


def shared(recipe: Recipe, processes: int) -> Recipe:
    """Return the recipe of each process, so that all together learn from as much at a step.

    Fewer batches are accumulated, or, when they cannot be divided, each batch is smaller.

    Raises: TrainingError when neither can be divided.
    """
    if processes == 1:
        return recipe
    if recipe.gradient_accumulation % processes == 0:
        fewer = recipe.gradient_accumulation // processes
        return recipe.model_copy(update={"gradient_accumulation": fewer})
    if recipe.batch_size % processes == 0:
        return recipe.model_copy(update={"batch_size": recipe.batch_size // processes})
    raise TrainingError(
        f"recipe {recipe.name}: neither gradient_accumulation {recipe.gradient_accumulation} nor "
        f"batch_size {recipe.batch_size} can be shared by {processes} processes: make one a "
        f"multiple of {processes}, or use one process (launchers.local.processes = 1)"
    )


def leave_words(folder: Path, words: str, ranks: Ranks) -> None:
    """Keep why this process failed, unless another one failed before it or the disk is full."""
    with suppress(OSError), (folder / WORDS_FILE).open("xb") as file:
        file.write(msgspec.json.encode(LastWords(ranks.rank, words)))


def last_words(folder: Path) -> LastWords | None:
    """Return why the first process that failed did so, or None when none could tell."""
    path = folder / WORDS_FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=LastWords)
    except msgspec.DecodeError:  # half written: the disk was full
        return None


def forget_words(folder: Path) -> None:
    """Begin anew."""
    (folder / WORDS_FILE).unlink(missing_ok=True)
