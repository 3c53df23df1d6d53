"""CURATE, outwards and inwards: a dataset version on the Hugging Face Hub.

A version goes out as one commit of a dataset repository, private unless it is said otherwise, and
comes back as a folder that `adoption` looks through. The client is `huggingface_hub`, imported when
it is used: it finds the token (`hf auth login`, or HF_TOKEN) and the endpoint (HF_ENDPOINT) by
itself. Whoever pushes gives people's words away: an erasure here does not reach the copy.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    SettingsError,
)
from curation.adoption import Adopted, adopt_version, version_files
from curation.dataset_version import kinds_of, verify_dataset
from feedback.store import Store
from feedback.tables import DatasetVersion

DATASET = "dataset"  # the Hub's word for the kind of a repository
KEPT = ".gitattributes"  # the Hub's own file in each repository

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


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

    `endpoint` is the Hub's address; None: HF_ENDPOINT, or huggingface.co.

    Raises: SettingsError when the client is not installed or is offline; DataError when the files
    were changed; ConflictError when the repository is public and that was not asked for;
    PermissionDeniedError, NotFoundError or RequestError as the Hub answers.
    """
    hub = _client()
    verify_dataset(version)
    api = hub.HfApi(endpoint=endpoint)
    with _as_ratchets_errors(repository, api.endpoint):
        info = _repository(hub, api, repository, private=not public)
    if not (info.private or public):
        raise ConflictError(
            f"the repository {info.id} is public, and a dataset holds people's words: make it "
            "private, name another, or say that it may be public"
        )
    with _as_ratchets_errors(info.id, api.endpoint):
        commit = api.create_commit(
            info.id,
            _operations(hub, api, info.id, version),
            commit_message=f"{version.id}, content hash {version.content_hash}",
            repo_type=DATASET,
            parent_commit=info.sha,
        )
    url = f"{api.endpoint}/datasets/{info.id}"
    return Pushed(version.id, info.id, url, commit.oid, bool(info.private))


def pull_version(
    store: Store,
    datasets: Path,
    repository: str,
    applications: Collection[str],
    *,
    revision: str | None = None,
    endpoint: str | None = None,
) -> Adopted:
    """Return the version in a dataset repository of the Hub, once it is one of this store.

    `revision` is a commit or branch, the newest by default.

    Raises: as `push_version` and `adopt_version`.
    """
    hub = _client()
    api = hub.HfApi(endpoint=endpoint)
    datasets.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=datasets, prefix=".pull.") as scratch:
        folder = Path(scratch) / "files"
        with _as_ratchets_errors(repository, api.endpoint):
            info = api.dataset_info(repository, revision=revision)
            api.snapshot_download(
                repository,
                repo_type=DATASET,
                revision=info.sha,
                local_dir=folder,
                cache_dir=Path(scratch) / "cache",
                allow_patterns=[file.as_posix() for file in version_files()],
            )
        folder.mkdir(exist_ok=True)  # of a repository without any of the files
        return adopt_version(store, datasets, folder, applications)


def _client() -> Any:
    """Return `huggingface_hub`, which may speak to the Hub.

    Raises: SettingsError.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
        constants = importlib.import_module("huggingface_hub.constants")
    except ImportError as error:
        raise SettingsError(
            "the Hugging Face Hub needs the package huggingface_hub: `pip install ratchet-llm[hub]`"
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise SettingsError(
            "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, so the Hugging Face Hub is not "
            "asked: unset it to push or pull"
        )
    return hub


def _repository(hub: Any, api: Any, repository: str, *, private: bool) -> Any:
    """Return what the Hub tells of a repository, made if there is none."""
    try:
        return api.dataset_info(repository)
    except hub.errors.RepositoryNotFoundError:
        made = api.create_repo(repository, repo_type=DATASET, private=private)
        return api.dataset_info(made.repo_id)


def _operations(hub: Any, api: Any, repository: str, version: DatasetVersion) -> list[Any]:
    """Return what makes the repository hold this version and nothing else."""
    folder = Path(version.path)
    files = {file.as_posix() for file in version_files(kinds_of(version))}
    there = set(api.list_repo_files(repository, repo_type=DATASET)) - {KEPT}
    return [
        *(hub.CommitOperationDelete(path) for path in sorted(there - files)),
        *(hub.CommitOperationAdd(path, folder / path) for path in sorted(files)),
    ]


@contextmanager
def _as_ratchets_errors(repository: str, endpoint: str) -> Generator[None]:
    """Turn what the client raises into errors that say what to do."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            f"{endpoint} shows no dataset repository {repository!r}, or not that revision: check "
            f"the name; if it is private, {_LOG_IN}"
        ) from error
    except errors.HFValidationError as error:
        raise RequestError(
            f"{repository!r} names no repository ({error}): write OWNER/NAME", field="repository"
        ) from error
    except (errors.HTTPError, errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        raise _refused(repository, endpoint, error) from error
    except (RuntimeError, ValueError) as error:  # of an upload, with the Hub's answer as its cause
        raise _refused(repository, endpoint, error.__cause__ or error) from error


def _refused(repository: str, endpoint: str, error: BaseException) -> Exception:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return PermissionDeniedError(
            f"{endpoint} refuses access to {repository} ({status}): {_LOG_IN}, with a token that "
            "may write there"
        )
    reason = " ".join(str(error).split()) or type(error).__name__
    return RequestError(
        f"{endpoint} did not do what was asked for {repository}: {reason.rstrip('.')}; look "
        "whether it is there and who may write, and try again"
    )
