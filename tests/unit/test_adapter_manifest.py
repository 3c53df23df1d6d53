"""The signed manifest: what it vouches for, and what it notices."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import AdapterRefused, DataError, SettingsError
from core.settings import Settings
from feedback.tables import Adapter, DatasetVersion
from retrain.registry import ledger, manifest
from retrain.registry.check import problems
from retrain.registry.shelf import RECIPE_FILE, refuse_pickles
from retrain.registry.signing import KEY_FILE, is_signed, open_signer
from tests.unit.registry_world import Registry, open_registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(tmp_path) as opened:
        yield opened


def found(registry: Registry, adapter: Adapter) -> list[str]:
    """Return what the check finds wrong."""
    with registry.store.session() as session:
        return problems(session, registry.settings, adapter)


def test_a_new_adapter_has_nothing_wrong(registry: Registry) -> None:
    """Its folder holds weights, recipe, card and manifest, and the manifest all it is made of."""
    adapter = registry.add()
    assert found(registry, adapter) == []
    signed = manifest.read_manifest(Path(adapter.path))
    assert signed is not None
    assert signed.as_dict() == adapter.manifest
    assert signed.manifest.adapter == "desk--v1"
    assert signed.manifest.made.dataset_hash == "abc"
    assert signed.manifest.files.keys() == {
        "adapter_config.json",
        "adapter_model.safetensors",
        RECIPE_FILE,
    }
    assert signed.manifest.code["trl"].startswith("1.")
    recipe = json.loads((Path(adapter.path) / RECIPE_FILE).read_text())
    assert (recipe["name"], recipe["rank"]) == ("sft-lora", 16)


@pytest.mark.parametrize(
    ("field", "value"), [("dataset_hash", "def"), ("gate", "pass"), ("created_by", "eve")]
)
def test_a_changed_manifest_is_noticed(registry: Registry, field: str, value: str) -> None:
    """A claim that is altered afterwards has no right signature, whoever alters it."""
    adapter = registry.add(loss=2.0)
    path = Path(adapter.path) / manifest.FILE
    values = json.loads(path.read_text())
    assert values["manifest"]["made"][field] != value
    values["manifest"]["made"][field] = value
    path.write_text(json.dumps(values))
    assert [line for line in found(registry, adapter) if "signature does not fit" in line]


def test_another_installations_manifest_needs_a_trusted_key(
    registry: Registry, tmp_path: Path
) -> None:
    """Signed anew by somebody else it is not believed, until the settings name the key."""
    adapter = registry.add()
    other = open_signer(Settings(data_dir=tmp_path / "other"))
    signed = manifest.read_manifest(Path(adapter.path))
    assert signed is not None
    again = manifest.sign_folder(Path(adapter.path), signed.manifest, other, ignore=ledger.UNHASHED)
    adapter.manifest = again.as_dict()
    (line,) = found(registry, adapter)
    assert other.public in line
    assert not manifest.faults(Path(adapter.path), again, {other.public}, ignore=ledger.UNHASHED)


def test_files_that_come_go_or_change_are_named(registry: Registry) -> None:
    """The manifest alone tells which, without this installation's store."""
    adapter = registry.add()
    folder = Path(adapter.path)
    signed = manifest.read_manifest(folder)
    assert signed is not None
    (folder / RECIPE_FILE).unlink()
    (folder / "extra.json").write_text("{}")
    (folder / "adapter_config.json").write_text("{}")
    assert manifest.faults(folder, signed, {signed.public_key}, ignore=ledger.UNHASHED) == [
        f"{RECIPE_FILE} is missing",
        "extra.json is not in the manifest",
        "adapter_config.json was changed",
    ]
    (line,) = found(registry, adapter)
    assert "have changed" in line


def test_a_dataset_that_is_another_now_is_told(registry: Registry) -> None:
    """The store's row and the manifest must name the same data."""
    adapter = registry.add()
    with registry.store.session() as session:
        session.get_one(DatasetVersion, "desk--d1").content_hash = "other"
        session.commit()
    assert found(registry, adapter) == [
        "dataset desk--d1 now has the hash other, it was trained on abc"
    ]


@pytest.mark.parametrize("broken", ["no json", "{}"])
def test_a_broken_or_missing_manifest_is_told(registry: Registry, broken: str) -> None:
    """With what to do about it."""
    adapter = registry.add()
    path = Path(adapter.path) / manifest.FILE
    path.write_text(broken)
    assert "restore it from a backup" in found(registry, adapter)[0]
    path.unlink()
    assert "train it anew" in found(registry, adapter)[0]


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    """Wherever below the folder it lies."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights.PT").write_bytes(b"\x80")
    with pytest.raises(AdapterRefused, match=r"deep/weights\.PT.*safetensors"):
        refuse_pickles(tmp_path)


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """Two openings sign alike; others can check it by the public key alone."""
    settings = Settings(data_dir=tmp_path)
    first, second = open_signer(settings), open_signer(settings)
    assert first.public == second.public
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    signature = first.sign(b"words")
    assert is_signed(b"words", signature, first.public)
    assert not is_signed(b"other words", signature, first.public)
    assert not is_signed(b"words", "no base64!", first.public)
    assert not is_signed(b"words", signature, "c2hvcnQ=")


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    """A named file that is missing is not made: it would hide a wrong path."""
    missing = Settings.model_validate(
        {"data_dir": tmp_path, "registry": {"signing_key": tmp_path / "none.key"}}
    )
    with pytest.raises(SettingsError, match="cannot be read"):
        open_signer(missing)
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(SettingsError, match="holds 5 bytes"):
        open_signer(Settings(data_dir=tmp_path))


def test_a_public_key_in_the_settings_must_be_one() -> None:
    """A typing error there would otherwise only show as distrust."""
    with pytest.raises(ValueError, match="ratchet adapter key"):
        Settings.model_validate({"registry": {"trusted_keys": ["abc"]}})


def test_an_override_is_written_on_the_card(registry: Registry) -> None:
    """The card tells it and the new status; files and signature stay as they were."""
    adapter = registry.add(loss=2.0)
    with registry.store.session() as session:
        ledger.record_override(session, adapter.name, operator="ann", reason="the test is wrong")
        row = ledger.set_status(session, adapter.name, "canary")
        session.commit()
        card = (Path(row.path) / ledger.CARD_FILE).read_text()
        assert "ann let it past" in card
        assert "the test is wrong" in card
        assert "- Status: canary" in card
        assert problems(session, registry.settings, row) == []


def test_a_manifest_of_a_newer_kind_is_an_error(tmp_path: Path) -> None:
    """Fields that are missing make it none."""
    (tmp_path / manifest.FILE).write_text('{"manifest": {}}')
    with pytest.raises(DataError, match="is no manifest"):
        manifest.read_manifest(tmp_path)
