"""A request → the job that `job.json` describes, once all that it names is there and fits.

What is wrong is told before any compute: an unknown dataset, changed files, a recipe that cannot
continue the live adapter. Reads rows in the caller's session and writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlmodel import Session

from core.errors import NotFoundError, TrainingError
from core.settings import Settings
from feedback.tables import Adapter, DatasetVersion, Run
from retrain.defaults import Size, adapted
from retrain.gate.suite_files import load_suites
from retrain.gate.wins import find_wins
from retrain.model_shape import read_shape
from retrain.parallel.plan import planned
from retrain.policy import Mode
from retrain.recipe import Recipe
from retrain.recipe_rules import reward_faults
from retrain.registry import ledger
from retrain.registry.servable import read_config
from retrain.runs.spec import GateSpec, JobSpec


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
    plan: dict[str, Any] = field(default_factory=dict[str, Any])  # the policy's, kept on the run
    even_if_it_may_not_fit: bool = False  # somebody knows better than the estimate of memory


def job_for(
    session: Session, settings: Settings, request: TrainRequest, recipe: Recipe, run_id: str
) -> JobSpec:
    """Return the job that fulfils `request`; `recipe` holds the values of its mode.

    Raises: NotFoundError for an unknown dataset or adapter, DataError for changed files,
    TrainingError for what cannot be trained.
    """
    dataset = find_dataset(session, request.dataset_id)
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
        seen = find_dataset(session, live.dataset_id)
    if request.mode == "incremental":
        _require_continuable(live, recipe, settings)
    # an adapter of another base cannot be loaded on this one: the gate then compares with the base
    loads = live is not None and live.base_model == str(settings.engine.model)
    return JobSpec(
        run_id=run_id,
        mode=request.mode,
        base_model=str(base_model),
        base_model_name=str(settings.engine.model),
        dataset=str(Path(dataset.path).resolve()),
        seen_dataset=str(Path(seen.path).resolve()) if seen else None,
        live_adapter=live.path if live and loads else None,
        recipe=recipe.model_dump(mode="json", exclude={"incremental"}),
        threads=len(os.sched_getaffinity(0)),
        gate_examples=settings.gate.examples,
        gate=gate_for(session, settings, [row.id for row in (dataset, seen) if row], live),
        reward_model=_reward_model(session, recipe),
        live_trainer=_trainer_of(session, live) if live else None,
        trackers=settings.retrain.trackers.settled().model_dump(mode="json"),
        parallel=planned(settings),
        even_if_it_may_not_fit=request.even_if_it_may_not_fit,
    )


def gate_for(
    session: Session, settings: Settings, datasets: Sequence[str], live: Adapter | None
) -> GateSpec:
    """Return what the gate asks of a candidate that is compared with `live`, and whom.

    Raises: SettingsError for a suite that is none.
    """
    rules = settings.gate
    engine = settings.engine
    return GateSpec(
        suites=load_suites(rules),
        answers=rules.answers,
        engine=engine.replicas[0] if engine.replicas else engine.url,
        concurrent=rules.concurrent,
        max_tokens=rules.max_tokens,
        wins=find_wins(session, datasets, live.name) if live else (),
        encoder=str(rules.encoder.resolve()) if rules.encoder else None,
        usd_per_hour=settings.costs.usd_per_hour,
    )


def fitted(session: Session, settings: Settings, request: TrainRequest, recipe: Recipe) -> Recipe:
    """Return the recipe for this dataset's size and this base model's, if it asks for that.

    What continues an adapter keeps the gentle values of `[incremental]`.

    Raises: NotFoundError for an unknown dataset; DataError for a base model of unknown shape.
    """
    if not recipe.adapt_to_size or request.mode == "incremental":
        return recipe
    dataset = find_dataset(session, request.dataset_id)
    weights = read_shape(settings.engine.model).parameters
    return adapted(recipe, Size(dataset.train_rows, weights))


def find_dataset(session: Session, dataset_id: str) -> DatasetVersion:
    """Return the dataset version of that id.

    Raises: NotFoundError.
    """
    dataset = session.get(DatasetVersion, dataset_id)
    if dataset is None:
        raise NotFoundError(f"no dataset version {dataset_id!r}: `ratchet curate` makes one")
    return dataset


def _reward_model(session: Session, recipe: Recipe) -> str | None:
    """Return the folder of the reward model that the recipe names: an adapter's, or one by path.

    Raises: NotFoundError when it is neither; TrainingError when nothing rewards.
    """
    if faults := reward_faults(recipe):
        raise TrainingError(faults[0])
    name = recipe.reinforce.reward_model if recipe.reinforce else None
    if name is None:
        return None
    path = Path(name)
    return str(path.resolve()) if path.is_dir() else ledger.find(session, name).path


def _trainer_of(session: Session, adapter: Adapter) -> str | None:
    """Return by what the adapter was trained; None of one that was made elsewhere."""
    run = session.get(Run, adapter.run_id)
    return run.hyperparameters.get("trainer") if run else None


def _require_continuable(live: Adapter | None, recipe: Recipe, settings: Settings) -> None:
    if live is None:
        raise TrainingError("mode incremental needs a parent adapter to continue: train in full")
    if live.base_model != str(settings.engine.model):
        raise TrainingError(
            f"adapter {live.name} was trained on {live.base_model}, the engine serves "
            f"{settings.engine.model}: an adapter cannot move to another base, train in full"
        )
    differences = recipe.differences(read_config(Path(live.path)))
    if differences:
        raise TrainingError(
            f"adapter {live.name} cannot be continued with recipe {recipe.name}: "
            f"{'; '.join(differences)}: train in full, or use the recipe it was made with"
        )
