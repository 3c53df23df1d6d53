"""Tables of candidates for the tests of curation's stages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from core.ids import new_id
from curation.table import CANDIDATES, Table

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
