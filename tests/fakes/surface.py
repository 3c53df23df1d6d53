"""A launcher whose trainings take no time: the loss is a formula of the recipe's values.

It leaves in a run's folder what a real job leaves for a search, tells the same progress, and keeps
`promises`, as the real launcher does in `tests/stack/test_search.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import TrainingError
from retrain.launchers.following import Stopped, Tell
from retrain.recipe import Recipe
from retrain.runs.progress import FILE, TrainProgress, read_all
from retrain.runs.spec import JobResult, JobSpec, TrainOutcome
from retrain.watching.curve import is_evaluation
from retrain.watching.health import Finding

STEPS_PER_EPOCH = 4
BEST_RATE = 2e-4
TOO_HIGH = 5e-3  # a learning rate above it diverges

Trained = list[tuple[str, float]]


@dataclass
class SurfaceLauncher:
    """Trains by a formula that is lowest at a learning rate of 2e-4."""

    name: str = "surface"
    trained: Trained = field(default_factory=list[tuple[str, float]])  # folder, learning rate
    before_step: Callable[[str, int], None] = lambda folder, step: None

    def run(self, folder: Path, tell: Tell, stopped: Stopped) -> None:
        """Tell the steps of a training, and leave its result."""
        recipe = JobSpec.read(folder).parsed_recipe()
        self.trained.append((folder.name, recipe.learning_rate))
        total = max(1, round(recipe.epochs * STEPS_PER_EPOCH))
        lowest = math.inf
        self._say(folder, tell, TrainProgress("train"))
        for step in range(1, total + 1):
            self.before_step(folder.name, step)
            if stopped():
                raise TrainingError(f"run {folder.name} was cancelled; its checkpoints are kept")
            loss = surface(recipe, step)
            self._say(folder, tell, TrainProgress("train", step, total, loss=loss))
            if recipe.learning_rate > TOO_HIGH:
                self._diverge(folder, tell, step)
            if step % recipe.eval_every_steps == 0 or step == total:
                lowest = min(lowest, loss)
                self._say(folder, tell, TrainProgress("train", step, total, validation_loss=loss))
        outcome = TrainOutcome(total, recipe.epochs, lowest, lowest, False, 8, 8, 0, None, 10)
        JobResult(outcome, {}, {}).write(folder)

    def _diverge(self, folder: Path, tell: Tell, step: int) -> None:
        lost = Finding("divergence", "stop", step, "loss is 9.0", "lower learning_rate", "guide")
        self._say(folder, tell, TrainProgress("train", step, finding=lost))
        raise TrainingError(lost.what)

    def _say(self, folder: Path, tell: Tell, progress: TrainProgress) -> None:
        with (folder / FILE).open("a") as file:
            file.write(progress.line() + "\n")
        tell(progress)


def surface(recipe: Recipe, step: int) -> float:
    """Return the loss after so many steps: lower with each, lowest at the best rate."""
    away = math.log10(recipe.learning_rate / BEST_RATE) ** 2
    return 1.0 + away + 0.01 * (recipe.rank or 0) / 16 + 1.0 / (1 + step)


def promises(folder: Path) -> None:
    """Check what a search relies on in a launcher that has run a job to its end."""
    result = JobResult.read(folder)
    assert result is not None
    assert result.evaluations == {}
    kept = [one for one in read_all(folder) if one.phase == "train"]
    losses = [one.validation_loss for one in kept if is_evaluation(one)]
    assert losses
    assert result.outcome.best_validation_loss == min(losses, key=lambda loss: loss or 0.0)
    assert [one.step for one in kept if one.loss is not None][-1] == result.outcome.steps
