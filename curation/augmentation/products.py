"""CURATE, beside real data: the rows that a model wrote, their marks, and what was refused.

Seeds and texts come in; rows of `AUGMENTED`, drops and a tally go out. A row keeps interaction,
subject and time of its seed, so that erasure and splits follow the lineage, and its id holds a hash
of its text: a reviewer's approval of one text never counts for another. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curation.augmentation.cap import in_turns, is_written
from curation.table import CANDIDATES, DROPS, Source, Table, Why, is_taught, pc

Row = dict[str, Any]  # one row of CANDIDATES or AUGMENTED
Progress = Callable[[str, int, int], None]  # method that begins, methods finished, methods in all

MARKS = pa.schema(
    [
        ("needs_review", pa.bool_()),  # true: no person has seen it
        ("seeds", pa.list_(pa.string())),  # interaction ids that it was made from
        ("writer", pa.string()),  # the model that wrote or judged it
    ]
)
AUGMENTED = pa.schema([*CANDIDATES, *MARKS])

ID_HEX_CHARS = 16  # 64 bits of the text: no two products of one seed will share them
SAME_AS_ANOTHER = "same as another product"


@dataclass(frozen=True, slots=True)
class Tally:
    """How a method did: requests' seeds, products, and refusals by their reason."""

    method: Source
    seeds: int
    made: int
    refused: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        return {
            "method": self.method,
            "seeds": self.seeds,
            "made": self.made,
            "refused": dict(self.refused),
        }


@dataclass(frozen=True, slots=True)
class Written:
    """What a method made (`AUGMENTED`), what was refused (`DROPS`), and the counts."""

    rows: Table
    drops: Table
    tally: Tally


@dataclass
class Collection:
    """The products of one method as they come in."""

    method: Source
    writer: str
    seeds: int
    _rows: list[Row] = field(default_factory=list[Row])
    _drops: list[Row] = field(default_factory=list[Row])
    _keys: set[str] = field(default_factory=set[str])

    def add(self, seeds: Sequence[Row], row: Row) -> None:
        """Take a product, a row without id and marks, unless there is one like it."""
        key = _hash(row)
        if key in self._keys:
            return self.refuse(seeds, Why(SAME_AS_ANOTHER))
        self._keys.add(key)
        first = seeds[0]
        marked = {
            "candidate_id": f"{first['candidate_id']}:{self.method}:{key}",
            "source": self.method,
            "votes": 0,  # nobody has judged it
            "needs_review": True,
            "seeds": sorted({seed["interaction_id"] for seed in seeds} - {None}),
            "writer": self.writer,
        }
        self._rows.append(row | marked)

    def refuse(self, seeds: Sequence[Row], why: Why) -> None:
        """Note a product that cannot be used."""
        self._drops.append(
            {
                "candidate_id": f"{seeds[0]['candidate_id']}:{self.method}",
                "interaction_id": seeds[0]["interaction_id"],
                "reason": why.reason,
                "detail": why.detail,
            }
        )

    def written(self) -> Written:
        """Return all of it."""
        refused = Counter(drop["reason"] for drop in self._drops)
        return Written(
            pa.Table.from_pylist(self._rows, schema=AUGMENTED),
            pa.Table.from_pylist(self._drops, schema=DROPS),
            Tally(self.method, self.seeds, len(self._rows), dict(refused.most_common())),
        )


def seed_rows(table: Table, limit: int | None = None) -> list[Row]:
    """Return real rows to write from, people taking turns; the same ones each time.

    Only those whose answer is to be learnt, that end in an answer, and that no model wrote.
    """
    ends = pc.list_value_length(table["messages"])
    usable = pc.and_(pc.and_(is_taught(table), pc.invert(is_written(table))), pc.greater(ends, 1))
    rows = table.select(CANDIDATES.names).filter(pc.fill_null(usable, False))
    ids = rows["candidate_id"].to_pylist()
    people = zip(rows["subject"].to_pylist(), ids, strict=True)
    turns = in_turns([subject or id_ for subject, id_ in people], ids)[:limit]
    return rows.take(pa.array(turns, pa.int64())).to_pylist()


def last_prompt(row: Row) -> int | None:
    """Return the place of the last user message before the answer; none without one."""
    messages = row["messages"]
    places = range(len(messages) - 2, -1, -1)
    return next((at for at in places if messages[at]["role"] == "user"), None)


def number_for(*parts: str) -> int:
    """Return a number for the model's sampling that is the same for the same parts."""
    digest = hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4]) >> 1  # 31 bits: any server takes them


def _hash(row: Row) -> str:
    said = [[part["role"], part["content"]] for part in row["messages"]]
    text = json.dumps([said, row.get("rejected"), row["interaction_id"]])
    return hashlib.sha256(text.encode()).hexdigest()[:ID_HEX_CHARS]
