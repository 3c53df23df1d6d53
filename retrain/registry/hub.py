"""RETRAIN, outwards and inwards: an adapter on the Hugging Face Hub.

An adapter goes out as one commit of a model repository, private unless it is said otherwise, with
its card and signed manifest; what comes back is looked through before anything of it is taken in.
How the Hub is spoken to is in `core.hugging_face`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlmodel import Session

from core.errors import DataError, StateError
from core.hugging_face import Repository, Sent, fetched_files, send_files
from core.settings import Settings
from feedback.tables import Adapter
from retrain.registry import ledger
from retrain.registry.adoption import adopt_adapter
from retrain.registry.servable import CONFIG_FILE, PICKLES
from retrain.registry.shelf import refuse_pickles

# What an adapter's folder may hold; pickles are fetched by name alone, to be refused.
PATTERNS = ("*.safetensors", "*.json", "*.md", "*.jinja", "*.txt")


class Pushed(msgspec.Struct, frozen=True):
    """Where an adapter is now."""

    adapter: str
    repository: str
    url: str
    commit: str
    private: bool


def push_adapter(
    adapter: Adapter, repository: str, *, public: bool = False, endpoint: str | None = None
) -> Pushed:
    """Put an adapter into a model repository of the Hub, as one commit that holds it alone.

    Raises: DataError when its files were changed; StateError when it is tainted: an erased person
    must not be handed on; else as `core.hugging_face.send_files`.
    """
    if adapter.tainted_at is not None:
        raise StateError(
            f"adapter {adapter.name} was trained on a person who was erased since: train one "
            "without them, and push that"
        )
    ledger.verify(adapter)
    folder = Path(adapter.path)
    refuse_pickles(folder)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    sent: Sent = send_files(
        Repository(repository, "model", endpoint),
        folder,
        files,
        message=f"{adapter.name}, content hash {adapter.content_hash}",
        public=public,
    )
    return Pushed(adapter.name, sent.repository, sent.url, sent.commit, sent.private)


def pull_adapter(
    session: Session,
    settings: Settings,
    repository: Repository,
    application: str,
    revision: str | None = None,
) -> Adapter:
    """Return the adapter of a model repository, as a new candidate of `application`.

    Raises: DataError when there is none, AdapterRefused for pickles and for what the engine could
    not serve; else as `core.hugging_face.fetched_files`.
    """
    patterns = [*PATTERNS, *(f"*{suffix}" for suffix in PICKLES)]
    with fetched_files(repository, settings.folder("adapters"), patterns, revision) as folder:
        if not (folder / CONFIG_FILE).is_file():
            raise DataError(f"{repository.name} holds no adapter: is it a model repository of one?")
        origin = f"{repository.name} at {revision or 'its newest commit'}"
        return adopt_adapter(session, settings, folder, application, origin)
