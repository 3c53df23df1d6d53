"""One trial: values of a recipe go in, a real training runs, its best validation loss comes out.

The training is a job as any other, without the gate's evaluation: it has a folder, is trained by
the settings' launcher, and goes on from its checkpoint after it was broken off. A trial that is
worse than others on the way is pruned; one that diverges counts as pruned too, so that the sampler
learns from it. Knows nothing of what is tried next.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.errors import TrainingError
from retrain.launchers.launcher import Launcher
from retrain.recipe import Recipe
from retrain.runs.job import is_running
from retrain.runs.progress import TrainProgress, read_all
from retrain.runs.spec import CHECKPOINT_FOLDER, JOB_FILE, JobResult, JobSpec
from retrain.watching.curve import findings_of, is_evaluation

if TYPE_CHECKING:
    from optuna.trial import Trial

LEFT_BEHIND_S = 120.0  # a job whose search was killed ends at its next word; then we go on
LOOK_EVERY_S = 0.2

State = Literal["complete", "pruned", "failed", "unfinished"]
Tell = Callable[[TrainProgress], None]


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """How a trial ended; `unfinished`: the time was up, it goes on when the search does."""

    state: State
    loss: float | None = None  # the best validation loss
    why: str | None = None  # it is not complete


@dataclass
class Watcher:
    """Hears of a trial's evaluations and compares them with the other trials'."""

    trial: Trial
    eval_every_steps: int
    tell: Tell
    out_of_time: Callable[[], bool]
    pruned_at: int | None = None
    reported: set[int] = field(default_factory=set[int])

    def hear(self, progress: TrainProgress) -> None:
        """Report an evaluation to the pruner."""
        self.tell(progress)
        place = self._report(progress)
        if place is not None and self.trial.should_prune():
            self.pruned_at = place

    def catch_up(self, folder: Path) -> None:
        """Report what the trial told before it was broken off."""
        for progress in read_all(folder):
            self._report(progress)

    def stopped(self) -> bool:
        """Return whether the training shall end now."""
        return self.pruned_at is not None or self.out_of_time()

    def _report(self, progress: TrainProgress) -> int | None:
        """Report a new evaluation; return which one of the trial it was, counted from 1."""
        if progress.phase != "train" or not is_evaluation(progress):
            return None
        place = max(1, progress.step // self.eval_every_steps)
        if place in self.reported or progress.validation_loss is None:
            return None
        self.reported.add(place)
        known = self.trial.study.get_trials(deepcopy=False)[self.trial.number]
        if place not in known.intermediate_values:
            self.trial.report(progress.validation_loss, place)
        return place


def carry_out(
    spec: JobSpec, recipe: Recipe, folder: Path, launcher: Launcher, watcher: Watcher
) -> TrialEnd:
    """Train the trial of `folder` to its end, or to where it is pruned.

    Raises: TrainingError when another process still works on it.
    """
    _await_end(folder)
    watcher.catch_up(folder)
    result = JobResult.read(folder)
    if result is None:
        if not (folder / JOB_FILE).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            spec.write(folder)
        try:
            launcher.run(folder, watcher.hear, watcher.stopped)
        except TrainingError as error:
            return _early_end(folder, watcher, error)
        result = JobResult.read(folder)
    if result is None or result.outcome.best_validation_loss is None:
        return TrialEnd("failed", why="it told no validation loss")
    shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
    return TrialEnd("complete", loss=result.outcome.best_validation_loss)


def _early_end(folder: Path, watcher: Watcher, error: TrainingError) -> TrialEnd:
    lost = [one for one in findings_of(read_all(folder)) if one.severity == "stop"]
    if lost:
        end = TrialEnd("pruned", why=lost[0].what)
    elif watcher.pruned_at is not None:
        end = TrialEnd("pruned", why=f"worse than others at evaluation {watcher.pruned_at}")
    elif watcher.out_of_time():
        return TrialEnd("unfinished", why="the time is up")
    else:
        end = TrialEnd("failed", why=str(error))
    shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
    return end


def _await_end(folder: Path) -> None:
    """Wait for the job that a killed search left behind."""
    deadline = time.monotonic() + LEFT_BEHIND_S
    while is_running(folder):
        if time.monotonic() > deadline:
            raise TrainingError(
                f"trial {folder} is being worked on by another process: end it, and go on then"
            )
        time.sleep(LOOK_EVERY_S)
