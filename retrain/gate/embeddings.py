"""Texts → token embeddings, for BERTScore: by an encoder's folder, or by the base model itself.

One array [T, C] a text comes out: the last hidden state. Imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from core.errors import GateError
from retrain.gate.metrics.overlap import Embedded, bert_score

MAX_TOKENS = 512


class Embedder:
    """A model's hidden states; loaded from local files at once.

    Raises: GateError when the folder holds no model.
    """

    def __init__(self, folder: str) -> None:
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._model: Any = AutoModel.from_pretrained(folder).eval()
        except (OSError, ValueError) as error:
            raise GateError(
                f"gate.encoder is {folder}, which holds no model ({error}): name the folder of a "
                "BERT-like model, or leave it out"
            ) from error

    @torch.inference_mode()
    def tokens(self, text: str) -> Embedded:
        """Return the embedding of each of the text's tokens, none of an empty text."""
        ids = self._tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        if not text.strip() or not ids["input_ids"].shape[1]:
            return np.zeros((0, 1), np.float32)
        return self._model(**ids).last_hidden_state[0].float().numpy()


def bert_scores(
    embedder: Embedder, answers: Sequence[str], references: Sequence[str]
) -> list[float]:
    """Return each answer's BERTScore against its reference, from -1 to 1."""
    return [
        bert_score(embedder.tokens(answer), embedder.tokens(reference))
        for answer, reference in zip(answers, references, strict=True)
    ]
