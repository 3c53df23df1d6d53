"""The hourly metrics on SQLite and PostgreSQL: what was served and said, by hour and adapter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from core.ids import new_id
from feedback.console_tables import MetricHour
from feedback.store import Store
from feedback.tables import Application, Feedback, Interaction
from monitoring.histogram import quantile
from monitoring.hours import roll_up

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
THIS_HOUR = NOW.replace(minute=0)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store with an application."""
    if request.param == "sqlite":
        opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    else:
        opened = Store(request.getfixturevalue("postgresql_url"))
        clear(opened)
    opened.create_tables()
    with opened.session() as session:
        session.add(Application(name="shop"))
        session.commit()
    yield opened
    if request.param == "postgresql":
        clear(opened)
    opened.close()


def clear(store: Store) -> None:
    """Leave the server as it was."""
    with store.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


def serve(store: Store, at: datetime, **changes: Any) -> str:
    """Store one interaction; return its id."""
    fields: dict[str, Any] = {
        **{"application": "shop", "adapter": "shop--v1", "latency_s": 0.5},
        **{"id": new_id(), "event_id": new_id(), "endpoint": "chat", "requested_model": "shop"},
        "started_at": at,
    }
    row = Interaction(**(fields | changes))
    with store.session() as session:
        session.add(row)
        session.commit()
    return row.id


def say(store: Store, interaction: str, at: datetime, kind: str, **fields: Any) -> None:
    """Store one fact about it."""
    row = Feedback(
        event_id=new_id(),
        client_id=new_id(),
        interaction_id=interaction,
        application="shop",
        kind=kind,
        given_at=at,
        **fields,
    )
    with store.session() as session:
        session.add(row)
        session.commit()


def hours(store: Store) -> list[MetricHour]:
    """Return all sums, by hour and adapter."""
    with store.session() as session:
        query = select(MetricHour).order_by(col(MetricHour.hour), col(MetricHour.adapter))
        return list(session.exec(query))


def test_an_hour_has_what_was_served_and_said(store: Store) -> None:
    """By adapter; answers in shadow cost, and are seen by nobody."""
    rated = serve(store, NOW, latency_s=2.0, prompt_tokens=10, completion_tokens=20, cost=0.5)
    serve(store, NOW, status="error", latency_s=0.1)
    serve(store, NOW, adapter=None, status="disconnected")
    serve(store, NOW, shadow_of=rated, cost=0.25, latency_s=9.0)
    say(store, rated, NOW, "thumbs", thumbs=True)
    say(store, rated, NOW, "thumbs", thumbs=False, effective=False)
    say(store, rated, NOW, "rating", rating=4)
    say(store, rated, NOW, "escalated")
    assert roll_up(store, NOW) == 1
    base, own = hours(store)
    assert (base.adapter, base.requests, base.disconnected) == ("", 1, 1)
    assert (own.adapter, own.interactions, own.requests, own.errors) == ("shop--v1", 3, 2, 1)
    assert (own.cost, own.costed, own.prompt_tokens) == (0.75, 2, 10)
    assert (own.facts, own.effective, own.thumbs_up, own.thumbs_down) == (4, 3, 1, 0)
    assert (own.ratings, own.rating_sum, own.escalated) == (1, 4, 1)
    assert quantile(own.latency, 1.0) == pytest.approx(2.0, rel=0.05)


def test_only_what_changed_is_made_anew(store: Store) -> None:
    """A second run does nothing; what comes late, or is erased, is found by counting."""
    for ago in (0, 1, 30):
        serve(store, THIS_HOUR - timedelta(hours=ago))
    assert roll_up(store, NOW) == 3
    assert roll_up(store, NOW) == 0
    late = serve(store, THIS_HOUR - timedelta(hours=1))
    assert roll_up(store, NOW) == 1
    assert [row.requests for row in hours(store)] == [1, 2, 1]
    with store.session() as session:
        session.delete(session.exec(select(Interaction).where(Interaction.id == late)).one())
        session.commit()
    assert roll_up(store, NOW) == 1
    assert [row.requests for row in hours(store)] == [1, 1, 1]


def test_feedback_counts_in_the_hour_in_which_it_was_given(store: Store) -> None:
    """An answer of yesterday that is rated today; taking it back is seen, too."""
    rated = serve(store, NOW - timedelta(days=1))
    say(store, rated, NOW, "thumbs", thumbs=True)
    roll_up(store, NOW)
    before, after = hours(store)
    assert (before.requests, before.facts, after.requests, after.thumbs_up) == (1, 0, 0, 1)
    assert after.adapter == "shop--v1"
    with store.session() as session:
        row = session.exec(select(Feedback)).one()
        row.effective = False
        session.commit()
    assert roll_up(store, NOW) == 1
    assert hours(store)[-1].thumbs_up == 0


def test_a_long_past_is_made_newest_first_and_in_parts(store: Store) -> None:
    """So that ingest, whose chore it is, does not wait long."""
    for ago in range(5):
        serve(store, THIS_HOUR - timedelta(hours=ago))
    assert roll_up(store, NOW, at_most=3) == 3
    assert len(hours(store)) == 3
    assert roll_up(store, NOW, at_most=3) == 2
    assert roll_up(store, NOW, everything=True) == 5
