"""CURATE, beside real data: synthetic examples, written after a few real ones.

Real candidates come in, new ones go out; each names all the interactions it was made from.
Source: the fine-tuning guide, "Active Learning and Data Augmentation": "Generate n diverse examples
for: task".
"""

from __future__ import annotations

from dataclasses import dataclass

from curation.augmentation.examples import Order, one_turn, written_examples
from curation.augmentation.products import Written, seed_rows
from curation.augmentation.writer import Writer
from curation.table import Table

GENERATE = "Generate {each} diverse examples for: {task}\n\nThese are real ones:"


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What for, after how many shown examples, and how many to a request."""

    task: str
    few_shot: int
    each: int


def synthetic(
    table: Table, writer: Writer, synthesis: Synthesis, limit: int | None = None
) -> Written:
    """Return new examples, by as few requests as `limit` of them need; without one, of all seeds.

    A request shows `few_shot` real examples, which no other request shows.
    """
    seeds = one_turn(seed_rows(table))
    size = min(synthesis.few_shot, max(len(seeds), 1))
    groups = [seeds[at : at + size] for at in range(0, len(seeds), size)]
    if limit is not None:
        groups = groups[: -(-limit // synthesis.each)]
    opening = GENERATE.format(each=synthesis.each, task=synthesis.task)
    order = Order("synthetic", opening, synthesis.each)
    return written_examples(order, groups, writer, seeds)
