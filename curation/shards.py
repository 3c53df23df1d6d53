"""CURATE: shards, the Parquet files in which candidates wait on disk between two passes.

A table too large for memory is a folder of shards. One pass over one shard is `work_through`: what
it writes is whole or absent, and done again only if it is absent, so that a build that died goes
on where it was. Knows no engine: who calls it, in which process, is another module's affair.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.files import write_atomic
from curation.chain import Account, Chain
from curation.table import Table

COMPRESSION = "lz4"  # a third of the size at no measurable time

Report = list[Account]


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards in a folder, in their order."""
    return sorted(folder.glob("part-*.parquet"))


def write_shards(folder: Path, tables: Iterable[Table], rows: int) -> list[Path]:
    """Write the tables as shards of about `rows` rows each, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number, table in enumerate(_regrouped(tables, rows)):
        paths.append(folder / f"part-{number:06}.parquet")
        write_table(paths[-1], table)
    return paths


def write_table(path: Path, table: Table) -> None:
    """Write a table to one file, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=COMPRESSION)
    write_atomic(path, sink.getvalue().to_pybytes())


def read_shard(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Return a shard, or some of its columns."""
    return pq.ParquetFile(path).read(columns)


def work_through(chain: Chain, source: Path, folder: Path) -> Report:
    """Run a shard through a chain into a shard of the same name in `folder`; return the account.

    What is there already from an earlier time is not done again.
    """
    told = folder / f"{source.stem}.json"
    if not told.is_file():
        table, report = chain(read_shard(source))
        write_table(folder / source.name, table)
        write_atomic(told, json.dumps([account.entry() for account in report]))
    entries: list[dict[str, Any]] = json.loads(told.read_text())
    return [Account.from_entry(entry) for entry in entries]


def _regrouped(tables: Iterable[Table], rows: int) -> Iterator[Table]:
    """Yield the tables' rows in tables of `rows` rows; the last may be smaller."""
    waiting: list[Table] = []  # at most one
    for table in tables:
        rest = _joined([*waiting, table])
        while rest.num_rows >= rows:
            yield rest.slice(0, rows)
            rest = rest.slice(rows)
        waiting = [rest]
    yield from (rest for rest in waiting if rest.num_rows)


def _joined(tables: Sequence[Table]) -> Table:
    """Return all tables' rows; a column that one lacks is null there."""
    return pa.concat_tables(tables, promote_options="default")
