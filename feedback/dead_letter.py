"""Poison records: what ingest cannot apply, kept whole with the reason, so that it can be mended.

A record of any topic and an error go in; a record of the dead-letter topic comes out.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from core.ids import new_id
from feedback.events import DEAD_LETTER_TOPIC
from feedback.log.protocol import NewRecord, Record


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
