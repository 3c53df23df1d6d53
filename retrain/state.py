"""The tables → what the policy asks about: how much is new, what is live, what ran when.

Reads dataset members, adapters and runs in the caller's session; scores, drift, the schedule
and a person's wish come from the other stages as `Signals`. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from core.clock import as_utc
from core.settings import Settings
from feedback.tables import Adapter, Application, DatasetMember, Run
from retrain.policy import State


@dataclass(frozen=True, slots=True)
class Signals:
    """What the tables of this stage cannot tell; scores are None with too few ratings."""

    baseline_score: float | None = None
    recent_score: float | None = None
    domain_shift: bool = False
    scheduled: bool = False
    requested_by: str | None = None


def read_state(
    session: Session,
    settings: Settings,
    application: str,
    dataset_id: str,
    signals: Signals = Signals(),
) -> State:
    """Return what is known about training `application` on the dataset version `dataset_id`."""
    live = _live_adapter(session, application)
    members = _members(session, dataset_id)
    seen = _members(session, live.dataset_id) if live else set[str]()
    runs = session.exec(select(Run).where(col(Run.application) == application)).all()
    return State(
        total_examples=len(members),
        new_examples=len(members - seen),
        base_model=str(settings.engine.model),
        live_adapter=live.name if live else None,
        trained_base_model=live.base_model if live else None,
        increments=_increments(session, live),
        baseline_score=signals.baseline_score,
        recent_score=signals.recent_score,
        domain_shift=signals.domain_shift,
        scheduled=signals.scheduled,
        requested_by=signals.requested_by,
        tainted=live is not None and live.tainted_at is not None,
        already_trained=any(
            run.dataset_id == dataset_id and run.status == "finished" for run in runs
        ),
        last_started=_last_started(runs),
    )


def _live_adapter(session: Session, application: str) -> Adapter | None:
    owner = session.get(Application, application)
    name = owner.live_adapter if owner else None
    return session.get(Adapter, name) if name else None


def _members(session: Session, dataset_id: str) -> set[str]:
    members = select(DatasetMember.interaction_id).where(
        col(DatasetMember.dataset_id) == dataset_id
    )
    return set(session.exec(members))


def _increments(session: Session, adapter: Adapter | None) -> int:
    """Return how many incremental runs in a row led to this adapter."""
    count = 0
    while adapter is not None and adapter.parent_adapter is not None:
        count += 1
        adapter = session.get(Adapter, adapter.parent_adapter)
    return count


def _last_started(runs: Sequence[Run]) -> dict[str, datetime]:
    """Return when each trigger last started a run; a run's reason starts with its trigger."""
    last: dict[str, datetime] = {}
    for run in sorted(runs, key=lambda run: as_utc(run.started_at)):
        last[run.reason.partition(":")[0]] = as_utc(run.started_at)
    return last
