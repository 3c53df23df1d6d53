"""TRL's SFT trainer with short cuts that change nothing but time and memory.

They are for CPU and for Llama-like models; elsewhere the trainer is TRL's own. Knows nothing of
progress or checkpoints: `watch.py` looks on. Imports torch.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional
from trl.trainer.sft_trainer import SFTTrainer

from retrain.tokens import IGNORED
from retrain.training.lean import answer_loss
from retrain.training.lean_model import PASSED_ON, is_frozen_linear, make_lean
from retrain.training.shared_prefix import Row, fold

# Architectures whose logits are the vocabulary matrix times the hidden state and nothing more.
PLAIN_HEADS = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


class AnswerTrainer(SFTTrainer):
    """TRL's trainer, except that the vocabulary matrix meets only positions with a label.

    Without Triton (that is, on CPU) TRL multiplies every position by it, and again in the
    backward pass. On CPU a batch is also computed as one row, without padding and with what
    its examples share only once, by operations that remember less. The loss and its gradient
    are the same to rounding; tests compare them.
    """

    tokens_seen = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        whole = not self.args.gradient_checkpointing  # which runs parts a second time
        self.takes_rows = whole and self._may_skip_positions(self.model) and make_lean(self.model)

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
        causal = self.accelerator.unwrap_model(model)
        if isinstance(causal, PeftModel):
            causal = causal.get_base_model()
        row = self._row(inputs)
        with torch.autocast(inputs["labels"].device.type, torch.bfloat16, enabled=self.args.bf16):
            nll = _loss_by_batch(causal, inputs) if row is None else _loss_by_row(causal, row)
        count = num_items_in_batch
        if count is None:
            count = (inputs["labels"][:, 1:] != IGNORED).sum()
        return nll / torch.as_tensor(count).clamp(min=1)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none into checkpoints: the registry writes the adapter's card."""

    def _row(self, inputs: dict[str, Any]) -> Row | None:
        """Return the batch as one row where that is possible: packed ones are rows already."""
        if not self.takes_rows or "attention_mask" not in inputs:
            return None
        return fold(inputs["input_ids"], inputs["attention_mask"], inputs["labels"])

    def _may_skip_positions(self, model: Any) -> bool:
        """Whether calling the model's parts past its `forward` changes nothing but the time."""
        # else gradients are joined, or weights gathered, around `forward`
        alone = self.accelerator.num_processes == 1 and not self.is_deepspeed_enabled
        inner: Any = self.accelerator.unwrap_model(model)
        prompted = isinstance(inner, PeftModel) and inner.active_peft_config.is_prompt_learning
        return alone and not prompted and model.config.model_type in PLAIN_HEADS


def _loss_by_batch(causal: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the loss over all labels of a padded or packed batch."""
    labels_B_T = inputs["labels"][:, 1:]
    learnt_B_T = labels_B_T != IGNORED
    known = {name: value for name, value in inputs.items() if name != "labels"}
    hidden_B_T_C = causal.base_model(**known, use_cache=False).last_hidden_state[:, :-1]
    logits_N_V = causal.get_output_embeddings()(hidden_B_T_C[learnt_B_T])
    return functional.cross_entropy(logits_N_V.float(), labels_B_T[learnt_B_T], reduction="sum")


def _loss_by_row(causal: Any, row: Row) -> torch.Tensor:
    """Return the same loss of a batch that was folded into one row."""
    output = causal.base_model(
        input_ids=row.ids_1_N,
        position_ids=row.positions_1_N,
        attention_mask=PASSED_ON,
        use_cache=False,
        row=row,
    )
    hidden_K_C = output.last_hidden_state[0].index_select(0, row.predicting_K)
    head = causal.get_output_embeddings()
    if is_frozen_linear(head):
        return answer_loss(hidden_K_C, head.weight, row.labels_K)
    return functional.cross_entropy(head(hidden_K_C).float(), row.labels_K, reduction="sum")
