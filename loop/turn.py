"""One whole turn of the loop, in order: ratings → dataset → adapter → gate → canary → decision.

Read `turn` from top to bottom: it is the story of Ratchet. Each line is one stage; each stage
lives in its own package and meets the others only in the tables. Run it by `ratchet turn`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
from sqlmodel import Session

from core.errors import NotFoundError, StateError, TrainingError
from curation.pipeline import EVERYTHING, build_dataset
from curation.selection import Selection
from feedback.tables import Adapter, Application, DatasetVersion, Rollout
from loop.conductor import Conductor
from loop.narration import Narrator
from loop.planning import Wish, plan_on
from loop.stages import ACTIVE_STATES
from loop.wiring import Parts
from retrain.drift_reports import answer_reports
from retrain.policy import Plan
from retrain.requests import open_requests, take_up
from retrain.runs.assembly import TrainRequest
from retrain.runs.runner import train_adapter

POLL_S = 0.5


@dataclass(frozen=True)
class TurnResult:
    """What one turn came to; later fields are None where the turn ended before them."""

    dataset: DatasetVersion
    plan: Plan
    adapter: Adapter | None = None
    rollout: Rollout | None = None


def turn(
    parts: Parts, application: str, narrator: Narrator, *, requested_by: str | None = None
) -> TurnResult:
    """Turn the loop once for `application` and return when users have decided.

    Needs a running service (`ratchet up`), whose conductor moves the rollout.

    Raises: NotFoundError for an unknown application, DataError with too few examples,
    TrainingError, GateError when the gate says no.
    """
    require_application(parts, application)  # before anything is done for it
    ingest(parts)
    dataset = curate(parts, application, narrator)
    plan = plan_training(parts, application, dataset, requested_by=requested_by)
    narrator.tell(plan.reason)
    if not plan.train:
        return TurnResult(dataset, plan)
    adapter = retrain(parts, application, dataset, plan, narrator)
    tell_gate(adapter, narrator)
    rollout = start_canary(parts, adapter.name)
    narrator.tell(f"rollout {rollout.id} of {adapter.name} has begun")
    return TurnResult(dataset, plan, adapter, wait_for_decision(parts, rollout.id, narrator))


def ingest(parts: Parts) -> int:
    """Bring the store up to the end of the event log; return how many records that took."""
    return parts.ingest().drain()


def curate(
    parts: Parts, application: str, narrator: Narrator, *, source: Selection = EVERYTHING
) -> DatasetVersion:
    """Make a dataset version of what people rated and corrected.

    Raises: NotFoundError for an unknown application, DataError with too few examples.
    """
    require_application(parts, application)
    with narrator.curating() as progress:
        dataset = build_dataset(
            parts.store, parts.settings, application, progress=progress, source=source
        )
    narrator.tell(
        f"dataset {dataset.id}: {dataset.train_rows} train, {dataset.validation_rows} validation, "
        f"{dataset.test_rows} test examples, {dataset.new_rows} of them new"
    )
    return dataset


def plan_training(
    parts: Parts,
    application: str,
    dataset: DatasetVersion,
    *,
    requested_by: str | None = None,
    recipe: str | None = None,
) -> Plan:
    """Ask the retraining policy whether, how and why to train on `dataset`.

    A training that was asked for and not taken up yet counts as a person's wish.
    """
    return plan_on(parts, application, dataset.id, Wish(requested_by, recipe))


def retrain(
    parts: Parts,
    application: str,
    dataset: DatasetVersion,
    plan: Plan,
    narrator: Narrator,
    *,
    recipe: str | None = None,
    created_by: str = "ratchet",
    even_if_it_may_not_fit: bool = False,
) -> Adapter:
    """Train an adapter as planned and hold it against the live one; its row has the gate's word.

    `recipe` is a name or a TOML file; None: the settings'. The run takes up what asked for it.
    `even_if_it_may_not_fit` lets it begin whatever the estimate of its memory says.
    """
    if plan.mode is None:
        raise TrainingError(f"nothing to train: {plan.reason}")
    request = TrainRequest(
        application=application,
        dataset_id=dataset.id,
        mode=plan.mode,
        parent_adapter=require_application(parts, application).live_adapter,
        recipe=recipe or parts.settings.retrain.recipe,
        reason=plan.reason,
        created_by=created_by,
        plan=msgspec.to_builtins(plan),
        even_if_it_may_not_fit=even_if_it_may_not_fit,
    )

    def taken_up(session: Session, run_id: str) -> None:
        take_up(session, open_requests(session, application), run_id)
        answer_reports(session, application, run_id)

    with narrator.training() as progress:
        return train_adapter(
            parts.store,
            parts.settings,
            request,
            progress=progress,
            on_queued=taken_up,
            on_expected=narrator.tell,
        )


def tell_gate(adapter: Adapter, narrator: Narrator) -> None:
    """Say what the gate said."""
    decision = adapter.gate["decision"]
    colour = "green" if decision == "pass" else "red"
    narrator.say(f"gate for {adapter.name}: [{colour}]{decision}[/]")
    for reason in adapter.gate["reasons"]:
        narrator.tell(f"  {reason}")


def start_canary(parts: Parts, adapter: str) -> Rollout:
    """Begin the rollout of a gated (or overridden) adapter.

    Raises: StateError when the settings keep its application out of rollouts.
    """
    with parts.store.session() as session:
        row = session.get(Adapter, adapter)
    kept_out = [
        name
        for name, kept in parts.settings.applications.items()
        if kept.adapter or not kept.canary
    ]
    if row is not None and row.application in kept_out:
        raise StateError(
            f"{row.application} takes no canaries: unset applications.{row.application}.adapter "
            "and .canary in the settings"
        )
    rules = parts.settings.canary if row is None else parts.settings.canary_of(row.application)
    return Conductor(parts.store, parts.log, rules).start(adapter)


def wait_for_decision(parts: Parts, rollout_id: str, narrator: Narrator) -> Rollout:
    """Return the rollout once it is promoted (in watch or live) or has ended otherwise."""
    return _wait(parts, rollout_id, narrator, ACTIVE_STATES - {"watch"})


def wait_for_end(parts: Parts, rollout_id: str, narrator: Narrator) -> Rollout:
    """Return the rollout once nothing of it is left to decide, the watch included."""
    return _wait(parts, rollout_id, narrator, ACTIVE_STATES)


def _wait(parts: Parts, rollout_id: str, narrator: Narrator, while_in: frozenset[str]) -> Rollout:
    seen: tuple[str, int] | None = None
    while True:
        with parts.store.session() as session:
            rollout = session.get(Rollout, rollout_id)
        if rollout is None:
            raise NotFoundError(f"no rollout {rollout_id!r}: `ratchet canary list` shows them")
        if (rollout.state, rollout.step) != seen:
            seen = (rollout.state, rollout.step)
            narrator.tell(f"{rollout.state} at {rollout.share:.0%}: {rollout.reason}")
        if rollout.state not in while_in:
            return rollout
        time.sleep(POLL_S)


def require_application(parts: Parts, name: str) -> Application:
    """Return the row of an application. Raises: NotFoundError."""
    with parts.store.session() as session:
        row = session.get(Application, name)
    if row is None:
        known = ", ".join(sorted(parts.settings.applications)) or "none"
        raise NotFoundError(f"no application {name!r}; the settings name: {known}")
    return row
