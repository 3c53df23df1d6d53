"""Validation: conversations that a training can use, and the names of what is wrong with others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from core.errors import DataError
from curation.candidates import Candidate
from curation.validation import (
    BATCH_CANDIDATES,
    TEMPLATE_TOKENS_PER_MESSAGE,
    count_tokens,
    fault,
    load_tokenizer,
    validate,
)
from feedback.events import Message
from tests.unit.curation_world import candidate, write_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    """Give a tokenizer that counts words and signs."""
    return load_tokenizer(write_tokenizer(tmp_path))


def conversation(roles: str) -> Candidate:
    """Return a candidate with a message for each letter: s(ystem), u(ser), a(ssistant), t(ool)."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    messages = tuple(Message(names[letter], f"text {letter}") for letter in roles)
    return replace(candidate("?"), messages=messages)


@pytest.mark.parametrize("roles", ["ua", "sua", "uaua", "suauaua"])
def test_alternating_roles_are_sound(roles: str) -> None:
    """One system message may open; then user and assistant take turns."""
    assert fault(conversation(roles)) is None


@pytest.mark.parametrize("roles", ["a", "sa", "aa", "uua", "usa", "ssua", "uta", "suaa", "u"])
def test_other_roles_are_a_fault(roles: str) -> None:
    """What no chat template was trained on is named."""
    assert fault(conversation(roles)) == "roles do not alternate"


@pytest.mark.parametrize("blank", ["", " \n\t", "\u200b", "\u200b \ufeff\u2060"])
def test_text_that_nobody_can_see_is_empty(blank: str) -> None:
    """Zero-width characters are no answer and no question."""
    assert fault(candidate("Where?", blank)) == "empty text"
    assert fault(candidate(blank, "There.")) == "empty text"


@pytest.mark.parametrize("good", ["ok", "👍", "7", "はい", "a\tb\r\nc", "👩\u200d💻 yes"])
def test_short_and_foreign_answers_are_sound(good: str) -> None:
    """An emoji, a digit, another script, tabs and line ends are text."""
    assert fault(candidate("Where?", good)) is None


@pytest.mark.parametrize("bad", ["caf\ufffd", "a\x00b", "a\x1bb", "a\x85b", "a\ud800b"])
def test_decoding_damage_is_a_fault(bad: str) -> None:
    """Replacement and control characters and lone surrogates tell of broken text."""
    assert fault(candidate("Where?", bad)) == "broken text"


def test_tokens_are_counted_over_the_whole_conversation(tokenizer: Tokenizer) -> None:
    """Two words, a sign and one word, and what the template adds to each of two messages."""
    assert count_tokens([candidate("Where is?", "There")], tokenizer) == [
        4 + 2 * TEMPLATE_TOKENS_PER_MESSAGE
    ]


def test_counts_keep_their_places_over_batches(tokenizer: Tokenizer) -> None:
    """The count of each candidate is its own, also beyond the first batch."""
    sizes = [1 + number % 7 for number in range(BATCH_CANDIDATES + 3)]
    candidates = [candidate("word " * size, "There") for size in sizes]
    assert count_tokens(candidates, tokenizer) == [
        size + 1 + 2 * TEMPLATE_TOKENS_PER_MESSAGE for size in sizes
    ]


def test_token_limit_is_inclusive(tokenizer: Tokenizer) -> None:
    """At the limit is kept; one token over is dropped, and the drop says both numbers."""
    fits, over = candidate("one two", "three"), candidate("one two three", "four")
    limit = 3 + 2 * TEMPLATE_TOKENS_PER_MESSAGE
    sieved = validate([over, fits], tokenizer, limit)
    assert sieved.kept == [fits]
    (drop,) = sieved.dropped
    assert (drop.reason, drop.detail) == ("too long", f"{limit + 1} tokens, at most {limit}")


def test_every_candidate_is_kept_or_dropped(tokenizer: Tokenizer) -> None:
    """Kept and dropped together are what came in, each with its own reason."""
    candidates = [conversation("ua"), conversation("uu"), candidate("Where?", " ")]
    sieved = validate(candidates, tokenizer, 100)
    assert sieved.kept == candidates[:1]
    assert [(drop.interaction_id, drop.reason) for drop in sieved.dropped] == [
        (candidates[1].interaction_id, "roles do not alternate"),
        (candidates[2].interaction_id, "empty text"),
    ]


def test_missing_tokenizer_is_named(tmp_path: Path) -> None:
    """The error says which file is missing and what to do."""
    with pytest.raises(DataError, match=r"tokenizer\.json does not exist.*prepare the base model"):
        load_tokenizer(tmp_path)


def test_broken_tokenizer_is_named(tmp_path: Path) -> None:
    """Half a download is no tokenizer."""
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(DataError, match=r"is not a tokenizer.*fetch the model again"):
        load_tokenizer(tmp_path)
