"""CURATE: what one dataset version has that another has not.

Two versions come in, counts and differences go out: examples added and removed, examples, subjects
and interactions that changed their split (which never happens between versions of one
application), settings that differ, and what the stages dropped in each. An example is the same when
its kind and content are. Reads no text of people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from curation.examples import parts_of, read_table
from curation.history import SAFETY
from curation.table import Table, pc, with_column
from feedback.tables import DatasetVersion

BY = ("source", "kind", "split")  # what added and removed examples are counted by
SHOWN_IDS = 20  # of what moved, the first


class Change(msgspec.Struct, frozen=True):
    """Examples that only one of two versions has, counted in three ways."""

    examples: int
    by: dict[str, dict[str, int]]


class Moved(msgspec.Struct, frozen=True):
    """What is in another split than before: a leak from one version to the next."""

    examples: int
    interactions: int
    subjects: int
    first: list[str]  # ids of examples, at most SHOWN_IDS

    @property
    def any(self) -> bool:
        """Whether anything moved."""
        return bool(self.examples or self.interactions or self.subjects)


class DatasetDiff(msgspec.Struct, frozen=True):
    """How version `after` differs from `before`."""

    before: str
    after: str
    same_content: bool
    common: int
    added: Change
    removed: Change
    moved: Moved
    counts: dict[str, list[int]]  # "kind split" → examples before, after
    settings: dict[str, list[Any]]  # "curation.max_tokens" → before, after; of those that differ
    stages: dict[str, dict[str, list[int | None]]]  # stage → reason → dropped before, after
    erased: dict[str, int]  # examples that erasures took out since each was written


def diff_versions(before: DatasetVersion, after: DatasetVersion) -> DatasetDiff:
    """Return how `after` differs from `before`.

    Raises: DataError when a file of one is missing or broken.
    """
    old, new = _members(before), _members(after)
    added = new.filter(pc.invert(_is_in(new, old)))
    removed = old.filter(pc.invert(_is_in(old, new)))
    return DatasetDiff(
        before=before.id,
        after=after.id,
        same_content=before.content_hash == after.content_hash,
        common=new.num_rows - added.num_rows,
        added=_change(added),
        removed=_change(removed),
        moved=_moved(old, new),
        counts=_counts(old, new),
        settings=_settings(before.manifest, after.manifest),
        stages=_stages(before.manifest, after.manifest),
        erased={version.id: _erased(version.manifest) for version in (before, after)},
    )


def _members(version: DatasetVersion) -> Table:
    """Return identity, source and subject of each example."""
    columns = ["example_id", "interaction_id", "subject", "source"]
    tables: list[Table] = []
    for part in parts_of(version):
        table = read_table(version, part, columns)
        name = f"{part.kind} "
        ids = [name + id_ for id_ in table["example_id"].to_pylist()]
        table = with_column(table, "name", ids, pa.string())
        table = with_column(table, "kind", [part.kind] * table.num_rows, pa.string())
        tables.append(with_column(table, "split", [part.split] * table.num_rows, pa.string()))
    return pa.concat_tables(tables)


def _is_in(table: Table, other: Table) -> Table:
    return pc.is_in(table["name"], value_set=other["name"].combine_chunks())


def _change(table: Table) -> Change:
    counted = {name: dict(Counter(table[name].to_pylist()).most_common()) for name in BY}
    return Change(table.num_rows, counted)


def _moved(old: Table, new: Table) -> Moved:
    examples = _in_other_split(old, new, "name")
    return Moved(
        len(examples),
        len(_in_other_split(old, new, "interaction_id")),
        len(_in_other_split(old, new, "subject")),
        [name.partition(" ")[2] for name in examples[:SHOWN_IDS]],
    )


def _in_other_split(old: Table, new: Table, column: str) -> list[str]:
    """Return in order what is in one split of the old version and in another of the new."""
    was = _splits_by(old, column)
    return sorted(
        {
            name
            for name, split in _learnt(new, column)
            if name is not None and was.get(name, split) != split
        }
    )


def _splits_by(table: Table, column: str) -> dict[str | None, str]:
    return dict(_learnt(table, column))


def _learnt(table: Table, column: str) -> Iterator[tuple[str | None, str]]:
    """Yield name and split of what is in a split: safety tests are in none."""
    for name, split in zip(table[column].to_pylist(), table["split"].to_pylist(), strict=True):
        if split != SAFETY:
            yield name, split


def _counts(old: Table, new: Table) -> dict[str, list[int]]:
    counted = [
        Counter(zip(table["kind"].to_pylist(), table["split"].to_pylist(), strict=True))
        for table in (old, new)
    ]
    keys = dict.fromkeys(key for counter in counted for key in counter)
    return {" ".join(key): [counter[key] for counter in counted] for key in keys}


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the settings that differ by their dotted names, and the code's hash if it does."""
    both = [
        dict(_leaves(manifest.get("settings", {}))) | {"code_hash": manifest.get("code_hash")}
        for manifest in (before, after)
    ]
    names = dict.fromkeys(name for leaves in both for name in leaves)
    pairs = {name: [leaves.get(name) for leaves in both] for name in names}
    return {name: values for name, values in pairs.items() if values[0] != values[1]}


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _stages(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, dict[str, list[int | None]]]:
    """Return what each stage of either dropped, by reason; None where a version lacks the stage."""
    both = [
        {stage["name"]: stage["dropped"] for stage in manifest.get("stages", [])}
        for manifest in (before, after)
    ]
    names = dict.fromkeys(name for stages in both for name in stages)
    return {name: _dropped([stages.get(name) for stages in both]) for name in names}


def _dropped(both: Sequence[Mapping[str, int] | None]) -> dict[str, list[int | None]]:
    reasons = dict.fromkeys(reason for dropped in both for reason in dropped or ())
    return {
        reason: [None if dropped is None else dropped.get(reason, 0) for dropped in both]
        for reason in reasons
    }


def _erased(manifest: Mapping[str, Any]) -> int:
    return sum(entry["examples"] for entry in manifest.get("erased", []))
