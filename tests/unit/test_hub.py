"""A dataset version goes to a Hub and comes back, by the real client over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from core.errors import (
    ConflictError,
    DataError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    SettingsError,
)
from core.hugging_face import Repository
from curation.adoption import Adopted
from curation.dataset_check import problems
from curation.hub import pull_version, push_version
from feedback.tables import DatasetMember, DatasetVersion
from tests.fakes.hub import READER, WRITER, Hub, running_hub
from tests.unit.dataset_world import Shelf, open_shelf, some_rows, spoil

REPOSITORY = "acme/desk"

constants = pytest.importorskip("huggingface_hub.constants")
progress = pytest.importorskip("huggingface_hub.utils")
# the client's own way of sending a file, which its HTTP library would like to have otherwise
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Run a hub, and log in as somebody who may write."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks Git LFS only
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    progress.disable_progress_bars()
    with running_hub() as hub:
        yield hub
    progress.enable_progress_bars()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Give the store and folder that versions are pushed from."""
    (tmp_path / "here").mkdir()
    shelf = open_shelf(tmp_path / "here")
    yield shelf
    shelf.store.close()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Shelf]:
    """Give the store and folder that versions are pulled into."""
    (tmp_path / "there").mkdir()
    shelf = open_shelf(tmp_path / "there")
    yield shelf
    shelf.store.close()


def push(version: DatasetVersion, hub: Hub, **options: Any) -> str:
    """Push a version to the repository and return the commit."""
    return push_version(version, REPOSITORY, endpoint=hub.address, **options).commit


def pull(
    shelf: Shelf, hub: Hub, revision: str | None = None, *, repository: str = REPOSITORY
) -> Adopted:
    """Pull the version that is in the repository."""
    source = Repository(repository, "dataset", hub.address)
    return pull_version(shelf.store, shelf.folder, source, ["desk"], revision)


def members(shelf: Shelf) -> set[tuple[str, str | None, str]]:
    """Return the lineage that the store holds."""
    with shelf.store.session() as session:
        return {
            (one.interaction_id, one.subject, one.split)
            for one in session.exec(select(DatasetMember))
        }


def test_a_version_goes_out_and_comes_back_the_same(shelf: Shelf, there: Shelf, hub: Hub) -> None:
    """Files, manifest, hash and lineage; and what came back passes every check."""
    version = shelf.put()
    commit = push(version, hub)
    assert hub.repositories[REPOSITORY].head == commit
    pulled, how = pull(there, hub)
    assert how == "added"
    assert pulled.content_hash == version.content_hash
    assert pulled.manifest == version.manifest
    assert (pulled.created_at, pulled.new_rows) == (version.created_at, version.new_rows)
    assert Path(pulled.path) == there.folder / "desk--d1"
    for path in Path(version.path).rglob("*"):
        if path.is_file():
            copy = Path(pulled.path) / path.relative_to(version.path)
            assert copy.read_bytes() == path.read_bytes()
    assert members(there) == members(shelf)
    assert problems(pulled) == []
    assert [path.name for path in there.folder.iterdir()] == ["desk--d1"]


def test_the_client_uses_the_routes_of_the_hub(shelf: Shelf, hub: Hub) -> None:
    """Parquet goes by Git LFS, everything in one commit."""
    push(shelf.put(), hub)
    asked = hub.asked
    assert "POST /api/repos/create" in asked
    assert f"POST /datasets/{REPOSITORY}.git/info/lfs/objects/batch" in asked
    assert sum(line.startswith("PUT /lfs/") for line in asked) >= len(hub.objects) > 3
    assert sum(line == f"POST /api/datasets/{REPOSITORY}/commit/main" for line in asked) == 1
    assert len(hub.repositories[REPOSITORY].commits) == 2


def test_a_new_repository_is_private_unless_it_may_be_public(shelf: Shelf, hub: Hub) -> None:
    """People's words are nobody else's by default."""
    version = shelf.put()
    done = push_version(version, REPOSITORY, endpoint=hub.address)
    assert done.private
    assert hub.repositories[REPOSITORY].private
    done = push_version(version, "acme/open", public=True, endpoint=hub.address)
    assert not done.private
    assert done.url == f"{hub.address}/datasets/acme/open"
    assert not hub.repositories["acme/open"].private


def test_nothing_goes_to_a_public_repository_unasked(shelf: Shelf, hub: Hub) -> None:
    """One that was there before may be public: nothing is uploaded."""
    hub.create(REPOSITORY, private=False)
    with pytest.raises(ConflictError, match=r"acme/desk is public, and a dataset holds people's"):
        push(shelf.put(), hub)
    assert list(hub.repositories[REPOSITORY].commits[hub.repositories[REPOSITORY].head]) == [
        ".gitattributes"
    ]
    assert hub.objects == {}


def test_a_repository_holds_one_version_and_nothing_of_the_last(
    shelf: Shelf, there: Shelf, hub: Hub
) -> None:
    """Files of kinds that a later version lacks are deleted; the older commit can be pulled."""
    older = push(shelf.put(), hub)
    push(shelf.put("desk--d2", some_rows()[:6], parent="desk--d1"), hub)
    repository = hub.repositories[REPOSITORY]
    assert not any(name.startswith("pairs/") for name in repository.commits[repository.head])
    assert ".gitattributes" in repository.commits[repository.head]
    assert pull(there, hub).version.id == "desk--d2"
    assert pull(there, hub, revision=older).version.id == "desk--d1"


def change(hub: Hub, file: str, raw: bytes | None) -> None:
    """Commit another content of a file, or delete it, behind Ratchet's back."""
    repository = hub.repositories[REPOSITORY]
    files = {name: own for name, own in repository.commits[repository.head].items() if name != file}
    repository.commit(files if raw is None else files | {file: raw})


def test_a_repository_that_holds_no_version_is_told(shelf: Shelf, hub: Hub) -> None:
    """Without a manifest, or without one of the files; other files are not even downloaded."""
    hub.create(REPOSITORY, private=True)
    with pytest.raises(DataError, match=r"manifest\.json is missing: this is no dataset version"):
        pull(shelf, hub)
    push(shelf.put(), hub)
    change(hub, "stray.parquet", b"x" * 100)
    assert pull(shelf, hub).how == "present"
    assert not any("stray" in line for line in hub.asked)
    change(hub, "messages/test.jsonl", None)
    with pytest.raises(DataError, match=r"messages/test\.jsonl is missing in the copy"):
        pull(shelf, hub)


def test_a_changed_version_does_not_go_out(shelf: Shelf, hub: Hub) -> None:
    """Nothing is asked of the Hub."""
    version = shelf.put()
    spoil(Path(version.path) / "train.parquet")
    with pytest.raises(DataError, match="was changed"):
        push(version, hub)
    assert hub.asked == []


def test_who_may_not_read_or_write_is_told_to_log_in(
    shelf: Shelf, there: Shelf, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token, with one that may only read, and without a repository of that name."""
    version = shelf.put()
    push(version, hub)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert pull(there, hub).how == "added"
    with pytest.raises(PermissionDeniedError, match=r"acme/desk \(403\): log in with `hf auth"):
        push(shelf.put("desk--d2"), hub)
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    with pytest.raises(NotFoundError, match=r"shows no dataset repository 'acme/desk'.*log in"):
        pull(there, hub)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    with pytest.raises(NotFoundError, match="shows no dataset repository 'acme/none'"):
        pull(there, hub, repository="acme/none")
    with pytest.raises(NotFoundError, match="or not that revision"):
        pull(there, hub, revision="0" * 40)


def test_an_upload_that_fails_leaves_the_repository_as_it_was(shelf: Shelf, hub: Hub) -> None:
    """The commit comes after all files: there is none."""
    hub.refuse_uploads = True
    with pytest.raises(PermissionDeniedError, match=r"acme/desk \(403\)"):
        push(shelf.put(), hub)
    assert len(hub.repositories[REPOSITORY].commits) == 1


def test_a_name_that_is_none_and_a_hub_that_is_not_there(shelf: Shelf, hub: Hub) -> None:
    """Both are told with what was asked for."""
    version = shelf.put()
    with pytest.raises(RequestError, match=r"'no name!' names no repository .*: write OWNER/NAME"):
        push_version(version, "no name!", endpoint=hub.address)
    with pytest.raises(RequestError, match=r"http://127\.0\.0\.1:9 did not do what was asked"):
        push_version(version, REPOSITORY, endpoint="http://127.0.0.1:9")


def test_offline_means_offline(shelf: Shelf, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is obeyed before anything is asked."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    version = shelf.put()
    with pytest.raises(SettingsError, match=r"HF_HUB_OFFLINE .* is set.*unset it to"):
        push(version, hub)
    with pytest.raises(SettingsError, match="unset it"):
        pull(shelf, hub)
    assert hub.asked == []


def test_a_client_that_is_not_installed_is_named(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SettingsError, match=r"pip install ratchet-llm\[hub\]"):
        push_version(shelf.put(), REPOSITORY)
