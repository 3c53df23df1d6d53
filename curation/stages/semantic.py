"""CURATE, whole-table stage, optional: each question and answer once, though in other words.

`semantic_keys` turns shards of candidates into small rows with two vectors each; `drop_alike` takes
all of those and drops a row whose prompt *and* answer are alike those of a kept one, in the same
topic. `novelty` says how far rows are from what a parent dataset holds, for review. Knows vectors,
not how they are made. Off without `curation.semantic.model`.

Source: SemDeDup, arXiv 2303.09540: compare within clusters, keep one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.curation_settings import SemanticSettings
from curation.embedding import Embedder
from curation.features import Floats
from curation.stages.balance import FIRST
from curation.table import DROPS, Outcome, Table, Why, answers, conversations, pc, roles, sieve

BLOCK_ROWS = 1_024  # compared with as many at once: 4 MB of similarities
PROMPT, ANSWER = "prompt_vector", "answer_vector"
COLUMNS = ("candidate_id", "interaction_id", "source", "started_at", "topic")

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_NUMBER = re.compile(r"\d+")


def semantic_keys(table: Table, embedder: Embedder) -> Table:
    """Return `COLUMNS` of a table that has a topic, its `group`, and both vectors of each row.

    Only rows of one group can be alike: of the same kind and label, with the same numbers in the
    same order, since "14 days" and "30 days" are near each other for any model.
    """
    texts, lost = conversations(table), table["rejected"].to_pylist()
    marks = zip(table["kind"].to_pylist(), table["label"].to_pylist(), lost, texts, strict=True)
    groups = [_group(kind, label, other, own) for kind, label, other, own in marks]
    keys = table.select(list(COLUMNS)).append_column("group", pa.array(groups, pa.uint64()))
    keys = keys.append_column(PROMPT, _column(embedder.embed(_prompts(table, texts))))
    return keys.append_column(ANSWER, _column(embedder.embed(answers(table))))


def drop_alike(keys: Table, settings: SemanticSettings) -> Outcome:
    """Return the keys of the rows that stay, and the drops.

    Of rows that are alike the preferred stays: reviewed or corrected, else the oldest.
    """
    if settings.model is None or keys.num_rows == 0:
        return Outcome(keys, DROPS.empty_table())
    why: list[Why | None] = [None] * keys.num_rows
    topics = keys["topic"].to_numpy()
    rank = _rank(keys)
    for topic in np.unique(topics):
        places = np.flatnonzero(topics == topic)
        places = places[np.argsort(rank[places])]
        for place in _alike(keys.take(places), settings.similarity):
            why[places[place]] = Why("alike in meaning", f"topic {topic}")
    return sieve(keys, why)


def novelty(vectors_N_D: Floats, parent_M_D: Floats) -> Floats:
    """Return each vector's distance (0-2, by cosine) from the nearest of the parent's; else 2."""
    nearest = np.full(len(vectors_N_D), -1.0, np.float32)
    for start in range(0, len(vectors_N_D), BLOCK_ROWS):
        block = vectors_N_D[start : start + BLOCK_ROWS]
        for other in range(0, len(parent_M_D), BLOCK_ROWS):
            near = (block @ parent_M_D[other : other + BLOCK_ROWS].T).max(axis=1)
            own = nearest[start : start + BLOCK_ROWS]
            np.maximum(own, near, out=own)
    return np.clip(1.0 - nearest, 0.0, 2.0)


def vectors(column: Table) -> Floats:
    """Return a column of vectors as N × D."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    size: int = whole.type.list_size
    return whole.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)


def _prompts(table: Table, texts: Sequence[Sequence[str]]) -> list[str]:
    """Return what came before each answer, without the system message: it is the same for all."""
    return [
        "\n".join(text for text, name in zip(own, names[:-1], strict=False) if name != "system")
        for own, names in zip(texts, roles(table), strict=True)
    ]


def _column(vectors_N_D: Floats) -> Table:
    flat = pa.array(vectors_N_D.astype(np.float32, copy=False).ravel(), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, vectors_N_D.shape[1])


def _group(kind: str, label: bool | None, lost: str | None, texts: Sequence[str]) -> int:
    """Return a number, equal for rows that may be alike; a pair's lost answer must be the same."""
    mark = (kind, label, lost, [_NUMBER.findall(text) for text in texts])
    return int.from_bytes(blake2b(repr(mark).encode(), digest_size=8).digest(), "little")


def _rank(keys: Table) -> Places:
    """Return of each row how many are preferred to it."""
    first: Any = pc.is_in(keys["source"], value_set=pa.array(FIRST))
    ranked = pa.table(
        {
            "first": pc.invert(first),
            "started_at": keys["started_at"],
            "candidate_id": keys["candidate_id"],
        }
    )
    order = pc.sort_indices(ranked, [(name, "ascending") for name in ranked.column_names])
    rank = np.empty(keys.num_rows, np.int64)
    rank[order.to_numpy()] = np.arange(keys.num_rows)
    return rank


def _alike(keys: Table, similarity: float) -> Iterator[int]:
    """Yield the places of rows that are alike an earlier one that stays."""
    prompts, replies = vectors(keys[PROMPT]), vectors(keys[ANSWER])
    groups = keys["group"].to_numpy()

    def pairs(one: Places, other: Places) -> Mask:
        near = (prompts[one] @ prompts[other].T) >= similarity
        near &= groups[one][:, None] == groups[other]
        left, right = np.nonzero(near)  # few: only those answers are compared
        told = np.einsum("nd,nd->n", replies[one[left]], replies[other[right]])
        near[left, right] = told >= similarity
        return near

    kept: list[Places] = []
    for start in range(0, len(prompts), BLOCK_ROWS):
        block = np.arange(start, min(start + BLOCK_ROWS, len(prompts)))
        gone = np.zeros(len(block), np.bool_)
        for earlier in kept:
            gone |= pairs(block, earlier).any(axis=1)
        own = np.tril(pairs(block, block), k=-1)
        for row in np.flatnonzero(own.any(axis=1) & ~gone):
            gone[row] = (own[row] & ~gone).any()  # only what stays can stand for another
        yield from block[gone].tolist()
        kept.append(block[~gone])
