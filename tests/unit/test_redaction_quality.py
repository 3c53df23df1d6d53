"""How much of the labelled sentences is found, and how little else."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.redaction import (
    SPLITS,
    UNSTRUCTURED,
    Counts,
    Row,
    characters_per_s,
    count,
    read_rows,
    structured,
)
from feedback.redaction.redactor import ENTITIES, Redactor, Span

REDACTOR = Redactor()

# Floors just below what is reached (docs/how-to/redaction.md): precision and recall of all but
# names, then of names. `hard` was written to break the rules: its floors only keep what there is.
FLOORS = {
    "dev": (0.99, 0.99, 0.97, 0.97),
    "heldout": (0.99, 0.98, 0.97, 0.97),
    "hard": (0.55, 0.25, 0.0, 0.0),
}


@pytest.mark.parametrize("split", SPLITS)
def test_precision_and_recall_do_not_fall(split: str) -> None:
    """Of what has a form of its own, and of names."""
    counts = count(read_rows(split), REDACTOR)
    names = [*UNSTRUCTURED]
    reached = (
        counts.precision(structured(counts)),
        counts.recall(structured(counts)),
        counts.precision(names),
        counts.recall(names),
    )
    assert all(value >= floor for value, floor in zip(reached, FLOORS[split], strict=True)), reached


@pytest.mark.parametrize("entity", sorted(ENTITIES))
def test_no_entity_hides_behind_the_others(entity: str) -> None:
    """Each is marked often enough to be measured, and found in sentences the rules had not seen."""
    rows = [*read_rows("dev"), *read_rows("heldout")]
    counts = count(rows, REDACTOR)
    assert counts.marked([entity]) >= 15
    assert counts.precision([entity]) >= 0.95
    assert counts.recall([entity]) >= 0.95


def test_the_sentences_are_many_in_four_languages_and_often_without_anything() -> None:
    """Over 400, an even share of hard negatives, and none twice."""
    rows = [row for split in SPLITS for row in read_rows(split)]
    languages = Counter(row.language for row in rows)
    assert len({row.text for row in rows}) == len(rows) >= 400
    assert all(languages[language] >= 30 for language in ("en", "de", "fr", "es"))
    assert sum("[[" not in row.text for row in rows) >= 150


def test_marks_become_spans() -> None:
    """The sentence without its marks, and where they stood."""
    row = Row("dev", "en", "[[NAME|Ann]] is at [[IP|10.0.0.1]].")
    assert row.parsed() == ("Ann is at 10.0.0.1.", [Span(0, 3, "NAME"), Span(10, 18, "IP")])


def test_a_span_counts_only_when_all_of_it_is_right() -> None:
    """Another end or another entity is one found wrongly and one missed."""
    rows = [Row("dev", "en", "mail [[EMAIL|ann@x.example]] and [[NAME|bob@x.example]]")]
    counts = count(rows, REDACTOR)
    assert (counts.right, counts.wrong, counts.missed) == (
        Counter({"EMAIL": 1}),
        Counter({"EMAIL": 1}),
        Counter({"NAME": 1}),
    )
    assert counts.precision(["EMAIL"]) == 0.5
    assert counts.recall(["EMAIL", "NAME"]) == 0.5
    assert Counts().precision(["IP"]) == Counts().recall(["IP"]) == 1.0


def test_speed_is_measured_in_characters() -> None:
    """Well over a thousand a second, on any machine."""
    assert characters_per_s("Nothing to see.", REDACTOR) > 1_000
