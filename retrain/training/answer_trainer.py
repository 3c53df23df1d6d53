"""TRL's SFT trainer with one short cut, which spares CPU time: same loss, fewer products.

Knows nothing of progress or checkpoints: `watch.py` looks on. Imports torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from trl.trainer.sft_trainer import SFTTrainer

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
