"""What people reviewed is kept as long as the interaction, and handed to the person it is of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.settings import ApplicationSettings, Settings
from curation.review.desk import ReviewDesk
from curation.review.queue import Proposal
from curation.review.words import Decision
from feedback.erasure import Person
from feedback.events import Message
from feedback.subject_export import export_subject
from feedback.tables import Review, ReviewItem, ReviewLease
from loop.jobs import NOTHING, retain
from loop.wiring import Parts, open_parts
from tests.unit.curation_world import World
from tests.unit.review_world import rows


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """An application that keeps its interactions for ten days."""
    desk = ApplicationSettings(api_key=SecretStr("key"), keep_days=10)
    with open_parts(Settings(data_dir=tmp_path, applications={"desk": desk})) as parts:
        yield parts


def reviewed(parts: Parts, id_: str, subject: str) -> None:
    """Let somebody approve what a person asked."""
    messages = (Message("user", f"{subject} asks"), Message("assistant", f"{subject} is told"))
    item = Proposal(f"{id_}:demonstration", id_, messages, ("random",), subject=subject)
    desk = ReviewDesk(parts.store, parts.settings)
    desk.fill("desk", [item])
    desk.enter("desk", f"{id_}:demonstration", "kim", Decision("approve", reason="fine"))


def test_retention_takes_what_was_said_of_old_interactions(parts: Parts) -> None:
    """Items, leases and reviews; those of newer interactions stay."""
    people = World(parts.store, parts.settings)
    now = datetime.now(UTC)
    old, new = (
        people.say("Where?", subject=name, started_at=now - timedelta(days=days))
        for name, days in (("ann", 20), ("bob", 2))
    )
    reviewed(parts, old, "ann")
    reviewed(parts, new, "bob")
    assert retain(parts) == "deleted 1 interactions, 0 feedback"
    [item] = rows(parts.store, ReviewItem)
    [review] = rows(parts.store, Review)
    [lease] = rows(parts.store, ReviewLease)
    assert (item.interaction_id, review.item_id, lease.item_id) == (new, item.id, item.id)
    assert retain(parts) == NOTHING
    assert len(rows(parts.store, Review)) == 1


def test_a_person_gets_the_items_that_are_of_them(parts: Parts) -> None:
    """With their texts; nothing of anybody else."""
    people = World(parts.store, parts.settings)
    for name in ("ann", "bob"):
        reviewed(parts, people.say("Where?", subject=name), name)
    with parts.store.session() as session:
        [item] = export_subject(session, Person("desk", "ann"))["review_items"]
        assert export_subject(session, Person("shop", "ann"))["review_items"] == []
    assert item["messages"][0]["content"] == "ann asks"
    assert (item["verdict"], item["subject"]) == ("approved", "ann")
