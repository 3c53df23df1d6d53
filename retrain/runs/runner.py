"""RETRAIN, one run from start to registered adapter: its row, its folder, and who trains it.

A request goes in; the run's row and folder, live progress, and at the end an `Adapter` row with its
gate's verdict come out. A run waits in the queue until a device is free, can be cancelled from any
process, and goes on with `resume_run` after it broke off. The training itself is a launcher's; this
process stays small. Knows nothing of traffic or rollouts.

    queued → running → finished | failed | cancelled, and from the last two again by resume
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlmodel import Session, col, select

from core.clock import utc_now
from core.errors import NotFoundError, StateError, TrainingError
from core.files import write_atomic
from core.ids import new_id
from core.settings import Settings
from feedback.store import Store
from feedback.tables import Adapter, Run
from retrain.launchers.bundle import unpack
from retrain.launchers.choice import launcher_for
from retrain.launchers.launcher import Launcher
from retrain.launchers.local import LocalLauncher
from retrain.recipe import Recipe, load_recipe
from retrain.registry.manifest import code_facts
from retrain.runs.assembly import TrainRequest, fitted, job_for
from retrain.runs.attending import attended, is_attended
from retrain.runs.cancelling import (
    Cancellation,
    ask_to_cancel,
    cancellation_of,
    forget_cancellation,
)
from retrain.runs.devices import find_devices, held_devices, wanted
from retrain.runs.full_disk import as_full_disk, drop_reserve, keep_reserve
from retrain.runs.job import is_running
from retrain.runs.last_speed import last_tokens_per_s
from retrain.runs.preflight import check_before_run
from retrain.runs.progress import TrainProgress
from retrain.runs.registration import register_result
from retrain.runs.spec import LOG_FILE, JobResult, JobSpec, parallel_of
from retrain.watching.reporting import report_ended_run

REQUEST_FILE = "request.json"
ENDED = frozenset({"finished", "failed", "cancelled"})

log = structlog.get_logger()
Progress = Callable[[TrainProgress], None]
Queued = Callable[[Session, str], None]  # with the run's id


def train_adapter(
    store: Store,
    settings: Settings,
    request: TrainRequest,
    *,
    progress: Progress | None = None,
    on_queued: Queued | None = None,
    on_expected: Callable[[str], None] | None = None,
) -> Adapter:
    """Train, evaluate and register one adapter; return its row, `gated` or `candidate`.

    `on_queued` may write what goes with the run's row, in the same transaction. `on_expected` hears
    in words what the run will take, before it begins.

    Raises: NotFoundError for an unknown dataset or adapter; SettingsError for a bad recipe;
    DataError and TrainingError for what the preflight finds, before there is a run;
    TrainingError when the run failed or was cancelled, AdapterRefused when vLLM could not serve
    its result. The run's row says so too.
    """
    recipe = load_recipe(request.recipe).for_mode(request.mode)
    launcher = launcher_for(settings)
    with store.session() as session:
        recipe = fitted(session, settings, request, recipe)
        run = _new_run(settings, request, recipe, launcher.name)
        spec = job_for(session, settings, request, recipe, run.id)
        run.parent_adapter = request.parent_adapter if spec.live_adapter else None
        speed = last_tokens_per_s(session, request.application, launcher.name)
        expected = check_before_run(spec, recipe, settings, speed)
        if expected is not None:
            run.details |= {"expected": expected.details(), **_forced(spec)}
            spec = replace(spec, lengths=expected.lengths)
            if on_expected is not None:
                on_expected(expected.words())
        folder = Path(run.folder)
        folder.mkdir(parents=True)
        spec.write(folder)
        write_atomic(folder / REQUEST_FILE, msgspec.json.encode(request))
        session.add(run)
        if on_queued is not None:
            on_queued(session, run.id)
        session.commit()
    log.info("run_queued", run=run.id, application=run.application, mode=run.mode)
    return _carry_out(store, settings, run, launcher, progress or _silent)


def resume_run(
    store: Store,
    settings: Settings,
    run_id: str,
    *,
    progress: Progress | None = None,
    even_if_it_may_not_fit: bool = False,
) -> Adapter:
    """Go on with a run that was interrupted, cancelled or failed, from its newest whole checkpoint.

    `even_if_it_may_not_fit` holds from now on, and is noted on the run.

    Raises: NotFoundError; StateError if it has finished or is still being worked on.
    """
    with store.session() as session:
        run = broken_off(session, run_id)
        folder = Path(run.folder)
        forget_cancellation(folder)
        if even_if_it_may_not_fit:
            spec = replace(JobSpec.read(folder), even_if_it_may_not_fit=True)
            spec.write(folder)
            run.details = run.details | _forced(spec)
        run.status, run.error, run.finished_at = "queued", None, None
        session.add(run)
        session.commit()
    log.info("run_resumed", run=run.id)
    return _carry_out(store, settings, run, launcher_for(settings), progress or _silent)


def collect_run(store: Store, settings: Settings, run_id: str, source: Path) -> Adapter:
    """Take over what a job elsewhere left in `source`, and register its adapter.

    Raises: NotFoundError; StateError if the run has finished, is worked on here, or is another's.
    """
    with store.session() as session:
        folder = Path(broken_off(session, run_id).folder)
    result = unpack(source, folder)
    adapter = register_result(store, settings, run_id, read_request(folder).created_by, result)
    report_ended_run(store, settings, run_id)
    return adapter


def cancel_run(store: Store, run_id: str, cancellation: Cancellation) -> Run:
    """Ask for the end of a run; whoever works on it ends it, and keeps its checkpoints.

    A run that nobody works on any more is cancelled at once.

    Raises: NotFoundError; StateError if it has ended.
    """
    with store.session() as session:
        run = find_run(session, run_id)
        if run.status in ENDED:
            raise StateError(f"run {run_id} is {run.status}: there is nothing to cancel")
        folder = Path(run.folder)
        ask_to_cancel(folder, cancellation)
        if not is_attended(folder):
            run.status, run.error, run.finished_at = "cancelled", str(cancellation), utc_now()
            session.add(run)
            session.commit()
        return run


def find_run(session: Session, run_id: str) -> Run:
    """Return the run of that id.

    Raises: NotFoundError.
    """
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError(f"no run {run_id!r}: `ratchet runs list` shows them")
    return run


def broken_off(session: Session, run_id: str) -> Run:
    """Return the run, which can be resumed.

    Raises: NotFoundError; StateError if it has finished or is still being worked on.
    """
    run = find_run(session, run_id)
    folder = Path(run.folder)
    if run.status == "finished" or is_running(folder) or is_attended(folder):
        raise StateError(f"run {run_id} is {run.status}: only a broken-off run can be resumed")
    return run


def _new_run(settings: Settings, request: TrainRequest, recipe: Recipe, launcher: str) -> Run:
    run_id = new_id()
    return Run(
        id=run_id,
        application=request.application,
        dataset_id=request.dataset_id,
        recipe=recipe.name,
        mode=request.mode,
        parent_adapter=request.parent_adapter,
        reason=request.reason,
        status="queued",
        folder=str(settings.folder("runs") / run_id),
        launcher=launcher,
        hyperparameters=recipe.hyperparameters(),
        details={"seed": recipe.seed, "code": code_facts(), "plan": request.plan},
    )


def _forced(spec: JobSpec) -> dict[str, Any]:
    """Return what is noted of a run that somebody wants whatever the estimate says."""
    return {"even_if_it_may_not_fit": True} if spec.even_if_it_may_not_fit else {}


def _carry_out(
    store: Store, settings: Settings, run: Run, launcher: Launcher, progress: Progress
) -> Adapter:
    """Run the job and register its adapter; whatever stops it is written on the run's row."""
    folder = Path(run.folder)
    try:
        keep_reserve(folder)
        with attended(folder), _placed(store, settings, run, launcher, progress) as placed:
            placed.run(folder, progress, lambda: cancellation_of(folder) is not None)
            return register_result(
                store, settings, run.id, read_request(folder).created_by, _result(folder)
            )
    except BaseException as error:  # also an interrupt: the row must not say "running" for ever
        drop_reserve(folder)  # on a full disk the row could not be written
        told = as_full_disk(error, folder)
        _note_end(store, run.id, told or error)
        if told is not None:
            raise told from error
        raise
    finally:
        drop_reserve(folder)
        report_ended_run(store, settings, run.id)


def read_request(folder: Path) -> TrainRequest:
    """Return what a run was asked for, as its folder keeps it."""
    return msgspec.json.decode((folder / REQUEST_FILE).read_bytes(), type=TrainRequest)


def _silent(_: TrainProgress) -> None:
    pass


@contextmanager
def _placed(
    store: Store, settings: Settings, run: Run, launcher: Launcher, progress: Progress
) -> Generator[Launcher]:
    """Give the launcher with devices of this machine, in the order of the queue.

    Clusters have queues of their own.

    Raises: TrainingError when the run is cancelled while it waits, or wants more than there are.
    """
    if not isinstance(launcher, LocalLauncher):
        _note_start(store, run.id, launcher.name)
        yield launcher
        return
    folder, devices = Path(run.folder), find_devices()

    def waiting() -> None:
        cancellation = cancellation_of(folder)
        if cancellation is not None:
            raise TrainingError(str(cancellation))
        progress(TrainProgress("queue", step=len(_before(store, run.id))))

    with held_devices(
        settings.data_dir,
        devices,
        count=wanted(parallel_of(folder).processes, devices),
        my_turn=lambda: not _before(store, run.id),
        waiting=waiting,
    ) as held:
        _note_start(store, run.id, ", ".join(held))
        yield replace(launcher, devices=held)


def _before(store: Store, run_id: str) -> list[str]:
    """Return the runs that came earlier, wait for a device here, and are waited for by somebody."""
    with store.session() as session:
        query = select(Run).where(Run.status == "queued", Run.launcher == "local", Run.id < run_id)
        earlier = session.exec(query.order_by(col(Run.id))).all()  # ids grow with time
    return [run.id for run in earlier if is_attended(Path(run.folder))]


def _note_start(store: Store, run_id: str, device: str) -> None:
    with store.session() as session:
        run = session.get_one(Run, run_id)
        run.status, run.details = "running", run.details | {"device": device}
        session.add(run)
        session.commit()
    log.info("run_started", run=run_id, device=device)


def _result(folder: Path) -> JobResult:
    result = JobResult.read(folder)
    if result is None:
        raise TrainingError(f"run {folder.name} ended without a result: see {folder / LOG_FILE}")
    return result


def _note_end(store: Store, run_id: str, error: BaseException) -> None:
    """Write on the run's row how it ended before its end."""
    with store.session() as session:
        run = session.get_one(Run, run_id)
        cancellation = cancellation_of(Path(run.folder))
        run.status = "failed" if cancellation is None else "cancelled"
        run.error = str(cancellation or error) or type(error).__name__
        run.finished_at = utc_now()
        session.add(run)
        session.commit()
    log.warning("run_ended", run=run_id, status=run.status, error=type(error).__name__)
