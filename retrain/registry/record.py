"""A finished run → the `Adapter` row and the card that describe what it made.

A run, its dataset version, its result and its verdict go in; a row with the guide's
metadata comes out. Source of the shape: fine-tuning guide, "Version Control and Model
Registry". Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import utc_now
from core.files import folder_sha256
from feedback.tables import Adapter, DatasetVersion, Run
from retrain.gate.conclusion import gate_facts
from retrain.gate.verdict import GateVerdict
from retrain.registry.ledger import UNHASHED
from retrain.runs.spec import JobResult

BASE = "the base model"  # what a first adapter is compared with


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """All that is known when a run's job is done and judged."""

    run: Run
    dataset: DatasetVersion
    result: JobResult
    verdict: GateVerdict
    rank: int
    base_model: str
    created_by: str
    settings_hash: str = ""  # of the settings that the run was judged by
    unservable: tuple[str, ...] = ()  # why no engine could hot-load it; none: it can

    @property
    def method(self) -> str:
        """The recipe's method; of files alone a qlora cannot be told from a lora."""
        return str(self.run.hyperparameters.get("method", "lora"))

    @property
    def continues(self) -> str | None:
        """The adapter whose weights this one grew from, if it did."""
        return self.run.parent_adapter if self.run.mode == "incremental" else None


def adapter_row(folder: Path, finished: FinishedRun) -> Adapter:
    """Return the row of the adapter whose files lie in `folder`; the folder names it."""
    metadata = _metadata(folder.name, finished)
    return Adapter(
        name=folder.name,
        application=finished.run.application,
        base_model=finished.base_model,
        path=str(folder),
        content_hash=folder_sha256(folder, ignore=UNHASHED),
        run_id=finished.run.id,
        dataset_id=finished.dataset.id,
        parent_adapter=finished.continues,
        status=metadata["production_status"],
        rank=finished.rank,
        method=finished.method,
        servable=not finished.unservable,
        gate=gate_facts(finished.verdict, finished.result, finished.run.parent_adapter or BASE),
        model_metadata=metadata,
        created_by=finished.created_by,
    )


def run_metrics(result: JobResult) -> dict[str, Any]:
    """Return the numbers of a finished job, flat, None where there is none."""
    outcome = result.outcome
    found: dict[str, Any] = {
        "train_loss": outcome.train_loss,
        "validation_loss": outcome.best_validation_loss,
        "steps": outcome.steps,
        "epochs": outcome.epochs,
        "stopped_early": outcome.stopped_early,
        "new_examples": outcome.new_examples,
        "skipped_too_long": outcome.skipped_too_long,
        "trainable_parameters": outcome.trainable_parameters,
        "tokens_per_s": outcome.tokens_per_s,
        **outcome.measures,  # of preferences and rewards
    }
    for name, pair in result.evaluations.items():
        found[f"{name}_loss"] = pair.candidate.loss
        found[f"{name}_task_score"] = pair.candidate.task_score
        found[f"{name}_exact_match"] = pair.candidate.exact_match
        found[f"{name}_examples"] = pair.candidate.examples
    return found


def _pairs(run: Run, dataset: DatasetVersion) -> dict[str, Any]:
    """Return who decided the pairs of the version, and whose were learnt; {} where none were."""
    own: dict[str, Any] = run.hyperparameters.get(run.hyperparameters.get("trainer", ""), {})
    learnt = own.get("ai_pairs")  # of dpo and reward
    found = dataset.manifest.get("lineage", {}).get("preferences")
    if learnt is None or found is None:
        return {}
    judges = [own["judge"] for own in found["judges"]]
    return {
        "pairs": {
            "people": found["people"],
            "judge": found["judge"],
            "judges": judges,
            "ai_pairs": learnt,
        }
    }


def _metadata(name: str, finished: FinishedRun) -> dict[str, Any]:
    run, dataset, result = finished.run, finished.dataset, finished.result
    reasons = {"not_servable_because": list(finished.unservable)} if finished.unservable else {}
    return reasons | {
        "model_id": name,
        "base_model": finished.base_model,
        "training_data": {
            "version": dataset.id,
            "size": result.outcome.train_examples,
            "hash": f"sha256:{dataset.content_hash}",
            **_pairs(run, dataset),
        },
        "hyperparameters": run.hyperparameters,
        "metrics": run_metrics(result),
        "created_at": utc_now().isoformat(timespec="seconds"),
        "trained_by": finished.created_by,
        "production_status": "gated" if finished.verdict.passed else "candidate",
        "application": run.application,
        "run": {
            "id": run.id,
            "mode": run.mode,
            "recipe": run.recipe,
            "reason": run.reason,
            "continues": finished.continues,
            "seconds": result.seconds,
        },
    }
