"""What follows for adapters that were trained on somebody who was erased: nothing, out, or anew.

By `erasure.adapters`: `mark` leaves them; `retire` takes them out of traffic, the newest adapter
before them (or the base model) answers instead; `retrain` leaves them until one that was trained
without that person is promoted, and files the wish for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from core.clock import utc_now
from core.ids import new_id
from feedback.tables import Adapter, Application, Rollout, TrainingRequest
from loop.conductor import Conductor
from loop.wiring import Parts

ERASER = "erasure"  # `decided_by` of what it does to rollouts, `requested_by` of trainings


def heed_policy(parts: Parts, application: str, adapters: Sequence[str], erasure_id: str) -> str:
    """Do what the settings say about tainted adapters; return what was done, for the record."""
    policy = parts.settings.erasure.adapters
    if not adapters:
        return "no adapter was trained on them"
    if policy == "mark":
        return f"marked {', '.join(adapters)}"
    if policy == "retire":
        return _retire(parts, application, adapters, erasure_id)
    return _ask_for_training(parts, application, adapters, erasure_id)


def _retire(parts: Parts, application: str, adapters: Sequence[str], erasure_id: str) -> str:
    """Take the adapters out of traffic."""
    reason = f"trained on a person who was erased ({erasure_id})"
    conductor = Conductor(parts.store, parts.log, parts.settings.canary)
    with parts.store.session() as session:
        active = session.exec(
            select(Rollout.id).where(
                Rollout.application == application,
                col(Rollout.finished_at).is_(None),
                col(Rollout.canary_adapter).in_(adapters),
            )
        ).all()
    for rollout_id in active:
        conductor.roll_back(rollout_id, operator=ERASER, reason=reason)
    with parts.store.session() as session:
        owner = session.get_one(Application, application)
        if owner.live_adapter in adapters:
            owner.live_adapter = _before(session, owner.live_adapter)
            owner.updated_at = utc_now()
            session.add(owner)
        for name in adapters:
            adapter = session.get_one(Adapter, name)
            adapter.status = "retired"
            session.add(adapter)
        live = owner.live_adapter or "the base model"
        session.commit()
    return f"retired {', '.join(adapters)}; {live} answers"


def _before(session: Session, name: str | None) -> str | None:
    """Return the nearest ancestor that is not tainted, or None: the base model."""
    while name is not None:
        adapter = session.get_one(Adapter, name)
        if adapter.tainted_at is None:
            return name
        name = adapter.parent_adapter
    return None


def _ask_for_training(
    parts: Parts, application: str, adapters: Sequence[str], erasure_id: str
) -> str:
    """File the wish for a full training, once, if what answers now is tainted."""
    with parts.store.session() as session:
        owner = session.get_one(Application, application)
        if owner.live_adapter not in adapters:
            return f"marked {', '.join(adapters)}; none of them is live"
        open_one = session.exec(
            select(TrainingRequest).where(
                TrainingRequest.application == application,
                TrainingRequest.requested_by == ERASER,
                col(TrainingRequest.run_id).is_(None),
            )
        ).first()
        request = open_one or TrainingRequest(
            id=new_id(),
            application=application,
            reason=f"{owner.live_adapter} was trained on a person who was erased ({erasure_id})",
            requested_by=ERASER,
            full=True,
        )
        session.add(request)
        session.commit()
    return f"marked {', '.join(adapters)}; training {request.id} without them is asked for"
