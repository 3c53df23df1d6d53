"""How well and how fast texts are redacted: the table of docs/how-to/redaction.md.

The labelled sentences of tests/data/redaction.jsonl go in, marked `[[ENTITY|value]]`; precision and
recall of each entity come out, by split: `dev` the rules were tuned on, `heldout` was written
before the rules, `hard` to break them. A span counts when its start, end and entity are right.

    python -m bench.redaction            # the tables
    python -m bench.redaction --misses   # and each sentence that went wrong, in dev
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from feedback.redaction.redactor import Redactor, Span

LABELLED = Path(__file__).resolve().parents[1] / "tests" / "data" / "redaction.jsonl"
MARK = re.compile(r"\[\[([A-Z_]+)\|(.*?)\]\]", re.DOTALL)
SPLITS = ("dev", "heldout", "hard")
UNSTRUCTURED = frozenset({"NAME"})  # told by words alone: measured apart
MEASURED_S = 0.5

PLAIN = (
    "You can reset the device by holding the power button until the light turns green. After that, "
    "open the application and choose Settings, then Network. If the light stays red, the cable is "
    "probably loose; unplug it, wait for a moment, and plug it in again. Should that not help, "
    "please write back and we will send a replacement free of charge."
)
NUMBERS = (
    "My order 80012345 of 12/05/2024 has not arrived. It was to come within 3 to 5 days, and now "
    "it is day 9. The tracking number 1234567890123456 shows no movement since Monday 08:30."
)
PERSONAL = (
    "My name is Anna Smith, card 4111 1111 1111 1111, phone +49 30 901820, mail ann@example.org, "
    "from 10.1.2.3. I live at 12 Elm Street and want to know when it comes. Regards,\nAnna Smith"
)
SPEEDS = {
    "plain, 2,900 characters": "\n".join([PLAIN] * 8),
    "plain, 356 characters": PLAIN,
    "with order numbers and dates": NUMBERS,
    "every sentence personal": PERSONAL,
}


class Row(msgspec.Struct, frozen=True):
    """A sentence with its marks."""

    split: str
    language: str
    text: str

    def parsed(self) -> tuple[str, list[Span]]:
        """Return the sentence without marks, and what was marked."""
        text, spans, end = "", list[Span](), 0
        for mark in MARK.finditer(self.text):
            text += self.text[end : mark.start()]
            spans.append(Span(len(text), len(text) + len(mark[2]), mark[1]))
            text += mark[2]
            end = mark.end()
        return text + self.text[end:], spans


@dataclass
class Counts:
    """What was found rightly, found wrongly, and missed, by entity."""

    right: Counter[str] = field(default_factory=Counter[str])
    wrong: Counter[str] = field(default_factory=Counter[str])
    missed: Counter[str] = field(default_factory=Counter[str])

    def entities(self) -> list[str]:
        """Return the entities that were marked or found."""
        return sorted({*self.right, *self.wrong, *self.missed})

    def precision(self, entities: Iterable[str]) -> float:
        """Return which share of what was found is right; 1 where nothing was found."""
        right, wrong = self._sum(self.right, entities), self._sum(self.wrong, entities)
        return right / (right + wrong) if right + wrong else 1.0

    def recall(self, entities: Iterable[str]) -> float:
        """Return which share of what was marked is found; 1 where nothing was marked."""
        right, missed = self._sum(self.right, entities), self._sum(self.missed, entities)
        return right / (right + missed) if right + missed else 1.0

    def marked(self, entities: Iterable[str]) -> int:
        """Return how many were marked."""
        return sum(self.right[entity] + self.missed[entity] for entity in entities)

    @staticmethod
    def _sum(counter: Counter[str], entities: Iterable[str]) -> int:
        return sum(counter[entity] for entity in entities)


def read_rows(split: str) -> list[Row]:
    """Return the labelled sentences of a split."""
    lines = LABELLED.read_text(encoding="utf-8").splitlines()
    rows = [msgspec.json.decode(line, type=Row) for line in lines]
    return [row for row in rows if row.split == split]


def structured(counts: Counts) -> list[str]:
    """Return the entities that have a form of their own: all but names."""
    return [entity for entity in counts.entities() if entity not in UNSTRUCTURED]


def count(rows: Sequence[Row], redactor: Redactor) -> Counts:
    """Return how the redactor did on the rows."""
    counts = Counts()
    for row in rows:
        text, marked = row.parsed()
        found = redactor.spans(text)
        counts.right.update(span.entity for span in found if span in marked)
        counts.wrong.update(span.entity for span in found if span not in marked)
        counts.missed.update(span.entity for span in marked if span not in found)
    return counts


def characters_per_s(text: str, redactor: Redactor) -> float:
    """Return how many characters of `text` are redacted in a second, on this machine."""
    times, began = 0, time.perf_counter()
    while time.perf_counter() - began < MEASURED_S:
        redactor.conversation().redact(text)
        times += 1
    return times * len(text) / (time.perf_counter() - began)


def _print_split(split: str, redactor: Redactor) -> None:
    rows = read_rows(split)
    counts = count(rows, redactor)
    print(f"\n{split}: {len(rows)} sentences\n")
    print("| entity | marked | precision | recall |\n| --- | --- | --- | --- |")
    groups = {entity: [entity] for entity in counts.entities()}
    for name, entities in {**groups, "all but names": structured(counts)}.items():
        numbers = f"{counts.precision(entities):.3f} | {counts.recall(entities):.3f}"
        print(f"| {name} | {counts.marked(entities)} | {numbers} |")


def _print_misses(redactor: Redactor) -> None:
    for row in read_rows("dev"):
        text, marked = row.parsed()
        found = redactor.spans(text)
        if found != marked:
            shown = [f"{span.entity} {text[span.start : span.end]!r}" for span in found]
            print(f"{row.text!r}\n    found {shown}")


def main() -> int:
    """Print the tables; the exit status is 0 whatever they say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--misses", action="store_true", help="show what went wrong in dev")
    redactor = Redactor()
    if parser.parse_args().misses:
        _print_misses(redactor)
    for split in SPLITS:
        _print_split(split, redactor)
    print("\n| text | million characters/s |\n| --- | --- |")
    for name, text in SPEEDS.items():
        print(f"| {name} | {characters_per_s(text, redactor) / 1e6:.1f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
