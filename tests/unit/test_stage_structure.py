"""Structure: rows in a form that a training can use, and the names of what is wrong with others."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from curation.stages.structure import CheckStructure, ends_amid_sentence
from curation.table import CANDIDATES, Table
from tests.unit.candidate_tables import pair, row, table_of

SENTENCE = "The heating is set from the menu, and the change is written at once. "


def reasons(table: Table, max_message_chars: int = 1_000) -> list[str]:
    """Return why the rows were left out, in order."""
    outcome = CheckStructure(max_message_chars)(table)
    assert outcome.kept.num_rows + outcome.drops.num_rows == table.num_rows
    return outcome.drops["reason"].to_pylist()


def of_roles(letters: str) -> dict[str, Any]:
    """Return a row with a message for each letter: s(ystem), u(ser), a(ssistant), t(ool)."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool", "-": None}
    return row("", "", messages=[{"role": names[each], "content": "text"} for each in letters])


@pytest.mark.parametrize("letters", ["ua", "sua", "uaua", "suauaua"])
def test_alternating_roles_are_sound(letters: str) -> None:
    """One system message may open; then user and assistant take turns."""
    assert reasons(table_of(of_roles(letters))) == []


@pytest.mark.parametrize("letters", ["a", "sa", "aa", "uua", "usa", "ssua", "suaa", "u", "s"])
def test_other_roles_are_a_fault(letters: str) -> None:
    """What no chat template was trained on is named."""
    assert reasons(table_of(of_roles(letters))) == ["roles do not alternate"]


@pytest.mark.parametrize(("letters", "reason"), [("uta", "unknown role"), ("u-", "unknown role")])
def test_unknown_roles_are_named(letters: str, reason: str) -> None:
    """A tool's message, and a role that is missing."""
    assert reasons(table_of(of_roles(letters))) == [reason]


def test_missing_columns_of_a_kind_are_a_fault() -> None:
    """Null or empty messages, a pair of one, a label without a value, a kind nobody knows."""
    table = table_of(
        {**row("x", "y"), "messages": None},
        {**row("x", "y"), "messages": []},
        {**row("x", "y"), "kind": "pair"},
        {**row("x", "y"), "kind": "label"},
        {**row("x", "y"), "kind": "poem"},
        {**row("x", "y"), "kind": None},
    )
    assert reasons(table) == [
        *["no messages"] * 2,
        "pair has one answer",
        "label is missing",
        *["unknown kind"] * 2,
    ]


@pytest.mark.parametrize("blank", ["", " \n\t", "\u200b", "\u200b \ufeff\u2060", None])
def test_text_that_nobody_can_see_is_empty(blank: Any) -> None:
    """In a question, an answer and a lost answer; null is no text."""
    half = {"role": "user", "content": blank}
    whole = {"role": "assistant", "content": "There."}
    table = table_of(
        row("", "", messages=[half, whole]),
        pair("Where?", "There.", blank or ""),
    )
    assert reasons(table) == ["empty text"] * 2


@pytest.mark.parametrize("good", ["ok", "👍", "7", "はい", "a\tb\r\nc", "👩\u200d💻 yes"])
def test_short_and_foreign_answers_are_sound(good: str) -> None:
    """An emoji, a digit, another script, tabs and line ends are text."""
    assert reasons(table_of(row("Where?", good))) == []


@pytest.mark.parametrize("bad", ["caf\ufffd", "a\x00b", "a\x1bb", "a\x85b"])
def test_decoding_damage_is_a_fault(bad: str) -> None:
    """Replacement and control characters tell of broken text."""
    assert (
        reasons(table_of(row("Where?", bad), pair("Where?", "There.", bad))) == ["broken text"] * 2
    )


def test_gigantic_messages_are_told_with_their_size() -> None:
    """At the limit is kept; the longest message counts, also the lost answer."""
    table = table_of(row("a" * 10, "b"), row("a" * 11, "b"), pair("a", "b", "ü" * 12))
    outcome = CheckStructure(10)(table)
    assert outcome.kept.num_rows == 1
    assert outcome.drops["reason"].to_pylist() == ["message is gigantic"] * 2
    assert outcome.drops["detail"].to_pylist() == [
        "11 characters, at most 10",
        "12 characters, at most 10",
    ]


def test_a_pair_of_equal_answers_prefers_nothing() -> None:
    """Spaces around them make no difference."""
    table = table_of(pair("x", "Yes.", " Yes.\n"), pair("x", "Yes.", "Yes!"))
    assert reasons(table) == ["answers are equal"]


@pytest.mark.parametrize(
    "cut",
    [
        "See:\n```python\nprint(1)",
        "1. Run\n   ~~~sh\n   ls\n",
        "```\na\n```\n\n```js\nlet a",
        SENTENCE * 8 + "Then you choose the",
        SENTENCE * 8 + "Then you choose the menu,",
    ],
)
def test_answers_that_break_off_are_cut(cut: str) -> None:
    """An open code block, and a long answer that ends amid a sentence."""
    assert reasons(table_of(row("How?", cut))) == ["answer is cut"]


@pytest.mark.parametrize(
    "whole",
    [
        "```python\nprint(1)\n```",
        "````markdown\n```python\nprint(1)\n```\n````",
        "```markdown\n```python\nprint(1)\n```\n```",
        "The mark ``` opens a block",
        "A heading\n~~~~~~~~~\n\nand text",
        "```x``` is code in a line",
        "Paris",
        SENTENCE * 8,
        SENTENCE * 8 + "\n\nBest regards\nYour team",
        SENTENCE * 8 + "\n- one\n- " + SENTENCE * 2 + "and two",
        SENTENCE * 8 + "Read on at https://example.org/" + "a" * 50,
        "a few words without any sign at all " * 20,
    ],
)
def test_whole_answers_are_sound(whole: str) -> None:
    """Short ones, lists, signatures, addresses, blocks in blocks, and texts without full stops."""
    assert reasons(table_of(row("How?", whole))) == []


def test_only_what_is_taught_must_be_whole() -> None:
    """An unwanted answer may be cut: that may be why nobody wants it."""
    cut = "```python\nprint(1)"
    table = table_of(
        row("How?", cut, kind="label", label=False),
        row("How?", cut, kind="safety"),
        pair("How?", "So.", cut),
        row("How?", cut, kind="label", label=True),
    )
    assert reasons(table) == ["answer is cut"]
    assert not ends_amid_sentence("short")


def test_the_first_fault_is_the_reason_and_the_stage_is_pure() -> None:
    """Each row is dropped once; parts of a table and empty ones are fine; the stage can travel."""
    table = table_of(row("x", "y"), {**of_roles("tt"), "kind": "pair"}, row("x", "y"))
    stage = pickle.loads(pickle.dumps(CheckStructure(9)))
    assert stage(table).drops["reason"].to_pylist() == ["pair has one answer"]
    assert stage(table.slice(1)).kept.num_rows == 1
    empty = stage(table.slice(0, 0))
    assert empty.kept.schema == CANDIDATES
    assert empty.drops.num_rows == 0
