"""The table of candidates: texts out and in, and rows left out with a reason."""

from __future__ import annotations

import pyarrow as pa

from curation.table import (
    CANDIDATES,
    Why,
    answers,
    conversations,
    is_taught,
    roles,
    sieve,
    with_conversations,
)
from tests.unit.candidate_tables import pair, row, table_of


def test_texts_go_out_and_come_back() -> None:
    """Also of a part of a table, and of a pair with its lost answer."""
    table = table_of(row("one?", "1"), pair("two?", "2", "zwei"), row("three?", "3")).slice(1)
    texts = conversations(table)
    assert texts == [["two?", "2", "zwei"], ["three?", "3"]]
    upper = with_conversations(table, [[text.upper() for text in row] for row in texts])
    assert conversations(upper) == [["TWO?", "2", "ZWEI"], ["THREE?", "3"]]
    assert upper.schema == CANDIDATES
    assert roles(upper) == [["user", "assistant"]] * 2
    assert answers(upper) == ["2", "3"]


def test_rows_without_messages_are_empty_conversations() -> None:
    """A row from a corrupt source has none, or null for one."""
    broken = {**row("x", "y"), "messages": None}
    half = {**row("x", "y"), "messages": [{"role": "user", "content": None}]}
    table = table_of(broken, half)
    assert conversations(table) == [[], [""]]
    assert answers(table) == ["", ""]


def test_a_sieve_keeps_and_tells() -> None:
    """What goes is told by its ids, with reason and detail."""
    table = table_of(row("one?", "1", id_="a"), row("two?", "2", id_="b"))
    outcome = sieve(table, [None, Why("too long", "9 tokens")], changed=1)
    assert outcome.kept["interaction_id"].to_pylist() == ["a"]
    assert outcome.drops.to_pylist() == [
        {
            "candidate_id": "b:demonstration",
            "interaction_id": "b",
            "reason": "too long",
            "detail": "9 tokens",
        }
    ]
    assert outcome.changed == 1


def test_what_is_taught() -> None:
    """Unwanted answers and safety tests are not."""
    bad = {**row("x", "y"), "kind": "label", "label": False}
    good = {**row("x", "y"), "kind": "label", "label": True}
    flagged = {**row("x", "y"), "kind": "safety"}
    table = table_of(row("x", "y"), pair("x", "y", "z"), good, bad, flagged)
    assert is_taught(table) == pa.chunked_array([[True, True, True, False, False]])
