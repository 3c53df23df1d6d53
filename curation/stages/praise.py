"""CURATE: answers that people approved are labels too, beside what they were found unwanted.

The last row stage that is told: each demonstration of an approved answer gives a label of the same
texts. So late, because texts are gone through but once. Knows nothing of votes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from curation.table import Outcome, Table, pc, sieve, with_column

APPROVED = ("thumbs_up", "rating")  # sources: corrections and what was written were never served


@dataclass(frozen=True, slots=True)
class AddPraise:
    """Row stage: adds a label "wanted" for each demonstration of an approved answer."""

    def __call__(self, table: Table) -> Outcome:
        """Return all rows and those that were added, none dropped."""
        shown = pc.equal(table["kind"], "demonstration")
        approved = pc.is_in(table["source"], value_set=pa.array(APPROVED))
        labels = table.filter(pc.and_(shown, approved))
        ids = [f"{id_}:label" for id_ in labels["interaction_id"].to_pylist()]
        labels = with_column(labels, "candidate_id", ids, pa.string())
        labels = with_column(labels, "kind", ["label"] * len(ids), pa.string())
        labels = with_column(labels, "label", [True] * len(ids), pa.bool_())
        whole = pa.concat_tables([table, labels])
        return sieve(whole, [None] * whole.num_rows)
