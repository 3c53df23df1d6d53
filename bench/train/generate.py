"""Answers/s of transformers' `generate`, in batches, without Ratchet. Prints one JSON object.

python -m bench.train.generate MODEL ADAPTER PROMPTS.json TOKENS BATCH
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(words: list[str]) -> None:
    """Answer all prompts once warm, and print the rate."""
    model_folder, adapter, asked, tokens, batch = words
    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    model.eval()
    prompts = json.loads(Path(asked).read_text())
    texts = [
        tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        for prompt in prompts
    ]
    texts.sort(key=len)  # batches of like lengths: the least padding
    size = int(batch)
    batches = [texts[at : at + size] for at in range(0, len(texts), size)]
    _answer(model, tokenizer, batches[0], int(tokens))
    began = time.monotonic()
    for texts_together in batches:
        _answer(model, tokenizer, texts_together, int(tokens))
    print(json.dumps({"answers_per_s": len(texts) / (time.monotonic() - began)}))


@torch.inference_mode()
def _answer(model: Any, tokenizer: Any, texts: list[str], tokens: int) -> None:
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    model.generate(
        **inputs,
        max_new_tokens=tokens,
        min_new_tokens=tokens,  # as long as the engine's, which is told to go on after the end
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
