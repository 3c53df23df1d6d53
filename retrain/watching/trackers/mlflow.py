"""A run of MLflow, on a tracking server or in a SQLite file.

Settings become parameters, numbers metrics. The run is found again by its tag `ratchet.run`, so
that a training which goes on after a crash goes on in the same one. MLflow no longer writes plain
folders (3.x); SQLite needs no server.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from typing import Any

from core.errors import SettingsError
from core.tracking_settings import TrackersSettings
from retrain.watching.trackers.tracker import Subject

RUN_TAG = "ratchet.run"
BATCH = 100  # parameters in one request: MLflow's own limit
TEXT_CHARS = 500  # of a parameter
# A server that is away shall cost a training seconds, not the minutes of MLflow's defaults.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MlflowTracker:
    """Keeps one run in MLflow."""

    name = "mlflow"

    def __init__(self, subject: Subject, settings: TrackersSettings) -> None:
        for variable, value in PATIENCE.items():
            os.environ.setdefault(variable, value)
        try:
            tracking = importlib.import_module("mlflow.tracking")
            self._entities: Any = importlib.import_module("mlflow.entities")
        except ImportError as error:
            raise SettingsError(
                "retrain.trackers.mlflow_uri is set, and MLflow is not installed: "
                "`pip install ratchet-llm[tracking]`, or unset it"
            ) from error
        self._client: Any = tracking.MlflowClient(tracking_uri=settings.mlflow_uri)
        experiment = self._experiment(settings.mlflow_experiment)
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{subject.run_id}'")
        if found:
            self._run: str = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            made = self._client.create_run(
                experiment, run_name=subject.run_id, tags={RUN_TAG: subject.run_id}
            )
            self._run = made.info.run_id
            self._tell_settings(subject.settings)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the numbers of a step."""
        now_ms = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(name, value, now_ms, step) for name, value in values.items()
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def finish(self, *, ok: bool) -> None:
        """Set the run's status."""
        self._client.set_terminated(self._run, "FINISHED" if ok else "FAILED")

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return known.experiment_id if known else self._client.create_experiment(name)

    def _tell_settings(self, settings: Mapping[str, Any]) -> None:
        parameters = [
            self._entities.Param(name, str(value)[:TEXT_CHARS]) for name, value in settings.items()
        ]
        for at in range(0, len(parameters), BATCH):
            self._client.log_batch(self._run, params=parameters[at : at + BATCH])
