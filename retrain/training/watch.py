"""The callback that watches a training, whichever of TRL's trainers runs it.

The trainer's logs go in; progress comes out, a stop at a loss that is not a number, and
checkpoints that are marked as whole. Knows nothing of data or methods. Imports transformers.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from core.errors import TrainingError
from retrain.recipe import Recipe
from retrain.runs.checkpoints import mark_complete
from retrain.runs.progress import Reporter, TrainProgress


class Watch(TrainerCallback):
    """Tells progress, stops at a loss that is not a number, marks checkpoints as whole.

    `trainer` is any of TRL's; one that counts its tokens does so in `tokens_seen`.
    """

    def __init__(self, trainer: object, reporter: Reporter, recipe: Recipe) -> None:
        self.trainer = trainer
        self.reporter = reporter
        self.recipe = recipe
        self.validation_loss: float | None = None
        self.started = 0.0
        self.first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, at the step that a resumed run begins with."""
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kw: Any
    ) -> None:
        """Tell the losses of this step.

        Raises: TrainingError when one is not finite.
        """
        logs = logs or {}
        loss, validation_loss = logs.get("loss"), logs.get("eval_loss")
        for name, value in (("loss", loss), ("validation loss", validation_loss)):
            if value is not None and not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} at step {state.global_step}: lower learning_rate "
                    f"({self.recipe.learning_rate}) in recipe {self.recipe.name} or check the data"
                )
        self.validation_loss = self.validation_loss if validation_loss is None else validation_loss
        if loss is not None or validation_loss is not None:
            self.reporter.tell(self._progress(state, loss))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint that was just written."""
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _progress(self, state: Any, loss: float | None) -> TrainProgress:
        elapsed_s = time.monotonic() - self.started
        done = state.global_step - self.first_step
        left = state.max_steps - state.global_step
        return TrainProgress(
            "train",
            step=state.global_step,
            total_steps=state.max_steps,
            loss=loss,
            validation_loss=self.validation_loss,
            tokens_per_s=self._tokens_per_s(elapsed_s),
            eta_s=elapsed_s / done * left if done else None,
        )

    def _tokens_per_s(self, elapsed_s: float) -> float | None:
        tokens_seen: int | None = getattr(self.trainer, "tokens_seen", None)
        return tokens_seen / elapsed_s if tokens_seen is not None and elapsed_s > 0 else None
