"""Ingest: everything acknowledged arrives in the tables exactly once in effect."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import as_utc
from core.ids import new_id
from feedback.events import (
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    ROLLOUTS_TOPIC,
    SOURCES,
    FeedbackGiven,
    Message,
    encode,
)
from feedback.ingest import Ingest
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool, SpoolLimits
from feedback.positions import rewind
from feedback.store import Store
from feedback.tables import Application, Feedback, Interaction, LogOffset
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.ready_store import ready_store
from tests.unit.ingest_world import (
    NOW,
    effective,
    interaction,
    letters,
    put,
    rollout,
    rows,
    source_of,
    thumbs,
)

ROOT = Path(__file__).parents[2]


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
