"""A run at a model's owner: its row, from the upload to the tuned model's name.

A dataset version goes in; a finished `Run` that names the tuned model comes out. No adapter is
registered: there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from core.clock import utc_now
from core.errors import RequestError
from core.ids import new_id
from core.settings import Settings
from feedback.store import Store
from feedback.tables import Run
from retrain.launchers.following import Tell
from retrain.launchers.hosted import open_hosted
from retrain.recipe import load_recipe
from retrain.runs.assembly import find_dataset
from retrain.runs.attending import attended
from retrain.runs.cancelling import cancellation_of

LAUNCHER = "hosted"

log = structlog.get_logger()


def train_hosted(
    store: Store,
    settings: Settings,
    application: str,
    dataset_id: str,
    *,
    tell: Tell,
    say: Callable[[str], None],
) -> Run:
    """Train the model of `launchers.hosted` on a dataset version and return the run's row.

    Raises: NotFoundError; RequestError for another application's dataset; DataError,
    SettingsError, TrainingError as `retrain.launchers.hosted`; the run's row says so too.
    """
    recipe = load_recipe(settings.retrain.recipe).for_mode("full")
    with store.session() as session:
        dataset = find_dataset(session, dataset_id)
        if dataset.application != application:
            raise RequestError(
                f"dataset {dataset_id} is of {dataset.application}, not of {application}",
                field="dataset",
            )
        run_id = new_id()
        folder = settings.folder("runs") / run_id
        run = Run(
            id=run_id,
            application=application,
            dataset_id=dataset_id,
            recipe=recipe.name,
            mode="full",
            reason="by_hand: hosted fine-tuning",
            status="running",
            folder=str(folder),
            launcher=LAUNCHER,
            hyperparameters=recipe.hyperparameters(),
            details={"seed": recipe.seed, "model": settings.launchers.hosted.model},
        )
        path = Path(dataset.path)
        folder.mkdir(parents=True)
        session.add(run)
        session.commit()
    try:
        with attended(folder):
            made = open_hosted(settings.launchers.hosted, say).train(
                path,
                recipe,
                name=dataset_id,
                tell=tell,
                stopped=lambda: cancellation_of(folder) is not None,
            )
    except BaseException as error:
        _end(store, run_id, "failed", error=str(error) or type(error).__name__)
        raise
    return _end(store, run_id, "finished", hosted=msgspec.to_builtins(made))


def _end(
    store: Store, run_id: str, status: str, *, error: str | None = None, **more: object
) -> Run:
    with store.session() as session:
        run = session.get_one(Run, run_id)
        run.status, run.error, run.finished_at = status, error, utc_now()
        run.details = run.details | more
        session.add(run)
        session.commit()
    log.info("hosted_run_ended", run=run_id, status=status)
    return run
