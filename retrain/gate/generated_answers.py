"""Answers by `generate` of transformers, in this process: where no engine can give them.

For methods that vLLM does not load, machines without an engine, and tests. Slower than vLLM, with
the same greedy choice. Imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from retrain.gate.answering import Ask, Heard, Model
from retrain.gate.suite import Answer

BATCH = 16  # prompts generated at once; measured on 2 cores, more gains nothing


class GeneratedAnswers:
    """The models that `load` gives, asked in batches of like length."""

    name = "transformers"

    def __init__(self, load: Callable[[Model], Any], tokenizer: Any) -> None:
        self._load, self._tokenizer = load, tokenizer

    def answer(self, model: Model, asks: Sequence[Ask], heard: Heard) -> None:
        """Answer every ask, short answers first: batches end together."""
        loaded = self._load(model)
        for batch in _batches(sorted(asks, key=lambda ask: (ask.max_tokens, len(ask.prompt_ids)))):
            for ask, answer in zip(batch, self._generate(loaded, batch), strict=True):
                heard(ask, answer)

    @torch.inference_mode()
    def _generate(self, model: Any, batch: Sequence[Ask]) -> list[Answer]:
        tokenizer, began = self._tokenizer, time.monotonic()
        prompts = tokenizer.pad(
            {"input_ids": [list(ask.prompt_ids) for ask in batch]}, return_tensors="pt"
        ).to(model.device)
        generated = model.generate(
            **prompts,
            max_new_tokens=max(ask.max_tokens for ask in batch),
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        seconds = time.monotonic() - began
        rows = generated[:, prompts["input_ids"].shape[1] :].tolist()
        return [self._answer(row, ask, seconds) for row, ask in zip(rows, batch, strict=True)]

    def _answer(self, ids: list[int], ask: Ask, seconds: float) -> Answer:
        """Return an answer up to its end, at most as long as was asked; all of a batch took as
        long.
        """
        end = ids.index(self._tokenizer.eos_token_id) if self._tokenizer.eos_token_id in ids else -1
        ended = 0 <= end < ask.max_tokens
        kept = ids[:end] if ended else ids[: ask.max_tokens]
        text = self._tokenizer.decode(kept, skip_special_tokens=True).strip()
        return Answer(text, len(kept) + ended, seconds, cut=not ended)


def _batches(asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    for start in range(0, len(asks), BATCH):
        yield asks[start : start + BATCH]
