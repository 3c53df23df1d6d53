"""`ratchet gate` lists, shows and overrides; what it prints for scripts is JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from core.errors import RatchetError
from core.settings import FILE_VARIABLE
from loop.cli import app
from retrain.registry import ledger
from tests.unit.registry_world import Registry, open_registry


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
        monkeypatch.setenv("COLUMNS", "220")
        yield opened


def gate(*arguments: str) -> tuple[int, str]:
    """Run `ratchet gate …` in this process; return its exit code and what it printed."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(sys.stdout):
        try:
            code = app(["gate", *arguments], standalone_mode=False) or 0
        except RatchetError as error:
            print(f"error: {error.message}", file=out)
            code = 1
    return code, out.getvalue()


def test_suites_are_listed_with_what_is_asked(registry: Registry) -> None:
    """Those of the settings are asked, the others could be."""
    rows = json.loads(gate("suites", "--json")[1])
    asked = {row["name"] for row in rows if row["asked"]}
    assert {"test", "regression", "safety"} <= asked
    assert {"judge", "odd"} <= {row["name"] for row in rows} - asked
    assert not any("examples" in row for row in rows)


def test_verdict_is_shown_and_an_override_beside_it(registry: Registry) -> None:
    """A failed gate, who let the adapter past it and why are seen together."""
    adapter = registry.add(loss=3.0)
    assert "held-out loss 3.000" in gate("show", adapter.name)[1]
    code, told = gate("override", adapter.name, "--by", "ann", "--reason", "old test set", "--json")
    assert code == 0
    assert json.loads(told)["override_by"] == "ann"
    shown = json.loads(gate("show", adapter.name, "--json")[1])
    assert shown["decision"] == "fail"
    assert shown["override"] == {"by": "ann", "reason": "old test set"}
    with registry.store.session() as session:
        ledger.require_gate(ledger.find(session, adapter.name))


@pytest.mark.parametrize("missing", [("--by", " "), ("--reason", "")])
def test_override_needs_a_name_and_a_reason(registry: Registry, missing: tuple[str, str]) -> None:
    """Nobody lets an adapter past in nobody's name."""
    adapter = registry.add(loss=3.0)
    words = {"--by": "ann", "--reason": "because"} | dict([missing])
    code, told = gate("override", adapter.name, *(part for pair in words.items() for part in pair))
    assert code == 1
    assert f"{missing[0]} is empty" in told


def test_a_new_verdict_counts_until_users_have_spoken(registry: Registry) -> None:
    """Asked again, an untried adapter gets the new verdict; a live one keeps that it came with."""
    name = registry.add(loss=3.0).name
    passed = {"decision": "pass", "reasons": ["test: fine"], "numbers": {}, "suites": {}}
    failed = {"decision": "fail", "reasons": ["test: worse"], "numbers": {}, "suites": {}}
    with registry.store.session() as session:
        adapter = ledger.renew_gate(session, name, passed)
        assert (adapter.status, adapter.gate["decision"]) == ("gated", "pass")
        assert [one["decision"] for one in adapter.gate["earlier"]] == ["fail"]
        adapter = ledger.renew_gate(session, name, failed)
        assert (adapter.status, len(adapter.gate["earlier"])) == ("candidate", 2)
        ledger.renew_gate(session, name, passed)
        ledger.set_status(session, name, "canary")
        adapter = ledger.renew_gate(session, name, failed)
        assert (adapter.status, adapter.gate["decision"]) == ("canary", "pass")
        assert adapter.gate["latest"]["decision"] == "fail"
