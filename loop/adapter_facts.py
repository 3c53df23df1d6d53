"""What the commands and pages say of an adapter: plain values of its row and what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from feedback.tables import Adapter, DatasetMember, Rollout
from retrain.registry.ledger import standing


def list_all(session: Session, application: str | None = None) -> Sequence[Adapter]:
    """Return the adapters, of one application or of all, the newest last."""
    query = select(Adapter).order_by(col(Adapter.created_at))
    if application is not None:
        query = query.where(Adapter.application == application)
    return session.exec(query).all()


def brief(adapter: Adapter) -> dict[str, Any]:
    """Return the row with its standing."""
    return adapter.model_dump(mode="json") | {"standing": standing(adapter)}


def describe(session: Session, adapter: Adapter) -> dict[str, Any]:
    """Return the row, its lineage from interactions to rollouts, and its descendants."""
    rollouts = session.exec(
        select(Rollout)
        .where(Rollout.canary_adapter == adapter.name)
        .order_by(col(Rollout.created_at))
    ).all()
    children = session.exec(select(Adapter.name).where(Adapter.parent_adapter == adapter.name))
    return brief(adapter) | {
        "lineage": _lineage(session, adapter),
        "ancestors": [parent.name for parent in _ancestors(session, adapter)],
        "descendants": sorted(children.all()),
        "rollouts": [
            rollout.model_dump(mode="json", include={"id", "state", "share", "reason"})
            for rollout in rollouts
        ],
    }


def _lineage(session: Session, adapter: Adapter) -> list[str]:
    members = session.exec(
        select(DatasetMember.interaction_id).where(DatasetMember.dataset_id == adapter.dataset_id)
    ).all()
    line = [f"{len(members):,} interactions", adapter.dataset_id, f"run {adapter.run_id}"]
    if adapter.parent_adapter:
        line.append(f"continuing {adapter.parent_adapter}")
    return [*line, adapter.name]


def _ancestors(session: Session, adapter: Adapter) -> list[Adapter]:
    found: list[Adapter] = []
    name = adapter.parent_adapter
    while name is not None and (parent := session.get(Adapter, name)) is not None:
        found.append(parent)
        name = parent.parent_adapter
    return found
