"""Adapters as MLflow's Model Registry lists them, for who looks there: kept equal to ours.

Our rows go in, model versions with tags and aliases come out: one registered model per application,
one version per adapter, the alias `live` on what answers. Idempotent, so that a sync that broke
off, or a server that was down, is mended by the next. Ours stays the truth: nothing is read back.
Needs `registry.mlflow_uri`.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

from core.errors import SettingsError
from core.settings import Settings
from feedback.tables import Adapter
from retrain.registry.ledger import standing

NAME, STATUS = "ratchet.adapter", "ratchet.status"  # tags of a version
LIVE = "live"  # the alias


def sync_models(session: Session, settings: Settings) -> int:
    """Make MLflow's registry equal to ours; return how many versions were added or changed.

    Raises: SettingsError without MLflow; what its client raises when the server is down.
    """
    if settings.registry.mlflow_uri is None:
        return 0
    client = _client(settings.registry.mlflow_uri)
    by_application: defaultdict[str, list[Adapter]] = defaultdict(list)
    for adapter in session.exec(select(Adapter).order_by(Adapter.name)):
        by_application[adapter.application].append(adapter)
    return sum(_sync(client, name, own) for name, own in by_application.items())


def _client(uri: str) -> Any:
    try:
        tracking = importlib.import_module("mlflow.tracking")
    except ImportError as error:
        raise SettingsError(
            f"registry.mlflow_uri is {uri!r}, and MLflow is not installed: "
            "`pip install ratchet-llm[tracking]`, or unset it"
        ) from error
    return tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _sync(client: Any, application: str, adapters: Sequence[Adapter]) -> int:
    known = _versions(client, application)
    changed = 0
    for adapter in sorted(adapters, key=lambda one: one.created_at):
        version = known.get(adapter.name)
        if version is None:
            version = client.create_model_version(
                application,
                source=Path(adapter.path).as_uri(),
                description=f"{adapter.method} on {adapter.base_model}, data {adapter.dataset_id}",
                tags=_tags(adapter),
            )
            changed += 1
        elif version.tags.get(STATUS) != standing(adapter):
            client.set_model_version_tag(application, version.version, STATUS, standing(adapter))
            changed += 1
        known[adapter.name] = version
    _point(client, application, adapters, known)
    return changed


def _versions(client: Any, application: str) -> dict[str, Any]:
    """Return the versions that are there by adapter; the model is made when there is none."""
    errors = importlib.import_module("mlflow.exceptions")
    try:
        client.get_registered_model(application)
    except errors.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(application, description="Adapters, by Ratchet")
    found: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name='{application}'", page_token=token)
        found |= {version.tags[NAME]: version for version in page if NAME in version.tags}
        token = page.token
        if not token:
            return found


def _tags(adapter: Adapter) -> dict[str, str]:
    tags = {
        NAME: adapter.name,
        STATUS: standing(adapter),
        "ratchet.content_hash": adapter.content_hash,
        "ratchet.base_model": adapter.base_model,
        "ratchet.dataset": adapter.dataset_id,
        "ratchet.run": adapter.run_id,
        "ratchet.gate": str(adapter.gate.get("decision", "none")),
    }
    if adapter.override_by:
        tags["ratchet.override"] = f"{adapter.override_by}: {adapter.override_reason}"
    return tags


def _point(
    client: Any, application: str, adapters: Sequence[Adapter], known: dict[str, Any]
) -> None:
    """Put the alias on the live adapter's version, or take it away."""
    live = next((one.name for one in adapters if one.status == "live"), None)
    aliases: dict[str, str] = client.get_registered_model(application).aliases
    if live is None:
        if LIVE in aliases:
            client.delete_registered_model_alias(application, LIVE)
    elif str(aliases.get(LIVE)) != str(known[live].version):
        client.set_registered_model_alias(application, LIVE, known[live].version)
