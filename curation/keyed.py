"""CURATE: the candidates of a build as whole-table stages see them: keys in memory, texts on disk.

Opens the shards that the row stages left. Rows are sorted so that what is preferred comes first:
what earlier versions held, then what may join, then what would leak, of each the oldest; last comes
what a model wrote. Prompts are numbered in that order. Texts are read back by row, shard by shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.chain import HISTORY
from curation.columns import Codes, keys
from curation.history import History, Split
from curation.keys import answer_text, prompt_text
from curation.minhash import BANDS, BandHashes
from curation.near import Texts
from curation.shards import read_shard
from curation.table import Table, conversations, pc, roles, with_column

ON_DISK = frozenset({"messages", "rejected", "placeholders", "bands"})
# Places of a row in its shard, its worth, and the number of its prompt
PLACES = ("shard", "at", "preference", "number")

Render = Callable[[Sequence[str], Sequence[str]], str]  # roles and texts in, one text out


class Keyed:
    """The rows of a build by their keys; `table` has those of earlier versions too, and first."""

    def __init__(self, paths: Sequence[Path], history: History) -> None:
        self._paths = paths
        table = _placed(paths)
        bound = _bound_by_key(table, history)
        table = with_column(table, "preference", _preferences(table, history, bound), pa.int8())
        self.table = _numbered(_sorted(table))
        numbers = dict(zip(keys(self.table, "prompt").tolist(), self.table["number"].to_pylist(),
                           strict=True))  # fmt: skip
        self.bound: Mapping[int, Split] = {numbers[key]: split for key, split in bound.items()}

    @property
    def candidates(self) -> Table:
        """The rows that are candidates, most wanted first."""
        return self.table.filter(pc.not_equal(self.table["kind"], HISTORY))

    def prompts_of(self, rows: Table) -> list[int]:
        """Return the numbers, sorted, of the prompts of these rows and of earlier versions."""
        earlier = self.table.filter(pc.equal(self.table["kind"], HISTORY))["number"]
        return np.union1d(earlier.to_numpy(), rows["number"].to_numpy()).tolist()

    def bands(self, numbers: Sequence[int]) -> BandHashes:
        """Return the band hashes of prompts, shape [numbers, bands]."""
        hashes = np.empty((len(numbers), BANDS), np.uint64)
        for places, part in self._read(self._first_rows(numbers), ("bands",)):
            raw = b"".join(part["bands"].to_pylist())
            hashes[places] = np.frombuffer(raw, np.uint64).reshape(-1, BANDS)
        return hashes

    def prompt_texts(self, numbers: Sequence[int]) -> Iterator[dict[int, str]]:
        """Yield the normalised texts of prompts by their numbers, a shard's at a time."""
        return self._texts(numbers, self._first_rows(numbers), prompt_text)

    def answer_texts(self, table: Table) -> Texts:
        """Return what gives the normalised answers of rows of `table` by their places in it."""

        def read(rows: Sequence[int]) -> Iterator[dict[int, str]]:
            return self._texts(rows, table.take(pa.array(rows, pa.int64())), answer_text)

        return read

    def wholes(self, table: Table) -> Iterator[Table]:
        """Yield the rows of `table` with their texts, and all columns that `table` has more."""
        for places, part in self._read(table, ("messages", "rejected")):
            own = table.take(pa.array(places))
            yield own.append_column("messages", part["messages"]).append_column(
                "rejected", part["rejected"]
            )

    def _first_rows(self, numbers: Sequence[int]) -> Table:
        """Return of each prompt the first row that has it."""
        column = self.table["number"].to_numpy()
        found, first = np.unique(column, return_index=True)
        return self.table.take(pa.array(first[np.searchsorted(found, np.array(numbers, np.int64))]))

    def _texts(self, names: Sequence[int], rows: Table, render: Render) -> Iterator[dict[int, str]]:
        for places, part in self._read(rows, ("messages", "rejected")):
            rendered = map(render, roles(part), conversations(part))
            yield dict(zip((names[place] for place in places), rendered, strict=True))

    def _read(self, rows: Table, columns: Sequence[str]) -> Iterator[tuple[Codes, Table]]:
        """Yield, shard by shard, places in `rows` and what the shard says of those rows."""
        shards, at = rows["shard"].to_numpy(), rows["at"].to_numpy()
        order = np.argsort(shards, kind="stable")
        ends = np.flatnonzero(np.diff(shards[order])) + 1
        for places in np.split(order, ends):
            if len(places):
                part = read_shard(self._paths[shards[places[0]]], list(columns))
                yield places, part.take(pa.array(at[places]))


def _placed(paths: Sequence[Path]) -> Table:
    """Return all columns but texts, of all shards, with each row's place."""
    tables: list[Table] = []
    for shard, path in enumerate(paths):
        names = [name for name in pq.read_schema(path).names if name not in ON_DISK]
        table = read_shard(path, names)
        table = with_column(table, "shard", [shard] * table.num_rows, pa.int32())
        tables.append(with_column(table, "at", range(table.num_rows), pa.int32()))
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _bound_by_key(table: Table, history: History) -> dict[int, Split]:
    """Return the split of each prompt, by its key, that an earlier version held."""
    rows = zip(table["interaction_id"].to_pylist(), table["prompt"].to_pylist(), strict=True)
    return {
        prompt: split
        for interaction, prompt in rows
        if (split := history.interactions.get(interaction)) is not None
    }


def _preferences(table: Table, history: History, bound: Mapping[int, Split]) -> list[int]:
    """Return of each row how much it is wanted: the lowest is kept, so that a version grows.

    -1 for what an earlier version held and nobody wants now, 0 for what one held, 1 for what may
    join, 2 for what would leak.
    """
    rows = zip(table["kind"].to_pylist(), table["interaction_id"].to_pylist(),
               table["subject"].to_pylist(), table["prompt"].to_pylist(), strict=True)  # fmt: skip
    worth: list[int] = []
    for kind, interaction, subject, prompt in rows:
        if kind == HISTORY:
            worth.append(-1)
        elif interaction in history.interactions:
            worth.append(0)
        else:
            of_subject, of_prompt = history.subjects.get(subject or ""), bound.get(prompt)
            worth.append(1 if of_subject is None or of_prompt in (None, of_subject) else 2)
    return worth


def _sorted(table: Table) -> Table:
    """Return the rows most wanted first; what a model wrote never takes the place of what is real.

    After its seeds it can only follow them: before, it could tie one to the split of another.
    """
    seeds = pc.list_value_length(table["seeds"]) if "seeds" in table.column_names else None
    written = [0] * table.num_rows if seeds is None else pc.fill_null(seeds, 0).to_pylist()
    table = with_column(table, "written", map(bool, written), pa.bool_())
    order = ("written", "preference", "started_at", "candidate_id")
    table = table.sort_by([(name, "ascending") for name in order])
    return table.drop_columns(["written"]).combine_chunks()


def _numbered(table: Table) -> Table:
    """Return the table with the number of each row's prompt, in the order of first appearance."""
    _, first, inverse = np.unique(keys(table, "prompt"), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return table.append_column("number", pa.array(rank[inverse]))
