"""The hidden truth of the demo: it is complete, its judge is right about it, questions differ."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from core.errors import DataError
from loop.demo.desk import DESK_FILE, TURN_FILE, Desk, Fact, judge, load_desk

DESK = load_desk()
TURN = load_desk(TURN_FILE)
FACTS = (*DESK.facts, *TURN.facts)
each_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.id)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w']+", text.lower()))


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of words that both have (Jaccard)."""
    return len(one & other) / len(one | other)


@each_fact
def test_the_ideal_answer_is_good_and_the_spoiled_one_is_bad(fact: Fact) -> None:
    """The judge tells the ideal answer of every fact from its spoiled one."""
    assert judge(fact, fact.answer)
    assert not judge(fact, fact.spoiled)


@each_fact
def test_a_fact_has_nine_questions_for_traffic_and_three_held_out(fact: Fact) -> None:
    """Every fact is asked in twelve different ways of four to fourteen words."""
    questions = [*fact.phrasings, *fact.heldout]
    assert (len(fact.phrasings), len(fact.heldout)) == (9, 3)
    assert len({question.lower() for question in questions}) == 12
    assert all(4 <= len(question.split()) <= 14 for question in questions)


@each_fact
def test_an_ideal_answer_is_one_short_sentence_that_answers_only_its_fact(fact: Fact) -> None:
    """No ideal answer is long, and none passes as the answer to another fact."""
    assert 8 <= len(fact.answer.split()) <= 18
    assert fact.answer.endswith(".")
    assert [other.id for other in FACTS if judge(other, fact.answer)] == [fact.id]


def test_the_desk_has_at_least_forty_facts_with_their_own_questions() -> None:
    """There are enough facts, and no traffic question belongs to two of them."""
    asked = Counter(phrasing.lower() for fact in FACTS for phrasing in fact.phrasings)
    assert len(DESK.facts) >= 44
    assert asked.most_common(1)[0][1] == 1


def test_no_held_out_question_is_close_to_one_in_traffic() -> None:
    """Held-out questions measure generalisation: none repeats more than 80 % of the words."""
    phrasings = {_words(phrasing) for fact in FACTS for phrasing in fact.phrasings}
    heldout = [_words(question) for fact in FACTS for question in fact.heldout]
    close = [pair for pair in product(heldout, phrasings) if _overlap(*pair) > 0.8]
    assert close == []


def test_nobody_asks_of_the_topic_of_the_turn_before_it() -> None:
    """Every question of it names the thing, and no text of the desk before the turn does."""
    asked = [question for fact in TURN.facts for question in (*fact.phrasings, *fact.heldout)]
    assert all("glowbox" in question.lower() for question in asked)
    assert "glowbox" not in DESK_FILE.read_text(encoding="utf-8").lower()
    assert TURN.company == DESK.company


def test_the_judge_looks_past_case_markdown_and_curly_quotes() -> None:
    """How an answer is set does not change what it says."""
    rule, thanks = DESK.by_id["data-region"], DESK.by_id["general-thanks"]
    assert judge(rule, "In **OSLO**\nand in _dublin_!")
    assert judge(thanks, "You\u2019re welcome!")


def test_the_judge_matches_whole_words_and_all_groups() -> None:
    """A longer number, or half of the answer, is not good."""
    assert not judge(DESK.by_id["refund-time"], "Refunds take 114 days.")
    assert not judge(DESK.by_id["data-region"], "It is all in Oslo.")


def test_the_judge_refuses_an_answer_that_also_says_the_contrary() -> None:
    """Naming several numbers is not knowing the right one."""
    assert not judge(DESK.by_id["refund-time"], "Refunds take 14 days, or 30 days.")


@pytest.mark.parametrize("limit", [1, 10, 58, 60, 150])
def test_a_limited_measurement_spreads_over_the_facts(limit: int) -> None:
    """A sample of held-out questions asks no fact twice more than another."""
    pairs = DESK.heldout(limit)
    asked = Counter(fact.id for fact, _ in pairs)
    counts = [asked[fact.id] for fact in DESK.facts]
    assert len(set(pairs)) == limit
    assert max(counts) - min(counts) <= 1


def test_an_unlimited_measurement_asks_every_held_out_question_once() -> None:
    """Without a limit nothing is left out and nothing asked twice."""
    questions = [question for _, question in DESK.heldout()]
    assert sorted(questions) == sorted(q for fact in DESK.facts for q in fact.heldout)
    assert DESK.heldout(10_000) == DESK.heldout()


def test_facts_with_fewer_held_out_questions_are_asked_as_often_as_they_have_some() -> None:
    """A desk whose facts differ in length is measured whole."""
    long, short = DESK.facts[0], DESK.facts[1]
    uneven = Desk("X", (long, replace(short, heldout=short.heldout[:1])))
    assert [question for _, question in uneven.heldout()] == [
        long.heldout[0],
        short.heldout[0],
        *long.heldout[1:],
    ]


FACT = """
[[fact]]
id = "a"
topic = "t"
answer = "Yes."
must = [['yes']]
spoiled = "No."
phrasings = ["May I?"]
heldout = ["Is it allowed?"]
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("company = ", "cannot be read"),
        ("company = 'X'", "at least one"),
        (FACT, "needs a company"),
        ("company = 'X'" + FACT + FACT, "names a fact twice"),
        ("company = 'X'" + FACT.replace("spoiled", "spolied"), "'a'.*spoiled, spolied"),
        ("company = 'X'" + FACT.replace("[['yes']]", "[]"), "'a': must needs"),
        ("company = 'X'" + FACT.replace("'yes'", "'(yes'"), r"'a': pattern '\(yes'"),
    ],
)
def test_a_wrong_desk_file_is_refused_by_name(text: str | None, told: str, tmp_path: Path) -> None:
    """The message names what is wrong in the file."""
    file = tmp_path / "desk.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=told):
        load_desk(file)


def test_no_answer_holds_what_redaction_would_remove() -> None:
    """Corrections must reach training as they were written: no addresses, no long numbers."""
    text = "".join(file.read_text(encoding="utf-8") for file in (DESK_FILE, TURN_FILE))
    assert re.findall(r"\S+@\S+|\d[\d -]{7,}\d|https?://", text) == []
