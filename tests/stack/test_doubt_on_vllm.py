"""The real vLLM's log-probabilities of an answer are those of the model itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from curation.review.doubt import Scorer
from curation.stages.tokens import load_tokenizer

pytestmark = pytest.mark.stack

CONVERSATION = [
    {"role": "system", "content": "You answer for a shop."},
    {"role": "user", "content": "Where is my parcel? It was due on Monday."},
    {"role": "assistant", "content": "It is in Bern, and comes on Wednesday before noon."},
]


def test_the_mean_is_over_the_answers_own_tokens(vllm_engine: str, base_model: Path) -> None:
    """Computed beside it with transformers, token by token, from the same chat template."""
    tokenizer = AutoTokenizer.from_pretrained(str(base_model))
    prompt, whole = (
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=asks, continue_final_message=not asks
        )
        for messages, asks in ((CONVERSATION[:-1], True), (CONVERSATION, False))
    )
    before = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids_B_T = tokenizer(whole, add_special_tokens=False, return_tensors="pt")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(str(base_model), dtype=torch.float32)
    with torch.inference_mode():
        logs_T_V = torch.log_softmax(model(ids_B_T).logits[0, :-1].float(), dim=-1)
    logs_T = logs_T_V.gather(1, ids_B_T[0, 1:, None])[:, 0]
    expected = float(logs_T[before - 1 :].mean())
    scorer = Scorer(vllm_engine, "base", load_tokenizer(base_model))
    assert scorer.score(CONVERSATION) == pytest.approx(expected, abs=0.05)
