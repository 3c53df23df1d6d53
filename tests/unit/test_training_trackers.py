"""Who else is told of a training: TensorBoard, MLflow on SQLite, Weights & Biases offline.

The real clients, whose files are read back; no server and no network.
"""

from __future__ import annotations

import importlib
import io
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from core.tracking_settings import TrackersSettings
from retrain.gate.verdict import Evaluation
from retrain.recipe import load_recipe
from retrain.runs.progress import Reporter, TrainProgress, read_all
from retrain.runs.spec import Comparison, JobResult, JobSpec, TrainOutcome
from retrain.watching.curve import findings_of
from retrain.watching.system import MAX_RSS_BYTES, read_use
from retrain.watching.trackers.tensorboard import FOLDER, TensorBoardTracker
from retrain.watching.tracking import ENVIRONMENT_FILE, Opener, flat_numbers, tracked

pytestmark = pytest.mark.filterwarnings("ignore")  # the clients' own

RUN = "01a216e0-0d9a"
OUTCOME = TrainOutcome(2, 1.0, 2.5, 2.4, False, 8, 8, 0, 100.0, 4096)
RESULT = JobResult(
    OUTCOME, {"test": Comparison(Evaluation(1.5, 0.4, 8, 0.1), Evaluation(2.5, 0.2, 8, 0.0))}, {}
)
STEPS = (
    TrainProgress("train"),
    TrainProgress("train", step=1, loss=3.0, learning_rate=1e-4, grad_norm=0.5, tokens_per_s=90.0),
    TrainProgress("train", step=2, loss=2.5, more={"mean_token_accuracy": 0.6}),
    TrainProgress("train", step=2, validation_loss=2.4, more={"eval_entropy": 1.2}),
)


def make_job(folder: Path, trackers: TrackersSettings) -> None:
    """Write the job of a run that these trackers are to hear of."""
    folder.mkdir(exist_ok=True)
    JobSpec(
        run_id=RUN,
        mode="full",
        base_model="/models/tiny",
        base_model_name="tiny",
        dataset="/data/desk--d1",
        seen_dataset=None,
        live_adapter=None,
        recipe=load_recipe("sft-lora").hyperparameters(),
        threads=2,
        gate_examples=8,
        trackers=trackers.settled().model_dump(mode="json"),
    ).write(folder)


def train(
    folder: Path,
    openers: Mapping[str, Opener] | None = None,
    steps: tuple[TrainProgress, ...] = STEPS,
) -> None:
    """Tell what a short training tells, and leave its result."""
    with tracked(Reporter(io.StringIO(), folder), openers) as reporter:
        for progress in steps:
            reporter.tell(progress)
        RESULT.write(folder)


@dataclass
class Broken:
    """A tracker that keeps two calls and fails from then on."""

    kept: list[str] = field(default_factory=list[str])
    name: str = "broken"

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Fail at the second step."""
        if step == 2:
            raise ConnectionError("no route to host")
        self.kept.append(f"{step}: {values.get('train/loss')}")

    def finish(self, *, ok: bool) -> None:
        """Never called once it has failed."""
        self.kept.append("finished")


def read_events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows of a run's folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(folder / FOLDER), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_is_always_told(tmp_path: Path) -> None:
    """Losses, rates, the machine, and at the end what the gate measured, by their steps."""
    make_job(tmp_path, TrackersSettings())
    train(tmp_path)
    shown = read_events(tmp_path)
    assert shown["train/loss"] == [(1, 3.0), (2, 2.5)]
    assert shown["validation/loss"] == [(2, pytest.approx(2.4))]
    assert shown["train/learning_rate"] == [(1, pytest.approx(1e-4))]
    assert shown["train/mean_token_accuracy"] == [(2, pytest.approx(0.6))]
    assert shown["validation/entropy"] == [(2, pytest.approx(1.2))]
    assert shown["gate/test/candidate/loss"] == [(2, 1.5)]
    assert shown["system/rss_gb"][0][1] > 0
    assert {"train/grad_norm", "train/tokens_per_s"} <= shown.keys()


def test_a_resumed_run_replaces_the_steps_after_its_checkpoint(tmp_path: Path) -> None:
    """TensorBoard shows each step once, as it came the second time."""
    make_job(tmp_path, TrackersSettings())
    train(tmp_path)
    again = (TrainProgress("train", step=2, loss=9.0), TrainProgress("train", step=3, loss=2.0))
    train(tmp_path, steps=again)
    assert read_events(tmp_path)["train/loss"] == [(1, 3.0), (2, 9.0), (3, 2.0)]


def test_mlflow_keeps_one_run_also_of_a_resumed_training(tmp_path: Path) -> None:
    """In SQLite, without a server: settings, metrics by step, status; found again by its tag."""
    tracking = pytest.importorskip("mlflow.tracking")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    make_job(tmp_path / "run", TrackersSettings(mlflow_uri=uri))
    train(tmp_path / "run")
    train(tmp_path / "run", steps=(TrainProgress("train", step=3, loss=2.0),))
    client: Any = tracking.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ratchet")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["ratchet.run"] == RUN
    assert (run.data.params["rank"], run.data.params["dataset"]) == ("16", "desk--d1")
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 3.0), (2, 2.5), (3, 2.0)]
    assert run.data.metrics["gate/test/candidate/loss"] == 1.5
    assert findings_of(read_all(tmp_path / "run")) == []


def test_wandb_offline_writes_a_run_to_be_sent_later(tmp_path: Path) -> None:
    """Its file in the run's folder holds the settings and every step."""
    pytest.importorskip("wandb")
    make_job(tmp_path, TrackersSettings(wandb="offline", wandb_project="desk"))
    train(tmp_path)
    (file,) = tmp_path.glob(f"wandb/offline-run-*/run-{RUN}.wandb")
    records = read_whole_wandb(file)
    (run,) = [record.run for record in records if record.HasField("run")][:1]
    assert (run.run_id, run.project) == (RUN, "desk")
    assert "rank" in {item.key for item in run.config.update}
    rows = [history_of(record) for record in records if record.HasField("history")]
    losses = [(row["step"], float(row["train/loss"])) for row in rows if "train/loss" in row]
    assert losses == [("1", 3.0), ("2", 2.5)]
    assert any(row.get("gate/test/candidate/loss") == "1.5" for row in rows)


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path: Path) -> None:
    """It is told of once, hears no more, and the others go on."""
    make_job(tmp_path, TrackersSettings())
    broken = Broken()

    def refuse(_: object) -> Broken:
        raise PermissionError("no such key")

    train(
        tmp_path,
        {"refused": refuse, "broken": lambda _: broken, "tensorboard": TensorBoardTracker},
    )
    troubles = [told.finding for told in read_all(tmp_path) if told.finding]
    assert [one.source for one in troubles] == [
        "retrain.trackers.refused",
        "retrain.trackers.broken",
    ]
    assert "no such key" in troubles[0].what
    assert "ConnectionError: no route to host" in troubles[1].what
    assert broken.kept[-1] == "1: 3.0"
    assert read_events(tmp_path)["train/loss"] == [(1, 3.0), (2, 2.5)]


def test_trackers_are_told_of_a_training_that_failed(tmp_path: Path) -> None:
    """The error goes through, and the run is closed as failed."""

    class Ear:
        name = "ear"

        def __init__(self) -> None:
            self.ok: bool | None = None

        def log(self, values: Mapping[str, float], step: int) -> None:
            """Hear nothing."""

        def finish(self, *, ok: bool) -> None:
            """Note how it ended."""
            self.ok = ok

    ear = Ear()
    make_job(tmp_path, TrackersSettings())
    reporter = Reporter(io.StringIO(), tmp_path)
    with pytest.raises(ZeroDivisionError), tracked(reporter, {"ear": lambda _: ear}):
        raise ZeroDivisionError
    assert ear.ok is False
    assert reporter.listeners == []
    ear.ok = None
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit), tracked(reporter, {"ear": lambda _: ear}):
        signal.raise_signal(signal.SIGTERM)  # as a run that is cancelled
    assert ear.ok is False
    assert signal.getsignal(signal.SIGTERM) is before


def test_machine_and_versions_are_kept(tmp_path: Path) -> None:
    """What was used, and what it ran with, also for a folder without trackers of its own."""
    make_job(tmp_path, TrackersSettings())
    train(tmp_path, {})
    use = read_use(tmp_path)
    assert use is not None
    assert use.peak_rss_bytes > 10_000_000
    assert use.seconds >= 0.0
    assert b'"torch"' in (tmp_path / ENVIRONMENT_FILE).read_bytes()
    with (tmp_path / "system.jsonl").open("a") as file:
        file.write('{"at_s": 1')  # as a killed process leaves it
    assert read_use(tmp_path) == use
    assert read_use(tmp_path / "nowhere") is None


def test_without_a_job_nothing_is_tracked(tmp_path: Path) -> None:
    """The job itself says what is missing."""
    with tracked(Reporter(io.StringIO(), tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_mlflow_is_refused_with_what_to_write_instead() -> None:
    """MLflow no longer writes plain folders; a SQLite path is made absolute."""
    with pytest.raises(ValueError, match=r"use sqlite:///mlflow\.db"):
        TrackersSettings(mlflow_uri="./mlruns")
    with pytest.raises(ValueError, match=r"use sqlite:///mlflow\.db"):
        TrackersSettings(mlflow_uri="file:///mlruns")
    settled = TrackersSettings(mlflow_uri="sqlite:///mlflow.db").settled()
    assert settled.mlflow_uri == f"sqlite:///{Path('mlflow.db').resolve()}"
    assert TrackersSettings(mlflow_uri="https://mlflow").settled().mlflow_uri == "https://mlflow"
    assert Settings().retrain.trackers == TrackersSettings()


def test_only_numbers_are_kept_of_a_gates_result() -> None:
    """By their path; words and what is not finite are left out."""
    told = {"test": {"loss": 1.0, "why": "so", "bad": float("nan")}, "passed": True, "none": None}
    assert flat_numbers("gate", told) == {"gate/test/loss": 1.0, "gate/passed": 1.0}


def read_whole_wandb(file: Path) -> list[Any]:
    """Return the records once W&B's own process has written the last."""
    deadline = time.monotonic() + 20.0
    while True:
        records = read_wandb(file)
        if any(record.HasField("exit") for record in records):
            return records
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.1)


def read_wandb(file: Path) -> list[Any]:
    """Return the records of a W&B file: LevelDB's log format after a header of seven bytes."""
    Record: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    raw, at, records, part = file.read_bytes(), 7, [], b""
    while at + 7 <= len(raw):
        if 32768 - at % 32768 < 7:  # the rest of a block is padding
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", raw[at : at + 7])
        part += raw[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record: Any = Record()
            record.ParseFromString(part)
            records.append(record)
            part = b""
    return records


def history_of(record: Any) -> dict[str, str]:
    """Return the values of one step, as JSON."""
    return {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}


def test_peak_is_the_programs_own() -> None:
    """A program that a large process starts does not begin with the memory of that one."""
    large = bytearray(b"x" * 400_000_000)
    told = subprocess.check_output(
        [
            *(sys.executable, "-c"),
            "from retrain.watching.system import peak_bytes, resource\n"
            "print(peak_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)",
        ]
    )
    peak, handed_on = (int(word) for word in told.split())
    assert peak < len(large)
    if sys.platform == "linux":
        assert handed_on * MAX_RSS_BYTES > len(large), "else VmHWM is no longer needed"
