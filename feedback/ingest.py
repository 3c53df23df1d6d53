"""LOG → tables: applies the event log to the store, each event once in effect.

Reads every partition from where the store says it stopped, and writes rows and new positions in
one transaction: a crash at any point loses nothing and doubles nothing. A record that cannot be
applied goes to the dead-letter topic and never stops the others. Two ingests may run; one of
them moves on. Knows neither who wrote the events nor what their rows are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import DataError, IntegrityError
from sqlmodel import Session

from feedback.coherence import coherent
from feedback.dead_letter import DeadLetter, dead_letter, read_letter, write_letters
from feedback.events import DEAD_LETTER_TOPIC, Received, receive
from feedback.log.protocol import EventLog, EventSource, Partition, Record
from feedback.positions import advance, begin, read_positions
from feedback.rows import write_rows
from feedback.store import Store
from feedback.suppression import forget_erased

# What the database says of a value that it cannot hold; a locked or lost database says others.
REFUSED = (DataError, IntegrityError, OverflowError)

Content = Received | DeadLetter | None  # None: nothing to write, only a position to move
Entry = tuple[Record, Content]
Positions = dict[Partition, int]

_log = structlog.get_logger(__name__)


class Ingest:
    """The consumer that fills the store; `batch` is the most records of a partition at a time.

    Records that cannot be applied are appended to `letters`.
    """

    def __init__(self, source: EventSource, store: Store, *, letters: EventLog, batch: int) -> None:
        self._source = source
        self._store = store
        self._letters = letters
        self._batch = batch
        self.dealt_with = 0  # records, since the start
        self.seen_lag: Positions = {}  # as `note_lag` last saw it

    def run_once(self) -> int:
        """Apply the next records and return how many were dealt with; 0 at the log's end."""
        positions = self._positions(self._source.assigned())
        records = self._source.read(positions, limit=self._batch)
        if records:
            self._apply([(record, self._content(record)) for record in records], positions)
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

    def lag(self) -> Positions:
        """Return how many records of each partition are not applied at most, where there are."""
        return dict(self._source.behind(self._positions(self._source.assigned())))

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

    def _content(self, record: Record) -> Content:
        """Return what the record says, or None if that is nothing or it is buried."""
        if not record.value:  # a tombstone: what it erases, the erasure has taken out already
            return None
        try:
            if record.topic == DEAD_LETTER_TOPIC:
                return read_letter(record.value)
            return coherent(receive(record.topic, record.value))
        except (ValueError, RecursionError) as error:
            self._bury(record, error)
            return None

    def _apply(self, batch: Sequence[Entry], positions: Positions) -> None:
        """Apply the batch; if the database refuses it, by halves, to find which record it means."""
        try:
            self._commit(batch, positions)
        except REFUSED as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._apply(batch[:middle], positions)
                self._apply(batch[middle:], positions)
                return
            [(record, _)] = batch
            self._bury(record, error)
            self._commit([(record, None)], positions)

    def _bury(self, record: Record, error: Exception) -> None:
        """Keep a poison record for a person; before the commit, so that none is ever lost."""
        _log.error(
            "poison_record", topic=record.topic, offset=record.offset, error=type(error).__name__
        )
        if record.topic != DEAD_LETTER_TOPIC:  # else it would be buried again and again
            self._letters.append([dead_letter(record, error)])

    def _commit(self, batch: Sequence[Entry], positions: Positions) -> None:
        """Write rows and positions together, unless another ingest has moved a position."""
        moved = {record.partition: record.offset for record, _ in batch}  # the last one wins
        with self._store.session() as session:
            if all(advance(session, part, positions[part], to) for part, to in moved.items()):
                _write(session, [content for _, content in batch])
                session.commit()
        positions.update(moved)


def _write(session: Session, contents: Sequence[Content]) -> None:
    events = [content for content in contents if isinstance(content, Received)]
    write_rows(session, forget_erased(session, events))
    write_letters(session, [content for content in contents if isinstance(content, DeadLetter)])
