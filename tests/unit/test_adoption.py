"""A dataset version that was written elsewhere: what is believed of it, which is nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from core.errors import ConflictError, DataError, NotFoundError, PermissionDeniedError
from core.ids import subject_digest
from curation.adoption import Adopted, adopt_version
from curation.dataset_check import problems
from curation.dataset_version import verify_dataset
from curation.erasure import Unwanted, erase_examples
from feedback.tables import DatasetMember, DatasetVersion, Erasure
from tests.unit.candidate_tables import START, row
from tests.unit.dataset_world import Shelf, open_shelf, some_rows, spoil


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Give the store and folder that copies are made of."""
    (tmp_path / "here").mkdir()
    shelf = open_shelf(tmp_path / "here")
    yield shelf
    shelf.store.close()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Shelf]:
    """Give the store and folder that copies come into."""
    (tmp_path / "there").mkdir()
    shelf = open_shelf(tmp_path / "there")
    yield shelf
    shelf.store.close()


def copied(version: DatasetVersion, folder: Path, **told: Any) -> Path:
    """Return a copy of a version's folder whose manifest tells other things."""
    shutil.copytree(version.path, folder)
    path = folder / "manifest.json"
    path.chmod(0o644)
    path.write_text(json.dumps(version.manifest | told))
    return folder


def adopt(shelf: Shelf, folder: Path) -> Adopted:
    """Take the copy in."""
    return adopt_version(shelf.store, shelf.folder, folder, ["desk"])


def nothing_in(shelf: Shelf) -> bool:
    """Return whether neither store nor folder hold anything."""
    with shelf.store.session() as session:
        members = session.exec(select(DatasetMember)).all()
    return not members and list(shelf.folder.iterdir()) == []


def test_a_copy_becomes_a_version_of_this_store(shelf: Shelf, there: Shelf, tmp_path: Path) -> None:
    """With its manifest and lineage; other files of the folder stay where they are."""
    version = shelf.put()
    copy = copied(version, tmp_path / "copy")
    (copy / ".gitattributes").write_text("")
    (copy / "stray.parquet").write_text("")
    adopted, how = adopt(there, copy)
    assert how == "added"
    assert (adopted.manifest, adopted.content_hash) == (version.manifest, version.content_hash)
    assert (adopted.train_rows, adopted.new_rows) == (version.train_rows, version.new_rows)
    assert problems(adopted) == []
    assert (Path(adopted.path), copy.is_dir()) == (there.folder / "desk--d1", True)


def test_a_version_that_is_here_is_left_alone_or_mended(shelf: Shelf, tmp_path: Path) -> None:
    """A copy is a backup: broken or missing files come back, whole ones stay."""
    version = shelf.put()
    copy = copied(version, tmp_path / "copy")
    assert adopt(shelf, copy).how == "present"
    spoil(Path(version.path) / "train.parquet")
    assert adopt(shelf, copy).how == "restored"
    verify_dataset(version)
    shutil.rmtree(version.path)
    assert adopt(shelf, copy).how == "restored"
    assert problems(version) == []
    assert [path.name for path in shelf.folder.iterdir()] == ["desk--d1"]


def test_another_version_of_the_same_name_is_refused(
    shelf: Shelf, there: Shelf, tmp_path: Path
) -> None:
    """What is here stays."""
    copy = copied(shelf.put(), tmp_path / "copy")
    mine = there.put(rows=some_rows("Another answer."))
    with pytest.raises(ConflictError, match="desk--d1 is here with another content"):
        adopt(there, copy)
    verify_dataset(mine)


def test_a_copy_of_another_history_is_refused(shelf: Shelf, there: Shelf, tmp_path: Path) -> None:
    """What is learnt here would be tested there."""
    copy = copied(shelf.put("desk--d2"), tmp_path / "copy")
    there.put(splits={"i4": "test", "i5": "test", "bad": "safety"})
    with pytest.raises(ConflictError, match=r"has interaction i4 in validation, and .* in test"):
        adopt(there, copy)


@pytest.mark.parametrize("days", [0, -1])
def test_people_who_were_erased_do_not_come_back(
    shelf: Shelf, there: Shelf, tmp_path: Path, days: int
) -> None:
    """A copy from before an erasure here is refused; one from after it has new words of theirs."""
    copy = copied(shelf.put(), tmp_path / "copy")
    with there.store.session() as session:
        session.add(
            Erasure(
                id="e", application="desk", subject_digest=subject_digest("subject 4"),
                requested_by="ops", requested_at=START + timedelta(days=days), state="done",
            )
        )  # fmt: skip
        session.commit()
    if days == 0:
        with pytest.raises(PermissionDeniedError, match="desk--d1 holds 1 people who were erased"):
            adopt(there, copy)
        assert nothing_in(there)
    else:
        assert adopt(there, copy).how == "added"


def test_a_copy_of_a_version_that_was_erased_from_is_taken(
    shelf: Shelf, there: Shelf, tmp_path: Path
) -> None:
    """A kind that has lost its last example keeps its empty file, and the hash fits."""
    version = shelf.put()
    erase_examples(shelf.store, version.id, Unwanted("e", "subject 1", frozenset({"i1"})))
    with shelf.store.session() as session:
        version = session.get_one(DatasetVersion, version.id)
    copy = copied(version, tmp_path / "copy")
    adopted = adopt(there, copy).version
    assert adopted.manifest["erased"][0]["examples"] == 2
    assert adopted.manifest == version.manifest
    assert problems(adopted) == []


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"id": "../../evil--d1", "application": "../../evil"}, r"names dataset '\.\./\.\./evil"),
        ({"id": "desk--d0"}, "an id is the application's name, --d and a number"),
        ({"id": "desk"}, "an id is the application's name"),
        ({"kinds": {"poem": {"train": 1}}}, r"manifest\.json is not as Ratchet writes it"),
        ({"coverage": {"rows": 3}}, r"no card can be made of manifest\.json \(KeyError"),
        ({"lineage": {}}, r"no card can be made of manifest\.json \(KeyError"),
        ({"created_at": "yesterday"}, r"manifest\.json is not as Ratchet writes it"),
        ({"content_hash": "0" * 64}, "was changed: its hash is .*, written was 000000000000"),
        ({"application": "shop", "id": "shop--d1"}, "is of the application 'shop'.*name: desk"),
        (
            {"kinds": {"demonstration": {"train": 9, "validation": 1, "test": 1}}},
            r"was changed: its hash is",  # a kind that is not told is no part of it
        ),
    ],
)
def test_a_manifest_is_not_believed(
    shelf: Shelf, there: Shelf, tmp_path: Path, told: dict[str, Any], message: str
) -> None:
    """Whatever it says, nothing is written here, and the message says what is wrong."""
    copy = copied(shelf.put(), tmp_path / "copy", **told)
    with pytest.raises((DataError, NotFoundError), match=message):
        adopt(there, copy)
    assert nothing_in(there)


def test_counts_that_are_not_those_of_the_files_are_found(
    shelf: Shelf, there: Shelf, tmp_path: Path
) -> None:
    """The right hash beside wrong counts."""
    version = shelf.put()
    pairs = {"pair": {"train": 2, "validation": 0, "test": 0}}
    copy = copied(version, tmp_path / "copy", kinds=version.manifest["kinds"] | pairs)
    with pytest.raises(DataError, match=r"holds 1 examples \(pair, train\), and .* says 2"):
        adopt(there, copy)


def test_a_copy_that_leaks_is_refused(shelf: Shelf, there: Shelf, tmp_path: Path) -> None:
    """Its hash is right, its splits are not."""
    rows = [row("Who?", "I.", subject="ann", id_="a"), row("Why?", "So.", subject="ann", id_="b")]
    copy = copied(shelf.put(rows=rows, splits={"b": "test"}), tmp_path / "copy")
    with pytest.raises(DataError, match="desk--d1 leaks: the same subject in two splits"):
        adopt(there, copy)
    assert nothing_in(there)
