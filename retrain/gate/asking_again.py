"""The gate once more for an adapter that is registered: on newer data, or with other suites.

An adapter's name goes in; a job that only evaluates runs as a training's would (its folder is
below `evaluations`), and the verdict is noted on the adapter. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlmodel import Session

from core.clock import utc_now
from core.errors import GateError
from core.files import write_atomic
from core.ids import new_id
from core.settings import Settings
from feedback.store import Store
from feedback.tables import Adapter, Application, Run
from feedback.versions import require_newest_version
from retrain.gate.answering import forget_answers
from retrain.gate.conclusion import conclude, gate_facts
from retrain.gate.report import write_evaluation
from retrain.launchers.local import LocalLauncher
from retrain.recipe import Recipe, load_recipe
from retrain.registry import ledger
from retrain.registry.record import BASE
from retrain.runs.assembly import TrainRequest, job_for
from retrain.runs.devices import find_devices, held_devices
from retrain.runs.job import OUTCOME_FILE
from retrain.runs.progress import TrainProgress
from retrain.runs.spec import ADAPTER_FOLDER, MODEL_FOLDER, JobResult, JobSpec, TrainOutcome

FOLDER = "evaluations"
# Of an adapter whose training was elsewhere.
UNKNOWN = TrainOutcome(0, 0.0, 0.0, None, False, 0, 0, 0, None, 0)

Progress = Callable[[TrainProgress], None]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Again:
    """Which adapter, on which dataset version (None: the newest), beside whom (None: the live
    one, or what it was compared with before).
    """

    adapter: str
    dataset: str | None = None
    against: str | None = None


def ask_again(store: Store, settings: Settings, again: Again, progress: Progress) -> dict[str, Any]:
    """Evaluate, note the verdict on the adapter, and return it.

    Raises: NotFoundError, DataError, SettingsError for a suite that is none; TrainingError when
    the job fails.
    """
    folder = settings.folder(FOLDER) / new_id()
    with store.session() as session:
        adapter = ledger.find(session, again.adapter)
        ledger.verify(adapter)
        spec, against = _job(session, settings, adapter, again, folder.name)
        _lay_out(session, folder, spec, adapter)
    with held_devices(
        settings.data_dir,
        find_devices(),
        my_turn=lambda: True,
        waiting=lambda: progress(TrainProgress("queue")),
    ) as held:
        LocalLauncher(held).run(folder, progress, lambda: False)
    result = JobResult.read(folder)
    if result is None:
        raise GateError(f"evaluation {folder.name} ended without a result: see {folder}")
    result, verdict = conclude(folder, result, settings.gate)
    compared_with = against or BASE
    write_evaluation(
        folder,
        verdict,
        result.answering,
        compared_with=compared_with,
        answered_by=result.answered_by,
    )
    forget_answers(folder)
    gate = gate_facts(verdict, result, compared_with) | {
        "dataset": Path(spec.dataset).name,
        "at": utc_now().isoformat(timespec="seconds"),
        "folder": str(folder),
    }
    with store.session() as session:
        ledger.renew_gate(session, again.adapter, gate)
        session.commit()
    log.info("gate_asked_again", adapter=again.adapter, decision=verdict.decision)
    return gate


def _job(
    session: Session, settings: Settings, adapter: Adapter, again: Again, run_id: str
) -> tuple[JobSpec, str | None]:
    """Return the job, and the adapter that is compared with; None: the base model."""
    dataset = again.dataset or require_newest_version(session, adapter.application).id
    against = again.against or _against(session, adapter)
    recipe = _recipe(session, settings, adapter)
    request = TrainRequest(
        application=adapter.application,
        dataset_id=dataset,
        mode="full",
        parent_adapter=against,
        recipe=recipe.name,
        reason="gate: asked again",
        created_by=adapter.created_by,
    )
    return job_for(session, settings, request, recipe, run_id), against


def _against(session: Session, adapter: Adapter) -> str | None:
    application = session.get(Application, adapter.application)
    live = application.live_adapter if application else None
    if live not in (None, adapter.name):
        return live
    known = adapter.gate.get("compared_with")
    return known if known and session.get(Adapter, known) else None


def _recipe(session: Session, settings: Settings, adapter: Adapter) -> Recipe:
    """Return the recipe that the adapter was made with; of one from elsewhere, the settings'."""
    run = session.get(Run, adapter.run_id)
    base = load_recipe(settings.retrain.recipe)
    if run is None:
        return base
    return Recipe.model_validate(run.hyperparameters | {"name": run.recipe})


def _lay_out(session: Session, folder: Path, spec: JobSpec, adapter: Adapter) -> None:
    """Make the folder look like that of a run whose training has ended."""
    folder.mkdir(parents=True)
    is_model = (Path(adapter.path) / "config.json").is_file()
    (folder / (MODEL_FOLDER if is_model else ADAPTER_FOLDER)).symlink_to(adapter.path)
    replace(spec, trackers={}).write(folder)
    run = session.get(Run, adapter.run_id)
    trained = JobResult.read(Path(run.folder)) if run else None
    outcome = trained.outcome if trained else UNKNOWN
    write_atomic(folder / OUTCOME_FILE, msgspec.json.encode(outcome))
