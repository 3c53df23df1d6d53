"""A dataset version: whole or not there, never changed unnoticed, readable by others' tools."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import event
from sqlmodel import Session, select

from core.errors import ConflictError, DataError
from curation.card import dataset_card
from curation.dataset_version import (
    EXAMPLE_SCHEMA,
    Draft,
    Example,
    example_id,
    read_identities,
    verify_dataset,
    write_dataset,
)
from curation.history import SPLITS, read_history
from feedback.redaction.redactor import Redactor
from feedback.store import Store
from feedback.tables import DatasetMember, DatasetVersion
from retrain.examples import load_split
from tests.unit.curation_world import START, candidate

FACTS: dict[str, Any] = {
    "settings_hash": "5" * 64,
    "stages": [
        {"name": "select", "before": 9, "after": 6, "changed": 0, "dropped": {"flagged": 3}},
        {"name": "redact", "before": 6, "after": 6, "changed": 2, "dropped": {}},
    ],
    "lineage": {
        "subjects": 5,
        "without_subject": 1,
        "sources": {"thumbs_up": 4, "correction": 2},
        "oldest": START.isoformat(),
        "newest": START.isoformat(),
    },
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give an empty store."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.create_tables()
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder of datasets."""
    path = tmp_path / "datasets"
    path.mkdir()
    return path


def draft(id: str = "desk--d1", *, answer: str = "Here.") -> Draft:
    """Return a version of six examples, two of them held out; the last has no subject."""
    examples: list[Example] = []
    for number, split in enumerate(("train", "train", "train", "train", "validation", "test")):
        subject = f"subject {number}" if number < 5 else None
        one = candidate(
            f"Where is {number}? Grüße 👍", answer, subject=subject, interaction_id=f"i{number}"
        )
        examples.append(Example(example_id(one), one, split, is_new=number % 2 == 0))  # pyright: ignore[reportArgumentType]
    return Draft(id, "desk", None, examples, FACTS, START)


def rows(store: Store, table: type[Any]) -> list[Any]:
    """Return all rows of a table."""
    with store.session() as session:
        return list(session.exec(select(table)).all())


def spoil(path: Path) -> None:
    """Flip one bit in the middle of a file that is read-only."""
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_files_and_rows_are_written_together(store: Store, folder: Path) -> None:
    """The row counts what the files hold, and each interaction has its lineage."""
    version = write_dataset(store, folder, draft())
    (row,) = rows(store, DatasetVersion)
    assert (row.id, row.content_hash, row.manifest) == (
        version.id,
        version.content_hash,
        version.manifest,
    )
    assert (row.train_rows, row.validation_rows, row.test_rows, row.new_rows) == (4, 1, 1, 3)
    assert row.manifest["splits"] == {"train": 4, "validation": 1, "test": 1}
    members = {(m.interaction_id, m.subject, m.split) for m in rows(store, DatasetMember)}
    assert len(members) == 6
    assert {("i0", "subject 0", "train"), ("i5", None, "test")} <= members
    assert sorted(path.name for path in folder.iterdir()) == ["desk--d1"]
    verify_dataset(version)


def test_files_load_with_pyarrow(store: Store, folder: Path) -> None:
    """Columns, types and text come back as they were written."""
    version = write_dataset(store, folder, draft())
    table = pq.read_table(Path(version.path) / "test.parquet")
    assert table.schema.remove_metadata() == EXAMPLE_SCHEMA
    (row,) = table.to_pylist()
    assert (row["interaction_id"], row["subject"], row["is_new"]) == ("i5", None, False)
    assert row["messages"] == [
        {"role": "user", "content": "Where is 5? Grüße 👍"},
        {"role": "assistant", "content": "Here."},
    ]


def test_files_load_with_retrain(store: Store, folder: Path) -> None:
    """The trainer finds every split by its name and column."""
    version = write_dataset(store, folder, draft())
    sizes = [len(load_split(Path(version.path), split)) for split in SPLITS]
    assert sizes == [4, 1, 1]


def test_card_names_a_file_for_each_split(store: Store, folder: Path) -> None:
    """Front matter by which Hugging Face's tools find the splits points at files that exist."""
    version = write_dataset(store, folder, draft())
    card = (Path(version.path) / "README.md").read_text()
    front_matter = card.split("---\n")[1]
    for split in SPLITS:
        assert f"  - split: {split}\n    path: {split}.parquet" in front_matter
        assert (Path(version.path) / f"{split}.parquet").is_file()


def test_card_tells_people_what_is_in_it(store: Store, folder: Path) -> None:
    """Hash, counts, sources, what each stage dropped, and the size that the Hub sorts by."""
    version = write_dataset(store, folder, draft())
    card = (Path(version.path) / "README.md").read_text()
    assert card == dataset_card(version.manifest)
    for part in (
        f"| Content hash | `{version.content_hash}` |",
        "| Parent | none: the first version |",
        "| Sources | 4 thumbs_up, 2 correction |",
        "| train | 4 |",
        "| select | 9 | 6 | 3 flagged |",
        "| redact | 6 | 6 | 2 changed |",
        "- n<1K",
    ):
        assert part in card
    big = {**version.manifest, "splits": {"train": 9_000, "validation": 500, "test": 500}}
    assert "- 10K<n<100K" in dataset_card(big)


def test_hash_depends_on_content_alone(store: Store, folder: Path, tmp_path: Path) -> None:
    """The same examples in another place have the same hash; one changed word has another."""
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    other.create_tables()
    there = tmp_path / "there"
    there.mkdir()
    first = write_dataset(store, folder, draft())
    assert write_dataset(other, there, draft()).content_hash == first.content_hash
    changed = write_dataset(store, folder, draft("desk--d2", answer="There."))
    assert changed.content_hash != first.content_hash
    other.close()


def test_equal_messages_have_one_id() -> None:
    """Who said it and when does not matter; a changed letter does."""
    one = candidate("Where?", "Here.", subject="ann", minute=3)
    assert example_id(one) == example_id(candidate("Where?", "Here.", subject="bob"))
    assert example_id(one) != example_id(candidate("Where?", "here."))
    assert len(example_id(one)) == 32


@pytest.mark.parametrize("split", SPLITS)
def test_one_changed_byte_is_found(store: Store, folder: Path, split: str) -> None:
    """Whichever file it is in; the message has both hashes and the mend."""
    version = write_dataset(store, folder, draft())
    spoil(Path(version.path) / f"{split}.parquet")
    with pytest.raises(DataError, match=r"desk--d1 .* was changed: its hash is .* from a backup"):
        verify_dataset(version)
    with pytest.raises(DataError, match="was changed"):
        read_identities(version)


def test_missing_and_added_files_are_found(store: Store, folder: Path) -> None:
    """A file too many changes the hash, a file too few is named."""
    version = write_dataset(store, folder, draft())
    stray = Path(version.path) / "more.parquet"
    stray.write_bytes(b"x")
    with pytest.raises(DataError, match="was changed"):
        verify_dataset(version)
    stray.unlink()
    (Path(version.path) / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"desk--d1 lacks test\.parquet"):
        verify_dataset(version)


def test_files_are_read_only(store: Store, folder: Path) -> None:
    """Nobody changes a version by mistake."""
    version = write_dataset(store, folder, draft())
    modes = {path.stat().st_mode & 0o777 for path in Path(version.path).iterdir()}
    assert modes == {0o444}


def test_identities_come_back(store: Store, folder: Path) -> None:
    """What is read is what was written, split by split."""
    written = draft()
    version = write_dataset(store, folder, written)
    assert read_identities(version) == {example.identity for example in written.examples}


def test_version_is_never_written_twice(store: Store, folder: Path) -> None:
    """The second build of a version is refused, and the first stays as it was."""
    version = write_dataset(store, folder, draft())
    with pytest.raises(ConflictError, match="another build has written dataset desk--d1"):
        write_dataset(store, folder, draft(answer="There."))
    verify_dataset(version)
    assert sorted(path.name for path in folder.iterdir()) == ["desk--d1"]
    assert len(rows(store, DatasetMember)) == 6


def test_crash_while_writing_files_leaves_no_version(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fails after the second file, neither files nor rows are left."""
    synced = os.fsync
    calls: list[int] = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError("no space left")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_dataset(store, folder, draft())
    assert list(folder.iterdir()) == []
    assert rows(store, DatasetVersion) == []


def test_crash_before_the_commit_leaves_no_version(store: Store, folder: Path) -> None:
    """The folder is in its place but no row names it: it is no version, and is replaced."""

    def fail(_: Session) -> None:
        raise KeyboardInterrupt

    event.listen(Session, "before_commit", fail)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_dataset(store, folder, draft(answer="Lost."))
    finally:
        event.remove(Session, "before_commit", fail)
    assert rows(store, DatasetVersion) == rows(store, DatasetMember) == []
    with store.session() as session:
        assert read_history(session, "desk", Redactor()).parent is None
    version = write_dataset(store, folder, draft())
    verify_dataset(version)
    assert load_split(Path(version.path), "test")[0].answer == "Here."


def test_crash_after_the_commit_leaves_a_whole_version(store: Store, folder: Path) -> None:
    """Once the rows are there the files stay, even if the caller never hears of it."""

    def fail(_: Session) -> None:
        raise KeyboardInterrupt

    event.listen(Session, "after_commit", fail)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_dataset(store, folder, draft())
    finally:
        event.remove(Session, "after_commit", fail)
    (version,) = rows(store, DatasetVersion)
    verify_dataset(version)


def test_history_puts_the_newest_version_last(store: Store, folder: Path) -> None:
    """Version 10 comes after version 9, and other applications' versions stay out."""
    for id_ in ("desk--d9", "desk--d10", "desk--d2"):
        write_dataset(store, folder, draft(id_))
    with store.session() as session:
        history = read_history(session, "desk", Redactor())
        assert read_history(session, "shop", Redactor()).parent is None
    assert history.parent is not None
    assert history.parent.id == "desk--d10"
    assert (history.interactions["i5"], history.subjects["subject 4"]) == ("test", "validation")


def test_splits_load_with_datasets(store: Store, folder: Path, tmp_path: Path) -> None:
    """Hugging Face's library finds the three splits of the folder by its card."""
    datasets = pytest.importorskip("datasets")
    version = write_dataset(store, folder, draft())
    shutil.copytree(version.path, tmp_path / "copy")
    loaded = datasets.load_dataset(str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split].num_rows for split in loaded} == version.manifest["splits"]
    assert loaded["test"][0]["messages"][1] == {"role": "assistant", "content": "Here."}
