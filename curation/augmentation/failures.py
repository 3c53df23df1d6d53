"""CURATE, beside real data: examples like those that a model failed, with right answers.

Failed items come in as candidates (the prompt, and last the answer that would have been right), new
candidates go out. None has the prompt of a failed item, for that is what the gate asks. Source: the
fine-tuning guide, "Active Learning Strategies": error analysis, add examples for failures; after
Self-Instruct (arXiv 2212.10560).
"""

from __future__ import annotations

from curation.augmentation.examples import Order, one_turn, written_examples
from curation.augmentation.products import Written, seed_rows
from curation.augmentation.writer import Writer
from curation.table import Table

RELATED = (
    "An assistant failed at the request below; its right answer is shown. Write {each} diverse "
    "other requests that need the same skill, each with its right answer."
)


def failures(failed: Table, writer: Writer, each: int, limit: int | None = None) -> Written:
    """Return up to `each` new examples for each failed item, of as few items as `limit` needs."""
    seeds = one_turn(seed_rows(failed))
    asked = seeds if limit is None else seeds[: -(-limit // each)]
    order = Order("failures", RELATED.format(each=each), each)
    known = [row for row in failed.to_pylist() if len(row["messages"] or []) > 1]
    return written_examples(order, [[seed] for seed in asked], writer, known)
