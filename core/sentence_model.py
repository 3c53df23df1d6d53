"""Texts as points, near each other when they are alike: the one interface, and a model behind it.

What curation's semantic dedupe and monitoring's windows share; each has hashes of its own beside
it, of words or of letters, which need no model. Torch and transformers are reached
here only, and only when the first text comes: whoever imports this module stays small. Knows
nothing of what the texts are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from core.errors import SettingsError

Floats = npt.NDArray[np.float32]

BATCH_TEXTS = 64  # run at once; on 2 cores 32 took a quarter longer, 128 gained nothing
DEFAULT_MAX_TOKENS = 256  # where a folder does not say: a sentence-transformer's usual limit


class Embedder(Protocol):
    """Turns texts into vectors of length 1; the same text into the same, whatever its batch."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return the vectors: N × D, float32."""
        ...


@dataclass(frozen=True, slots=True)
class TransformerEmbedder:
    """The mean of a transformer's last states, as sentence-transformers pools them.

    Picklable: the model is loaded once in each process.
    """

    folder: Path

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return the vectors; of a text beyond the model's limit the mean over all its pieces.

        Raises: SettingsError when the folder has no such model.
        """
        model = _loaded(self.folder)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors_N_D = np.zeros((len(texts), model.dimensions), np.float32)
        for start in range(0, len(order), BATCH_TEXTS):
            places = order[start : start + BATCH_TEXTS]
            vectors_N_D[places] = model.pooled([texts[place] for place in places])
        return vectors_N_D


@dataclass(frozen=True, slots=True)
class _Model:
    network: Any
    tokenizer: Any
    max_tokens: int

    @property
    def dimensions(self) -> int:
        return int(self.network.config.hidden_size)

    def pooled(self, texts: list[str]) -> Floats:
        """Return the mean of the states of each text's tokens, of length 1."""
        pieces = self.tokenizer(
            texts, truncation=True, max_length=self.max_tokens, return_overflowing_tokens=True
        )
        owners = np.array(pieces["overflow_to_sample_mapping"])
        sums_B_D = np.zeros((len(texts), self.dimensions), np.float32)
        for start in range(0, len(owners), BATCH_TEXTS):
            part = pieces["input_ids"][start : start + BATCH_TEXTS]
            np.add.at(sums_B_D, owners[start : start + BATCH_TEXTS], self._summed(part))
        return sums_B_D / np.linalg.norm(sums_B_D, axis=1, keepdims=True)

    def _summed(self, ids: list[list[int]]) -> Floats:
        """Return the sum of the states of each piece's tokens."""
        import torch

        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        with torch.inference_mode():
            states_B_T_D = self.network(**padded).last_hidden_state.float()
        return (states_B_T_D * padded["attention_mask"].unsqueeze(-1)).sum(1).numpy()


@lru_cache(maxsize=1)  # of each process
def _loaded(folder: Path) -> _Model:
    if not (folder / "config.json").is_file():
        raise SettingsError(
            f"{folder} is no folder of a sentence-transformer: it has no config.json; set "
            "curation.semantic.model or monitoring.encoder_model, whichever names it, to one "
            "that has, or to nothing"
        )
    _check_pooling(folder)
    from transformers import AutoModel, AutoTokenizer

    # half precision, which some folders hold, is slow or missing on CPUs
    network = AutoModel.from_pretrained(str(folder), local_files_only=True, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return _Model(network, tokenizer, _max_tokens(folder))


def _check_pooling(folder: Path) -> None:
    """Refuse a model that was trained for another way of pooling: its means would say little."""
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return
    config = json.loads(file.read_text("utf-8"))
    if not config.get("pooling_mode_mean_tokens", True):
        raise SettingsError(
            f"{file}: the model pools otherwise than by the mean of its tokens; choose one that "
            "has pooling_mode_mean_tokens, such as all-MiniLM-L6-v2"
        )


def _max_tokens(folder: Path) -> int:
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return DEFAULT_MAX_TOKENS
    return int(json.loads(file.read_text("utf-8")).get("max_seq_length") or DEFAULT_MAX_TOKENS)
