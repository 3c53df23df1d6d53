"""A dataset version: whole or not there, never changed unnoticed, readable by others' tools."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import event
from sqlmodel import Session, select

from core.errors import ConflictError, DataError
from curation.card import dataset_card
from curation.dataset_files import SCHEMAS, read_identities, sorted_identities, write_examples
from curation.dataset_version import Draft, kinds_of, verify_dataset, write_dataset
from curation.history import SPLITS, read_history
from curation.keys import example_id
from curation.table import Table, with_column
from feedback.store import Store
from feedback.tables import DatasetMember, DatasetVersion
from retrain.examples import load_split
from tests.ready_store import ready_store
from tests.unit.candidate_tables import START, keyed, pair, row

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
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder of datasets."""
    path = tmp_path / "datasets"
    path.mkdir()
    return path


def examples(answer: str) -> Table:
    """Return six demonstrations, two of them held out, the last without a subject; and others."""
    whole: list[dict[str, Any]] = []
    for number in range(6):
        subject = f"subject {number}" if number < 5 else None
        text = f"Where is {number}? Grüße 👍"
        whole.append(row(text, answer, subject=subject, id_=f"i{number}"))
    whole.append(pair("Where is 1? Grüße 👍", answer, "Nowhere.", subject="subject 1", id_="i1"))
    whole.append(
        row("Where is 2? Grüße 👍", answer, kind="label", label=True, subject="subject 2", id_="i2")
    )
    whole.append(row("Evil?", "Yes!", kind="safety", category="abuse", subject="s", id_="bad"))
    table = keyed(*whole)
    splits = {"i4": "validation", "i5": "test", "bad": "safety"}
    ids = table["interaction_id"].to_pylist()
    table = with_column(table, "split", [splits.get(id_, "train") for id_ in ids], pa.string())
    return with_column(table, "is_new", [id_ in ("i0", "i2", "i4") for id_ in ids], pa.bool_())


def draft(id: str = "desk--d1", *, answer: str = "Here.") -> Draft:
    """Return a version of the examples."""
    table = examples(answer)

    def write(folder: Path) -> dict[str, Any]:
        with TemporaryDirectory() as scratch:
            parts = [table.slice(at, 2) for at in range(0, table.num_rows, 2)]
            write_examples(folder, Path(scratch), parts, table.num_rows)
        return FACTS

    return Draft(id, "desk", None, table, write, START)


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
    (found,) = rows(store, DatasetVersion)
    assert (found.id, found.content_hash, found.manifest) == (
        version.id,
        version.content_hash,
        version.manifest,
    )
    assert (found.train_rows, found.validation_rows, found.test_rows, found.new_rows) == (
        4,
        1,
        1,
        3,
    )
    assert found.manifest["splits"] == {"train": 4, "validation": 1, "test": 1}
    assert found.manifest["kinds"]["pair"] == {"train": 1, "validation": 0, "test": 0}
    assert found.manifest["kinds"]["safety"] == {"safety": 1}
    members = {(m.interaction_id, m.subject, m.split) for m in rows(store, DatasetMember)}
    assert len(members) == 7
    assert {("i0", "subject 0", "train"), ("i5", None, "test"), ("bad", "s", "safety")} <= members
    assert sorted(path.name for path in folder.iterdir()) == ["desk--d1"]
    verify_dataset(version)


def test_files_load_with_pyarrow(store: Store, folder: Path) -> None:
    """Columns, types and text come back as they were written."""
    version = write_dataset(store, folder, draft())
    table = pq.read_table(Path(version.path) / "test.parquet")
    assert table.schema.remove_metadata() == SCHEMAS["demonstration"]
    (one,) = table.to_pylist()
    assert (one["interaction_id"], one["subject"], one["is_new"]) == ("i5", None, False)
    assert one["messages"] == [
        {"role": "user", "content": "Where is 5? Grüße 👍"},
        {"role": "assistant", "content": "Here."},
    ]


def test_pairs_labels_and_safety_tests_have_files_of_their_own(store: Store, folder: Path) -> None:
    """In the shapes that TRL's trainers take; what was flagged is apart."""
    path = Path(write_dataset(store, folder, draft()).path)
    (one,) = pq.read_table(path / "pairs" / "train.parquet").to_pylist()
    assert [m["content"] for m in one["prompt"]] == ["Where is 1? Grüße 👍"]
    assert one["chosen"] == [{"role": "assistant", "content": "Here."}]
    assert one["rejected"] == [{"role": "assistant", "content": "Nowhere."}]
    (one,) = pq.read_table(path / "labels" / "train.parquet").to_pylist()
    assert (one["completion"][0]["content"], one["label"]) == ("Here.", True)
    (one,) = pq.read_table(path / "safety" / "test.parquet").to_pylist()
    assert (one["messages"][0]["content"], one["category"]) == ("Evil?", "abuse")
    lines = (path / "messages" / "train.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[0])["messages"][1] == {"role": "assistant", "content": "Here."}


def test_examples_are_in_the_order_of_their_ids(store: Store, folder: Path) -> None:
    """So the order tells nothing of time, and equal data give equal files."""
    version = write_dataset(store, folder, draft())
    ids = pq.read_table(Path(version.path) / "train.parquet")["example_id"].to_pylist()
    assert ids == sorted(ids)


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
        "| demonstration | 4 | 1 | 1 |",
        "| pair | 1 | 0 | 0 |",
        "| select | 9 | 6 | 3 flagged |",
        "| redact | 6 | 6 | 2 changed |",
        "- n<1K",
    ):
        assert part in card
    big = {**version.manifest, "splits": {"train": 9_000, "validation": 500, "test": 500}}
    assert "- 10K<n<100K" in dataset_card(big)


def test_hash_depends_on_content_alone(store: Store, folder: Path, tmp_path: Path) -> None:
    """The same examples in another place have the same hash; one changed word has another."""
    other = ready_store(f"sqlite:///{tmp_path / 'other.db'}")
    there = tmp_path / "there"
    there.mkdir()
    first = write_dataset(store, folder, draft())
    assert write_dataset(other, there, draft()).content_hash == first.content_hash
    changed = write_dataset(store, folder, draft("desk--d2", answer="There."))
    assert changed.content_hash != first.content_hash
    other.close()


def test_equal_content_has_one_id() -> None:
    """A changed letter gives another, and so does the answer that lost."""
    messages = [("user", "Where?"), ("assistant", "Here.")]
    assert example_id(messages) == example_id(list(messages))
    assert example_id(messages) != example_id([("user", "Where?"), ("assistant", "here.")])
    assert example_id(messages) != example_id(messages, ["There."])
    assert len(example_id(messages)) == 32


@pytest.mark.parametrize("split", SPLITS)
def test_one_changed_byte_is_found(store: Store, folder: Path, split: str) -> None:
    """Whichever file it is in; the message has both hashes and the mend."""
    version = write_dataset(store, folder, draft())
    spoil(Path(version.path) / f"{split}.parquet")
    with pytest.raises(DataError, match=r"desk--d1 .* was changed: its hash is .* from a backup"):
        verify_dataset(version)


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
    files = [path for path in Path(version.path).rglob("*") if path.is_file()]
    modes = {path.stat().st_mode & 0o777 for path in files}
    assert modes == {0o444}


def test_identities_come_back(store: Store, folder: Path) -> None:
    """What is read is what was written, kind by kind and split by split."""
    written = draft()
    version = write_dataset(store, folder, written)
    found = read_identities(Path(version.path), kinds_of(version))
    assert found.equals(sorted_identities(written.members))


def test_version_is_never_written_twice(store: Store, folder: Path) -> None:
    """The second build of a version is refused, and the first stays as it was."""
    version = write_dataset(store, folder, draft())
    with pytest.raises(ConflictError, match="another build has written dataset desk--d1"):
        write_dataset(store, folder, draft(answer="There."))
    verify_dataset(version)
    assert sorted(path.name for path in folder.iterdir()) == ["desk--d1"]
    assert len(rows(store, DatasetMember)) == 7


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
        assert read_history(session, "desk").parent is None
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
        history = read_history(session, "desk")
        assert read_history(session, "shop").parent is None
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
    for name, split in (("pairs", "train"), ("labels", "train"), ("safety", "test")):
        part = datasets.load_dataset(
            str(tmp_path / "copy"), name, cache_dir=str(tmp_path / "cache")
        )
        assert part[split].num_rows == 1
