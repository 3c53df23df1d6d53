"""CURATE: which rows of a table hold what a pattern tells, found by Arrow in one pass.

Most rows have no fault of most kinds. To make Python strings of a row costs more than to search
it, so a stage asks here first, with a pattern that finds at least all that it looks for, and reads
only the rows that are told. Patterns are RE2's: no look-around, and letters and spaces are ASCII's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from curation.table import Table, conversations, pc


def rows_with(table: Table, pattern: str, *, ignore_case: bool = False) -> list[int]:
    """Return the rows of which a message, or a pair's lost answer, matches `pattern`, in order."""
    found = {*messages_with(table, pattern, ignore_case=ignore_case)}
    rejected = one_array(table["rejected"])
    if rejected.null_count < len(rejected):
        mask = pc.match_substring_regex(rejected, pattern, ignore_case=ignore_case)
        found.update(indices(mask))
    return sorted(found)


def messages_with(table: Table, pattern: str, *, ignore_case: bool = False) -> list[int]:
    """Return the rows of which a message matches `pattern`, in order; a missing text is ""."""
    mask = pc.match_substring_regex(contents(table), pattern, ignore_case=ignore_case)
    return rows_of(table, mask)


def answers_with(table: Table, pattern: str, *, ignore_case: bool = False) -> list[int]:
    """Return the rows of which the last message matches `pattern`, in order."""
    return indices(pc.match_substring_regex(last_texts(table), pattern, ignore_case=ignore_case))


def contents(table: Table) -> Table:
    """Return the texts of all messages of all rows, one after another; a missing one as ""."""
    return pc.fill_null(one_array(table["messages"]).flatten().field("content"), "")


def rows_of(table: Table, mask: Table) -> list[int]:
    """Return the rows that have one of the `contents` for which the mask is true, in order."""
    parents = pc.list_parent_indices(one_array(table["messages"]))
    return pc.unique(parents.filter(mask)).to_pylist()


def read(table: Table, rows: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    """Yield each of the `rows` with its texts, in the form of `conversations`."""
    part = table.take(pa.array(rows, pa.int64()))
    yield from zip(rows, conversations(part), strict=True)


def read_answers(table: Table, rows: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield each of the `rows` with its answer."""
    texts = last_texts(table).take(pa.array(rows, pa.int64()))
    yield from zip(rows, texts.to_pylist(), strict=True)


def last_texts(table: Table) -> Table:
    """Return the text of each row's last message, which is the answer; "" without one."""
    messages = one_array(table["messages"])
    lengths = pc.fill_null(pc.list_value_length(messages), 0)
    last = pc.if_else(pc.greater(lengths, 0), pc.subtract(pc.cumulative_sum(lengths), 1), None)
    return pc.fill_null(contents(table).take(last), "")


def indices(mask: Table) -> list[int]:
    """Return where a mask is true."""
    return pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()


def one_array(column: Table) -> Table:
    """Return a column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
