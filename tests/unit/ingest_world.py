"""Events as gateways log them, and what ingest makes of them, for tests of both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlmodel import select

from core.ids import new_id
from feedback.dead_letter import DeadLetter
from feedback.events import (
    DEAD_LETTER_TOPIC,
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    SOURCES,
    FeedbackGiven,
    InteractionFinished,
    RolloutChanged,
    encode,
)
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool
from feedback.log.spool_source import Keeping, SpoolSource
from feedback.store import Store
from feedback.tables import Feedback
from tests.fakes.memory_log import MemoryLog

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def interaction(id: str, application: str = "desk", **changes: Any) -> InteractionFinished:
    """Return an interaction as the gateway logs it."""
    fields: dict[str, Any] = {
        "event_id": new_id(),
        "endpoint": "chat.completions",
        "requested_model": "desk",
        "latency_s": 0.5,
        "started_at": NOW,
        **changes,
    }
    return InteractionFinished(interaction_id=id, application=application, **fields)


def thumbs(id: str, up: bool, *, at_s: float = 0, **changes: Any) -> FeedbackGiven:
    """Return a thumbs-up or -down on interaction `id`, given so many seconds after NOW."""
    fields: dict[str, Any] = {
        "event_id": new_id(),
        "client_id": new_id(),
        "application": "desk",
        "subject": "ann",
        "kind": "thumbs",
        "given_at": NOW + timedelta(seconds=at_s),
        **changes,
    }
    return FeedbackGiven(interaction_id=id, thumbs=up, **fields)


def rollout() -> RolloutChanged:
    """Return a change of a rollout as the conductor logs it."""
    return RolloutChanged(
        event_id=new_id(),
        rollout_id="r1",
        application="desk",
        state="canary",
        step=0,
        share=0.01,
        decided_by="conductor",
        reason="ready",
        changed_at=NOW,
    )


def put(log: MemoryLog | Spool, *events: InteractionFinished | FeedbackGiven) -> None:
    """Append events to their topics."""
    log.append(
        [
            NewRecord(
                INTERACTIONS_TOPIC if isinstance(event, InteractionFinished) else FEEDBACK_TOPIC,
                event.interaction_id,
                encode(event),
            )
            for event in events
        ]
    )


def source_of(spool: Spool) -> SpoolSource:
    """Return a reader of the folder that the spool is in."""
    return SpoolSource(spool.folder.parent, SOURCES, Keeping(keep_s=60, max_bytes=1 << 24))


def rows(store: Store, table: type[Any]) -> list[Any]:
    """Return all rows of a table."""
    with store.session() as session:
        return list(session.exec(select(table)).all())


def effective(store: Store) -> dict[str, list[bool]]:
    """Return the effective thumbs of each interaction."""
    found: dict[str, list[bool]] = {}
    for row in rows(store, Feedback):
        if row.effective:
            found.setdefault(row.interaction_id, []).append(row.thumbs)
    return found


def letters(log: MemoryLog | Spool) -> list[DeadLetter]:
    """Return what is in the dead-letter topic."""
    records = log.read(DEAD_LETTER_TOPIC, after=0, limit=1000)
    return [msgspec.json.decode(record.value, type=DeadLetter) for record in records]
