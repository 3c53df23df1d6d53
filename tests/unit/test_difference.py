"""The word difference of the review pages: nothing lost, changes told, and never slow."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.console.difference import EXACT_WORDS, MAX_WORDS, Piece, difference

words = st.lists(st.sampled_from(["a", " b", "\n", "c.", " é", "  d", "日本", "!"])).map("".join)


@given(words, words)
def test_the_pieces_are_both_texts(before: str, after: str) -> None:
    """Whatever stayed and went is the old text, whatever stayed and came the new one."""
    pieces = difference(before, after)
    if pieces is not None:
        assert "".join(each.text for each in pieces if each.change != "new") == before
        assert "".join(each.text for each in pieces if each.change != "gone") == after
        assert all(each.text for each in pieces)


def test_words_are_told_apart_from_what_stands_beside_them() -> None:
    """A full stop is no part of its word, and the space before a changed word stays."""
    assert difference("It is in Basel.", "It is in Bern, now.") == [
        Piece("same", "It is in"),
        Piece("same", " "),
        Piece("gone", "Basel"),
        Piece("new", "Bern, now"),
        Piece("same", "."),
    ]
    assert difference("the same", "the same") == [Piece("same", "the same")]
    assert difference("", "") == []


def test_a_difference_that_helps_nobody_is_none() -> None:
    """Texts that share nothing, or are too long to be read so."""
    assert difference("No idea!", "Your parcel is in Bern.") is None
    long = "word " * (MAX_WORDS // 2)
    assert difference(long, long + "more") is None


@pytest.mark.parametrize("count", [EXACT_WORDS, MAX_WORDS // 2 - 200])
@pytest.mark.parametrize("vocabulary", [1, 5_000])
def test_no_text_takes_long(count: int, vocabulary: int) -> None:
    """Neither one that repeats a word, which is the worst for difflib, nor a long one."""
    chance = random.Random(7)
    old = [f"w{chance.randrange(vocabulary)}" for _ in range(count)]
    new = [word if chance.random() > 0.02 else "changed" for word in old]
    started = time.process_time()
    difference(" ".join(old), " ".join(new))
    assert time.process_time() - started < 2.0  # of this thread's own time; measured 0.2 s
