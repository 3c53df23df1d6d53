"""What is checked before a merge, what is noted of it, and `ratchet merge` as people call it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.clock import utc_now
from core.errors import AdapterRefused, DataError, GateError, StateError
from core.settings import FILE_VARIABLE
from feedback.tables import Adapter
from loop.cli import app
from retrain.registry import ledger
from retrain.registry.merging import LINEAGE_FILE, Merge, carry_out, merged_already, plan_merge
from retrain.registry.servability import servability
from tests.fakes.lora import write_lora
from tests.unit.registry_world import Registry, open_registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry whose base model is whole."""
    with open_registry(tmp_path) as opened:
        model = opened.settings.engine.model
        (model / "tokenizer_config.json").write_text("{}")
        write_lora(tmp_path / "any", model)
        (tmp_path / "any" / "adapter_model.safetensors").rename(model / "model.safetensors")
        yield opened


@pytest.fixture
def adapter(registry: Registry) -> Adapter:
    """Give an adapter that passed the gate."""
    return registry.add()


def write(asked: Merge, folder: Path) -> dict[str, Any]:
    """Write what stands for a merged model."""
    (folder / "model.safetensors").write_text(asked.adapter)
    return {"logits_difference": 0.0}


def test_merge_is_noted_with_what_it_was_made_of(
    registry: Registry, adapter: Adapter, tmp_path: Path
) -> None:
    """The folder names adapter, hashes, base, data and run; asked again, it is found whole."""
    asked = plan_merge(adapter, tmp_path / "made" / "base", registry.settings.engine)
    done = carry_out(asked, write)
    noted = json.loads((done.folder / LINEAGE_FILE).read_text())
    assert noted == done.lineage
    assert noted["adapter_hash"] == adapter.content_hash
    assert (noted["dataset"], noted["run"], noted["gate"]) == ("desk--d1", "run-1", "pass")
    assert list(noted["files"]) == ["model.safetensors"]
    again = carry_out(asked, write)
    assert not again.fresh
    assert again.lineage == noted


def test_killed_merge_leaves_nothing(registry: Registry, adapter: Adapter, tmp_path: Path) -> None:
    """What stops half way leaves neither the folder nor a part of it."""
    asked = plan_merge(adapter, tmp_path / "made" / "base", registry.settings.engine)

    def broken(asked: Merge, folder: Path) -> dict[str, Any]:
        write(asked, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(asked, broken)
    assert list((tmp_path / "made").iterdir()) == []


def test_folder_of_something_else_is_left_alone(
    registry: Registry, adapter: Adapter, tmp_path: Path
) -> None:
    """A folder that is taken, holds another merge, or was changed is told apart, and kept."""
    into = tmp_path / "base"
    into.mkdir()
    asked = plan_merge(adapter, into, registry.settings.engine)
    assert merged_already(asked) is None
    (into / "mine.txt").write_text("mine")
    with pytest.raises(StateError, match="is not empty"):
        carry_out(asked, write)
    (into / "mine.txt").unlink()
    carry_out(asked, write)
    other = replace(asked, adapter="desk--v9", made_of=asked.made_of | {"adapter_hash": "other"})
    with pytest.raises(StateError, match="holds a merge of desk--v1: name another folder for"):
        carry_out(other, write)
    (into / "model.safetensors").write_text("changed")
    with pytest.raises(DataError, match=r"no longer what was merged \(model.safetensors\)"):
        carry_out(asked, write)


def test_adapter_that_may_not_be_served_is_not_merged(
    registry: Registry, adapter: Adapter, tmp_path: Path
) -> None:
    """A merge is no way round the gate, an erasure, or a changed file."""
    engine = registry.settings.engine
    failed = registry.add("run-2", loss=2.0)
    with pytest.raises(GateError, match="has not passed the gate"):
        plan_merge(failed, tmp_path / "base", engine)
    adapter.tainted_at = utc_now()
    with pytest.raises(StateError, match="is tainted: it learnt from data that were erased"):
        plan_merge(adapter, tmp_path / "base", engine)
    adapter.tainted_at = None
    (Path(adapter.path) / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(DataError, match="have changed"):
        plan_merge(adapter, tmp_path / "base", engine)


def test_learnt_tokens_cannot_be_merged(
    registry: Registry, adapter: Adapter, tmp_path: Path
) -> None:
    """A prefix has no weight to go to."""
    reconfigure(adapter, peft_type="PREFIX_TUNING")
    with pytest.raises(AdapterRefused, match="method prefix learns tokens"):
        plan_merge(adapter, tmp_path / "base", registry.settings.engine)


def test_base_model_must_be_there(registry: Registry, adapter: Adapter, tmp_path: Path) -> None:
    """An adapter of a base model that is gone is told apart from a base that is not whole."""
    engine = registry.settings.engine
    (engine.model / "tokenizer_config.json").unlink()
    with pytest.raises(DataError, match="no whole model"):
        plan_merge(adapter, tmp_path / "base", engine)
    adapter.base_model = "elsewhere/other"
    with pytest.raises(AdapterRefused, match="was trained on 'elsewhere/other'"):
        plan_merge(adapter, tmp_path / "base", engine)
    adapter.base_model = f"elsewhere/{engine.model.name}"  # the same, mounted elsewhere
    (engine.model / "tokenizer_config.json").write_text("{}")
    assert plan_merge(adapter, tmp_path / "base", engine).base_model == engine.model.resolve()
    gone = engine.model_copy(update={"model": tmp_path / "gone" / engine.model.name})
    with pytest.raises(DataError, match="is no folder"):
        plan_merge(adapter, tmp_path / "base", gone)


def test_adapter_that_no_engine_loads_takes_no_traffic(adapter: Adapter) -> None:
    """The ledger names the way round: a base model of it."""
    adapter.servable, adapter.method = False, "dora"
    with pytest.raises(AdapterRefused, match=r"method dora\) cannot take traffic.*ratchet merge"):
        ledger.require_gate_or_override(adapter)


@pytest.mark.parametrize(
    ("changes", "method", "told"),
    [
        ({}, "lora", None),
        ({"use_dora": True}, "dora", "`ratchet merge` makes a base model"),
        ({"peft_type": "IA3"}, "ia3", "`ratchet merge` makes a base model"),
        ({"peft_type": "PROMPT_TUNING"}, "prompt", "nothing can merge them"),
        ({"modules_to_save": ["score"]}, "lora", "modules_to_save"),
        ({"r": 64}, "lora", "rank is 64"),
    ],
)
def test_servability_is_told_with_its_reasons(
    registry: Registry, changes: dict[str, Any], method: str, told: str | None
) -> None:
    """What the engine cannot load is described, not refused."""
    folder = registry.trained("run-1") / "adapter"
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    found = servability(folder, registry.settings.engine)
    assert (found.method, found.servable) == (method, told is None)
    assert (told or "") in " ".join(found.reasons)


def test_what_must_not_be_registered_is_refused(registry: Registry, tmp_path: Path) -> None:
    """Pickles, adapters of another base, and folders without weights never become adapters."""
    engine = registry.settings.engine
    found = servability(engine.model, engine)
    assert (found.method, found.servable, found.rank) == ("full", False, 0)
    folder = write_lora(tmp_path / "other", engine.model)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": "other"}))
    with pytest.raises(AdapterRefused, match="its base model is 'other'"):
        servability(folder, engine)
    path.write_text(json.dumps(config | {"peft_type": "IA3"}))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match="holds no weights"):
        servability(folder, engine)
    (folder / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(AdapterRefused, match=r"adapter_model\.bin, which may run code"):
        servability(folder, engine)


def test_command_tells_what_was_merged_before(
    registry: Registry, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ratchet merge` again costs nothing, says how to serve it, and speaks JSON to scripts."""
    settings = registry.settings
    file = tmp_path / "ratchet.toml"
    file.write_text(
        f'data_dir = "{settings.data_dir}"\n[engine]\nmodel = "{settings.engine.model}"\n'
        '[applications.desk]\napi_key = "desk-key"\n'
    )
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    into = tmp_path / "base"
    carry_out(plan_merge(adapter, into, settings.engine), write)
    told = CliRunner().invoke(app, ["merge", adapter.name, "--into", str(into)])
    assert told.exit_code == 0, told.output
    assert "was merged before" in told.output
    assert "engine.model" in told.output
    said = CliRunner().invoke(app, ["merge", adapter.name, "--into", str(into), "--json"])
    assert json.loads(said.output)["lineage"]["adapter"] == adapter.name


def reconfigure(adapter: Adapter, **changes: Any) -> None:
    """Change the adapter's configuration, and let the row know the new files."""
    path = Path(adapter.path) / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    adapter.content_hash = ledger.folder_sha256(Path(adapter.path), ignore=ledger.UNHASHED)
