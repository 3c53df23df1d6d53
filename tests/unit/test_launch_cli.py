"""`ratchet launch …` and `ratchet runs …` as people and scripts call them, without any training."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from core.errors import DataError, NotFoundError, RequestError, StateError, TrainingError
from core.settings import FILE_VARIABLE
from feedback.tables import Run
from loop.cli import app
from retrain.gate.verdict import Evaluation
from retrain.launchers.bundle import INPUTS
from retrain.parallel.plan import Parallel
from retrain.recipe import load_recipe
from retrain.runs import progress
from retrain.runs.assembly import TrainRequest
from retrain.runs.progress import TrainProgress
from retrain.runs.runner import REQUEST_FILE
from retrain.runs.spec import LOG_FILE, Comparison, JobResult, JobSpec
from tests.fakes.tuner import KEY, Tuner, running_tuner
from tests.training_world import a_job, plain
from tests.unit.registry_world import OUTCOME, Registry, open_registry
from tests.unit.test_launcher_hosted import write

pytestmark = pytest.mark.filterwarnings("ignore")  # the clouds' SDKs


@pytest.fixture
def tuner() -> Iterator[Tuner]:
    with running_tuner() as owner:
        yield owner


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuner: Tuner) -> Iterator[Registry]:
    """Give a registry with a dataset, and the settings file by which the commands find it."""
    with open_registry(tmp_path) as opened:
        file = tmp_path / "ratchet.toml"
        file.write_text(
            f'data_dir = "{opened.settings.data_dir}"\n'
            f'[engine]\nmodel = "{opened.settings.engine.model}"\n'
            '[applications.desk]\napi_key = "desk-key"\n'
            '[launchers.vertex]\nimage = "registry.example/ratchet:1"\nbucket = "gs://acme"\n'
            f'[launchers.hosted]\nbase_url = "{tuner.url}/v1"\napi_key = "{KEY}"\npoll_s = 0.01\n'
        )
        folder = Path(opened.dataset().path)
        folder.mkdir()
        write(folder, train=12, validation=2, test=6)
        monkeypatch.setenv(FILE_VARIABLE, str(file))
        monkeypatch.setenv("COLUMNS", "300")
        logs = structlog.get_config()
        yield opened
        structlog.configure(**logs)


def add_run(registry: Registry, run_id: str = "run-1", status: str = "failed") -> Path:
    """Add a run that broke off before it did anything; return its folder."""
    folder = registry.settings.folder("runs") / run_id
    folder.mkdir()
    recipe = load_recipe("sft-lora").for_mode("full")
    model, dataset = registry.settings.engine.model, registry.dataset().path
    a_job(model, dataset, run_id=run_id, recipe=plain(recipe)).write(folder)
    request = TrainRequest("desk", "desk--d1", "full", None, "sft-lora", "by_hand: test", "ann")
    (folder / REQUEST_FILE).write_bytes(msgspec.json.encode(request))
    with registry.store.session() as session:
        session.add(
            Run(
                id=run_id,
                application="desk",
                dataset_id="desk--d1",
                recipe="sft-lora",
                mode="full",
                reason="by_hand: test",
                status=status,
                folder=str(folder),
                hyperparameters=recipe.hyperparameters(),
            )
        )
        session.commit()
    return folder


def ratchet(*arguments: str) -> str:
    """Return what `ratchet …` prints on standard output."""
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(io.StringIO()):
        app(list(arguments), standalone_mode=False)
    return told.getvalue()


def facts(*arguments: str) -> Any:
    """Return what it prints for scripts."""
    return json.loads(ratchet(*arguments, "--json"))


def test_a_run_is_packed_sent_and_collected(registry: Registry, tmp_path: Path) -> None:
    """What comes back becomes a gated adapter; without a result nothing is taken over."""
    add_run(registry)
    sent = tmp_path / "sent"
    assert "whole by itself" in ratchet("launch", "pack", "run-1", "--into", str(sent))
    assert (sent / INPUTS / "dataset" / "train.parquet").is_file()
    with pytest.raises(StateError, match="holds no result"):
        ratchet("launch", "collect", "run-1", "--from", str(sent))
    made = registry.trained("elsewhere")
    (made / "adapter").rename(sent / "adapter")
    good, live = Evaluation(0.4, 0.9, 10, 0.6), Evaluation(1.0, 0.5, 10)
    JobResult(OUTCOME, {"test": Comparison(good, live)}, {"train": 60.0}).write(sent)
    adapter = facts("launch", "collect", "run-1", "--from", str(sent))
    assert (adapter["name"], adapter["status"], adapter["run_id"]) == ("desk--v1", "gated", "run-1")
    assert facts("runs", "show", "run-1")["status"] == "finished"
    with pytest.raises(StateError, match="is finished"):
        ratchet("launch", "collect", "run-1", "--from", str(sent))


def test_an_input_that_is_gone_is_told(registry: Registry, tmp_path: Path) -> None:
    """By its name and where it was."""
    add_run(registry)
    Path(registry.dataset().path).rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"dataset of run run-1 is .* no folder any more"):
        ratchet("launch", "pack", "run-1", "--into", str(tmp_path / "sent"))


def test_a_clouds_job_is_written_with_how_to_submit_it(registry: Registry, tmp_path: Path) -> None:
    """An unknown cloud is told with those there are."""
    folder = add_run(registry)
    arguments = ("launch", "spec", "run-1", "--into", str(tmp_path), "--hours", "2")
    assert "gcloud ai custom-jobs create" in ratchet(*arguments, "--on", "vertex")
    job = json.loads((tmp_path / "vertex-job.json").read_text())
    assert job["scheduling"]["timeout"] == "7200s"
    assert facts(*arguments, "--on", "vertex")["file"] == str(tmp_path / "vertex-job.json")
    spec = replace(JobSpec.read(folder), parallel=Parallel(2, "zero3"))
    spec.write(folder)
    ratchet(*arguments, "--on", "vertex")
    assert "--nproc-per-node=2" in (tmp_path / "vertex-job.json").read_text()
    with pytest.raises(RequestError, match="use one of sagemaker, azureml, vertex"):
        ratchet(*arguments, "--on", "moon")


def test_a_hosted_training_is_a_run_with_the_tuned_models_name(
    registry: Registry, tuner: Tuner
) -> None:
    """Only when the words may leave; what goes wrong there is on the run."""
    with pytest.raises(RequestError, match="--allow-upload"):
        ratchet("launch", "hosted", "desk", "desk--d1")
    with pytest.raises(NotFoundError, match="no dataset version 'desk--d9'"):
        ratchet("launch", "hosted", "desk", "desk--d9", "--allow-upload")
    run = facts("launch", "hosted", "desk", "desk--d1", "--allow-upload")
    assert (run["status"], run["launcher"]) == ("finished", "hosted")
    assert run["details"]["hosted"]["model"].startswith("ft:gpt-4o-mini")
    tuner.course, tuner.error = ["failed"], "no quota"
    with pytest.raises(TrainingError, match="no quota"):
        ratchet("launch", "hosted", "desk", "desk--d1", "--allow-upload")
    assert [row["status"] for row in facts("runs", "list")] == ["finished", "failed"]


def test_runs_are_listed_shown_and_their_logs_printed(registry: Registry) -> None:
    """`ratchet runs` alone lists them; a run without a log says so."""
    folder = add_run(registry, status="running")
    with pytest.raises(NotFoundError, match="has no log yet"):
        ratchet("runs", "log", "run-1")
    (folder / LOG_FILE).write_text("one\ntwo\nthree\n")
    assert ratchet("runs", "log", "run-1", "--lines", "2") == "two\nthree\n"
    told = TrainProgress("train", step=3, total_steps=9, loss=0.5)
    (folder / progress.FILE).write_text(told.line() + "\n")
    assert facts("runs", "show", "run-1")["progress"]["step"] == 3
    assert "by_hand: test" in ratchet("runs", "show", "run-1")
    assert [row["id"] for row in facts("runs")] == ["run-1"]
    assert facts("runs", "list", "attic") == []
    with pytest.raises(NotFoundError, match="no run 'run-9'"):
        ratchet("runs", "show", "run-9")


def test_a_run_that_nobody_works_on_is_cancelled_at_once(registry: Registry) -> None:
    """Its row says by whom; what has ended cannot be cancelled."""
    add_run(registry, status="running")
    row = facts("runs", "cancel", "run-1", "--by", "ann", "--reason", "wrong data")
    assert (row["status"], row["error"]) == ("cancelled", "cancelled by ann: wrong data")
    with pytest.raises(StateError, match="nothing to cancel"):
        ratchet("runs", "cancel", "run-1", "--by", "ann")
    ratchet("runs", "show", "run-1", "--follow")
