"""CURATE, beside real data: what a model wrote stays a small share of the whole. Pure.

A table in which written rows stand among real ones comes in; the table goes out with as many of the
written ones as the share allows, spread over their seeds, the same ones each time. To be run after
the stages that drop real rows. Knows nothing of how the rows were written.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

import pyarrow as pa

from curation.table import Outcome, Table, Why, pc, sieve

WRITTEN = ("paraphrase", "back_translation", "synthetic", "failures")  # sources of augmentation
OVER_SHARE = "over the share of written examples"


def cap(table: Table, max_share: float) -> Outcome:
    """Return the table with at most `max_share` of its rows written by a model.

    Each seed gives its first row before any gives its second.
    """
    written = is_written(table).to_pylist()
    at = [index for index, is_one in enumerate(written) if is_one]
    room = room_for(table.num_rows - len(at), max_share)
    if len(at) <= room:
        return sieve(table, [None] * table.num_rows)
    ids, seeds = table["candidate_id"].to_pylist(), table["interaction_id"].to_pylist()
    groups = [seeds[index] or ids[index] for index in at]
    turns = in_turns(groups, [ids[index] for index in at])
    over = {at[place] for place in turns[room:]}
    why = Why(OVER_SHARE, f"at most {room}")
    return sieve(table, [why if index in over else None for index in range(table.num_rows)])


def room_for(real_rows: int, max_share: float) -> int:
    """Return how many written rows may stand beside `real_rows`; the share is 0 or more, below 1.

    In fractions: 0.1 of 100 rows is 10 and not 9.99.
    """
    share = Fraction(str(max_share))
    return int(real_rows * share / (1 - share))


def in_turns(groups: Sequence[str], ids: Sequence[str]) -> list[int]:
    """Return the indices so that each group has its first before any its second; by hash within."""
    by_hash = sorted(range(len(ids)), key=lambda index: _hash(ids[index]))
    rank: list[int] = [0] * len(ids)
    seen: defaultdict[str, int] = defaultdict(int)
    for index in by_hash:
        rank[index] = seen[groups[index]]
        seen[groups[index]] += 1
    return sorted(by_hash, key=lambda index: rank[index])


def is_written(table: Table) -> Table:
    """Return as a boolean array whether a model wrote the row."""
    return pc.fill_null(pc.is_in(table["source"], value_set=pa.array(WRITTEN)), False)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
