"""The scheduler trains by itself: from ratings to an adapter, over a stop of the service."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import col, select

from core.clock import utc_now
from core.settings import FILE_VARIABLE, load_settings
from feedback.drift_tables import DriftReport
from feedback.tables import Adapter, Rollout, Run
from loop.background import STOPPED, is_at_work, read_memory
from loop.retrain_job import plan_retraining
from loop.wiring import Parts, open_parts
from retrain.recipe import FOLDER
from tests.ports import free_port
from tests.training_world import GOOD, conversation, make_tiny_model
from tests.unit.policy_world import answer

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]

SETTINGS = """
data_dir = "{folder}/data"
[applications.desk]
api_key = "a-key-that-is-long-enough"
[engine]
model = "{folder}/tiny"
port = {port}
[curation]
test_share = 0.2
[retrain]
automatic = true
recipe = "{folder}/long.toml"
[gate]
suites = ["wins"]
examples = 8
"""
SERVICE = """
import sys, time
from core.settings import load_settings
from loop.retrain_job import plan_retraining
from loop.wiring import open_parts
with open_parts(load_settings()) as parts:
    print(plan_retraining(parts), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parts(base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """A store with what people liked, a tiny model, and a recipe that takes its time."""
    make_tiny_model(base_model, tmp_path / "tiny")
    recipe = (FOLDER / "sft-lora.toml").read_text()
    changes = {"rank = 16": "rank = 4", "alpha = 32": "alpha = 8", "epochs = 5": "epochs = 8"}
    changes |= {"learning_rate = 3e-4": "learning_rate = 1e-2"}
    changes |= {"save_every_steps = 40": "save_every_steps = 4"}
    changes |= {"eval_every_steps = 20": "eval_every_steps = 4"}
    changes |= {"early_stopping_patience = 3": "early_stopping_patience = 0"}
    for old, new in changes.items():
        assert old in recipe
        recipe = recipe.replace(old, new, 1)
    (tmp_path / "long.toml").write_text(recipe)
    file = tmp_path / "ratchet.toml"
    file.write_text(SETTINGS.format(folder=tmp_path, port=free_port()))
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    with open_parts(load_settings(file)) as opened:
        yield opened


def until(done: Callable[[], bool], seconds: float = 120.0) -> None:
    """Return when that is so."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.1)


def newest_run(parts: Parts) -> Run | None:
    """Return the newest run, if there is one."""
    with parts.store.session() as session:
        return session.exec(select(Run).order_by(col(Run.id).desc())).first()


def test_a_due_training_goes_on_over_a_stop_of_the_service(parts: Parts) -> None:
    """Its process ends with the scheduler's, and the next look resumes it to the adapter."""
    with parts.store.session() as session:
        for number in range(40):
            asked, told = conversation(number, GOOD)
            values = {"messages": [asked], "answer": told["content"], "adapter": None}
            answer(session, utc_now(), good=True, **values)
        session.add(
            DriftReport(
                id="drift-1",
                application="desk",
                window_start=utc_now(),
                window_end=utc_now(),
                reference_id="r",
                severity="act",
                reason="longer",
                folder="/reports",
            )
        )
        session.commit()
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert service.stdout is not None
        told = [service.stdout.readline(), service.stdout.readline()]  # the first is of the log
        assert told[1].startswith("desk: begins, if curation agrees: first:"), told
        checkpoints = parts.settings.folder("runs")
        until(lambda: bool(list(checkpoints.glob("*/checkpoints/checkpoint-*"))))
    finally:
        service.kill()
        service.wait()
        if service.stdout is not None:
            service.stdout.close()
    until(lambda: not is_at_work(parts.settings, "desk"), 40.0)
    run = newest_run(parts)
    assert run is not None
    assert (run.status, run.error, run.mode) == ("failed", STOPPED, "full")
    assert run.details["plan"]["trigger"] == "first"
    with parts.store.session() as session:
        assert session.get_one(DriftReport, "drift-1").run_id == run.id

    assert plan_retraining(parts) == f"desk: run {run.id} goes on"
    until(lambda: is_at_work(parts.settings, "desk"), 20.0)
    assert plan_retraining(parts) == "desk: a training is at work"
    until(lambda: not is_at_work(parts.settings, "desk"))
    with parts.store.session() as session:
        (adapter,) = session.exec(select(Adapter)).all()
        rollouts = session.exec(select(Rollout)).all()
    ended = newest_run(parts)
    assert ended is not None
    assert (ended.id, ended.status, adapter.run_id) == (run.id, "finished", run.id)
    assert read_memory(parts.settings, "desk").error is None
    passed = adapter.gate["decision"] == "pass"
    assert [rollout.canary_adapter for rollout in rollouts] == [adapter.name] * passed
    assert passed, adapter.gate["reasons"]
    assert "is in its rollout" in plan_retraining(parts) or "has finished" in plan_retraining(parts)
