"""Examples → token ids and labels, by the base model's own chat template.

Prompt and answer are tokenised apart and joined, as in serving, where the answer is
generated after a tokenised prompt. Labels cover the answer and its end-of-turn token only.
Templates need no `{% generation %}` tags for this. Training and evaluation share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.errors import TrainingError
from retrain.examples import Example

IGNORED = -100  # torch's cross-entropy leaves these labels out


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as ids; `labels` has the same length."""

    prompt_ids: list[int]
    answer_ids: list[int]
    answer_only: bool

    @property
    def input_ids(self) -> list[int]:
        """Prompt, answer and end of turn."""
        return self.prompt_ids + self.answer_ids

    @property
    def labels(self) -> list[int]:
        """What is to be learnt at each position."""
        prompt = [IGNORED] * len(self.prompt_ids) if self.answer_only else self.prompt_ids
        return prompt + self.answer_ids


def encode(tokenizer: Any, example: Example, *, answer_only: bool = True) -> Encoded:
    """Return the ids of one example. `tokenizer` is a transformers tokenizer.

    Raises: TrainingError when the chat template cannot tell where the answer begins.
    """
    prompt: str = tokenizer.apply_chat_template(
        example.prompt, add_generation_prompt=True, tokenize=False
    )
    whole: str = tokenizer.apply_chat_template(list(example.messages), tokenize=False)
    if not whole.startswith(prompt):
        raise TrainingError(
            "the base model's chat template renders a prompt differently when an answer "
            "follows: use a base model whose template does not, or mend its chat_template.jinja"
        )
    answer = _until_end_of_turn(whole[len(prompt) :], tokenizer.eos_token)
    return Encoded(
        tokenizer(prompt, add_special_tokens=False)["input_ids"],
        tokenizer(answer, add_special_tokens=False)["input_ids"],
        answer_only,
    )


def encode_all(
    tokenizer: Any, examples: Iterable[Example], *, max_length: int, answer_only: bool = True
) -> tuple[list[Encoded], int]:
    """Return the examples that fit in `max_length` tokens, and how many did not.

    A longer one is left out rather than cut: a cut answer would teach the model not to stop.
    """
    encoded = [encode(tokenizer, example, answer_only=answer_only) for example in examples]
    fitting = [item for item in encoded if len(item.input_ids) <= max_length]
    return fitting, len(encoded) - len(fitting)


def _until_end_of_turn(answer: str, end: str) -> str:
    """Return the answer up to and with `end`: what a template prints after it is not learnt."""
    head, found, _ = answer.rpartition(end)
    return head + found if found else answer + end
