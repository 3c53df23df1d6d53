"""Checkpoints of every trainer: by the clock beside those by steps, and where a run goes on from.

A recipe's `checkpoint_every_minutes` goes in and TRL's trainers are told to save, so that a spot
machine loses at most so much; a run's folder goes in and its newest whole checkpoint comes out.
Imports transformers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from retrain.runs.checkpoints import newest_complete, remove_incomplete
from retrain.runs.progress import Reporter, TrainProgress
from retrain.runs.spec import CHECKPOINT_FOLDER
from retrain.training.agreement import as_first_says, is_first
from retrain.watching.health import Finding


def resume_point(reporter: Reporter) -> str | None:
    """Return the newest whole checkpoint of the run, after telling of it; None without one.

    What a killed process left half written, or a bad disk damaged, is told of and deleted.
    """
    folder = reporter.folder / CHECKPOINT_FOLDER
    if is_first():
        for path in remove_incomplete(folder):
            reporter.tell(TrainProgress("train", finding=_broken(path)))
    newest = as_first_says(newest_complete(folder) if is_first() else None)
    if newest is None:
        return None
    path, step = newest
    reporter.tell(TrainProgress("train", step=step, resumed_from=step))
    return str(path)


def _broken(path: Path) -> Finding:
    step = int(path.name.rpartition("-")[2])
    return Finding(
        kind="checkpoint",
        severity="warning",
        at_step=step,
        what=f"{path.name} was half written or damaged, and is deleted",
        mend="the run goes on from an older one; look at the disk if nothing had stopped the run",
        source="the hashes in its marker",
    )


class EveryMinutes(TrainerCallback):
    """Asks for a checkpoint when the last one is older than `minutes`."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = minutes * 60.0
        self._clock = clock
        self._saved_s = clock()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._saved_s = self._clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask, when it is time."""
        if as_first_says(self._clock() - self._saved_s >= self._every_s):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start anew, whoever asked for this one."""
        self._saved_s = self._clock()
