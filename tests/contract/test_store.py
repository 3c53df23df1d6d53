"""What a store must do on SQLite and on a real PostgreSQL: schema, ingest, retention."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, inspect, text
from sqlmodel import select

from core.clock import utc_now
from core.errors import SettingsError
from core.ids import new_id
from core.settings import ApplicationSettings, Settings
from feedback import schema
from feedback.dead_letter import list_letters
from feedback.events import (
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    FeedbackGiven,
    InteractionFinished,
    Message,
    encode,
)
from feedback.ingest import Ingest
from feedback.log.protocol import NewRecord
from feedback.partitions import ensure_months, make_month, partition_name, partitions
from feedback.retention import Expired, count_expired, cutoffs, expire
from feedback.store import Store
from feedback.tables import Feedback, Interaction
from tests.fakes.memory_log import MemoryLog, MemorySource

NOW = utc_now()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest) -> Store:
    """A store without tables."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """A file of its own."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Store]:
    """The session's server, emptied."""
    store = Store(postgresql_url)
    _clear(store.engine)
    yield store
    _clear(store.engine)
    store.close()


def _clear(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


@pytest.fixture
def store(empty: Store) -> Store:
    """A store with its tables."""
    empty.create_tables()
    return empty


def interaction(id: str, at: datetime = NOW, **changes: Any) -> InteractionFinished:
    """Return an interaction as a gateway logs it."""
    fields: dict[str, Any] = {
        "event_id": new_id(),
        "application": "desk",
        "subject": "ann",
        "endpoint": "/v1/chat/completions",
        "requested_model": "desk",
        "messages": [Message("user", 'Wo ist es? \t \\ "x" é \n')],
        "answer": "Dort.\tJa \\N",
        "latency_s": 0.5,
        "started_at": at,
        **changes,
    }
    return InteractionFinished(interaction_id=id, **fields)


def thumbs(id: str, up: bool = True, at: datetime = NOW, **changes: Any) -> FeedbackGiven:
    """Return a vote."""
    fields: dict[str, Any] = {
        "event_id": new_id(),
        "client_id": new_id(),
        "application": "desk",
        "subject": "ann",
        "kind": "thumbs",
        "given_at": at,
        **changes,
    }
    return FeedbackGiven(interaction_id=id, thumbs=up, **fields)


def ingest(store: Store, *events: InteractionFinished | FeedbackGiven) -> MemoryLog:
    """Put events into a log and apply all of it; return the log."""
    log = MemoryLog()
    topic = {InteractionFinished: INTERACTIONS_TOPIC, FeedbackGiven: FEEDBACK_TOPIC}
    log.append([NewRecord(topic[type(e)], e.interaction_id, encode(e)) for e in events])
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM logoffset"))
    Ingest(MemorySource(log), store, letters=log, batch=100).drain()
    return log


def rows(store: Store, table: type[Any]) -> list[Any]:
    """Return all rows of a table."""
    with store.session() as session:
        return list(session.exec(select(table)).all())


def test_migrations_go_up_and_down_again(empty: Store) -> None:
    """Up to what the code says, without a difference; down to nothing, and up once more."""
    assert schema.upgrade(empty.engine) is None
    assert schema.problems(empty.engine) == []
    assert schema.upgrade(empty.engine) == schema.HEAD
    for revision in reversed(schema.VERSIONS):
        schema.downgrade(empty.engine, revision)
        assert schema.revision(empty.engine) == revision
    assert schema.downgrade(empty.engine, "base") == schema.VERSIONS[0]
    assert schema.revision(empty.engine) is None
    left = {name for name in inspect(empty.engine).get_table_names() if name != "alembic_version"}
    assert left == set()
    schema.upgrade(empty.engine)
    assert schema.problems(empty.engine) == []


def test_a_schema_that_differs_is_told(store: Store) -> None:
    """A column that somebody dropped, and no revision at all."""
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE run DROP COLUMN reason"))
    [told] = schema.problems(store.engine)
    assert "run" in told
    assert "reason" in told
    schema.downgrade(store.engine, "base")
    assert schema.problems(store.engine) == [
        f"the schema is at nothing, not {schema.HEAD}: run `ratchet db upgrade`"
    ]


def test_a_store_without_revisions_or_of_a_newer_ratchet_is_refused(store: Store) -> None:
    """Nothing is changed in it, and the error says what to do."""
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match=r"at revision 9999.*knows only"):
        store.create_tables()
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(SettingsError, match="kept no revision of it: set store_url"):
        store.create_tables()


def test_events_become_rows_whatever_they_hold(store: Store) -> None:
    """Tabs, backslashes and quotes are no commands of a bulk format."""
    event = interaction("i1", parameters={"stop": ["\\."]}, redactions={"[EMAIL_1]": "ab"})
    ingest(store, event, thumbs("i1"))
    [row], [vote] = rows(store, Interaction), rows(store, Feedback)
    assert row.messages == [{"role": "user", "content": event.messages[0].content}]
    assert (row.answer, row.parameters) == (event.answer, event.parameters)
    assert (row.redactions, row.stream, row.cost) == ({"[EMAIL_1]": "ab"}, False, None)
    assert row.started_at.replace(tzinfo=UTC) == NOW
    assert (vote.thumbs, vote.effective, vote.retracted, vote.rating) == (True, True, False, None)


def test_everything_is_stored_once(store: Store) -> None:
    """Events that come twice, two interactions of one id, two feedback of one client id."""
    event, vote = interaction("i1"), thumbs("i1", client_id="c")
    other = interaction("i1", at=NOW - timedelta(days=40), answer="another")
    ingest(store, event, event, vote, vote, other, thumbs("i1", False, client_id="c"))
    ingest(store, event, other, vote)
    [row], [given] = rows(store, Interaction), rows(store, Feedback)
    assert (row.answer, given.thumbs) == (event.answer, True)


def test_one_event_id_of_two_feedback_is_stored_once(store: Store) -> None:
    """No key tells beforehand: the database finds it; the others are stored, nobody is asked."""
    event, votes = new_id(), [thumbs(f"i{number}") for number in range(5)]
    twice = [msgspec.structs.replace(vote, event_id=event) for vote in votes[:2]]
    log = ingest(store, interaction("i0"), *twice, *votes[2:])
    found = {row.interaction_id for row in rows(store, Feedback) if row.effective}
    assert found == {"i0", "i2", "i3", "i4"}
    assert log.end("ratchet.dead-letter.v1") == 0
    assert len(rows(store, Interaction)) == 1


def test_ids_may_hold_anything(store: Store) -> None:
    """Whatever quotes a list of them in a query; they are found again."""
    ids = ['a"b', "c\\d", "e,f", "{g}", "NULL", "", "h'i", "é\n\t"]
    events = [event for id in ids for event in (interaction(id), thumbs(id, False))]
    ingest(store, *events)
    ingest(store, *events, *(thumbs(id, at=NOW + timedelta(seconds=1)) for id in ids))
    assert sorted(row.id for row in rows(store, Interaction)) == sorted(ids)
    votes = rows(store, Feedback)
    assert len(votes) == 2 * len(ids)
    assert sorted(row.interaction_id for row in votes if row.effective) == sorted(ids)
    assert all(row.thumbs for row in votes if row.effective)


@pytest.mark.parametrize("votes_first", [True, False])
def test_another_applications_vote_stands_until_the_owner_is_known(
    store: Store, votes_first: bool
) -> None:
    """In batches of their own, and in either order; then it never counts."""
    votes = [thumbs("i1", application="shop"), thumbs("i2")]
    if votes_first:
        ingest(store, *votes)
        assert all(row.effective for row in rows(store, Feedback))
    ingest(store, interaction("i1"), interaction("i2"))
    if not votes_first:
        ingest(store, *votes)
    assert [row.interaction_id for row in rows(store, Feedback) if row.effective] == ["i2"]


def test_a_later_vote_replaces_an_earlier_one_and_a_retraction_both(store: Store) -> None:
    """Over batches, and with the interaction last."""
    ingest(store, thumbs("i1", at=NOW))
    ingest(store, thumbs("i1", False, at=NOW + timedelta(seconds=1)))
    assert [row.thumbs for row in rows(store, Feedback) if row.effective] == [False]
    vote = thumbs("i1", at=NOW + timedelta(seconds=2))
    ingest(store, msgspec.structs.replace(vote, thumbs=None, retracted=True), interaction("i1"))
    assert [row for row in rows(store, Feedback) if row.effective] == []


def test_what_the_database_refuses_is_a_dead_letter(store: Store) -> None:
    """One record of many; the others are stored."""
    events = [interaction(f"i{n}", prompt_tokens=1 << 70 if n == 3 else 1) for n in range(9)]
    log = ingest(store, *events)
    assert len(rows(store, Interaction)) == 8
    assert log.end("ratchet.dead-letter.v1") > 0
    with store.session() as session:
        [letter] = list_letters(session)
    assert letter.key == "i3"


def settings(keep_days: float | None) -> Settings:
    """Return settings of an application that keeps so long, and one that keeps everything."""
    return Settings(
        applications={
            "desk": ApplicationSettings(api_key=SecretStr("a"), keep_days=keep_days),
            "shop": ApplicationSettings(api_key=SecretStr("b")),
        }
    )


def test_retention_deletes_what_is_older_than_its_application_keeps(store: Store) -> None:
    """With its feedback, and nothing of another application; counted before."""
    old, new = NOW - timedelta(days=20), NOW - timedelta(days=2)
    ingest(
        store,
        *(interaction("old", old), thumbs("old", at=NOW), interaction("new", new), thumbs("new")),
        *(interaction("shop", old, application="shop"), thumbs("shop", application="shop")),
    )
    before = cutoffs(settings(10), NOW)
    assert count_expired(store, before) == Expired(1, 1)
    assert expire(store, before) == Expired(1, 1)
    assert sorted(row.id for row in rows(store, Interaction)) == ["new", "shop"]
    assert sorted(row.interaction_id for row in rows(store, Feedback)) == ["new", "shop"]
    assert not expire(store, before)
    assert cutoffs(settings(None), NOW) == {}


def test_many_rows_go_by_batches(store: Store) -> None:
    """More than one batch holds."""
    old = NOW - timedelta(days=20)
    ingest(store, *(interaction(f"i{n}", old) for n in range(1_500)))
    assert expire(store, cutoffs(settings(10), NOW)).interactions == 1_500
    assert rows(store, Interaction) == []


@pytest.fixture
def months(postgresql: Store) -> Store:
    """A PostgreSQL store with its tables: SQLite has no partitions."""
    postgresql.create_tables()
    return postgresql


def test_sqlite_has_no_months(sqlite: Store) -> None:
    """One table holds everything."""
    sqlite.create_tables()
    with sqlite.engine.begin() as connection:
        assert ensure_months(connection) == []


def test_a_month_is_made_late_with_the_rows_that_wait_for_it(months: Store) -> None:
    """What came before its partition was in the default one, and nothing is lost or doubled."""
    name = partition_name(NOW.date())
    with months.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {name}"))
    ingest(months, interaction("i1"), interaction("older", NOW - timedelta(days=400)))
    assert any(
        name.removeprefix("interaction_p").replace("_", "-") in problem
        for problem in schema.problems(months.engine)
    )
    with months.engine.begin() as connection:
        assert ensure_months(connection) == [name]
        found = connection.execute(text(f"SELECT id FROM {name}")).scalars().all()
    assert found == ["i1"]
    assert sorted(row.id for row in rows(months, Interaction)) == ["i1", "older"]
    assert schema.problems(months.engine) == []


def test_a_month_of_which_nothing_is_kept_is_dropped_whole(months: Store) -> None:
    """One that another application still needs is not, and loses only what is too old."""
    old = NOW - timedelta(days=100)
    month = old.date().replace(day=1)
    before = cutoffs(settings(10), NOW)
    with months.engine.begin() as connection:
        make_month(connection, month)
    ingest(months, interaction("i1", old), interaction("shop", old, application="shop"))
    assert expire(months, before) == Expired(1, 0)
    with months.engine.begin() as connection:
        assert partition_name(month) in partitions(connection)
        connection.execute(text("DELETE FROM interaction"))
    ingest(months, interaction("i2", old), thumbs("i2"), interaction("i3", old))
    assert expire(months, before) == Expired(2, 1, (partition_name(month),))
    assert rows(months, Feedback) == []
    with months.engine.begin() as connection:
        assert partitions(connection)[0] == partition_name(NOW.date().replace(day=1))


def plan(store: Store, query: str) -> str:
    """Return how the database would run a query, with so many rows that scanning would be dear."""
    with store.engine.connect() as connection:
        if store.engine.dialect.name == "sqlite":
            return str(connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all())
        connection.execute(text("SET enable_seqscan = off"))
        return str(connection.execute(text(f"EXPLAIN {query}")).all())


@pytest.mark.parametrize(
    "query",
    [
        # curation walks one application in time; retention finds what is old
        "SELECT * FROM interaction WHERE application = 'desk' AND started_at < '2026-01-01'",
        # monitoring counts the exposures of one rollout
        "SELECT count(*) FROM interaction WHERE rollout_id = 'r' AND step = 1 AND arm = 'canary'",
        # ingest looks for owners and votes, feedback joins its interaction
        "SELECT application FROM interaction WHERE id = 'i'",
        "SELECT * FROM feedback WHERE interaction_id = 'i' AND kind = 'thumbs' AND effective",
        # erasure finds a person
        "SELECT id FROM interaction WHERE application = 'desk' AND subject = 'ann'",
        "SELECT event_id FROM feedback WHERE application = 'desk' AND subject = 'ann'",
        "SELECT dataset_id FROM datasetmember WHERE subject = 'ann'",
    ],
)
def test_the_main_queries_use_an_index(store: Store, query: str) -> None:
    """No table is read through for them."""
    told = plan(store, query)
    assert "Index" in told or "USING INDEX" in told or "USING COVERING INDEX" in told, told
    assert "Seq Scan" not in told
    assert "SCAN interaction" not in told
