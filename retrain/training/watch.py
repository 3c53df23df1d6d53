"""The callback that watches a training, whichever of TRL's trainers runs it.

The trainer's logs go in; progress with findings comes out, a stop where going on is of no use, and
checkpoints that are marked as whole. `retrain.watching.health` judges. Knows nothing of data or
methods. Imports transformers.
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
from retrain.runs.progress import Reporter, TrainProgress, read_all
from retrain.training.agreement import is_first, wait_for_all
from retrain.watching.curve import findings_of, points_of
from retrain.watching.health import WINDOW, Finding, Point, Setup, find_not_a_number, judge

# What the trainer logs that has a field of its own in the progress, or says nothing of the model.
_TOLD_APART = frozenset({"loss", "grad_norm", "learning_rate", "epoch", "eval_loss"})
_ABOUT_TIME = ("runtime", "_per_second", "num_tokens", "num_input_tokens_seen", "total_flos")


class Watch(TrainerCallback):
    """Tells progress, stops a run that is lost, marks checkpoints as whole.

    `trainer` is any of TRL's; one that counts its tokens does so in `tokens_seen`.
    """

    def __init__(self, trainer: object, reporter: Reporter, recipe: Recipe) -> None:
        self.trainer = trainer
        self.reporter = reporter
        self.recipe = recipe
        self.validation_loss: float | None = None
        self.started = 0.0
        self.first_step = 0
        self.points: list[Point] = []
        self.found: set[str] = set()
        self.setup: Setup | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, at the step that a resumed run begins with."""
        self.started, self.first_step = time.monotonic(), state.global_step
        if state.global_step:
            told = read_all(self.reporter.folder)
            self.points = points_of(told)
            self.found = {finding.kind for finding in findings_of(told)}
        self.setup = self._set_up(state, kwargs.get("model"))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kw: Any
    ) -> None:
        """Tell the losses of this step, and what is wrong with them.

        Raises: TrainingError when going on is of no use.
        """
        logs = logs or {}
        loss, validation_loss = logs.get("loss"), logs.get("eval_loss")
        if loss is None and validation_loss is None:
            return
        self.validation_loss = self.validation_loss if validation_loss is None else validation_loss
        point = self._note(state.global_step, logs)
        findings = self._judged(point, validation_loss is not None)
        if not findings or findings[0].kind != "not_a_number":  # JSON has no such number
            self.reporter.tell(self._progress(state, loss, logs))
        for finding in findings:
            self._tell_finding(state, finding)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell what only a whole run shows."""
        if self.setup is not None and self.points:
            for finding in judge(self.points, self.setup):
                if finding.severity != "stop":
                    self._tell_finding(state, finding)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint that was just written, once every process has written its part."""
        wait_for_all()
        if is_first():
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _set_up(self, state: Any, model: Any) -> Setup:
        dataset = getattr(self.trainer, "train_dataset", None)
        return Setup(
            trainer=self.recipe.trainer,
            method=self.recipe.method,
            learning_rate=self.recipe.learning_rate,
            max_grad_norm=self.recipe.max_grad_norm,
            total_steps=state.max_steps,
            train_examples=len(dataset) if hasattr(dataset, "__len__") else None,  # type: ignore[arg-type]
            parameters=model.num_parameters() if hasattr(model, "num_parameters") else None,
            vocabulary=getattr(getattr(model, "config", None), "vocab_size", None),
        )

    def _note(self, step: int, logs: dict[str, Any]) -> Point:
        """Keep the numbers of this step; an evaluation joins the step that it follows."""
        known = self.points.pop() if self.points and self.points[-1].step == step else Point(step)
        point = Point(
            step,
            loss=logs.get("loss", known.loss),
            validation_loss=logs.get("eval_loss", known.validation_loss),
            grad_norm=logs.get("grad_norm", known.grad_norm),
            learning_rate=logs.get("learning_rate", known.learning_rate),
        )
        self.points.append(point)
        return point

    def _judged(self, point: Point, evaluated: bool) -> list[Finding]:
        """Return the findings now; the whole curve is judged now and then only, since it grows."""
        if self.setup is None:
            return []
        if evaluated or len(self.points) % WINDOW == 0:
            return judge(self.points, self.setup)
        lost = find_not_a_number([point], self.setup)
        return [] if lost is None else [lost]

    def _tell_finding(self, state: Any, finding: Finding) -> None:
        """Tell it, once of each kind; end a run that is lost."""
        if finding.kind not in self.found:
            self.found.add(finding.kind)
            self.reporter.tell(
                TrainProgress(
                    "train", step=state.global_step, total_steps=state.max_steps, finding=finding
                )
            )
        if finding.severity == "stop":
            raise TrainingError(f"{finding.what}: {finding.mend} in recipe {self.recipe.name}")

    def _progress(self, state: Any, loss: float | None, logs: dict[str, Any]) -> TrainProgress:
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
            learning_rate=logs.get("learning_rate"),
            grad_norm=logs.get("grad_norm"),
            more=_more(logs) or None,
        )

    def _tokens_per_s(self, elapsed_s: float) -> float | None:
        tokens_seen: int | None = getattr(self.trainer, "tokens_seen", None)
        return tokens_seen / elapsed_s if tokens_seen is not None and elapsed_s > 0 else None


def _more(logs: dict[str, Any]) -> dict[str, float]:
    """Return the other finite numbers of a log: rewards, margins, accuracies, divergences."""
    return {
        name: float(value)
        for name, value in logs.items()
        if isinstance(value, int | float)
        and math.isfinite(value)
        and name not in _TOLD_APART
        and not any(word in name for word in _ABOUT_TIME)
    }
