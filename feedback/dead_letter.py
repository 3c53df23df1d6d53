"""Records that ingest cannot apply, kept whole with the reason, so that they can be mended.

A record of any topic and an error make a record of the dead-letter topic; ingest reads that too,
into a table where people find them and from which they are appended again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlmodel import Session, col, select

from core.clock import utc_now
from core.errors import NotFoundError
from core.ids import new_id
from feedback import tables
from feedback.events import DEAD_LETTER_TOPIC
from feedback.log.protocol import EventLog, NewRecord, Record


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be applied; `value` holds its bytes, base64 in the JSON."""

    schema: Literal["dead-letter.v1"] = "dead-letter.v1"
    event_id: str
    topic: str
    partition: str
    offset: int
    key: str
    error: str
    value: bytes


def dead_letter(record: Record, error: Exception) -> NewRecord:
    """Return the record to append to the dead-letter topic, under the key of `record`."""
    letter = DeadLetter(
        event_id=new_id(),
        topic=record.topic,
        partition=record.partition.name,
        offset=record.offset,
        key=record.key,
        error=f"{type(error).__name__}: {error}",
        value=record.value,
    )
    return NewRecord(DEAD_LETTER_TOPIC, record.key, msgspec.json.encode(letter))


def read_letter(value: bytes) -> DeadLetter:
    """Return the letter in a record's value. Raises: msgspec.DecodeError, ValidationError."""
    return msgspec.json.decode(value, type=DeadLetter)


def write_letters(session: Session, letters: Sequence[DeadLetter]) -> None:
    """Write the rows of the letters that have none yet. The caller commits."""
    for letter in letters:
        if session.get(tables.DeadLetter, letter.event_id) is None:
            session.add(
                tables.DeadLetter(
                    id=letter.event_id,
                    topic=letter.topic,
                    partition=letter.partition,
                    offset=letter.offset,
                    key=letter.key.replace("\x00", ""),  # no database stores it in text
                    value=letter.value,
                    error=letter.error.replace("\x00", ""),
                )
            )


def list_letters(
    session: Session, *, topic: str | None = None, replayed: bool = False
) -> list[tables.DeadLetter]:
    """Return the letters, oldest first; those that were replayed only if wanted."""
    query = select(tables.DeadLetter).order_by(col(tables.DeadLetter.buried_at))
    if topic is not None:
        query = query.where(tables.DeadLetter.topic == topic)
    if not replayed:
        query = query.where(col(tables.DeadLetter.replayed_at).is_(None))
    return list(session.exec(query))


def replay_letter(session: Session, log: EventLog, letter_id: str) -> tables.DeadLetter:
    """Append a letter's record again, to its own topic, and return it with the time.

    What still cannot be applied becomes a new letter. The caller commits.

    Raises: NotFoundError, LogFullError.
    """
    letter = session.get(tables.DeadLetter, letter_id)
    if letter is None:
        raise NotFoundError(f"no dead letter {letter_id!r}: `ratchet dead-letter list` shows them")
    log.append([NewRecord(letter.topic, letter.key, letter.value)])
    letter.replayed_at = utc_now()
    session.add(letter)
    return letter
