"""How far ingest has applied the event log: the positions that the store keeps with the rows.

A session goes in; positions are read, begun, moved by compare-and-set, or set back. Knows nothing
of what records mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from feedback.log.protocol import EventSource, Partition
from feedback.store import Store
from feedback.tables import LogOffset

CONSUMER = "ingest"


def read_positions(session: Session) -> dict[Partition, int]:
    """Return the position of every partition that was ever begun."""
    rows = session.exec(select(LogOffset).where(LogOffset.consumer == CONSUMER)).all()
    return {Partition(row.topic, row.partition): row.position for row in rows}


def begin(session: Session, partitions: Sequence[Partition]) -> None:
    """Write the first position of each partition."""
    session.add_all(
        LogOffset(consumer=CONSUMER, topic=topic, partition=name, position=0)
        for topic, name in partitions
    )
    with suppress(IntegrityError):  # another ingest was quicker: its rows are as good
        session.commit()


def advance(session: Session, partition: Partition, position: int, to: int) -> bool:
    """Move a position, as the transaction's first write, so that it locks out other ingests."""
    moved = session.exec(
        update(LogOffset)
        .where(col(LogOffset.consumer) == CONSUMER)
        .where(col(LogOffset.topic) == partition.topic)
        .where(col(LogOffset.partition) == partition.name)
        .where(col(LogOffset.position) == position)
        .values(position=to)
    )
    return moved.rowcount == 1


def rewind(store: Store, source: EventSource, since: datetime | None) -> Mapping[Partition, int]:
    """Set ingest back to the first record since `since` (None: the first that is held).

    Returns the positions that were moved. A running ingest goes on from there.
    """
    wanted = source.positions_at(since)
    with store.session() as session:
        known = read_positions(session)
        moved = {part: at for part, at in wanted.items() if at < known.get(part, 0)}
        for part, position in moved.items():
            advance(session, part, known[part], position)
        session.commit()
    return moved
