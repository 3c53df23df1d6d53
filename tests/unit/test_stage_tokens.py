"""Counting tokens: equal to the tokenizer's own count, whole or in pieces, and the limit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from core.errors import DataError
from curation.stages.tokens import (
    BATCH_TEXTS,
    MAX_PIECE_CHARS,
    PIECE,
    TEMPLATE_TOKENS_PER_MESSAGE,
    CountTokens,
    TokenCounter,
    load_tokenizer,
)
from tests.unit.candidate_tables import pair, row, table_of
from tests.unit.curation_world import write_tokenizer

TRAINED_ON = [
    "The heating is set from the menu, isn't it? It's 12,345 metres away.\n\n",
    "def f(x):\n    return x ** 2  # squared\n\n\nclass A:\n\tname: str = 'a b'\n",
    "Größe über été ¿qué? Добрый день 日本語 です e\u0301 ½ \u00a0 nbsp <p class='a'>&amp;</p>",
]
# Letters, digits, signs, spaces of all kinds: all that a tokenizer splits by
TEXTS = st.text(
    st.sampled_from("abthe TI's  12,.!?\n\n\t\r'\"(é日½\u00a0\u2003\u0301<|>_"), max_size=60
)


def byte_level() -> Tokenizer:
    """Return a byte-level BPE tokenizer, as most base models have."""
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TRAINED_ON * 3, trainer)
    return tokenizer


def spanning() -> Tokenizer:
    """Return a tokenizer whose tokens go over spaces: no sum of words is right."""
    tokenizer: Any = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False)
    tokenizer.train_from_iterator(TRAINED_ON * 3, trainer)
    return tokenizer


SMALL = byte_level()
BYTE_LEVEL = TokenCounter(SMALL)


def whole(tokenizer: Tokenizer, text: str) -> int:
    """Return the tokens of a text by the tokenizer alone."""
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


@settings(deadline=None)
@given(TEXTS)
def test_pieces_have_the_tokens_of_the_whole(text: str) -> None:
    """For a byte-level tokenizer the quick way gives its own count."""
    assert BYTE_LEVEL.adds_up
    assert "".join(PIECE.findall(text)) == text
    assert BYTE_LEVEL.count([text]) == [whole(SMALL, text)]


def test_a_tokenizer_that_does_not_add_up_counts_whole_texts() -> None:
    """Tokens that go over spaces are told when it is loaded."""
    tokenizer = spanning()
    counter = TokenCounter(tokenizer)
    assert not counter.adds_up
    assert counter.count(TRAINED_ON) == [whole(tokenizer, text) for text in TRAINED_ON]


def test_long_pieces_are_counted_and_not_remembered() -> None:
    """They seldom come again, and would fill the memory."""
    counter = TokenCounter(SMALL)
    long = "x1" * MAX_PIECE_CHARS
    expected = whole(SMALL, f"a {long} b")
    assert counter.count([f"a {long} b"] * 2) == [expected] * 2
    assert counter.count([f"a {long} b"]) == [expected]


def test_tokens_are_counted_over_the_whole_conversation(tmp_path: Path) -> None:
    """Each message counts with what the template adds; of a pair, the longer answer."""
    table = table_of(
        row("Where is it", "There"),
        pair("Where is it", "There", "here and there and here"),
        pair("Where is it", "here and there and here", "There"),
        {**row("x", "y"), "messages": None},
    )
    outcome = CountTokens(write_tokenizer(tmp_path), 100)(table)
    template = 2 * TEMPLATE_TOKENS_PER_MESSAGE
    assert outcome.kept["tokens"].to_pylist() == [4 + template, 8 + template, 8 + template, 0]
    assert str(outcome.kept.schema.field("tokens").type) == "int32"


def test_counts_keep_their_places_over_batches(tmp_path: Path) -> None:
    """The count of each row is its own, also beyond the first batch."""
    sizes = [1 + number % 7 for number in range(BATCH_TEXTS)]
    table = table_of(*(row("word " * size, "There") for size in sizes))
    outcome = CountTokens(write_tokenizer(tmp_path), 100)(table)
    template = 2 * TEMPLATE_TOKENS_PER_MESSAGE
    assert outcome.kept["tokens"].to_pylist() == [size + 1 + template for size in sizes]


def test_token_limit_is_inclusive(tmp_path: Path) -> None:
    """At the limit is kept; one token over is dropped, and the drop says both numbers."""
    table = table_of(row("one two", "three"), row("one two", "three four", id_="over"))
    stage = pickle.loads(pickle.dumps(CountTokens(write_tokenizer(tmp_path), 13)))
    outcome = stage(table)
    assert outcome.kept["tokens"].to_pylist() == [13]
    assert outcome.drops["interaction_id"].to_pylist() == ["over"]
    assert outcome.drops["reason"].to_pylist() == ["too long"]
    assert outcome.drops["detail"].to_pylist() == ["14 tokens, at most 13"]
    assert stage(table.slice(0, 0)).kept["tokens"].to_pylist() == []


def test_a_missing_or_broken_tokenizer_is_named(tmp_path: Path) -> None:
    """The error says which file, and what to do."""
    with pytest.raises(DataError, match=r"tokenizer\.json does not exist"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizer"):
        CountTokens(tmp_path, 10)(table_of(row("x", "y")))
