"""The Hugging Face Hub as stages use it: a folder goes out as one commit, or comes back.

The client is `huggingface_hub`, imported when it is used: it finds the token (`hf auth login`, or
HF_TOKEN) and the endpoint (HF_ENDPOINT) by itself. What it raises becomes an error that says what
to do. Knows nothing of what is in a repository.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    SettingsError,
)

Kind = Literal["dataset", "model"]  # the Hub's words for kinds of repositories

KEPT = ".gitattributes"  # the Hub's own file in each repository
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_WHY_PRIVATE = {
    "dataset": "a dataset holds people's words",
    "model": "an adapter has learnt people's words",
}


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hub. `endpoint` is the Hub's address; None: HF_ENDPOINT, or
    huggingface.co.
    """

    name: str  # OWNER/NAME
    kind: Kind
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """Where what was sent is now."""

    repository: str
    url: str
    commit: str
    private: bool


def send_files(
    repository: Repository, folder: Path, files: Collection[str], *, message: str, public: bool
) -> Sent:
    """Make the repository hold these files of `folder` and nothing else, by one commit.

    It is made when there is none, private unless `public`.

    Raises: SettingsError when the client is not installed or is offline; ConflictError when the
    repository is public and that was not asked for; PermissionDeniedError, NotFoundError or
    RequestError as the Hub answers.
    """
    hub = _client()
    api = hub.HfApi(endpoint=repository.endpoint)
    with _as_ratchets_errors(repository, api.endpoint):
        info = _found_or_made(hub, api, repository, private=not public)
    if not (info.private or public):
        raise ConflictError(
            f"the repository {info.id} is public, and {_WHY_PRIVATE[repository.kind]}: make it "
            "private, name another, or say that it may be public"
        )
    with _as_ratchets_errors(repository, api.endpoint):
        there = set(api.list_repo_files(info.id, repo_type=repository.kind)) - {KEPT}
        operations = [
            *(hub.CommitOperationDelete(path) for path in sorted(there - set(files))),
            *(hub.CommitOperationAdd(path, folder / path) for path in sorted(files)),
        ]
        commit = api.create_commit(
            info.id,
            operations,
            commit_message=message,
            repo_type=repository.kind,
            parent_commit=info.sha,
        )
    place = f"{api.endpoint}/{_page(repository.kind)}{info.id}"
    return Sent(info.id, place, commit.oid, bool(info.private))


@contextmanager
def fetched_files(
    repository: Repository, scratch: Path, patterns: Sequence[str], revision: str | None = None
) -> Generator[Path]:
    """Give a folder below `scratch` with the repository's files that match, until the end.

    `revision` is a commit or branch, the newest by default.

    Raises: as `send_files`.
    """
    hub = _client()
    api = hub.HfApi(endpoint=repository.endpoint)
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch, prefix=".pull.") as place:
        folder = Path(place) / "files"
        with _as_ratchets_errors(repository, api.endpoint):
            info = api.repo_info(repository.name, repo_type=repository.kind, revision=revision)
            api.snapshot_download(
                repository.name,
                repo_type=repository.kind,
                revision=info.sha,
                local_dir=folder,
                cache_dir=Path(place) / "cache",
                allow_patterns=list(patterns),
            )
        folder.mkdir(exist_ok=True)  # of a repository without any of the files
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes for a next time
        yield folder


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


def _page(kind: Kind) -> str:
    return "datasets/" if kind == "dataset" else ""


def _found_or_made(hub: Any, api: Any, repository: Repository, *, private: bool) -> Any:
    """Return what the Hub tells of a repository, made if there is none."""
    kind = repository.kind
    try:
        return api.repo_info(repository.name, repo_type=kind)
    except hub.errors.RepositoryNotFoundError:
        made = api.create_repo(repository.name, repo_type=kind, private=private)
        return api.repo_info(made.repo_id, repo_type=kind)


@contextmanager
def _as_ratchets_errors(repository: Repository, endpoint: str) -> Generator[None]:
    """Turn what the client raises into errors that say what to do."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            f"{endpoint} shows no {repository.kind} repository {repository.name!r}, or not that "
            f"revision: check the name; if it is private, {_LOG_IN}"
        ) from error
    except errors.HFValidationError as error:
        raise RequestError(
            f"{repository.name!r} names no repository ({error}): write OWNER/NAME",
            field="repository",
        ) from error
    except (errors.HTTPError, errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        raise _refused(repository.name, endpoint, error) from error
    except (RuntimeError, ValueError) as error:  # of an upload, with the Hub's answer as its cause
        raise _refused(repository.name, endpoint, error.__cause__ or error) from error


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
