"""Tokens and labels: only the answer and its end are learnt, whatever the template prints."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import TrainingError
from retrain.examples import Example
from retrain.tokens import IGNORED, encode, encode_all, prompt_text

EXAMPLE = Example(
    ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello you"})
)


class CharTokenizer:
    """A stand-in for a transformers tokenizer: one token per character, a ChatML-like template."""

    eos_token = "$"
    eos_token_id = ord("$")
    chat_template: str | None = "r:content$"

    def __init__(self, *, tail: str = "$\n", before_answer: str = "") -> None:
        self.tail = tail
        self.before_answer = before_answer

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        """Render `role:content$` turns."""
        assert not tokenize
        text = ""
        for message in messages:
            extra = self.before_answer if message["role"] == "assistant" else ""
            text += f"{extra}{message['role'][0]}:{message['content']}{self.tail}"
        return text + ("a:" if add_generation_prompt else "")

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, Any]:
        """Return one id per character, after `^` where special tokens are asked for."""
        begin = "^" * add_special_tokens
        return {"input_ids": [ord(character) for character in begin + text]}


def shown(ids: list[int]) -> str:
    """Return ids as text, `_` where nothing is learnt."""
    return "".join("_" if i == IGNORED else chr(i) for i in ids)


def test_only_the_answer_and_its_end_are_learnt() -> None:
    """The newline that the template prints after the end of turn is left out."""
    encoded = encode(CharTokenizer(), EXAMPLE)
    assert shown(encoded.input_ids) == "u:hi$\na:hello you$"
    assert shown(encoded.labels) == "________hello you$"


def test_whole_conversation_can_be_learnt() -> None:
    """Without answer-only loss every token has a label."""
    encoded = encode(CharTokenizer(), EXAMPLE, answer_only=False)
    assert encoded.labels == encoded.input_ids


def test_end_of_turn_is_added_when_the_template_has_none() -> None:
    """A model must learn where to stop, even if its template forgets to say."""
    assert shown(encode(CharTokenizer(tail="\n"), EXAMPLE).answer_ids).endswith("$")


def test_template_that_changes_the_prompt_is_refused() -> None:
    """When the answer's beginning cannot be told, training would learn the wrong tokens."""
    with pytest.raises(TrainingError, match="renders a prompt differently"):
        encode(CharTokenizer(before_answer="<think>"), EXAMPLE)


def test_too_long_examples_are_left_out_and_counted() -> None:
    """Nothing is cut: an example fits or is not used."""
    length = len(encode(CharTokenizer(), EXAMPLE).input_ids)
    kept, skipped = encode_all(CharTokenizer(), [EXAMPLE, EXAMPLE], max_length=length)
    assert (len(kept), skipped) == (2, 0)
    kept, skipped = encode_all(CharTokenizer(), [EXAMPLE], max_length=length - 1)
    assert (len(kept), skipped) == (0, 1)


def test_every_answer_can_be_learnt() -> None:
    """With all turns the earlier answer and its end have labels too; the ids stay the same."""
    talk = Example(
        (
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "two"},
        )
    )
    every = encode(CharTokenizer(), talk, turns="all")
    assert every.input_ids == encode(CharTokenizer(), talk).input_ids
    assert shown(every.labels) == "________one$" + "_________two$"


def test_completion_needs_no_template() -> None:
    """A text is begun as serving begins it, and its continuation ends with the model's end."""
    tokenizer = CharTokenizer()
    tokenizer.chat_template = None
    text = Example(({"role": "prompt", "content": "1+1="}, {"role": "completion", "content": "2"}))
    encoded = encode(tokenizer, text)
    assert shown(encoded.input_ids) == "^1+1=2$"
    assert shown(encoded.labels) == "_____2$"
    assert prompt_text(tokenizer, text) == "1+1="


def test_prompt_of_a_tokenizer_that_ends_texts_is_not_ended() -> None:
    """An end that the tokenizer adds to a prompt is taken off."""

    class Ending(CharTokenizer):
        def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, Any]:
            ids = super().__call__(text, add_special_tokens=add_special_tokens)["input_ids"]
            return {"input_ids": ids + [self.eos_token_id] * add_special_tokens}

    text = Example(({"role": "prompt", "content": "a"}, {"role": "completion", "content": "b"}))
    assert shown(encode(Ending(), text).input_ids) == "^ab$"


def test_conversation_without_a_template_is_told_what_would_do() -> None:
    """A base model without a chat template needs one, or another kind of data."""
    tokenizer = CharTokenizer()
    tokenizer.chat_template = None
    with pytest.raises(TrainingError, match='template = "instruction"'):
        encode(tokenizer, EXAMPLE)


def test_template_that_changes_an_earlier_answer_cannot_teach_it() -> None:
    """A template that prints earlier answers otherwise is refused with all turns."""

    class Forgetful(CharTokenizer):
        def apply_chat_template(
            self,
            messages: list[dict[str, str]],
            *,
            tokenize: bool,
            add_generation_prompt: bool = False,
        ) -> str:
            cut = [
                message | {"content": "…"}
                if message["role"] == "assistant" and n < len(messages) - 1
                else message
                for n, message in enumerate(messages)
            ]
            return super().apply_chat_template(
                cut, tokenize=tokenize, add_generation_prompt=add_generation_prompt
            )

    talk = Example((*EXAMPLE.messages, *EXAMPLE.messages))
    with pytest.raises(TrainingError, match="renders an earlier answer differently"):
        encode(Forgetful(), talk, turns="all")
