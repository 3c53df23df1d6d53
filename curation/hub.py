"""CURATE, outwards and inwards: a dataset version on the Hugging Face Hub.

A version goes out as one commit of a dataset repository, private unless it is said otherwise, and
comes back as a folder that `adoption` looks through. Whoever pushes gives people's words away: an
erasure here does not reach the copy. How the Hub is spoken to is in `core.hugging_face`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from core.hugging_face import Repository, fetched_files, send_files
from curation.adoption import Adopted, adopt_version, version_files
from curation.dataset_version import kinds_of, verify_dataset
from feedback.store import Store
from feedback.tables import DatasetVersion


class Pushed(msgspec.Struct, frozen=True):
    """Where a version is now."""

    dataset: str
    repository: str
    url: str
    commit: str
    private: bool


def push_version(
    version: DatasetVersion, repository: str, *, public: bool = False, endpoint: str | None = None
) -> Pushed:
    """Put a version into a dataset repository of the Hub, as one commit that holds it alone.

    Raises: DataError when the files were changed; else as `core.hugging_face.send_files`.
    """
    verify_dataset(version)
    sent = send_files(
        Repository(repository, "dataset", endpoint),
        Path(version.path),
        [file.as_posix() for file in version_files(kinds_of(version))],
        message=f"{version.id}, content hash {version.content_hash}",
        public=public,
    )
    return Pushed(version.id, sent.repository, sent.url, sent.commit, sent.private)


def pull_version(
    store: Store,
    datasets: Path,
    repository: Repository,
    applications: Collection[str],
    revision: str | None = None,
) -> Adopted:
    """Return the version in a dataset repository of the Hub, once it is one of this store.

    `revision` is a commit or branch, the newest by default.

    Raises: as `push_version` and `adopt_version`.
    """
    wanted = [file.as_posix() for file in version_files()]
    with fetched_files(repository, datasets, wanted, revision) as folder:
        return adopt_version(store, datasets, folder, applications)
