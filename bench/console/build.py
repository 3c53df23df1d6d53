"""The rows of the benchmark: a month of traffic, votes, and a loop that has turned.

A store and the extent go in; rows are written in bulk, and the hourly sums are made by the job
itself. The story around them is the one that the console's tests tell.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, delete, select

from bench.console.figures import Extent
from core.clock import utc_now
from core.ids import new_id
from feedback.bulk import Bulk, Row, Target, bulk_of
from feedback.console_tables import AuditEntry, MetricDay, MetricHour
from feedback.store import Store
from feedback.tables import DatasetMember, VerdictRecord
from monitoring.hours import roll_up
from tests.unit.console_story import APPLICATION, ROLLOUT, tell, verdict_numbers, windows

BATCH = 20_000
INTERACTIONS = Target(
    "interaction",
    (
        *("id", "application", "subject", "adapter", "arm", "rollout_id", "step", "endpoint"),
        *("requested_model", "messages", "answer", "status", "stream", "parameters"),
        *("prompt_tokens", "completion_tokens", "latency_s", "ttft_s", "cost", "started_at"),
        *("event_id", "redactions", "extra"),
    ),
)
FEEDBACK = Target(
    "feedback",
    (
        *("event_id", "client_id", "interaction_id", "application", "subject", "kind", "thumbs"),
        *("retracted", "rating", "effective", "given_at", "redactions", "extra"),
    ),
)
ANSWER = "Parcels to Bern take two working days; you get a message when yours is on its way. " * 4
MESSAGES = '[{"role": "user", "content": "How long does a parcel to Bern take, please?"}]'


def build(store: Store, folder: Path, extent: Extent) -> dict[str, float]:
    """Write everything; return how long it took, the hourly sums apart."""
    began_s = time.monotonic()
    tell(store, folder / "runs")
    with store.session() as session:
        session.exec(delete(MetricHour))
        session.exec(delete(MetricDay))
        _fill_story(session, extent)
        session.commit()
    _write_traffic(store, extent)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    built_s = time.monotonic()
    hours = roll_up(store, utc_now(), everything=True)
    rolled_s = time.monotonic()
    again = roll_up(store, utc_now())
    return {
        "insert_s": built_s - began_s,
        "roll_up_all_s": rolled_s - built_s,
        "hours": hours,
        "roll_up_again_s": time.monotonic() - rolled_s,
        "hours_again": again,
    }


def _fill_story(session: Session, extent: Extent) -> None:
    """Add what makes a page dear: verdicts, members, windows of novelty, acts of people."""
    last = session.exec(select(VerdictRecord).where(VerdictRecord.rollout_id == ROLLOUT)).first()
    assert last is not None
    now = utc_now()
    for number in range(extent.verdicts):
        ago = timedelta(seconds=12 * (extent.verdicts - number))
        fresh: dict[str, Any] = {"id": new_id(), "created_at": now - ago}
        fresh["numbers"] = verdict_numbers(24 * number // extent.verdicts)
        session.add(VerdictRecord(**(last.model_dump() | fresh)))
    session.add_all(windows(APPLICATION, now, extent.windows))
    for first in range(0, extent.acts, BATCH):
        numbers = range(first, min(first + BATCH, extent.acts))
        session.connection().execute(insert(AuditEntry), [_act(now, number) for number in numbers])
    session.add_all(
        DatasetMember(dataset_id=f"{APPLICATION}--d3", interaction_id=new_id(), split="train")
        for _ in range(extent.members)
    )


def _act(now: datetime, number: int) -> dict[str, Any]:
    """Return a review that somebody gave: most of what a year's audit log holds."""
    actor = f"reviewer{number % 7}"
    place = {"kind": "review", "subject": new_id(), "application": APPLICATION}
    told: dict[str, Any] = {"action": "review_approved", "reason": "", "details": {}}
    at = now - timedelta(minutes=5 * number)
    return {"id": new_id(), "at": at, "actor": actor, **place, **told}


def _write_traffic(store: Store, extent: Extent) -> None:
    chance = random.Random(17)
    now = utc_now()
    left = extent.interactions
    while left > 0:
        count = min(BATCH, left)
        with store.session() as session:
            bulk = bulk_of(session)
            rows = list(_interactions(bulk, count, now, extent, chance))
            bulk.insert(INTERACTIONS, rows, lambda row: row)
            votes = [
                _vote(bulk, row, chance)
                for row in rows
                if chance.random() * extent.rated_one_in < 1
            ]
            bulk.insert(FEEDBACK, votes, lambda row: row)
            session.commit()
        left -= count


def _interactions(
    bulk: Bulk, count: int, now: datetime, extent: Extent, chance: random.Random
) -> Iterator[Row]:
    for _ in range(count):
        at = now - timedelta(seconds=chance.random() * extent.days * 86_400)
        canary = chance.random() < 0.1
        adapter = f"{APPLICATION}--v{3 if canary else 2}"
        status = "error" if chance.random() < 0.01 else "ok"
        latency_s = chance.lognormvariate(math.log(0.8), 0.5)
        yield (
            *(new_id(), APPLICATION, f"{chance.getrandbits(128):032x}", adapter),
            *("canary" if canary else "baseline", ROLLOUT if canary else None, 2, "chat"),
            *(APPLICATION, MESSAGES, ANSWER, status, False, "{}"),
            *(chance.randrange(10, 400), chance.randrange(20, 600), latency_s, latency_s / 6),
            *(0.004, bulk.instant(at), new_id(), "{}", "{}"),
        )


def _vote(bulk: Bulk, row: Row, chance: random.Random) -> Row:
    return (
        *(new_id(), new_id(), row[0], APPLICATION, row[2], "thumbs", chance.random() < 0.7),
        *(False, None, True, row[19], "{}", "{}"),
    )
