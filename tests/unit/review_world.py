"""Review desks on SQLite and on a real PostgreSQL, for tests of several modules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from core.curation_settings import ReviewSettings
from core.settings import ApplicationSettings, Settings
from curation.review.desk import Assignment, ReviewDesk
from curation.review.queue import Proposal
from curation.review.words import Decision
from feedback.events import Message
from feedback.store import Store
from tests.ready_store import ready_store

APPROVE = Decision("approve")
REJECT = Decision("reject", reason="wrong")


@pytest.fixture(params=["sqlite", "postgresql"], name="store")
def review_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with its tables, of each database."""
    if request.param == "sqlite":
        opened = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    else:
        opened = ready_store(request.getfixturevalue("ready_postgresql_url"))
    yield opened
    opened.close()


class Clock:
    """An instant that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 5, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(name="clock")
def review_clock() -> Clock:
    """The desk's clock."""
    return Clock()


def desk_of(store: Store, clock: Clock | None = None, **rules: Any) -> ReviewDesk:
    """Return a desk with these settings of review."""
    settings = Settings(
        applications={"desk": ApplicationSettings(api_key=SecretStr("a"))},
        review=ReviewSettings.model_validate({"calibration_share": 0.0, **rules}),
    )
    return ReviewDesk(store, settings, clock or Clock())


def proposal(number: int, **columns: Any) -> Proposal:
    """Return a proposal; a lower number comes first."""
    messages = (Message("user", f"question {number}"), Message("assistant", f"answer {number}"))
    fields: dict[str, Any] = {
        "candidate_id": f"c{number}",
        "interaction_id": f"i{number}",
        "messages": messages,
        "because": ("random",),
        "subject": "ann",
        "priority": 1 / (1 + number),
        **columns,
    }
    return Proposal(**fields)


def filled(desk: ReviewDesk, count: int) -> None:
    """Put `count` items into the queue."""
    assert desk.fill("desk", [proposal(n) for n in range(count)]).added == count


def taken(desk: ReviewDesk, reviewer: str) -> Assignment:
    """Return the next item, which there is."""
    item = desk.take("desk", reviewer)
    assert item is not None
    return item


def rows(store: Store, table: type[Any]) -> list[Any]:
    """Return all rows of a table."""
    with store.session() as session:
        return list(session.exec(select(table)))
