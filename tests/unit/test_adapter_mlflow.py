"""Adapters in MLflow's Model Registry, in a real one on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.clock import utc_now
from feedback.tables import Adapter
from retrain.registry import ledger
from retrain.registry.mlflow_models import NAME, STATUS, sync_models
from tests.unit.registry_world import Registry, open_registry

tracking = pytest.importorskip("mlflow.tracking")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(tmp_path, mlflow_uri=f"sqlite:///{tmp_path}/mlflow.db") as opened:
        yield opened


def sync(registry: Registry) -> int:
    with registry.store.session() as session:
        return sync_models(session, registry.settings)


def client(registry: Registry) -> Any:
    uri = registry.settings.registry.mlflow_uri
    return tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_adapters_are_listed_with_status_and_the_live_alias(registry: Registry) -> None:
    """One version each; a second sync changes nothing; a promotion and a taint show."""
    one, other = registry.add("run-1"), registry.add("run-2")
    assert sync(registry) == 2
    assert sync(registry) == 0
    with registry.store.session() as session:
        for status in ("canary", "live"):
            ledger.set_status(session, other.name, status)
        session.get_one(Adapter, one.name).tainted_at = utc_now()
        session.commit()
    assert sync(registry) == 2
    seen = client(registry)
    versions = {v.tags[NAME]: v for v in seen.search_model_versions("name='desk'")}
    assert versions["desk--v1"].tags[STATUS] == "gated, tainted"
    assert versions["desk--v2"].tags[STATUS] == "live"
    assert versions["desk--v2"].tags["ratchet.content_hash"] == other.content_hash
    assert seen.get_model_version_by_alias("desk", "live").tags[NAME] == "desk--v2"
    with registry.store.session() as session:
        ledger.set_status(session, other.name, "retired")
        session.commit()
    assert sync(registry) == 1
    assert seen.get_registered_model("desk").aliases == {}


def test_nothing_is_done_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Without a URI MLflow is not even imported."""
    with open_registry(tmp_path) as registry:
        registry.add()
        assert sync(registry) == 0
