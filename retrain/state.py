"""The tables → what the policy asks about: how much is new, what is live, what ran when.

Reads dataset members, adapters, runs and rollouts in the caller's session; what the other stages
say comes as `Signals`. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import exists, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from core.clock import as_utc
from core.errors import DataError
from core.settings import Settings
from feedback.tables import Adapter, Application, DatasetMember, Rollout, Run
from retrain.evaluations import steps_kept
from retrain.recipe import load_recipe
from retrain.registry.servable import read_config
from retrain.runs.attending import is_attended
from retrain.signals import Signals
from retrain.situation import Failures, State, Work

REWARD = "reward"  # a trainer whose result answers nobody
NO_SIGNALS = Signals()


def read_state(
    session: Session,
    settings: Settings,
    application: str,
    dataset_id: str | None,
    signals: Signals = NO_SIGNALS,
    *,
    recipe: str | None = None,
) -> State:
    """Return what is known about training `application` on a dataset version; None: there is none.

    `recipe` is a name or a file; None: the settings'.

    Raises: SettingsError for a recipe that there is not.
    """
    live = live_adapter(session, application)
    runs = session.exec(
        select(Run).where(Run.application == application).order_by(col(Run.started_at))
    ).all()
    tainted_at = as_utc(live.tainted_at) if live and live.tainted_at else None
    replaces = settings.erasure.adapters == "retrain" or signals.erasure_asks
    return State(
        total_examples=_count(session, dataset_id),
        new_examples=_count(session, dataset_id, but_not_of=live.dataset_id if live else None),
        base_model=str(settings.engine.model),
        live_adapter=live.name if live else None,
        trained_base_model=live.base_model if live else None,
        steps_kept=steps_kept(_chain(session, live)),
        ratings=None if isinstance(signals.ratings, str) else signals.ratings,
        ratings_note=signals.ratings if isinstance(signals.ratings, str) else "",
        evaluations=signals.evaluations,
        drift=signals.drift,
        trained_at=_trained_at(runs, live),
        requested_by=signals.requested_by,
        full_asked=signals.full_asked,
        unfit=_unfit(live, recipe or settings.retrain.recipe),
        tainted=tainted_at is not None,
        replaces_tainted=replaces,
        already_trained=_already_trained(session, settings, runs, dataset_id, tainted_at),
        work=_work(session, application, runs, tainted_at),
        failures=_failures(runs),
        last_started=_last_started(runs),
    )


def live_adapter(session: Session, application: str) -> Adapter | None:
    """Return the adapter that answers; None: the base model does."""
    owner = session.get(Application, application)
    name = owner.live_adapter if owner else None
    return session.get(Adapter, name) if name else None


def _count(session: Session, dataset_id: str | None, *, but_not_of: str | None = None) -> int:
    """Return how many interactions a dataset version is made of, or how many more than another.

    The database counts: a large one's members in memory would hold all other threads up.
    """
    query = (
        select(func.count())
        .select_from(DatasetMember)
        .where(col(DatasetMember.dataset_id) == dataset_id)
    )
    if but_not_of is not None:
        seen = aliased(DatasetMember)
        is_seen = exists().where(
            col(seen.dataset_id) == but_not_of,
            col(seen.interaction_id) == col(DatasetMember.interaction_id),
        )
        query = query.where(~is_seen)
    return session.exec(query).one()


def _chain(session: Session, adapter: Adapter | None) -> list[Adapter]:
    """Return the adapters that led to this one, from the last that was trained in full."""
    chain: list[Adapter] = []
    while adapter is not None:
        chain.append(adapter)
        adapter = session.get(Adapter, adapter.parent_adapter) if adapter.parent_adapter else None
    return chain[::-1]


def _trained_at(runs: Sequence[Run], live: Adapter | None) -> datetime | None:
    """Return when the last training that ended well began; of a foreign adapter, when it came."""
    finished = [run.started_at for run in runs if run.status == "finished"]
    if finished:
        return as_utc(finished[-1])
    return as_utc(live.created_at) if live else None


def _unfit(live: Adapter | None, recipe_name: str) -> str | None:
    """Return why the recipe could not continue the live adapter; None: it can, or nobody knows."""
    if live is None:
        return None
    try:
        config = read_config(Path(live.path))
    except DataError:  # its files are gone or it is none of ours: the training says so
        return None
    found = load_recipe(recipe_name).differences(config)
    return f"recipe {recipe_name} makes another adapter: {'; '.join(found)}" if found else None


def _already_trained(
    session: Session,
    settings: Settings,
    runs: Sequence[Run],
    dataset_id: str | None,
    tainted_at: datetime | None,
) -> bool:
    """Return whether this dataset has been learnt by an adapter of this base, since the taint."""
    ended_well = [
        run
        for run in runs
        if run.dataset_id == dataset_id
        and run.status == "finished"
        and run.hyperparameters.get("trainer") != REWARD
        and (tainted_at is None or as_utc(run.started_at) > tainted_at)
    ]
    made = select(Adapter.run_id).where(Adapter.base_model != str(settings.engine.model))
    of_another_base = set(session.exec(made))
    return any(run.id not in of_another_base for run in ended_well)


def _work(
    session: Session, application: str, runs: Sequence[Run], tainted_at: datetime | None
) -> Work | None:
    """Return the run or the rollout that is not over; a run that nobody attends is broken off."""
    for run in runs:
        if run.status in {"queued", "running"} and is_attended(Path(run.folder)):
            return Work(f"run {run.id} is {run.status}", _is_after(run, tainted_at))
    rollout = session.exec(
        select(Rollout).where(
            Rollout.application == application, col(Rollout.finished_at).is_(None)
        )
    ).first()
    if rollout is None:
        return None
    adapter = session.get(Adapter, rollout.canary_adapter)
    own = session.get(Run, adapter.run_id) if adapter else None
    told = f"{rollout.canary_adapter} is in its rollout ({rollout.state})"
    return Work(told, own is None or _is_after(own, tainted_at))


def _is_after(run: Run, instant: datetime | None) -> bool:
    return instant is None or as_utc(run.started_at) > instant


def _failures(runs: Sequence[Run]) -> Failures | None:
    """Return how many of the newest runs in a row ended without an adapter."""
    ended = [run for run in runs if run.status in {"finished", "failed", "cancelled"}]
    count = 0
    for run in reversed(ended):
        if run.status == "finished":
            break
        count += 1
    if count == 0:
        return None
    last = ended[-1]
    return Failures(count, as_utc(last.finished_at or last.started_at))


def _last_started(runs: Sequence[Run]) -> dict[str, datetime]:
    """Return when each trigger last started a run; a run's reason starts with its trigger."""
    return {run.reason.partition(":")[0]: as_utc(run.started_at) for run in runs}
