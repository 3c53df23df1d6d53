"""The registry: names that are never reused, allowed moves, hashes, the gate and its override."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from core.errors import DataError, GateError, NotFoundError, RequestError, StateError
from core.files import folder_sha256
from feedback.tables import Adapter
from retrain.registry import ledger
from tests.ready_store import ready_store

PASSED = {"decision": "pass", "reasons": ["better"]}
FAILED = {"decision": "fail", "reasons": ["held-out loss 2 is over 1"]}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a session on an empty store."""
    store = ready_store(f"sqlite:///{tmp_path}/store.db")
    with store.session() as opened:
        yield opened
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder of adapters."""
    path = tmp_path / "adapters"
    path.mkdir()
    return path


def make(folder: Path, name: str = "desk--v1", **fields: Any) -> Adapter:
    """Write an adapter's files and return its row, not yet registered."""
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    values: dict[str, Any] = {
        "name": name,
        "application": name.partition("--v")[0],
        "base_model": "models/base",
        "path": str(path),
        "content_hash": folder_sha256(path, ignore=ledger.UNHASHED),
        "run_id": "run",
        "dataset_id": "desk--d1",
        "rank": 16,
        "created_by": "ann",
        "gate": PASSED,
        "status": "gated",
    }
    return Adapter(**(values | fields))


def test_names_count_up_per_application(session: Session, folder: Path) -> None:
    """Each application has its own numbers, also when one's name begins like the other's."""
    ledger.register(session, make(folder, "desk--v1"))
    ledger.register(session, make(folder, "desk--v10"))
    ledger.register(session, make(folder, "desk--v2--v7"))
    assert ledger.reserve_folder(session, "desk", folder).name == "desk--v11"
    assert ledger.reserve_folder(session, "desk--v2", folder).name == "desk--v2--v8"
    assert ledger.reserve_folder(session, "shop", folder).name == "shop--v1"


def test_name_is_not_reused_after_a_crash(session: Session, folder: Path) -> None:
    """A folder without a row, left by a process that died, keeps its name for ever."""
    (folder / "desk--v3").mkdir()
    assert ledger.reserve_folder(session, "desk", folder).name == "desk--v4"


def test_name_is_not_reused_after_files_are_gone(session: Session, folder: Path) -> None:
    """A row whose files were removed keeps its name, since vLLM may still cache by it."""
    ledger.register(session, make(folder, "desk--v5"))
    for file in (folder / "desk--v5").iterdir():
        file.unlink()
    (folder / "desk--v5").rmdir()
    assert ledger.reserve_folder(session, "desk", folder).name == "desk--v6"


@pytest.mark.parametrize("name", ["", "../etc", "a/b", ".hidden", "a b", "-x"])
def test_application_that_cannot_be_a_folder_is_refused(
    session: Session, folder: Path, name: str
) -> None:
    """No application name leads out of the folder of adapters."""
    with pytest.raises(RequestError, match="cannot name adapters"):
        ledger.reserve_folder(session, name, folder)
    assert list(folder.iterdir()) == []


def test_registering_a_name_twice_is_refused(session: Session, folder: Path) -> None:
    """An adapter is immutable: the second row of its name is an error."""
    ledger.register(session, make(folder))
    session.commit()
    with pytest.raises(StateError, match="desk--v1 exists already"):
        ledger.register(session, make(folder))


def test_changed_files_do_not_verify(session: Session, folder: Path) -> None:
    """One changed byte is found by hashing again; the card may be rewritten."""
    adapter = ledger.register(session, make(folder))
    (Path(adapter.path) / ledger.CARD_FILE).write_text("# card")
    ledger.verify(adapter)
    (Path(adapter.path) / "adapter_model.safetensors").write_bytes(b"Weights")
    with pytest.raises(DataError, match="have changed"):
        ledger.verify(adapter)


def test_missing_files_do_not_verify(folder: Path) -> None:
    """A folder that is gone is named."""
    adapter = make(folder, path=str(folder / "gone"))
    with pytest.raises(DataError, match="gone is missing"):
        ledger.verify(adapter)


def test_files_that_do_not_match_are_not_registered(session: Session, folder: Path) -> None:
    """A row with another hash than its files never gets into the ledger."""
    with pytest.raises(DataError, match="have changed"):
        ledger.register(session, make(folder, content_hash="0" * 64))


def test_life_of_a_good_adapter(session: Session, folder: Path) -> None:
    """From gated to live and retired, and back to live when its successor is rolled back."""
    ledger.register(session, make(folder))
    for status in ("canary", "live", "retired", "live"):
        adapter = ledger.set_status(session, "desk--v1", status)
        assert adapter.status == status
        assert adapter.model_metadata["production_status"] == status


@pytest.mark.parametrize(
    ("start", "end"),
    [("gated", "live"), ("gated", "rolled_back"), ("retired", "gated"), ("live", "candidate")],
)
def test_move_that_skips_a_step_is_refused(
    session: Session, folder: Path, start: str, end: str
) -> None:
    """The error names both statuses and what would be allowed."""
    ledger.register(session, make(folder, status=start))
    with pytest.raises(StateError, match=f"is {start} and cannot become '{end}'; it can become"):
        ledger.set_status(session, "desk--v1", end)


def test_same_status_again_changes_nothing(session: Session, folder: Path) -> None:
    """Setting a status twice is no error."""
    ledger.register(session, make(folder))
    assert ledger.set_status(session, "desk--v1", "gated").model_metadata == {}


def test_failed_gate_keeps_an_adapter_from_traffic(session: Session, folder: Path) -> None:
    """The error repeats the gate's reasons and says how to go on."""
    ledger.register(session, make(folder, gate=FAILED, status="candidate"))
    with pytest.raises(GateError, match=r"held-out loss 2 is over 1.*override the gate"):
        ledger.set_status(session, "desk--v1", "canary")


def test_adapter_that_was_never_evaluated_has_not_passed(folder: Path) -> None:
    """An empty verdict is no pass."""
    with pytest.raises(GateError, match="never evaluated"):
        ledger.require_gate_or_override(make(folder, gate={}))


def test_recorded_override_lets_an_adapter_past(session: Session, folder: Path) -> None:
    """An operator's name and reason open the gate and stay on the row."""
    ledger.register(session, make(folder, gate=FAILED, status="candidate"))
    ledger.record_override(session, "desk--v1", operator="ann ", reason="a test of rollback")
    session.commit()
    session.expire_all()
    adapter = ledger.set_status(session, "desk--v1", "canary")
    assert (adapter.override_by, adapter.override_reason) == ("ann", "a test of rollback")
    assert adapter.model_metadata["gate_override"]["by"] == "ann"
    assert adapter.gate["decision"] == "fail"


@pytest.mark.parametrize(
    ("operator", "reason", "field"), [("", "why", "operator"), ("ann", "  ", "reason")]
)
def test_override_needs_a_name_and_a_reason(
    session: Session, folder: Path, operator: str, reason: str, field: str
) -> None:
    """An anonymous or groundless override is refused, and the row stays as it was."""
    ledger.register(session, make(folder, gate=FAILED, status="candidate"))
    with pytest.raises(RequestError, match=f"needs a {field}") as caught:
        ledger.record_override(session, "desk--v1", operator=operator, reason=reason)
    assert caught.value.field == field
    with pytest.raises(GateError):
        ledger.require_gate_or_override(ledger.find(session, "desk--v1"))


def test_unknown_adapter_is_not_found(session: Session) -> None:
    """A name that nobody registered is named in the error."""
    with pytest.raises(NotFoundError, match="no adapter 'desk--v9'"):
        ledger.set_status(session, "desk--v9", "live")


def test_adapters_are_listed_newest_first(session: Session, folder: Path) -> None:
    """Version 10 comes before version 9, and other applications' stay out."""
    for name in ("desk--v9", "desk--v10", "shop--v1"):
        ledger.register(session, make(folder, name))
    assert [row.name for row in ledger.list_adapters(session, "desk")] == [
        "desk--v10",
        "desk--v9",
    ]
