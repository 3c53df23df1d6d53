"""TRL's SFT trainer with one short cut, and the callback that watches it.

The short cut spares CPU time; the callback tells progress, stops at a loss that is not a
number, and marks checkpoints as whole. Imports torch.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import TrainerCallback
from trl.trainer.sft_trainer import SFTTrainer

from core.errors import TrainingError
from retrain.recipe import Recipe
from retrain.runs.checkpoints import mark_complete
from retrain.runs.progress import Reporter, TrainProgress
from retrain.tokens import IGNORED

# Architectures whose logits are the vocabulary matrix times the hidden state and nothing more.
PLAIN_HEADS = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


class AnswerTrainer(SFTTrainer):
    """TRL's trainer, except that the vocabulary matrix meets only positions with a label.

    Without Triton (that is, on CPU) TRL multiplies every position by it, and again in the
    backward pass. The loss is the same to rounding; a test compares the two.
    """

    tokens_seen = 0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the summed negative log-likelihood over the labels, by their number."""
        if model.training:
            self.tokens_seen += int(inputs.get("attention_mask", inputs["input_ids"] >= 0).sum())
        if return_outputs or not self._may_skip_positions(model):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels_B_T = inputs["labels"][:, 1:]
        learnt_B_T = labels_B_T != IGNORED
        known = {name: value for name, value in inputs.items() if name != "labels"}
        causal = self.accelerator.unwrap_model(model).get_base_model()
        with torch.autocast(labels_B_T.device.type, torch.bfloat16, enabled=self.args.bf16):
            hidden_B_T_C = causal.base_model(**known, use_cache=False).last_hidden_state[:, :-1]
            logits_N_V = causal.get_output_embeddings()(hidden_B_T_C[learnt_B_T])
        nll = functional.cross_entropy(logits_N_V.float(), labels_B_T[learnt_B_T], reduction="sum")
        count = learnt_B_T.sum() if num_items_in_batch is None else num_items_in_batch
        return nll / torch.as_tensor(count).clamp(min=1)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none into checkpoints: the registry writes the adapter's card."""

    def _may_skip_positions(self, model: Any) -> bool:
        """Whether calling the model's parts past its `forward` changes nothing but the time."""
        alone = self.accelerator.num_processes == 1  # else gradients are joined in `forward`
        return alone and model.config.model_type in PLAIN_HEADS


class Watch(TrainerCallback):
    """Tells progress, stops at a loss that is not a number, marks checkpoints as whole."""

    def __init__(self, trainer: AnswerTrainer, reporter: Reporter, recipe: Recipe) -> None:
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
            tokens_per_s=self.trainer.tokens_seen / elapsed_s if elapsed_s > 0 else None,
            eta_s=elapsed_s / done * left if done else None,
        )
