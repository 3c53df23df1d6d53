"""The report counts what is there, whatever the shards, and shows what the traffic has more of."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from curation.coverage_page import coverage_markdown
from curation.instructions import TYPES, instruction_type
from curation.stages.coverage import coverage_report, entropy_bits, joined, tally
from curation.table import Table, with_column
from tests.unit.candidate_tables import row, table_of

ENGLISH = "How do I change the address that my invoices are sent to?"
GERMAN = "Fasse den folgenden Text über die Geschichte der Eisenbahn in drei Sätzen zusammen."
NAMES = ("billing", "garden | soil", "travel")


def _table(
    prompts: Sequence[str], topics: Sequence[int], tokens: Sequence[int], **columns: Any
) -> Table:
    rows = [row(said, "one two one two", id_=str(n), **columns) for n, said in enumerate(prompts)]
    table = with_column(table_of(*rows), "topic", topics, pa.int32())
    return with_column(table, "tokens", tokens, pa.int32())


@pytest.fixture(scope="module")
def table() -> Table:
    """Return ten rows in two topics and two languages."""
    return _table([ENGLISH] * 6 + [GERMAN] * 4, [0] * 8 + [1, -1], [20] * 5 + [200] * 4 + [9000])


def test_the_report_counts_all_that_it_names(table: Table) -> None:
    """Topics, types, lengths, languages, turns and distinct n-grams."""
    report = coverage_report(tally(table), NAMES)
    assert report["rows"] == 10
    assert report["topics"]["count"] == 2
    assert report["topics"]["sizes"][0] == {
        "topic": 0,
        "name": "billing",
        "rows": 8,
        "share": 0.8,
    }
    assert report["topics"]["sizes"][1]["name"] == "other"
    assert report["instructions"] == {"how-to": 6, "summarise": 4}
    assert report["lengths"] == {"short": 5, "medium": 4, "long": 1}
    assert {bin_["up_to"]: bin_["rows"] for bin_ in report["tokens"] if bin_["rows"]} == {
        32: 5,
        256: 4,
        None: 1,
    }
    assert report["languages"] == {"en": 6, "de": 4}
    assert report["turns"] == {"single": 10, "multi": 0}
    # 40 words, 2 different; 30 pairs, 2 different; 20 triples, 2 different
    assert report["distinct"] == {"answers": 10, "1": 0.05, "2": 0.0667, "3": 0.1}
    assert report["traffic"] is None


def test_shards_add_up_to_the_whole(table: Table) -> None:
    """Counted in parts, in other processes and in another order, the report is the same."""
    parts = [tally(table.slice(start, 3)) for start in (9, 3, 0, 6)]
    again = pickle.loads(pickle.dumps(parts))
    assert coverage_report(joined(again), NAMES) == coverage_report(tally(table), NAMES)


def test_a_language_column_is_believed(table: Table) -> None:
    """What a stage has found for every row need not be found again."""
    spoken = with_column(table, "language", ["nl"] * 9 + [None], pa.string())
    assert coverage_report(tally(spoken), NAMES)["languages"] == {"nl": 9, "unknown": 1}


def test_turns_of_the_user_are_counted() -> None:
    """Two questions make a conversation of several turns, and the last is the instruction."""
    turns = [("user", "Hi"), ("assistant", "Hello!"), ("user", ENGLISH), ("assistant", "So.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    report = coverage_report(tally(_table([""], [0], [1], messages=messages)), NAMES)
    assert report["turns"] == {"single": 0, "multi": 1}
    assert report["instructions"] == {"how-to": 1}


def test_topics_that_production_has_more_of_are_named(table: Table) -> None:
    """Garden has a tenth of the examples and half of the traffic; rare travel is not worth it."""
    traffic = coverage_report(tally(table), NAMES, {0: 495, 1: 500, 2: 5})["traffic"]
    assert [topic["name"] for topic in traffic["under_represented"]] == ["garden | soil"]
    assert traffic["under_represented"][0]["share"] == pytest.approx(0.1)
    assert traffic["under_represented"][0]["traffic_share"] == pytest.approx(0.5)
    assert traffic["distance"] == pytest.approx((0.305 + 0.4 + 0.005 + 0.1) / 2)


def test_entropy_is_that_of_the_shares() -> None:
    """Four equal clusters have two bits, one has none, and so have none."""
    assert entropy_bits([5, 5, 5, 5]) == pytest.approx(2.0)
    assert entropy_bits([7, 0]) == entropy_bits([]) == 0.0
    assert entropy_bits([1, 3]) == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))


def test_the_page_shows_the_numbers_as_tables(table: Table) -> None:
    """A bar in a topic's name does not break its table, and no prompt is shown."""
    page = coverage_markdown(coverage_report(tally(table), NAMES, {0: 10, 1: 90}))
    assert page.startswith("## Coverage\n")
    assert "| billing | 8 | 80.0% |" in page
    assert "| garden \\| soil | 10.0% | 90.0% |" in page
    assert "| how-to | 6 | 60.0% |" in page
    assert "| over 4096 | 1 | 10.0% |" in page
    assert "invoices" not in page


def test_an_empty_dataset_has_a_report_and_a_page() -> None:
    """Nothing is divided by nothing."""
    report = coverage_report(joined([tally(_table([], [], []))]), NAMES, {0: 4})
    assert json.loads(json.dumps(report))["rows"] == 0
    assert report["topics"] == {"count": 0, "entropy_bits": 0.0, "evenness": 1.0, "sizes": []}
    assert coverage_markdown({**report, "traffic": None}).startswith("## Coverage\n\n0 examples")


REQUESTS = {
    "question": ["What is the capital of France?", "wann kommt meine Rechnung", "It crashes, why?"],
    "how-to": ["How do I reset my password?", "Hi there, how can I pay?", "Wie kann ich kündigen?"],
    "rewrite": ["Please rephrase this letter", "Formuliere den Satz freundlicher um: ..."],
    "summarise": ["Summarize: ...", "Kannst du bitte diesen Text zusammenfassen?"],
    "translate": ["Could you translate this into German", "Übersetze den Satz ins Englische"],
    "classify": ["Classify this review", "Is this review positive or negative?", "Ordne es zu"],
    "code": ["Write a python function that sorts", "```\nx()\n``` fails", "Schreibe ein Skript"],
    "extract": ["Extract all names", "Extrahiere alle Namen aus dem Text"],
    "compare": ["Compare these phones", "Was ist der Unterschied von A und B"],
    "list": ["Give me 5 ideas for dinner", "Gib mir drei Tipps"],
    "write": [
        "Write a poem about autumn",
        "Kannst du mir ein Lied schreiben?",
        "Verfasse ein Lied",
    ],
    "explain": ["Explain gravity", "Erkläre mir Photosynthese"],
    "calculate": ["What's 12*3", "Berechne 17 mal 4"],
    "chat": ["Hi", "Thanks a lot!", "Danke schön!", "Hello, how are you?"],
    "other": ["My invoice is wrong", "", "Dear team, please cancel my order"],
}


@pytest.mark.parametrize(("kind", "message"), [(k, m) for k, own in REQUESTS.items() for m in own])
def test_a_request_is_told_by_how_it_begins(kind: str, message: str) -> None:
    """In English and German, past greetings and politeness."""
    assert instruction_type(message) == kind


def test_every_type_of_instruction_is_tried_here() -> None:
    """A new type needs its examples."""
    assert set(REQUESTS) == set(TYPES)
