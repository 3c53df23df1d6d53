"""Examples → token ids and labels, by the base model's own chat template.

Prompt and answer are tokenised apart and joined, as in serving, where the answer is
generated after a tokenised prompt. Labels cover the answer and its end-of-turn token only, or
those of all the assistant's turns. Completions have no template. Templates need no
`{% generation %}` tags for this. Training and evaluation share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import TrainingError
from retrain.examples import Example, Message

IGNORED = -100  # torch's cross-entropy leaves these labels out
Turns = Literal["last", "all"]

# For base models without a chat template of their own. Source: fine-tuning guide, "Data
# Formatting and Structuring", Completion Format; its words as a template that vLLM reads too.
INSTRUCTION_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}"
    "{% else %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as ids; `labels` has the same length."""

    prompt_ids: list[int]
    answer_ids: list[int]
    answer_only: bool
    earlier: tuple[tuple[int, int], ...] = ()  # spans of the prompt that are answers, learnt too

    @property
    def input_ids(self) -> list[int]:
        """Prompt, answer and end of turn."""
        return self.prompt_ids + self.answer_ids

    @property
    def labels(self) -> list[int]:
        """What is to be learnt at each position."""
        prompt = [IGNORED] * len(self.prompt_ids) if self.answer_only else list(self.prompt_ids)
        for start, end in self.earlier:
            prompt[start:end] = self.prompt_ids[start:end]
        return prompt + self.answer_ids


def use_template(tokenizer: Any, name: Literal["chat", "instruction"]) -> Any:
    """Return the tokenizer with the template that the recipe names: its own, or the guide's.

    Raises: TrainingError when it would be given a second one.
    """
    if name == "chat":
        return tokenizer
    if tokenizer.chat_template not in (None, INSTRUCTION_TEMPLATE):
        raise TrainingError(
            "template is instruction, but the base model has a chat template of its own, which "
            'serving would use: set template = "chat", or take a base model without one'
        )
    tokenizer.chat_template = INSTRUCTION_TEMPLATE
    return tokenizer


def encode(
    tokenizer: Any, example: Example, *, answer_only: bool = True, turns: Turns = "last"
) -> Encoded:
    """Return the ids of one example. `tokenizer` is a transformers tokenizer.

    Raises: TrainingError when the chat template cannot tell where the answer begins.
    """
    if example.is_completion:
        ids = _prompt_ids(tokenizer, prompt_text(tokenizer, example))
        return Encoded(ids, _ids(tokenizer, example.answer + tokenizer.eos_token), answer_only)
    if answer_only and turns == "all":
        return _encode_all_turns(tokenizer, list(example.messages))
    prompt, answer = _last_turn(tokenizer, list(example.messages))
    return Encoded(_ids(tokenizer, prompt), _ids(tokenizer, answer), answer_only)


def prompt_text(tokenizer: Any, example: Example) -> str:
    """Return the text after which a model is to write the example's answer."""
    if example.is_completion:
        return example.prompt[0]["content"]
    return _rendered(tokenizer, example.prompt, opens=True)


def encode_all(
    tokenizer: Any,
    examples: Iterable[Example],
    *,
    max_length: int,
    answer_only: bool = True,
    turns: Turns = "last",
) -> tuple[list[Encoded], int]:
    """Return the examples that fit in `max_length` tokens, and how many did not.

    A longer one is left out rather than cut: a cut answer would teach the model not to stop.
    """
    encoded = [encode(tokenizer, each, answer_only=answer_only, turns=turns) for each in examples]
    fitting = [item for item in encoded if len(item.input_ids) <= max_length]
    return fitting, len(encoded) - len(fitting)


def _encode_all_turns(tokenizer: Any, messages: list[Message]) -> Encoded:
    """Tokenise between each answer and the next question, as serving did turn by turn."""
    answered = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    done = ""
    for last in answered:
        prompt, answer = _last_turn(tokenizer, messages[: last + 1])
        if not prompt.startswith(done):
            raise TrainingError(_changes("an earlier answer"))
        ids += _ids(tokenizer, prompt[len(done) :])
        start = len(ids)
        ids += _ids(tokenizer, answer)
        spans.append((start, len(ids)))
        done = prompt + answer
    start = spans[-1][0]
    return Encoded(ids[:start], ids[start:], True, tuple(spans[:-1]))


def _last_turn(tokenizer: Any, messages: list[Message]) -> tuple[str, str]:
    """Return what comes before the last message, and that message with its end of turn."""
    prompt = _rendered(tokenizer, messages[:-1], opens=True)
    whole = _rendered(tokenizer, messages, opens=False)
    if not whole.startswith(prompt):
        raise TrainingError(_changes("a prompt"))
    return prompt, _until_end_of_turn(whole[len(prompt) :], tokenizer.eos_token)


def _rendered(tokenizer: Any, messages: list[Message], *, opens: bool) -> str:
    if tokenizer.chat_template is None:
        raise TrainingError(
            'the base model has no chat template: set template = "instruction" (recipe '
            "sft-instruction), train on completions, or add a chat_template.jinja to the model"
        )
    return tokenizer.apply_chat_template(messages, add_generation_prompt=opens, tokenize=False)


def _changes(what: str) -> str:
    return (
        f"the base model's chat template renders {what} differently when an answer "
        "follows: use a base model whose template does not, or mend its chat_template.jinja"
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text as serving begins it: with the model's first token, if it has one.

    A tokenizer that also ends texts would end the prompt: that token is taken off.
    """
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def _until_end_of_turn(answer: str, end: str) -> str:
    """Return the answer up to and with `end`: what a template prints after it is not learnt."""
    head, found, _ = answer.rpartition(end)
    return head + found if found else answer + end
