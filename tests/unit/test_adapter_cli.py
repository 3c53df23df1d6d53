"""`ratchet adapter …` as people and scripts call it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.clock import utc_now
from core.errors import RatchetError
from core.settings import FILE_VARIABLE
from feedback.tables import Adapter, DatasetMember, Rollout
from loop.cli import app
from retrain.registry import ledger
from tests.unit.registry_world import Registry, open_registry


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for scripts."""
        return json.loads(self.out)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Give a registry, and the settings file by which the commands find it."""
    with open_registry(tmp_path) as opened:
        file = tmp_path / "ratchet.toml"
        file.write_text(
            f'data_dir = "{opened.settings.data_dir}"\n'
            f'[engine]\nmodel = "{opened.settings.engine.model}"\n'
            '[applications.desk]\napi_key = "desk-key"\n'
        )
        monkeypatch.setenv(FILE_VARIABLE, str(file))
        monkeypatch.setenv("COLUMNS", "200")
        logs = structlog.get_config()
        yield opened
        structlog.configure(**logs)


def adapter(*arguments: str) -> Done:
    """Run `ratchet adapter …` in this process; errors end as the console script ends them."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = app(["adapter", *arguments], standalone_mode=False) or 0
        except RatchetError as error:
            print(f"error: {error.message}", file=sys.stderr)
            code = 1
    return Done(code, out.getvalue(), err.getvalue())


def test_adapters_are_listed_with_gate_override_and_taint(registry: Registry) -> None:
    """Who overrode the gate and whom an erasure tainted is seen at once."""
    registry.add("run-1", loss=2.0)
    registry.add("run-2")
    with registry.store.session() as session:
        ledger.record_override(session, "desk--v1", operator="ann", reason="a test of rollback")
        session.get_one(Adapter, "desk--v2").tainted_at = utc_now()
        session.commit()
    rows = adapter("list", "--json").json
    assert [(row["name"], row["standing"]) for row in rows] == [
        ("desk--v1", "candidate"),
        ("desk--v2", "gated, tainted"),
    ]
    text = adapter("list", "desk").out
    for part in ("desk--v1", "fail", "ann", "gated, tainted", "lora r=4"):
        assert part in text
    assert adapter("list", "cellar", "--json").json == []


def test_an_adapter_is_shown_from_interactions_to_rollouts(registry: Registry) -> None:
    """Lineage, parents, children, rollouts, and the override before anything else."""
    registry.add("run-1", loss=2.0)
    registry.add("run-2", parent="desk--v1")
    with registry.store.session() as session:
        ledger.record_override(session, "desk--v1", operator="ann", reason="a test of rollback")
        for number in range(3):
            session.add(
                DatasetMember(dataset_id="desk--d1", interaction_id=f"i{number}", split="train")
            )
        session.add(
            Rollout(
                id="rollout-1", application="desk", canary_adapter="desk--v1", state="canary",
                share=0.05, salt="s",
            )
        )  # fmt: skip
        session.commit()
    facts = adapter("show", "desk--v1", "--json").json
    assert facts["descendants"] == ["desk--v2"]
    assert facts["lineage"] == ["3 interactions", "desk--d1", "run run-1", "desk--v1"]
    assert adapter("show", "desk--v2", "--json").json["ancestors"] == ["desk--v1"]
    text = adapter("show", "desk--v1").out
    assert text.index("PAST THE GATE by ann: a test of rollback") < text.index("content hash")
    assert "rollout rollout-1: canary at 5%" in text
    assert "test_loss" in text


def test_an_unknown_adapter_is_told(registry: Registry) -> None:
    """With how to find the right name."""
    done = adapter("show", "desk--v9")
    assert done.code == 1
    assert "no adapter 'desk--v9': `ratchet adapter list` lists them" in done.err


def test_two_adapters_are_compared(registry: Registry) -> None:
    """By fields and by weights, for people and for scripts."""
    registry.add("run-1")
    registry.add("run-2", loss=0.3, seed=5)
    found = adapter("diff", "desk--v1", "desk--v2", "--json").json
    assert {"field": "metrics.test_loss", "old": 0.4, "new": 0.3} in found["changes"]
    assert found["weights"]["relative"] > 0.5
    assert "weights: " in adapter("diff", "desk--v1", "desk--v2").out


def test_verify_ends_with_one_when_something_is_wrong(registry: Registry) -> None:
    """Of one or of all; which are whole is said too."""
    registry.add("run-1")
    spoilt = registry.add("run-2")
    assert "desk--v1 is whole" in adapter("verify", "desk--v1").out
    (Path(spoilt.path) / "adapter_config.json").write_text("{}")
    done = adapter("verify", "--all", "--json")
    assert done.code == 1
    assert [row["ok"] for row in done.json] == [True, False]
    assert "have changed" in done.json[1]["problems"][0]
    assert adapter("verify").code == 1


def test_a_push_asks_whether_it_may(registry: Registry) -> None:
    """What was learnt leaves this machine only when somebody says so."""
    registry.add()
    done = adapter("push", "desk--v1", "acme/desk")
    assert (done.code, "--allow-upload" in done.err) == (1, True)


def test_the_key_is_printed_for_others(registry: Registry) -> None:
    """As their settings take it."""
    key = adapter("key").out.strip()
    assert len(key) == 44
