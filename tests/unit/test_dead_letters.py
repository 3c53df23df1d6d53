"""Records that cannot be applied: kept whole, in nobody's way, and replayed once mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.errors import LogFullError, NotFoundError
from feedback.dead_letter import list_letters, replay_letter
from feedback.events import (
    DEAD_LETTER_TOPIC,
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    encode,
)
from feedback.ingest import Ingest
from feedback.log.protocol import NewRecord
from feedback.store import Store
from feedback.tables import Interaction
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.ready_store import ready_store
from tests.unit.ingest_world import (
    effective,
    interaction,
    letters,
    put,
    rows,
    thumbs,
)


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()


GOOD_VOTE = msgspec.to_builtins(thumbs("i1", True))
POISON = {
    "not json": b"{nonsense",
    "not text": b"\xff\xfe",
    "nested without end": b"[" * 100_000,
    "missing field": b'{"schema": "feedback.v1"}',
    "another schema": msgspec.json.encode({**GOOD_VOTE, "schema": "feedback.v9"}),
    "unknown kind": msgspec.json.encode({**GOOD_VOTE, "kind": "applause"}),
    "no value": msgspec.json.encode({**GOOD_VOTE, "thumbs": None}),
    "two values": msgspec.json.encode({**GOOD_VOTE, "rating": 3}),
    "value of another kind": msgspec.json.encode({**GOOD_VOTE, "kind": "rating"}),
    "rating out of range": msgspec.json.encode(
        {**GOOD_VOTE, "kind": "rating", "thumbs": None, "rating": 6}
    ),
}


@pytest.mark.parametrize("value", POISON.values(), ids=POISON.keys())
def test_a_poison_record_goes_to_the_dead_letters_and_blocks_nothing(
    log: MemoryLog, store: Store, value: bytes
) -> None:
    """Topic, offset, reason and bytes are kept; records before and after it are applied."""
    put(log, thumbs("before", True))
    log.append([NewRecord(FEEDBACK_TOPIC, "poison", value)])
    put(log, thumbs("after", False))
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    assert (ingest.drain(), ingest.drain()) == (4, 0)  # with the letter itself
    assert effective(store) == {"before": [True], "after": [False]}
    [letter] = letters(log)
    assert (letter.topic, letter.offset, letter.value) == (FEEDBACK_TOPIC, 2, value)
    assert letter.error
    [record] = log.read(DEAD_LETTER_TOPIC, after=0, limit=10)
    assert record.key == "poison"


@pytest.mark.parametrize("batch", [1, 10])
def test_a_value_that_the_database_refuses_is_poison_too(
    log: MemoryLog, store: Store, batch: int
) -> None:
    """A number beyond 64 bits is a valid event, but no database can hold it."""
    put(
        log,
        interaction("i1"),
        interaction("huge", prompt_tokens=1 << 70),
        interaction("i2"),
        thumbs("i1", True),
    )
    log.append([NewRecord(FEEDBACK_TOPIC, "poison", b"nonsense")])
    ingest = Ingest(MemorySource(log), store, letters=log, batch=batch)
    assert (ingest.drain(), ingest.drain()) == (7, 0)  # with two letters
    assert sorted(row.id for row in rows(store, Interaction)) == ["i1", "i2"]
    assert effective(store) == {"i1": [True]}
    assert sorted((letter.topic, letter.offset) for letter in letters(log)) == [
        (FEEDBACK_TOPIC, 5),
        (INTERACTIONS_TOPIC, 2),
    ]


def test_a_mended_letter_is_replayed(log: MemoryLog, store: Store) -> None:
    """Its record goes to its own topic again; what is still wrong becomes another letter."""
    log.append([NewRecord(FEEDBACK_TOPIC, "i1", b"nonsense")])
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    ingest.drain()
    with store.session() as session:
        [letter] = list_letters(session)
        assert (letter.topic, letter.key, letter.value) == (FEEDBACK_TOPIC, "i1", b"nonsense")
        replay_letter(session, log, letter.id)
        session.commit()
    ingest.drain()
    with store.session() as session:
        [again] = list_letters(session)
        assert again.id != letter.id
        assert len(list_letters(session, replayed=True)) == 2
        again.value = encode(thumbs("i1", True))
        replay_letter(session, log, again.id)
        session.commit()
        with pytest.raises(NotFoundError, match="no dead letter 'unknown'"):
            replay_letter(session, log, "unknown")
    ingest.drain()
    assert effective(store) == {"i1": [True]}
    with store.session() as session:
        assert list_letters(session) == []


def test_a_letter_that_cannot_be_read_is_passed_over(log: MemoryLog, store: Store) -> None:
    """It is not buried again, which would never end."""
    log.append([NewRecord(DEAD_LETTER_TOPIC, "k", b"no letter")])
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    assert (ingest.drain(), ingest.drain()) == (1, 0)
    assert len(log.read(DEAD_LETTER_TOPIC, after=0, limit=10)) == 1


def test_one_bad_record_among_many_is_found_by_halves(log: MemoryLog, store: Store) -> None:
    """The others of its batch are applied."""
    put(log, *(interaction(f"i{n}", prompt_tokens=1 << 70 if n == 37 else n) for n in range(100)))
    Ingest(MemorySource(log), store, letters=log, batch=100).drain()
    assert len(rows(store, Interaction)) == 99
    assert len(letters(log)) == 1


def test_when_the_dead_letter_does_not_fit_nothing_is_lost(store: Store) -> None:
    """The error comes up, the position stays, and with room in the log ingest goes on."""
    log = MemoryLog()
    log.append([NewRecord(FEEDBACK_TOPIC, "poison", b"nonsense")])
    put(log, thumbs("i1", True))
    log.max_bytes = 0
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    with pytest.raises(LogFullError):
        ingest.drain()
    log.max_bytes = 1 << 20
    ingest.drain()
    assert len(letters(log)) == 1
    assert effective(store) == {"i1": [True]}
