"""A store with an application, its adapters, runs, answers and ratings, for the policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import Session

from core.ids import new_id
from feedback.tables import (
    Adapter,
    Application,
    DatasetMember,
    DatasetVersion,
    Feedback,
    Interaction,
    Run,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def add_dataset(session: Session, dataset_id: str, interactions: range, **values: Any) -> None:
    """Add a dataset version of these interactions."""
    row = DatasetVersion(
        id=dataset_id,
        application="desk",
        path=f"/datasets/{dataset_id}",
        content_hash="0",
        train_rows=len(interactions),
        validation_rows=0,
        test_rows=0,
        new_rows=len(interactions),
    )
    session.add(row.sqlmodel_update({"created_at": NOW - 20 * DAY} | values))
    for number in interactions:
        session.add(
            DatasetMember(dataset_id=dataset_id, interaction_id=f"i{number}", split="train")
        )
    session.commit()


def add_adapter(session: Session, name: str, dataset_id: str, **values: Any) -> None:
    """Add an adapter that is live from now on."""
    row = Adapter(
        name=name,
        application="desk",
        base_model="models/base",
        path=f"/adapters/{name}",
        content_hash="0",
        run_id=f"run-of-{name}",
        dataset_id=dataset_id,
        rank=16,
        created_by="ann",
    )
    session.add(row.sqlmodel_update({"created_at": NOW - 30 * DAY} | values))
    session.get_one(Application, "desk").live_adapter = name
    session.commit()


def add_run(session: Session, reason: str, hour: int, **values: Any) -> Run:
    """Add a run on dataset `desk--d1` that started at `hour` of today."""
    row = Run(
        id=f"run-{reason}-{hour}",
        application="desk",
        dataset_id="desk--d1",
        recipe="sft-lora",
        mode="full",
        reason=reason,
        status="finished",
        folder="/runs/x",
        started_at=NOW.replace(hour=hour),
    )
    session.add(row.sqlmodel_update(values))
    session.commit()
    return row


def answer(session: Session, at: datetime, *, good: bool | None = None, **values: Any) -> str:
    """Let `desk--v1` answer somebody, who says whether that was good; return the interaction."""
    id_ = new_id()
    row = Interaction(
        id=id_,
        application="desk",
        subject=f"subject-{id_}",
        adapter="desk--v1",
        endpoint="/v1/chat/completions",
        requested_model="desk",
        latency_s=0.1,
        started_at=at,
        event_id=new_id(),
    )
    session.add(row.sqlmodel_update(values))
    if good is not None:
        say(session, id_, at, kind="thumbs", thumbs=good, subject=row.subject)
    return id_


def say(session: Session, interaction_id: str, at: datetime, **values: Any) -> None:
    """Let somebody say something of an answer."""
    row = Feedback(
        event_id=new_id(),
        client_id=new_id(),
        interaction_id=interaction_id,
        application="desk",
        kind="thumbs",
        given_at=at,
    )
    session.add(row.sqlmodel_update(values))


def rate(session: Session, at: datetime, good: int, total: int) -> None:
    """Let so many people rate an answer of that time, each their own; `good` of them like it."""
    for number in range(total):
        answer(session, at, good=number < good)
    session.commit()
