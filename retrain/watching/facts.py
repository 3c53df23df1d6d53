"""All that is known of a run, from its folder and its row: what the report shows.

Every part may be missing: a run that failed has no result, a killed one no phases. Reads files and
draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from core.clock import as_utc
from core.errors import TrainingError
from core.tracking_settings import TrackersSettings
from feedback.tables import Adapter, Run
from retrain.money.training import run_cost
from retrain.runs.job import OUTCOME_FILE
from retrain.runs.progress import read_all
from retrain.runs.spec import JobResult, JobSpec, TrainOutcome
from retrain.watching.curve import findings_of, points_of
from retrain.watching.health import Finding, Point, judge_failure, judge_system
from retrain.watching.system import Use, read_use
from retrain.watching.tracking import ENVIRONMENT_FILE, flat_numbers, openers_for


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the report of one run is made of."""

    run_id: str
    status: str
    error: str | None
    about: Mapping[str, Any]  # why, on what, how
    points: list[Point]
    findings: list[Finding]
    outcome: TrainOutcome | None
    gate: Mapping[str, Any]  # decision and reasons
    gate_numbers: Mapping[str, float]
    phases_s: Mapping[str, float]
    use: Use | None
    usd_per_hour: float | None
    environment: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    trackers: Sequence[str] = ()  # who was to be told
    expected: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what it would take

    @property
    def cost(self) -> float | None:
        """What the machine's time came to, in US dollars; None without a price."""
        return run_cost(self.use.seconds, self.usd_per_hour) if self.use else None


def gather(run: Run, adapter: Adapter | None, usd_per_hour: float | None) -> RunFacts:
    """Return what is known of the run now; `adapter` is what came of it."""
    folder = Path(run.folder)
    told, use, result = read_all(folder), read_use(folder), JobResult.read(folder)
    points, spec = points_of(told), _spec(folder)
    evaluations = msgspec.to_builtins(result.evaluations) if result else {}
    return RunFacts(
        run_id=run.id,
        status=run.status,
        error=run.error,
        about=_about(run, adapter),
        points=points,
        findings=[
            *judge_failure(run.error or "", points[-1].step if points else 0),
            *_findings(findings_of(told), use, points),
        ],
        outcome=result.outcome if result else _outcome(folder),
        gate=adapter.gate if adapter else {},
        gate_numbers=flat_numbers("", evaluations),
        phases_s=result.seconds if result else {},
        use=use,
        usd_per_hour=usd_per_hour,
        environment=_json(folder / ENVIRONMENT_FILE) | _device(run),
        recipe=spec.recipe if spec else {},
        trackers=_trackers(spec) if spec else (),
        expected=run.details.get("expected", {}),
    )


def _about(run: Run, adapter: Adapter | None) -> dict[str, Any]:
    values = {
        "application": run.application,
        "reason": run.reason,
        "dataset": run.dataset_id,
        "recipe": run.recipe,
        "mode": run.mode,
        "seed": run.details.get("seed"),
        "live adapter": run.parent_adapter,
        "adapter": adapter.name if adapter else None,
        "launcher": run.launcher,
        "queued at": as_utc(run.started_at).isoformat(timespec="seconds"),
        "ended at": as_utc(run.finished_at).isoformat(timespec="seconds")
        if run.finished_at
        else None,
        "folder": run.folder,
        "begun even if it may not fit": "yes"
        if run.details.get("even_if_it_may_not_fit")
        else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _findings(told: list[Finding], use: Use | None, points: list[Point]) -> list[Finding]:
    if use is None:
        return told
    memory = max(use.memory_share, use.gpu_memory_share or 0.0)
    return told + judge_system(use.gpu_share, memory, points[-1].step if points else 0)


def _device(run: Run) -> dict[str, Any]:
    return {name: run.details[name] for name in ("device", "code") if name in run.details}


def _outcome(folder: Path) -> TrainOutcome | None:
    path = folder / OUTCOME_FILE
    return msgspec.json.decode(path.read_bytes(), type=TrainOutcome) if path.is_file() else None


def _spec(folder: Path) -> JobSpec | None:
    try:
        return JobSpec.read(folder)
    except TrainingError:  # it failed before it had a job
        return None


def _trackers(spec: JobSpec) -> tuple[str, ...]:
    return tuple(openers_for(TrackersSettings.model_validate(spec.trackers)))


def _json(path: Path) -> dict[str, Any]:
    return msgspec.json.decode(path.read_bytes()) if path.is_file() else {}
