"""Recall and precision of the row stage that redacts, on the labelled sentences.

Each sentence of tests/data/redaction.jsonl goes through `RedactPersonal` as the answer of a row;
what it replaced is read off the placeholders. A span counts when its start, end and entity are
right, as in `bench.redaction`, which says how the sentences were made: `heldout` before the rules,
`hard` to break them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from bench.redaction import SPLITS, Counts, Row, read_rows, structured
from curation.stages.personal import RedactPersonal
from curation.table import CANDIDATES, Table, answers
from feedback.redaction.placeholders import PLACEHOLDER
from feedback.redaction.redactor import Span


def measure_pii() -> dict[str, Any]:
    """Return recall and precision, of each split and of all together."""
    counts = {split: counted(read_rows(split)) for split in SPLITS}
    whole = Counts()
    for own in counts.values():
        whole.right.update(own.right)
        whole.wrong.update(own.wrong)
        whole.missed.update(own.missed)
    return {name: _told(own) for name, own in {**counts, "all": whole}.items()}


def counted(rows: Sequence[Row]) -> Counts:
    """Return how the stage did on the sentences."""
    texts = [row.parsed()[0] for row in rows]
    kept = RedactPersonal()(_table(texts)).kept
    redacted = dict(zip(kept["candidate_id"].to_pylist(), answers(kept), strict=True))
    counts = Counts()
    for number, row in enumerate(rows):
        text, marked = row.parsed()
        after = redacted.get(str(number))
        found = _dropped(text, marked) if after is None else spans(text, after, marked)
        counts.right.update(span.entity for span in found if span in marked)
        counts.wrong.update(span.entity for span in found if span not in marked)
        counts.missed.update(span.entity for span in marked if span not in found)
    return counts


def _dropped(text: str, marked: Sequence[Span]) -> list[Span]:
    """Return what a row that is dropped for a secret hides; wrongly where none is marked."""
    is_right = any(span.entity == "SECRET" for span in marked)
    return [*marked, *(() if is_right else (Span(0, len(text), "SECRET"),))]


def spans(text: str, redacted: str, marked: Sequence[Span]) -> list[Span]:
    """Return where in `text` stands what `redacted` has placeholders for.

    Of several readings ("a.b." as "[X_1].") that which has most in common with `marked`.
    Raises: ValueError when the two are not alike around the placeholders.
    """
    places = [*PLACEHOLDER.finditer(redacted), None]
    literals: list[str] = []
    end = 0
    for mark in places:
        literals.append(redacted[end : mark.start() if mark else len(redacted)])
        end = mark.end() if mark else end
    marks = [(mark[0], mark[1]) for mark in places if mark]
    found = [*_readings(text, 0, literals, marks)]
    if not found:
        raise ValueError(f"{redacted!r} is not {text!r} with placeholders")
    return max(found, key=lambda reading: len(set(reading) & set(marked)))


def _readings(
    text: str, at: int, literals: Sequence[str], marks: Sequence[tuple[str, str]]
) -> Iterator[list[Span]]:
    """Yield the ways to read `text` from `at` on as literals with something between them."""
    if not text.startswith(literals[0], at):
        return
    at += len(literals[0])
    if not marks:
        if at == len(text):
            yield []
        return
    (placeholder, entity), rest = marks[0], marks[1:]
    if text.startswith(placeholder, at):  # it was there as text
        yield from _readings(text, at + len(placeholder), literals[1:], rest)
    stop = text.find(literals[1], at + 1) if literals[1] else len(text)
    while stop >= 0:
        for later in _readings(text, stop, literals[1:], rest):
            yield [Span(at, stop, entity), *later]
        stop = text.find(literals[1], stop + 1) if literals[1] else -1


def _table(texts: Sequence[str]) -> Table:
    rows = [
        {
            "candidate_id": str(number),
            "interaction_id": str(number),
            "kind": "demonstration",
            "source": "thumbs_up",
            "started_at": datetime(2026, 1, 5, tzinfo=UTC),
            "messages": [
                {"role": "user", "content": "Hello"}, {"role": "assistant", "content": text},
            ],
            "votes": 1,
            "weight": 1.0,
            "placeholders": [],
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, CANDIDATES)


def _told(counts: Counts) -> dict[str, Any]:
    entities = structured(counts)
    return {
        "marked": counts.marked(counts.entities()),
        "recall": counts.recall(counts.entities()),
        "precision": counts.precision(counts.entities()),
        "recall_without_names": counts.recall(entities),
        "precision_without_names": counts.precision(entities),
        "by_entity": {
            entity: {
                "marked": counts.marked([entity]),
                "recall": counts.recall([entity]),
                "precision": counts.precision([entity]),
            }
            for entity in counts.entities()
        },
    }
