"""LOG → tables: applies the event log to the store, each event once in effect.

Reads every topic from where the store says it stopped, and writes rows and new positions in one
transaction: a crash at any point loses nothing and doubles nothing. A record that cannot be
applied goes to the dead-letter topic and never stops the others. Two ingests may run; one of
them moves on. Knows neither who wrote the events nor what their rows are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import DataError, IntegrityError

from feedback.dead_letter import dead_letter
from feedback.events import Event, FeedbackGiven, decode
from feedback.log.protocol import EventLog, EventSource, Partition, Record
from feedback.positions import advance, begin, read_positions
from feedback.rows import write_rows
from feedback.store import Store

MAX_BATCH = 5_000  # SQLite takes 32,766 parameters in a statement, and a record needs up to 4

# What the database says of a value that it cannot hold; a locked or lost database says others.
REFUSED = (DataError, IntegrityError, OverflowError)

Entry = tuple[Record, Event | None]  # None: nothing to write, only a position to move

_log = structlog.get_logger(__name__)


Positions = dict[Partition, int]


class Ingest:
    """The consumer that fills the store; `batch` is the most records of a partition at a time.

    Records that cannot be applied are appended to `letters`.
    """

    def __init__(self, source: EventSource, store: Store, *, letters: EventLog, batch: int) -> None:
        self._source = source
        self._store = store
        self._letters = letters
        self._batch = min(batch, MAX_BATCH)
        self.dealt_with = 0  # records, since the start
        self.seen_lag: dict[Partition, int] = {}  # as `note_lag` last saw it

    def run_once(self) -> int:
        """Apply the next records and return how many were dealt with; 0 at the log's end."""
        positions = self._positions(self._source.assigned())
        records = self._source.read(positions, limit=self._batch)
        if records:
            self._apply([(record, self._event(record)) for record in records], positions)
            self._source.applied(positions)
            self.dealt_with += len(records)
        return len(records)

    def drain(self, told: Callable[[int], None] = lambda _count: None) -> int:
        """Apply everything up to the log's end and return how many records that were.

        `told` hears how many so far.
        """
        total = 0
        while True:
            count = self.run_once()
            total += count
            told(total)
            if count == 0 and not self.lag():
                return total

    def lag(self) -> dict[Partition, int]:
        """Return how far each partition's end is from what is applied, where it is."""
        ends = self._source.ends()
        positions = self._positions(list(ends))
        return {part: end - positions[part] for part, end in ends.items() if end > positions[part]}

    def note_lag(self) -> None:
        """Look how far behind it is, for whoever watches."""
        self.seen_lag = dict.fromkeys(self._source.assigned(), 0) | self.lag()

    def _positions(self, assigned: Sequence[Partition]) -> Positions:
        """Return where each partition stands, in the order that they were assigned in."""
        with self._store.session() as session:
            known = read_positions(session)
            if missing := [partition for partition in assigned if partition not in known]:
                begin(session, missing)
        return {partition: known.get(partition, 0) for partition in assigned}

    def _event(self, record: Record) -> Event | None:
        """Return the record's event, or None if it has none and is buried."""
        try:
            return _coherent(decode(record.topic, record.value))
        except (ValueError, RecursionError) as error:
            self._bury(record, error)
            return None

    def _apply(self, batch: Sequence[Entry], positions: Positions) -> None:
        """Apply the batch; if the database refuses it, one by one, to find which it means."""
        try:
            self._commit(batch, positions)
        except REFUSED:
            for record, event in batch:
                self._apply_alone(record, event, positions)

    def _apply_alone(self, record: Record, event: Event | None, positions: Positions) -> None:
        try:
            self._commit([(record, event)], positions)
        except REFUSED as error:
            self._bury(record, error)
            self._commit([(record, None)], positions)

    def _bury(self, record: Record, error: Exception) -> None:
        """Keep a poison record for a person; before the commit, so that none is ever lost."""
        self._letters.append([dead_letter(record, error)])
        _log.error(
            "poison_record", topic=record.topic, offset=record.offset, error=type(error).__name__
        )

    def _commit(self, batch: Sequence[Entry], positions: Positions) -> None:
        """Write rows and positions together, unless another ingest has moved a position."""
        moved = {record.partition: record.offset for record, _ in batch}  # the last one wins
        with self._store.session() as session:
            if all(advance(session, part, positions[part], to) for part, to in moved.items()):
                write_rows(session, [event for _, event in batch if event is not None])
                session.commit()
        positions.update(moved)


def _coherent(event: Event) -> Event:
    """Return the event.

    Raises: ValueError when a feedback's value does not fit its kind.
    """
    if not isinstance(event, FeedbackGiven):
        return event
    values = {"thumbs": event.thumbs, "rating": event.rating, "text": event.text}
    wanted = event.kind if event.kind in values else "text"
    if [name for name, value in values.items() if value is not None] != [wanted]:
        raise ValueError(f"a feedback of kind {event.kind} must have {wanted} and no other value")
    if event.rating is not None and not 1 <= event.rating <= 5:
        raise ValueError(f"rating is {event.rating}, not 1 to 5")
    return event
