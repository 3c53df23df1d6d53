"""A job's result → a registered adapter: judged, shelved, and written on its run's row.

A run whose folder holds a result goes in; an `Adapter` row, `gated` or `candidate`, comes out.
Knows nothing of processes: whoever ran the job, it ends here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog

from core.clock import as_utc, utc_now
from core.files import json_sha256
from core.settings import Settings
from feedback.store import Store
from feedback.tables import Adapter, Run
from retrain.gate.answering import forget_answers
from retrain.gate.conclusion import conclude
from retrain.gate.report import write_evaluation
from retrain.registry import ledger
from retrain.registry.record import BASE, FinishedRun, run_metrics
from retrain.registry.servability import servability
from retrain.registry.shelf import shelve
from retrain.registry.signing import open_signer
from retrain.runs.assembly import find_dataset
from retrain.runs.spec import JobResult, trained_folder

log = structlog.get_logger()


def register_result(
    store: Store, settings: Settings, run_id: str, created_by: str, result: JobResult
) -> Adapter:
    """Judge the adapter, copy it to a name of its own, and write its row and its run's end.

    Raises: AdapterRefused for pickles and for an adapter of another base model.
    """
    result, verdict = conclude(_folder(store, run_id), result, settings.gate)
    with store.session() as session:
        run = session.get_one(Run, run_id)
        trained = trained_folder(Path(run.folder))
        found = servability(trained, settings.engine)
        finished = FinishedRun(
            run=run,
            dataset=find_dataset(session, run.dataset_id),
            result=result,
            verdict=verdict,
            rank=found.rank,
            unservable=found.reasons,
            base_model=str(settings.engine.model),
            created_by=created_by,
            settings_hash=json_sha256(_judging_settings(settings)),
        )
        write_evaluation(
            Path(run.folder),
            verdict,
            result.answering,
            compared_with=run.parent_adapter or BASE,
            answered_by=result.answered_by,
        )
        folder = ledger.reserve_folder(session, run.application, settings.folder("adapters"))
        adapter = shelve(folder, trained, finished, open_signer(settings))
        ledger.register(session, adapter)
        run.status, run.metrics, run.finished_at = "finished", run_metrics(result), utc_now()
        duration = (run.finished_at - as_utc(run.started_at)).total_seconds()
        run.details = run.details | {"seconds": duration}  # the report adds what the machine cost
        session.add(run)
        session.commit()
    forget_answers(Path(run.folder))
    log.info("adapter_registered", adapter=adapter.name, run=run_id, status=adapter.status)
    return adapter


def _folder(store: Store, run_id: str) -> Path:
    with store.session() as session:
        return Path(session.get_one(Run, run_id).folder)


def _judging_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that a run is judged by; keys are no part of them."""
    gate = settings.gate.model_dump(mode="json", exclude={"judge": {"api_key"}})
    return {"retrain": settings.retrain.model_dump(mode="json"), "gate": gate}
