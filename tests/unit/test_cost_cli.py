"""`ratchet cost …`, `ratchet advise` and `ratchet estimate` as people and scripts call them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.errors import RequestError
from core.settings import FILE_VARIABLE
from feedback.tables import Run
from loop.cli import app
from tests.unit.registry_world import Registry, open_registry
from tests.unit.test_estimate import SMOLLM2


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Give a registry, and the settings file by which the commands find it."""
    with open_registry(tmp_path) as opened:
        (opened.settings.engine.model / "config.json").write_text(json.dumps(SMOLLM2))
        file = tmp_path / "ratchet.toml"
        file.write_text(
            f'data_dir = "{opened.settings.data_dir}"\n'
            f'[engine]\nmodel = "{opened.settings.engine.model}"\n'
        )
        monkeypatch.setenv(FILE_VARIABLE, str(file))
        monkeypatch.setenv("COLUMNS", "200")
        logs = structlog.get_config()
        yield opened
        structlog.configure(**logs)


def ratchet(*arguments: str) -> str:
    """Return what `ratchet …` prints."""
    told = io.StringIO()
    with redirect_stdout(told):
        app(list(arguments), standalone_mode=False)
    return told.getvalue()


def facts(*arguments: str) -> Any:
    """Return what it prints for scripts."""
    return json.loads(ratchet(*arguments, "--json"))


def test_machines_and_their_prices_are_listed(registry: Registry) -> None:
    """For people, too."""
    assert facts("cost", "prices")["aws-p4de.24xlarge"]["usd_per_hour"] == 40.96
    assert "8 A100 80 GB" in ratchet("cost", "prices")


def test_a_training_is_reckoned_from_the_data_on(registry: Registry) -> None:
    """Without a price it asks for one."""
    arguments = ("cost", "training", "--hours", "8", "--instance", "azure-nc24s-v3")
    assert facts(*arguments)["total"] == pytest.approx(97.92)
    assert facts(*arguments, "--spot")["total"] == pytest.approx(29.376)
    assert "8.00 h at $12.24" in ratchet(*arguments)
    with pytest.raises(RequestError, match="no price is known"):
        ratchet("cost", "training", "--hours", "8")


def test_what_runs_cost_is_listed_with_their_adapters(registry: Registry) -> None:
    """A run without a price says so."""
    registry.add("run-1")
    with registry.store.session() as session:
        for number, details in ((1, {"system": {"seconds": 1800.0}, "cost": 1.53}), (2, {})):
            session.add(
                Run(
                    id=f"run-{number}", application="desk", dataset_id="desk--d1", recipe="sft",
                    mode="full", reason="by hand", status="finished", folder="f", details=details,
                )
            )  # fmt: skip
        session.commit()
    assert facts("cost", "runs") == [
        {"run": "run-1", "adapter": "desk--v1", "seconds": 1800.0, "usd": 1.53},
        {"run": "run-2", "adapter": None, "seconds": None, "usd": None},
    ]
    text = ratchet("cost", "runs", "desk")
    assert "$1.53" in text
    assert "unknown" in text


def test_ownership_is_reckoned_with_the_guides_example(registry: Registry) -> None:
    """And with numbers of one's own."""
    people = ("--work-hours", "50", "--wage", "50")
    found = facts("cost", "ownership", *people)
    assert (found["total"], found["break_even_months"]) == (24_220.0, 8)
    assert "after 8 months" in ratchet("cost", "ownership", *people)
    assert facts("cost", "ownership", "--once", "0", "--monthly", "10")["total"] == 120.0
    assert "never" in ratchet("cost", "ownership")


def test_advice_comes_with_reasons() -> None:
    """An unknown kind is told with those there are."""
    assert facts("advise", "--examples", "50")["way"] == "prompting"
    assert "because" in ratchet("advise", "--examples", "5000", "--private-data")
    with pytest.raises(RequestError, match="--kind is 'magic': use one of instructions"):
        ratchet("advise", "--examples", "5", "--kind", "magic")


def test_a_training_is_estimated_before_it_begins(registry: Registry) -> None:
    """Parts, time, and what would fit."""
    found = facts("estimate", "--memory-gb", "16", "--examples", "200", "--tokens", "64")
    assert found["fits"]
    assert found["parts"]["weights"] == pytest.approx(134_515_008 * 4, rel=0.01)
    text = ratchet("estimate", "--memory-gb", "1")
    assert "it does not fit; this would: " in text
