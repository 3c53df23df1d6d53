"""Ingest: everything acknowledged arrives in the tables exactly once in effect."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlmodel import select

from core.clock import as_utc
from core.errors import LogFullError, NotFoundError
from core.ids import new_id
from feedback.dead_letter import DeadLetter, list_letters, replay_letter
from feedback.events import (
    DEAD_LETTER_TOPIC,
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    ROLLOUTS_TOPIC,
    SOURCES,
    FeedbackGiven,
    InteractionFinished,
    Message,
    RolloutChanged,
    encode,
)
from feedback.ingest import Ingest
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool, SpoolLimits
from feedback.log.spool_source import Keeping, SpoolSource
from feedback.positions import rewind
from feedback.store import Store
from feedback.tables import Application, Feedback, Interaction, LogOffset
from tests.fakes.memory_log import MemoryLog, MemorySource

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store.create_tables()
    yield store
    store.close()


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


def test_an_interaction_becomes_a_row_with_all_its_fields(log: MemoryLog, store: Store) -> None:
    """Every field of the event is in the row; times come back as the same instant."""
    event = interaction(
        "i1",
        subject="ann",
        adapter="desk--v1",
        arm="canary",
        rollout_id="r1",
        step=2,
        messages=[Message("user", "hello"), Message("assistant", "hi")],
        answer="an answer",
        status="error",
        error="engine_error",
        finish_reason="stop",
        stream=True,
        parameters={"temperature": 0.5, "stop": ["x"]},
        prompt_tokens=3,
        completion_tokens=4,
        ttft_s=0.25,
        itl_s=0.02,
        cost=0.0015,
        started_at=NOW.astimezone(timezone(timedelta(hours=5))),
    )
    put(log, event)
    assert Ingest(MemorySource(log), store, letters=log, batch=10).run_once() == 1
    [row] = rows(store, Interaction)
    expected = msgspec.structs.asdict(event) | {"extra": {}}
    del expected["schema"]
    expected["id"] = expected.pop("interaction_id")
    expected["messages"] = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
    ]
    assert {**row.model_dump(), "started_at": as_utc(row.started_at)} == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumbs", {"thumbs": False}),
        ("rating", {"rating": 4}),
        ("comment", {"text": "too long"}),
        ("correction", {"text": ""}),  # what metadata_only leaves of it
    ],
)
def test_each_kind_of_feedback_becomes_a_row(
    log: MemoryLog, store: Store, kind: Any, value: dict[str, Any]
) -> None:
    """The row has the one value and the instant."""
    event = FeedbackGiven(
        event_id="e",
        client_id="c",
        interaction_id="i1",
        application="desk",
        subject="ann",
        kind=kind,
        given_at=NOW,
        **value,
    )
    put(log, event)
    Ingest(MemorySource(log), store, letters=log, batch=10).drain()
    [row] = rows(store, Feedback)
    expected = {"thumbs": None, "rating": None, "text": None, **value}
    assert {name: getattr(row, name) for name in expected} == expected
    assert (row.event_id, row.client_id, row.kind, row.effective) == ("e", "c", kind, True)
    assert as_utc(row.given_at) == NOW
    assert letters(log) == []


def test_feedback_may_come_before_its_interaction(log: MemoryLog, store: Store) -> None:
    """It waits in its row, and counts once the interaction is there."""
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    put(log, thumbs("i1", True))
    ingest.drain()
    put(log, interaction("i1"))
    ingest.drain()
    assert [row.id for row in rows(store, Interaction)] == ["i1"]
    assert effective(store) == {"i1": [True]}


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_what_comes_twice_is_there_once(log: MemoryLog, store: Store, batch: int) -> None:
    """Equal events, other events of a known interaction, and equal client ids: the first wins."""
    first, vote = interaction("i1", answer="first"), thumbs("i1", True, client_id="c")
    put(log, first, first, interaction("i1", answer="second"))
    put(log, vote, vote, thumbs("i1", False, client_id="c"), thumbs("i2", True, client_id="c"))
    put(log, first, vote)
    Ingest(MemorySource(log), store, letters=log, batch=batch).drain()
    assert [row.answer for row in rows(store, Interaction)] == ["first"]
    assert effective(store) == {"i1": [True], "i2": [True]}
    assert len(rows(store, Feedback)) == 2
    assert letters(log) == []


@pytest.mark.parametrize("batch", [1, 100])
def test_the_last_vote_of_a_subject_and_kind_is_effective(
    log: MemoryLog, store: Store, batch: int
) -> None:
    """Last in time, not in the log; other subjects, kinds and interactions have their own."""
    put(
        log,
        thumbs("i1", True, at_s=5),
        thumbs("i1", False, at_s=9),
        thumbs("i1", True, at_s=7),
        thumbs("i1", True, at_s=1, subject="bob"),
        thumbs("i1", True, at_s=2, subject=None),
        thumbs("i1", False, at_s=3, subject=None),
        thumbs("i2", True, at_s=0),
        FeedbackGiven(
            event_id=new_id(),
            client_id="r",
            interaction_id="i1",
            application="desk",
            subject="ann",
            kind="rating",
            rating=5,
            given_at=NOW,
        ),
    )
    Ingest(MemorySource(log), store, letters=log, batch=batch).drain()
    found = {
        (row.interaction_id, row.subject, row.kind): row.thumbs
        for row in rows(store, Feedback)
        if row.effective
    }
    assert found == {
        ("i1", "ann", "thumbs"): False,
        ("i1", "bob", "thumbs"): True,
        ("i1", None, "thumbs"): False,
        ("i2", "ann", "thumbs"): True,
        ("i1", "ann", "rating"): None,
    }
    assert sum(row.effective for row in rows(store, Feedback)) == len(found)


def test_of_votes_at_one_instant_the_higher_event_id_is_effective(
    log: MemoryLog, store: Store
) -> None:
    """The order is total, so replaying the log gives the same tables."""
    put(log, thumbs("i1", True, event_id="b"), thumbs("i1", False, event_id="a"))
    Ingest(MemorySource(log), store, letters=log, batch=10).drain()
    assert effective(store) == {"i1": [True]}


@pytest.mark.parametrize("interaction_first", [True, False])
def test_another_applications_feedback_never_counts(
    log: MemoryLog, store: Store, interaction_first: bool
) -> None:
    """An API key rates only what its own application served."""
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    foreign = thumbs("i1", False, at_s=9, application="rival")
    served = interaction("i1")
    for event in (served, foreign) if interaction_first else (foreign, served):
        put(log, event)
        ingest.drain()
    put(log, thumbs("i1", True))
    ingest.drain()
    assert effective(store) == {"i1": [True]}
    assert len(rows(store, Feedback)) == 2


def test_missing_applications_are_created_and_present_ones_kept(
    log: MemoryLog, store: Store
) -> None:
    """An application's live adapter is not touched."""
    with store.session() as session:
        session.add(Application(name="desk", live_adapter="desk--v1"))
        session.commit()
    put(log, interaction("i1"), interaction("i2", "shop"), thumbs("i3", True, application="bank"))
    Ingest(MemorySource(log), store, letters=log, batch=10).drain()
    assert {row.name: row.live_adapter for row in rows(store, Application)} == {
        "desk": "desk--v1",
        "shop": None,
        "bank": None,
    }


def test_rollout_events_only_move_the_position(log: MemoryLog, store: Store) -> None:
    """They are an audit trail; the next run does not read them again."""
    log.append([NewRecord(ROLLOUTS_TOPIC, "r1", encode(rollout()))])
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    assert (ingest.run_once(), ingest.run_once()) == (1, 0)
    assert letters(log) == []


def test_positions_are_kept_by_topic(log: MemoryLog, store: Store) -> None:
    """Each topic's position is the offset of its last record."""
    put(log, interaction("i1"), interaction("i2"), thumbs("i1", True))
    Ingest(MemorySource(log), store, letters=log, batch=10).drain()
    positions = {topic: log.end(topic) for topic in SOURCES}
    assert {row.topic: row.position for row in rows(store, LogOffset)} == positions
    assert positions[INTERACTIONS_TOPIC] != positions[FEEDBACK_TOPIC] != 0


def test_draining_applies_everything_by_batches(log: MemoryLog, store: Store) -> None:
    """More records than fit a batch, and the number of all of them comes back."""
    put(log, *(interaction(f"i{number}") for number in range(25)))
    put(log, *(thumbs(f"i{number}", True) for number in range(7)))
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    assert ingest.drain() == 32
    assert len(rows(store, Interaction)) == 25
    assert ingest.drain() == 0


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


def test_fields_of_a_newer_gateway_are_kept(log: MemoryLog, store: Store) -> None:
    """They are in `extra` as they came, and everything else is read as usual."""
    newer = msgspec.to_builtins(interaction("i1")) | {"mood": {"calm": 0.5}, "seed": 7}
    log.append([NewRecord(INTERACTIONS_TOPIC, "i1", msgspec.json.encode(newer))])
    vote = msgspec.to_builtins(thumbs("i1", True)) | {"device": "phone"}
    log.append([NewRecord(FEEDBACK_TOPIC, "i1", msgspec.json.encode(vote))])
    Ingest(MemorySource(log), store, letters=log, batch=10).drain()
    [row], [given] = rows(store, Interaction), rows(store, Feedback)
    assert (row.extra, given.extra) == ({"mood": {"calm": 0.5}, "seed": 7}, {"device": "phone"})
    assert letters(log) == []


def test_a_tombstone_only_moves_the_position(log: MemoryLog, store: Store) -> None:
    """It is no event and no poison."""
    log.append([NewRecord(INTERACTIONS_TOPIC, "i1", b"")])
    ingest = Ingest(MemorySource(log), store, letters=log, batch=10)
    assert (ingest.drain(), ingest.drain()) == (1, 0)
    assert letters(log) == []


def test_replay_applies_what_is_held_again_and_changes_nothing(
    log: MemoryLog, store: Store
) -> None:
    """Set back to the beginning, ingest reads all again, and the store stays as it is."""
    put(log, interaction("i1"), thumbs("i1", True), thumbs("i1", False, at_s=5))
    source = MemorySource(log)
    ingest = Ingest(source, store, letters=log, batch=10)
    ingest.drain()
    before = [row.model_dump() for row in (*rows(store, Interaction), *rows(store, Feedback))]
    moved = rewind(store, source, None)
    assert {part.topic for part in moved} == {INTERACTIONS_TOPIC, FEEDBACK_TOPIC}
    assert ingest.drain() == 3
    after = [row.model_dump() for row in (*rows(store, Interaction), *rows(store, Feedback))]
    assert after == before


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


# Applies the log, but is killed when its third transaction is about to commit, or just after.
KILLED_CHILD = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from feedback.events import SOURCES
from feedback.ingest import Ingest
from feedback.log.spool import Spool, SpoolLimits
from feedback.log.spool_source import Keeping, SpoolSource
from feedback.store import Store

store = Store(sys.argv[1])
left = 3

def die(connection):
    global left
    left -= 1
    if left == 0:
        if sys.argv[3] == "after":
            connection.connection.commit()
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(store.engine, "commit", die)
folder = Path(sys.argv[2])
letters = Spool(folder.parent / "ingest-0-test", SpoolLimits(1 << 24))
source = SpoolSource(folder.parent, SOURCES, Keeping(60, 1 << 24))
Ingest(source, store, letters=letters, batch=5).drain()
"""


@pytest.mark.parametrize(("moment", "applied"), [("before", 5), ("after", 10)])
def test_killed_at_a_commit_nothing_is_lost_or_doubled(
    tmp_path: Path, store: Store, moment: str, applied: int
) -> None:
    """The next ingest goes on where the last commit was."""
    spool = Spool(tmp_path / "log" / "service-0-test", SpoolLimits(1 << 24))
    put(spool, *(interaction(f"i{number:02}") for number in range(20)))
    put(spool, *(thumbs(f"i{number:02}", number % 2 == 0) for number in range(20)))
    spool.append([NewRecord(FEEDBACK_TOPIC, "poison", b"nonsense")])
    child = subprocess.run(
        [sys.executable, "-c", KILLED_CHILD, store.url, str(spool.folder), moment],
        cwd=ROOT,
        check=False,
    )
    assert child.returncode == -9
    assert len(rows(store, Interaction)) == applied
    Ingest(source_of(spool), store, letters=spool, batch=5).drain()
    assert sorted(row.id for row in rows(store, Interaction)) == [f"i{n:02}" for n in range(20)]
    assert effective(store) == {f"i{number:02}": [number % 2 == 0] for number in range(20)}
    assert len(letters(spool)) == 1
    spool.close()


def test_two_ingests_at_once_apply_everything_once(tmp_path: Path, store: Store) -> None:
    """Started twice by mistake, they share the work and bury no good record."""
    spool = Spool(tmp_path / "log" / "service-0-test", SpoolLimits(1 << 24))
    put(spool, *(interaction(f"i{number}") for number in range(200)))
    put(spool, *(thumbs(f"i{number}", True) for number in range(200)))
    faults: list[BaseException] = []

    def drain() -> None:
        try:
            Ingest(source_of(spool), store, letters=spool, batch=7).drain()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=drain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(rows(store, Interaction)) == 200
    assert effective(store) == {f"i{number}": [True] for number in range(200)}
    assert letters(spool) == []
    spool.close()
