"""The held-out loss of adapters, by code that neither side shares: transformers and PEFT alone.

One conversation at a time, without batches or padding: the negative log-likelihood per token of
the last answer and its end of turn. Prints one JSON object, path of the adapter to loss; the base
model's is under "base".

    python -m bench.train.heldout DATASET MODEL ADAPTER...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(words: list[str]) -> None:
    """Print the losses."""
    dataset, model_folder, *adapters = words
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = parquet.read_table(Path(dataset) / "test.parquet").column("messages").to_pylist()
    texts = [_encoded(tokenizer, messages) for messages in rows]
    base: Any = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    losses = {"base": _loss(base, texts)}
    for adapter in adapters:
        model = PeftModel.from_pretrained(base, adapter).eval()
        losses[adapter] = _loss(model, texts)
        base = model.unload()
    print(json.dumps(losses))


def _encoded(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Return the ids of the prompt and of the answer with its end of turn."""
    prompt = tokenizer.apply_chat_template(
        messages[:-1], add_generation_prompt=True, tokenize=False
    )
    answer = messages[-1]["content"] + tokenizer.eos_token
    return (
        tokenizer(prompt, add_special_tokens=False)["input_ids"],
        tokenizer(answer, add_special_tokens=False)["input_ids"],
    )


@torch.inference_mode()
def _loss(model: Any, texts: list[tuple[list[int], list[int]]]) -> float:
    nll, tokens = 0.0, 0
    for prompt, answer in texts:
        ids = torch.tensor([prompt + answer])
        logits = model(input_ids=ids, logits_to_keep=len(answer) + 1).logits[0, :-1]
        nll += functional.cross_entropy(logits, ids[0, len(prompt) :], reduction="sum").item()
        tokens += len(answer)
    return nll / tokens


if __name__ == "__main__":
    main(sys.argv[1:])
