"""RETRAIN, one run from start to registered adapter: rows and folders around the subprocess.

A request goes in; the run's row and folder, live progress, and at the end an `Adapter` row
with its gate's verdict come out. A run that was killed goes on with `resume_run`. Training
itself is `python -m retrain.runs.job` in a process of its own, so that this one stays small
and a crash there is only an error here. Knows nothing of traffic or rollouts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import structlog
from sqlmodel import Session

from core.clock import utc_now
from core.errors import NotFoundError, StateError, TrainingError
from core.files import json_sha256, write_atomic
from core.ids import new_id
from core.settings import Settings
from feedback.store import Store
from feedback.tables import Adapter, DatasetVersion, Run
from retrain.gate.verdict import decide_all
from retrain.policy import Mode
from retrain.recipe import Recipe, load_recipe
from retrain.registry import ledger
from retrain.registry.record import FinishedRun, run_metrics
from retrain.registry.servable import check_servable, read_config
from retrain.registry.shelf import shelve
from retrain.registry.signing import open_signer
from retrain.runs.job import EXIT_TOLD, is_running
from retrain.runs.progress import TrainProgress, parse_line
from retrain.runs.spec import ADAPTER_FOLDER, LOG_FILE, JobResult, JobSpec

SOURCE_ROOT = Path(__file__).resolve().parents[2]
REQUEST_FILE = "request.json"
STOP_TIMEOUT_S = 20.0  # for the subprocess to end by itself
TOLD_LINES = 15  # of the job's log, when it dies without saying why

log = structlog.get_logger()
Progress = Callable[[TrainProgress], None]


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What to train and why. `parent_adapter` is the live adapter: in mode incremental it is
    continued, in both modes the gate compares with it. None: the base model is live.
    """

    application: str
    dataset_id: str
    mode: Mode
    parent_adapter: str | None
    recipe: str  # a name in retrain/recipes, or a path to a TOML file
    reason: str  # of the plan; starts with the trigger's name
    created_by: str


def train_adapter(
    store: Store, settings: Settings, request: TrainRequest, *, progress: Progress | None = None
) -> Adapter:
    """Train, evaluate and register one adapter; return its row, `gated` or `candidate`.

    Raises: NotFoundError for an unknown dataset or adapter; SettingsError for a bad recipe;
    TrainingError when the run failed, AdapterRefused when vLLM could not serve its result.
    The run's row says so too.
    """
    recipe = load_recipe(request.recipe).for_mode(request.mode)
    with store.session() as session:
        run = _new_run(settings, request, recipe)
        spec = _job(session, settings, request, recipe, run.id)
        folder = Path(run.folder)
        folder.mkdir(parents=True)
        spec.write(folder)
        write_atomic(folder / REQUEST_FILE, msgspec.json.encode(request))
        session.add(run)
        session.commit()
    log.info("run_started", run=run.id, application=run.application, mode=run.mode)
    return _carry_out(store, settings, run, request, progress)


def resume_run(
    store: Store, settings: Settings, run_id: str, *, progress: Progress | None = None
) -> Adapter:
    """Go on with a run that was interrupted or failed, from its newest whole checkpoint.

    Raises: NotFoundError; StateError if it has finished or is still being worked on.
    """
    with store.session() as session:
        run = broken_off(session, run_id)
        request_file = Path(run.folder) / REQUEST_FILE
        request = msgspec.json.decode(request_file.read_bytes(), type=TrainRequest)
        run.status, run.error, run.finished_at = "running", None, None
        session.add(run)
        session.commit()
    log.info("run_resumed", run=run.id)
    return _carry_out(store, settings, run, request, progress)


def broken_off(session: Session, run_id: str) -> Run:
    """Return the run, which can be resumed.

    Raises: NotFoundError; StateError if it has finished or is still being worked on.
    """
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError(f"no run {run_id!r}: `ratchet runs` lists them")
    if run.status == "finished" or is_running(Path(run.folder)):
        raise StateError(f"run {run_id} is {run.status}: only a broken-off run can be resumed")
    return run


def _new_run(settings: Settings, request: TrainRequest, recipe: Recipe) -> Run:
    run_id = new_id()
    return Run(
        id=run_id,
        application=request.application,
        dataset_id=request.dataset_id,
        recipe=recipe.name,
        mode=request.mode,
        parent_adapter=request.parent_adapter,
        reason=request.reason,
        status="running",
        folder=str(settings.folder("runs") / run_id),
        hyperparameters=recipe.hyperparameters(),
    )


def _job(
    session: Session, settings: Settings, request: TrainRequest, recipe: Recipe, run_id: str
) -> JobSpec:
    dataset = _dataset(session, request.dataset_id)
    base_model = settings.engine.model.resolve()
    if not (base_model / "config.json").is_file():
        raise TrainingError(
            f"engine.model is {settings.engine.model}, which holds no model: "
            f"run `python -m retrain.model {settings.engine.model}`"
        )
    live = ledger.find(session, request.parent_adapter) if request.parent_adapter else None
    seen: DatasetVersion | None = None
    if live is not None:
        ledger.verify(live)
        seen = _dataset(session, live.dataset_id)
    if request.mode == "incremental":
        _require_continuable(live, recipe)
    return JobSpec(
        run_id=run_id,
        mode=request.mode,
        base_model=str(base_model),
        base_model_name=str(settings.engine.model),
        dataset=str(Path(dataset.path).resolve()),
        seen_dataset=str(Path(seen.path).resolve()) if seen else None,
        live_adapter=live.path if live else None,
        recipe=recipe.model_dump(mode="json", exclude={"incremental"}),
        threads=len(os.sched_getaffinity(0)),
        gate_examples=settings.retrain.gate_examples,
    )


def _require_continuable(live: Adapter | None, recipe: Recipe) -> None:
    if live is None:
        raise TrainingError("mode incremental needs a parent adapter to continue: train in full")
    differences = recipe.differences(read_config(Path(live.path)))
    if differences:
        raise TrainingError(
            f"adapter {live.name} cannot be continued with recipe {recipe.name}: "
            f"{'; '.join(differences)}: train in full, or use the recipe it was made with"
        )


def _carry_out(
    store: Store, settings: Settings, run: Run, request: TrainRequest, progress: Progress | None
) -> Adapter:
    """Run the job and register its adapter; whatever stops it is written on the run's row."""
    try:
        result = _run_job(Path(run.folder), progress or _silent)
        return _register(store, settings, run.id, request.created_by, result)
    except BaseException as error:  # also an interrupt: the row must not say "running" for ever
        _fail(store, run.id, str(error) or type(error).__name__)
        log.warning("run_failed", run=run.id, error=type(error).__name__)
        raise


def _silent(_: TrainProgress) -> None:
    pass


def _run_job(folder: Path, progress: Progress) -> JobResult:
    """Run the subprocess to its end.

    Raises: TrainingError with what the job said last.
    """
    with (folder / LOG_FILE).open("a") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "retrain.runs.job", str(folder)],
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            env=os.environ | {"PYTHONPATH": _python_path()},
        )
        try:
            _follow(process.stdout, progress)
            code = process.wait()
        finally:
            _stop(process)
    result = JobResult.read(folder)
    if code != 0 or result is None:
        raise TrainingError(f"run {folder.name} failed: {_last_words(folder / LOG_FILE, code)}")
    return result


def _python_path() -> str:
    """Return a search path on which the job finds this very package."""
    inherited = os.environ.get("PYTHONPATH")  # passed on, not a setting of ours
    return os.pathsep.join([str(SOURCE_ROOT), *([inherited] if inherited else [])])


def _follow(output: IO[str] | None, progress: Progress) -> None:
    for line in output or ():
        told = parse_line(line)
        if told is not None:
            progress(told)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the process if it has not ended; its checkpoints stay."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(path: Path, code: int) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if code == EXIT_TOLD and lines:
        return lines[-1]
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    hint = " (was memory short?)" if code == -signal.SIGKILL else ""
    last = "\n".join(lines[-TOLD_LINES:])
    return (
        f"{ended}{hint}; `ratchet resume {path.parent.name}` goes on from its newest "
        f"checkpoint. Last lines of {path}:\n{last}"
    )


def _register(
    store: Store, settings: Settings, run_id: str, created_by: str, result: JobResult
) -> Adapter:
    """Judge the adapter, copy it to a name of its own, and write its row and its run's end."""
    pairs = {name: (pair.candidate, pair.live) for name, pair in result.evaluations.items()}
    with store.session() as session:
        run = session.get_one(Run, run_id)
        trained = Path(run.folder) / ADAPTER_FOLDER
        finished = FinishedRun(
            run=run,
            dataset=_dataset(session, run.dataset_id),
            result=result,
            verdict=decide_all(pairs, settings.retrain),
            rank=check_servable(trained, settings.engine).rank,
            base_model=str(settings.engine.model),
            created_by=created_by,
            settings_hash=json_sha256(settings.retrain.model_dump(mode="json")),
        )
        folder = ledger.reserve_folder(session, run.application, settings.folder("adapters"))
        adapter = shelve(folder, trained, finished, open_signer(settings))
        ledger.register(session, adapter)
        run.status, run.metrics, run.finished_at = "finished", run_metrics(result), utc_now()
        session.add(run)
        session.commit()
    log.info("adapter_registered", adapter=adapter.name, run=run_id, status=adapter.status)
    return adapter


def _fail(store: Store, run_id: str, error: str) -> None:
    with store.session() as session:
        run = session.get_one(Run, run_id)
        run.status, run.error, run.finished_at = "failed", error, utc_now()
        session.add(run)
        session.commit()


def _dataset(session: Session, dataset_id: str) -> DatasetVersion:
    dataset = session.get(DatasetVersion, dataset_id)
    if dataset is None:
        raise NotFoundError(f"no dataset version {dataset_id!r}: `ratchet curate` makes one")
    return dataset
