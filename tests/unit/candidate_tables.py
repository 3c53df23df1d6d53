"""Tables of candidates for the tests of curation's stages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from core.ids import new_id
from curation.keys import AddKeys, prompt_text
from curation.minhash import band_hashes, colliding, common_hashes
from curation.minhash import own as own_grams
from curation.near import Near, near_prompts
from curation.similarity import hashed_shingles
from curation.table import CANDIDATES, Table, conversations, roles, with_column

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def row(
    prompt: str, answer: str, *, id_: str | None = None, minute: int = 0, **columns: Any
) -> dict[str, Any]:
    """Return a demonstration of one turn, `minute` minutes after the start."""
    interaction_id = id_ or new_id()
    kind = columns.get("kind", "demonstration")
    values: dict[str, Any] = {
        "candidate_id": f"{interaction_id}:{kind}",
        "interaction_id": interaction_id,
        "kind": "demonstration",
        "source": "thumbs_up",
        "started_at": START + timedelta(minutes=minute),
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": answer},
        ],
        "votes": 1,
        "weight": 1.0,
        "placeholders": [],
    }
    return {**values, **columns}


def pair(prompt: str, chosen: str, rejected: str, **columns: Any) -> dict[str, Any]:
    """Return a preference pair."""
    columns = {"kind": "pair", "rejected": rejected, **columns}
    return row(prompt, chosen, **columns)


def table_of(*rows: dict[str, Any]) -> Table:
    """Return the rows as a table of candidates."""
    return pa.Table.from_pylist(list(rows), schema=CANDIDATES)


def keyed(*rows: dict[str, Any]) -> Table:
    """Return the rows as whole-table stages see them: with keys, sorted, prompts numbered.

    A row may say its `preference`, 1 if it does not.
    """
    worth = [given.get("preference", 1) for given in rows]
    table = AddKeys()(table_of(*rows)).kept
    table = with_column(table, "preference", worth, pa.int8())
    order = ("preference", "started_at", "candidate_id")
    return _numbered(table.sort_by([(name, "ascending") for name in order]))


def near_in(table: Table, threshold: float) -> Near:
    """Return which prompts of a `keyed` table are near duplicates, as the pipeline does."""
    texts = {
        number: prompt_text(names, own)
        for number, names, own in zip(
            table["number"].to_pylist(), roles(table), conversations(table), strict=True
        )
    }
    ordered = [texts[number] for number in sorted(texts)]
    common = common_hashes(ordered)
    bands = band_hashes(own_grams(hashed_shingles(ordered), common), threshold)
    numbers = np.array(sorted(texts), np.int64)
    pairs = numbers[colliding(bands)].reshape(-1, 2)
    return near_prompts(pairs, lambda wanted: [{n: texts[n] for n in wanted}], common, threshold)


def _numbered(table: Table) -> Table:
    first: dict[int, int] = {}
    numbers = [first.setdefault(key, len(first)) for key in table["prompt"].to_pylist()]
    return with_column(table, "number", numbers, pa.int64())
