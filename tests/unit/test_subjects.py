"""`/v1/subjects`: an application asks to erase a person, and sees how far that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.clock import utc_now
from core.ids import new_id, subject_hash
from feedback.api_keys import Scope
from feedback.events import ERASURES_TOPIC, ErasureRequested, decode
from feedback.ingest import Ingest
from feedback.key_store import KeyWish, create_key
from feedback.tables import Erasure
from tests.fakes.memory_log import MemorySource
from tests.unit.gateway_world import API_KEY, APPLICATION, KEYS, World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A running gateway."""
    with open_world(tmp_path) as world:
        yield world


def key_with(world: World, scope: Scope) -> str:
    """Return a new key that the gateway knows."""
    with world.store.session() as session:
        _, secret = create_key(session, KeyWish(APPLICATION, [scope], "test"))
        session.commit()
    known = [httpx.codes.OK, httpx.codes.FORBIDDEN]
    world.engine.wait_until(lambda: ask(world, "GET", "/v1/models", secret).status_code in known)
    return secret


def ask(world: World, method: str, path: str, key: str) -> httpx.Response:
    """Ask the gateway with a key."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.request(method, f"{world.url}{path}", headers=headers, timeout=20)


def wishes(world: World) -> list[ErasureRequested]:
    """Return the wishes in the log."""
    events = [decode(r.topic, r.value) for r in world.log.read(ERASURES_TOPIC, after=0, limit=10)]
    return [event for event in events if isinstance(event, ErasureRequested)]


def test_a_wish_is_durable_before_it_is_answered(world: World) -> None:
    """202 with the person's hash; the log has the wish, and who asked."""
    key = key_with(world, "admin")
    response = ask(world, "DELETE", "/v1/subjects/ann%40example.com", key)
    body = response.json()
    subject = subject_hash(KEYS.subject, APPLICATION, "ann@example.com")
    assert (response.status_code, body["state"], body["subject"]) == (202, "requested", subject)
    [wish] = wishes(world)
    assert (wish.erasure_id, wish.subject) == (body["id"], subject)
    assert wish.requested_by.startswith("rk") or wish.requested_by
    assert ask(world, "GET", body["status_url"], key).status_code == 404
    source = MemorySource(world.log)
    Ingest(source, world.store, letters=world.log, batch=10).drain()
    state = ask(world, "GET", body["status_url"], key)
    assert (state.status_code, state.json()["state"]) == (200, "requested")
    assert "subject" not in state.json()
    assert "subject_digest" not in state.json()


def test_a_person_may_be_named_by_their_hash(world: World) -> None:
    """As tables show it; anything else under that flag is refused."""
    key, subject = key_with(world, "admin"), "a" * 32
    assert ask(world, "DELETE", f"/v1/subjects/{subject}?hashed=true", key).status_code == 202
    assert [wish.subject for wish in wishes(world)] == [subject]
    refused = ask(world, "DELETE", "/v1/subjects/ann?hashed=true", key)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "subject")


@pytest.mark.parametrize("path", ["/v1/subjects/ann", "/v1/erasures/x"])
def test_only_an_administrator_may(world: World, path: str) -> None:
    """401 without a key, 403 with one that may less."""
    method = "DELETE" if "subjects" in path else "GET"
    assert ask(world, method, path, "nonsense").status_code == 401
    for key in (API_KEY, key_with(world, "ops")):
        assert ask(world, method, path, key).status_code == 403
    assert wishes(world) == []


def test_an_erasure_of_another_application_is_not_told(world: World) -> None:
    """It is as unknown as one that does not exist."""
    key, id_ = key_with(world, "admin"), new_id()
    with world.store.session() as session:
        session.add(
            Erasure(
                id=id_,
                application="another",
                subject_digest="d",
                requested_by="x",
                requested_at=utc_now(),
            )
        )
        session.commit()
    assert ask(world, "GET", f"/v1/erasures/{id_}", key).status_code == 404
