"""CURATE: what reviewers said of candidates, heeded: rejected ones go, corrected ones change.

A row stage over texts as they were selected; the corrected text then passes all other stages like
any. Verdicts come in by candidate. Knows nothing of how reviewers agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from curation.table import (
    Outcome,
    Table,
    Why,
    conversations,
    is_taught,
    roles,
    sieve,
    with_column,
    with_conversations,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reviewers say together: let in or not, and what to learn instead, if they wrote it."""

    is_let_in: bool
    text: str | None = None


@dataclass(frozen=True, slots=True)
class HeedReviews:
    """Leaves out what was rejected, and what nobody approved where that is `required`."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict[str, Verdict])
    required: bool = False

    def __call__(self, table: Table) -> Outcome:
        """Return the rows that may be learnt, with the texts that reviewers wrote."""
        if not self.verdicts and not self.required:
            return sieve(table, [None] * table.num_rows)
        found = [self.verdicts.get(id_) for id_ in table["candidate_id"].to_pylist()]
        why = [
            self._why(verdict, taught)
            for verdict, taught in zip(found, is_taught(table).to_pylist(), strict=True)
        ]
        written = {row: v.text for row, v in enumerate(found) if v and v.text is not None}
        return sieve(_rewritten(table, written), why, len(written))

    def _why(self, verdict: Verdict | None, taught: bool) -> Why | None:
        if verdict is None:
            return Why("not reviewed") if self.required and taught else None
        return None if verdict.is_let_in else Why("rejected by reviewers")


def _rewritten(table: Table, written: Mapping[int, str]) -> Table:
    """Return the table with other answers in some rows, which are the reviewers' own then."""
    if not written:
        return table
    texts, lengths = conversations(table), [len(names) for names in roles(table)]
    sources = table["source"].to_pylist()
    for row, text in written.items():
        texts[row][lengths[row] - 1] = text
        sources[row] = "reviewer"
    return with_column(with_conversations(table, texts), "source", sources, pa.string())
