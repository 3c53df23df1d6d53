"""`ratchet cost …`, `ratchet advise` and `ratchet estimate` as people and scripts call them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.clock import utc_now
from core.errors import NotFoundError, RequestError
from core.settings import FILE_VARIABLE
from feedback.tables import Application, Interaction, Run
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
    text = ratchet(*arguments, "--annotated", "100", "--checkpoints", "2", "--full")
    assert "8.00 h at $12.24" in text
    assert "100 at $5.00: 6 minutes, $50 an hour" in text
    assert "2 of 30 GB (a whole model's, of 10-50)" in text
    assert 'data: the guide, "Data Costs"' in text
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


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give settings of a project that was never started."""
    file = tmp_path / "ratchet.toml"
    file.write_text(f'data_dir = "{tmp_path / "none"}"\n')
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "none"


def test_ownership_is_reckoned_with_the_guides_example(nowhere: Path) -> None:
    """And with numbers of one's own; each tells where it is from, and nothing is created."""
    people = ("--work-hours", "50", "--wage", "50")
    found = facts("cost", "ownership", *people)
    assert (found["total"], found["break_even_months"]) == (24_220.0, 8)
    assert found["sources"]["retraining"] == ["tco"]
    assert found["inference_saving_monthly"] is None
    text = ratchet("cost", "ownership", *people)
    assert "after 8 months" in text
    assert 'tco: the fine-tuning guide, "ROI Calculation"' in text
    assert "no tokens to compare" in text
    assert facts("cost", "ownership", "--once", "0", "--monthly", "10")["total"] == 120.0
    assert "never" in ratchet("cost", "ownership")
    assert "none: all is free" in ratchet("cost", "ownership", "--once", "0", "--monthly", "0")
    assert not nowhere.exists()


def test_own_inference_is_held_against_an_api(nowhere: Path) -> None:
    """Its saving is a number of its own: by the token, or for a machine that is always on."""
    tokens = ("--tokens", "1e9", "--token-price", "2")
    found = facts("cost", "ownership", *tokens, "--own-price", "0.5", "--staff-hours", "4")
    assert found["api_monthly"] == 2000.0
    assert found["inference_saving_monthly"] == 1500.0
    assert found["monthly"]["staff"] == 200.0
    assert found["sources"]["staff"] == ["said", "tco"]
    found = facts("cost", "ownership", *tokens, "--engine-hourly", "3", "--retrainings", "4")
    assert found["inference_saving_monthly"] == pytest.approx(2000.0 - 2190.0)
    assert found["monthly"]["retraining"] == 800.0
    assert "-$190.00 by the month" in ratchet("cost", "ownership", *tokens, "--engine-hourly", "3")
    text = ratchet("cost", "ownership", *tokens, "--data-tools", "5000", "--monitoring", "50")
    assert "$1,000.00 by the month" in text
    assert "1,000,000,000 tokens at $2 a million" in text


def used(registry: Registry) -> None:
    """Let the project have traffic of 10 days, a dataset and a run."""
    registry.add("run-1")
    now = utc_now()
    with registry.store.session() as session:
        for number in range(20):
            session.add(
                Interaction(
                    id=f"i{number}", application="desk", endpoint="chat", requested_model="desk",
                    prompt_tokens=300, completion_tokens=100, latency_s=1.0,
                    started_at=now - timedelta(days=number / 2 + 0.5), event_id=f"e{number}",
                )
            )  # fmt: skip
        run = Run(
            id="run-1", application="desk", dataset_id="desk--d1", recipe="sft-lora", mode="full",
            reason="by hand", status="finished", folder="f", metrics={"tokens_per_s": 200.0},
            details={"system": {"seconds": 7200.0}, "cost": 4.0},
        )  # fmt: skip
        session.add(run)
        session.add(Application(name="other"))
        session.add(Application(name="desk"))
        session.commit()


def test_what_is_not_said_is_from_the_store(registry: Registry) -> None:
    """Tokens a month, what a run cost and how often, the model's size; options go before it."""
    used(registry)
    found = facts("cost", "ownership", "--application", "desk", "--token-price", "10")
    assert found["tokens_per_month"]["source"] == "store"
    assert found["tokens_per_month"]["value"] == pytest.approx(20 / 10 * 30 * 400, rel=0.01)
    assert found["once"]["initial training"] == 4.0
    assert found["monthly"]["retraining"] == 4.0
    assert found["sources"]["retraining"] == ["store", "store"]
    assert found["monthly"]["model storage"] == pytest.approx(0.269 * 3 * 0.023, rel=0.01)
    assert found["inference_saving_monthly"] == pytest.approx(0.24 - 1000.0, rel=0.01)
    assert "store: from the store" in ratchet("cost", "ownership")
    said = facts("cost", "ownership", "--tokens", "5")
    assert said["tokens_per_month"] == {"value": 5.0, "source": "said"}
    bill = facts("cost", "training", "--instance", "azure-nc6s-v3")
    assert bill["total"] == pytest.approx(2 * 3.06)
    assert bill["sources"]["compute"] == ["store", "compute"]
    with pytest.raises(NotFoundError, match="no application 'nobody'"):
        facts("cost", "ownership", "--application", "nobody")


def test_advice_and_estimates_know_the_project(registry: Registry) -> None:
    """Examples, tokens, speed and model; of an application without data they are asked for."""
    used(registry)
    advice = facts("advise", "--application", "desk")
    assert advice["figures"]["examples"] == {"value": 64, "source": "store"}
    assert advice["figures"]["model_billions"]["source"] == "store"
    assert "examples: 64 (from the store)" in ratchet("advise")
    estimate = facts("estimate", "--memory-gb", "16")
    figures = estimate["figures"]
    assert figures["examples"] == {"value": 64, "source": "store"}
    assert figures["tokens of one"] == {"value": 400, "source": "store"}
    assert figures["speed, TFLOPS"]["source"] == "store"
    assert estimate["seconds"] == pytest.approx(
        64 * 400 * 5 / 200.0
    )  # 5 epochs, 200 tokens a second
    assert facts("estimate", "--tokens", "9")["figures"]["tokens of one"]["source"] == "said"
    assert "speed, TFLOPS: 0.1" in ratchet("estimate", "--memory-gb", "16")
    with pytest.raises(RequestError, match="no dataset version is here yet: say --examples"):
        facts("advise", "--application", "other")
    with pytest.raises(RequestError, match="no training was timed here yet: say --hours"):
        facts("cost", "training", "--instance", "azure-nc6s-v3", "--application", "other")


def test_advice_comes_with_reasons(nowhere: Path) -> None:
    """An unknown kind is told with those there are."""
    assert facts("advise", "--examples", "50")["way"] == "prompting"
    assert "because" in ratchet("advise", "--examples", "5000", "--private-data")
    with pytest.raises(RequestError, match="--kind is 'magic': use one of instructions"):
        ratchet("advise", "--examples", "5", "--kind", "magic")


def test_a_training_is_estimated_before_it_begins(registry: Registry) -> None:
    """Parts, time, and what would fit."""
    found = facts("estimate", "--memory-gb", "16", "--examples", "200", "--tokens", "64")
    assert found["fits"]
    assert found["parts"]["weights"] == pytest.approx(134_515_008 * 2, rel=0.01)  # as on a GPU
    assert found["guide"].startswith("the guide's table for <1B weights: in full 1x A10/T4 (24GB)")
    assert found["mends"] == []
    text = ratchet("estimate", "--memory-gb", "1")
    assert "it does not fit; this would:" in text
    assert "gradient_checkpointing = true" in text
    assert "1x T4 (16GB)" in text
    here = facts("estimate", "--examples", "10", "--tokens", "64")
    assert here["figures"]["speed, TFLOPS"]["source"] == "machine"
    assert here["parts"]["weights"] == pytest.approx(134_515_008 * 4, rel=0.01)


def test_an_estimate_is_of_one_process_of_several(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the strategy of the settings; each has its share of the weights and of the batch."""
    alone = facts("estimate", "--memory-gb", "16")["parts"]
    monkeypatch.setenv("RATCHET_LAUNCHERS__LOCAL__PROCESSES", "2")
    monkeypatch.setenv("RATCHET_LAUNCHERS__STRATEGY", "zero3")
    divided = facts("estimate", "--memory-gb", "16")["parts"]
    assert divided["weights"] == pytest.approx(alone["weights"] / 2)
    assert divided["activations"] <= alone["activations"]
