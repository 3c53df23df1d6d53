"""CURATE: which rows a sample takes, or a cap keeps: those whose id hashes lowest.

Ids in, numbers out, the same on every machine, in any order and in any number of parts: so a sample
of samples is the sample of the whole. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.table import Table, pc, with_column

Draws = npt.NDArray[np.uint64]
DRAW = "draw"  # a sample's column: the number of each row


def draws(ids: Iterable[str], purpose: str) -> Draws:
    """Return a number for each id; for another purpose others, so that draws are independent."""
    key = purpose.encode()
    digests = b"".join(blake2b(id_.encode(), digest_size=8, key=key).digest() for id_ in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def drawn(table: Table, limit: int, purpose: str) -> Table:
    """Return at most `limit` rows of a table with `candidate_id`, in the order of their draw.

    The result has the column `draw`; a table that has it already is not drawn anew, so
    drawn(drawn(a) + drawn(b)) == drawn(a + b).
    """
    if DRAW not in table.column_names:
        numbers: Any = draws(table["candidate_id"].to_pylist(), purpose)
        table = with_column(table, DRAW, numbers, pa.uint64())
    order = pc.sort_indices(table, [(DRAW, "ascending"), ("candidate_id", "ascending")])
    return table.take(order[:limit])
