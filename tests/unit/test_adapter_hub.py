"""An adapter goes to a Hub and comes back as a candidate, by the real client over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import utc_now
from core.errors import AdapterRefused, ConflictError, DataError, GateError, StateError
from core.hugging_face import Repository
from feedback.tables import Adapter
from retrain.registry import ledger, manifest
from retrain.registry.adoption import ORIGIN_FILE
from retrain.registry.check import problems
from retrain.registry.hub import Pushed, pull_adapter, push_adapter
from retrain.registry.signing import open_signer
from tests.fakes.hub import WRITER, Hub, running_hub
from tests.unit.registry_world import Registry, open_registry

REPOSITORY = "acme/desk-adapter"

constants = pytest.importorskip("huggingface_hub.constants")
progress = pytest.importorskip("huggingface_hub.utils")
# the client's own way of sending a file, which its HTTP library would like to have otherwise
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a hub, and log in as somebody who may write."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks Git LFS only
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    progress.disable_progress_bars()
    with running_hub() as hub:
        yield hub
    progress.enable_progress_bars()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(tmp_path / "here") as opened:
        yield opened


def push(adapter: Adapter, hub: Hub, *, public: bool = False) -> Pushed:
    """Push an adapter to the repository."""
    return push_adapter(adapter, REPOSITORY, public=public, endpoint=hub.address)


def pull(registry: Registry, hub: Hub) -> Adapter:
    """Pull what is in the repository, for the application `shop`."""
    with registry.store.session() as session:
        source = Repository(REPOSITORY, "model", hub.address)
        adapter = pull_adapter(session, registry.settings, source, "shop")
        session.commit()
        return adapter


def test_an_adapter_comes_back_as_a_candidate(registry: Registry, hub: Hub, tmp_path: Path) -> None:
    """In another installation that trusts the key: same weights, known origin, no gate's word."""
    sent = registry.add()
    pushed = push(sent, hub)
    assert pushed.private
    assert pushed.url == f"{hub.address}/{REPOSITORY}"
    key = open_signer(registry.settings).public
    with open_registry(tmp_path / "there", trusted_keys=(key,)) as there:
        there_model = there.settings.engine.model
        rename_base(hub, str(registry.settings.engine.model), str(there_model))
        with pytest.raises(DataError, match=r"adapter_config\.json was changed"):
            pull(there, hub)


def test_a_pulled_adapter_cannot_go_past_the_gate(registry: Registry, hub: Hub) -> None:
    """It is whole and signed anew, tells where it is from, and needs an evaluation of its own."""
    sent = registry.add()
    push(sent, hub)
    adapter = pull(registry, hub)
    assert (adapter.name, adapter.status, adapter.rank) == ("shop--v1", "candidate", 4)
    assert adapter.model_metadata["adopted_from"].startswith("desk--v1 of acme/desk-adapter")
    assert adapter.model_metadata["training_data"]["version"] == "desk--d1"
    origin = Path(adapter.path) / ORIGIN_FILE
    assert origin.read_bytes() == (Path(sent.path) / manifest.FILE).read_bytes()
    card = (Path(adapter.path) / ledger.CARD_FILE).read_text()
    assert "unknown: it was not trained here" in card
    with registry.store.session() as session:
        assert problems(session, registry.settings, adapter) == []
        with pytest.raises(GateError, match="ratchet gate run"):
            ledger.set_status(session, "shop--v1", "canary")


def test_what_nobody_trusted_signed_is_of_unknown_origin(
    registry: Registry, hub: Hub, tmp_path: Path
) -> None:
    """Its claims are not believed: no dataset, no author."""
    push(registry.add(), hub)
    with open_registry(tmp_path / "there") as there:
        rename_base(hub, str(registry.settings.engine.model), str(there.settings.engine.model))
        adapter = pull(there, hub)
    assert adapter.dataset_id == "adopted"
    assert adapter.created_by == "unknown"
    assert "unsigned" in adapter.model_metadata["adopted_from"]


def test_a_pickle_from_the_hub_is_refused(registry: Registry, hub: Hub) -> None:
    """Nothing is registered, and no folder is left."""
    push(registry.add(), hub)
    repository = hub.repositories[REPOSITORY]
    repository.commit(repository.commits[repository.head] | {"adapter_model.bin": b"\x80"})
    with pytest.raises(AdapterRefused, match=r"adapter_model\.bin"):
        pull(registry, hub)
    assert [path.name for path in registry.settings.folder("adapters").iterdir()] == ["desk--v1"]


def test_a_repository_without_an_adapter_is_told(registry: Registry, hub: Hub) -> None:
    """By its name."""
    hub.create(REPOSITORY, private=True)
    with pytest.raises(DataError, match="acme/desk-adapter holds no adapter"):
        pull(registry, hub)


def test_what_must_not_be_handed_on_is_not_pushed(registry: Registry, hub: Hub) -> None:
    """A tainted adapter, changed files, and a public repository that nobody asked for."""
    adapter = registry.add()
    hub.create(REPOSITORY, private=False)
    with pytest.raises(ConflictError, match="is public, and an adapter has learnt"):
        push(adapter, hub)
    assert not push(adapter, hub, public=True).private
    (Path(adapter.path) / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="have changed"):
        push(adapter, hub, public=True)
    adapter.tainted_at = utc_now()
    with pytest.raises(StateError, match="was erased"):
        push(adapter, hub, public=True)


def rename_base(hub: Hub, old: str, new: str) -> None:
    """Let the adapter in the repository name another base model, as another machine's would."""
    repository = hub.repositories[REPOSITORY]
    files = repository.commits[repository.head]
    config = files["adapter_config.json"].replace(old.encode(), new.encode())
    repository.commit(files | {"adapter_config.json": config})
