"""All kinds through the route: batches, repeats and conflicts, other answers, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from core.clock import utc_now
from core.errors import ConflictError
from core.ids import new_id, subject_hash
from core.settings import FeedbackSettings, Settings
from feedback.events import FeedbackGiven
from feedback.raters import client_address
from feedback.receipts import Receipt, sign
from feedback.repeats import Repeats
from feedback.store import Store
from feedback.tables import Feedback
from tests.ready_store import ready_store
from tests.unit.test_feedback_routes import KEYS, Service, receipt, running
from tests.unit.test_feedback_routes import settings as settings  # the fixture


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """The routes, running."""
    async for service in running(settings):
        yield service


def limited(settings: Settings, **rules: Any) -> Settings:
    """Return settings with other rules for feedback."""
    return settings.model_copy(update={"feedback": FeedbackSettings(**rules)})


async def batch(service: Service, *items: Any, key: str | None = None) -> Any:
    """Post a batch; return what became of each."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    response = await service.client.post(
        "/v1/feedback/batch", json={"feedback": list(items)}, headers=headers
    )
    assert response.status_code == 200, response.text
    return response.json()["results"]


async def test_a_score_has_its_name_and_number(service: Service) -> None:
    """As they were sent."""
    _, token = receipt()
    response = await service.give(receipt=token, kind="score", name="helpfulness", value=0.25)
    assert response.status_code == 201
    [event] = service.logged()
    assert (event.kind, event.name, event.number) == ("score", "helpfulness", 0.25)


async def test_a_retraction_says_so(service: Service) -> None:
    """In the answer and in the log, without any value."""
    _, token = receipt()
    response = await service.give(receipt=token, kind="thumbs", retract=True)
    assert response.json()["retracted"] is True
    [event] = service.logged()
    assert (event.retracted, event.thumbs) == (True, None)


async def test_a_preference_names_another_answer_of_the_same_person(service: Service) -> None:
    """By its receipt; with a key also by its id."""
    first, token = receipt()
    other, other_token = receipt()
    response = await service.give(receipt=token, kind="preference", value={"over": other_token})
    assert response.status_code == 201
    response = await service.give(
        "Bearer desk-key", interaction_id=first, kind="preference", value={"over": other}
    )
    assert response.status_code == 201
    assert [event.other for event in service.logged()] == [other, other]


def somebody_elses() -> str:
    """Return the receipt of another person's answer."""
    now = int(utc_now().timestamp())
    content = Receipt(
        interaction_id=new_id(),
        application="desk",
        subject="9" * 32,
        issued_at=now,
        expires_at=now + 60,
    )
    return sign(content, KEYS.receipt)


async def test_a_preference_over_what_is_not_theirs_is_refused(service: Service) -> None:
    """Somebody else's answer, an id without a key, a forged receipt, the same answer."""
    _, token = receipt()
    for over in (somebody_elses(), new_id(), "nonsense.forged", token):
        response = await service.give(receipt=token, kind="preference", value={"over": over})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "value"), over
    assert service.logged() == []


async def test_a_batch_is_judged_item_by_item(service: Service) -> None:
    """What is wrong with one changes nothing for the others; order and durability are kept."""
    _, token = receipt()
    results = await batch(
        service,
        {"receipt": token, "kind": "thumbs", "value": True, "id": "a"},
        {"receipt": token, "kind": "rating", "value": 9},
        "no object",
        {"receipt": "forged.one", "kind": "copied"},
        {"receipt": token, "kind": "copied", "id": "b"},
    )
    assert [result["status"] for result in results] == [201, 400, 400, 401, 201]
    assert results[1]["error"]["param"] == "value"
    assert results[4]["accepted"]["id"] == "b"
    assert {event.client_id for event in service.logged()} == {"a", "b"}


async def test_a_batch_comes_with_an_api_key_as_well(service: Service) -> None:
    """Each item names its interaction."""
    ids = [new_id() for _ in range(3)]
    items = [{"interaction_id": id_, "kind": "task_completed", "user": "ann"} for id_ in ids]
    results = await batch(service, *items, key="desk-key")
    assert [result["status"] for result in results] == [201] * 3
    assert {event.subject for event in service.logged()} == {
        subject_hash(KEYS.subject, "desk", "ann")
    }


async def test_the_same_id_with_another_body_is_a_conflict(service: Service) -> None:
    """409 that names the id; the same body again is answered alike and logged once."""
    _, token = receipt()
    body = {"receipt": token, "kind": "rating", "value": 4, "id": "vote-1"}
    first, again = await service.give(**body), await service.give(**body)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    other = await service.give(**{**body, "value": 5})
    error = other.json()["error"]
    assert (other.status_code, error["code"], error["param"]) == (409, "conflict", "id")
    assert "vote-1" in error["message"]
    _, elsewhere = receipt()
    assert (await service.give(**{**body, "receipt": elsewhere})).status_code == 201
    assert [event.rating for event in service.logged()] == [4, 4]


async def test_the_same_call_at_once_is_one_event(service: Service) -> None:
    """All wait for the one that is being written."""
    _, token = receipt()
    body = {"receipt": token, "kind": "thumbs", "value": True, "id": "once"}
    responses = await asyncio.gather(*[service.give(**body) for _ in range(20)])
    assert {response.status_code for response in responses} == {201}
    assert len(service.logged()) == 1


def fact(client_id: str, rating: int) -> FeedbackGiven:
    """Return a rating."""
    return FeedbackGiven(
        event_id=new_id(),
        client_id=client_id,
        interaction_id="i",
        application="desk",
        kind="rating",
        rating=rating,
        given_at=utc_now(),
    )


async def written() -> None:
    """Return as a log that took a record."""


async def test_what_failed_to_be_written_may_be_tried_again() -> None:
    """Also by one who waited for it."""
    repeats, entered, release = Repeats(10), asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        entered.set()
        await release.wait()
        raise OSError("full")

    first = asyncio.create_task(repeats.once(fact("c", 1), fail))
    await entered.wait()
    second = asyncio.create_task(repeats.once(fact("c", 1), written))
    await asyncio.sleep(0)
    release.set()
    with pytest.raises(OSError, match="full"):
        await first
    assert await second is True
    assert await repeats.once(fact("c", 1), written) is False


async def test_only_the_newest_ids_are_remembered() -> None:
    """Memory is bounded; ingest settles the rest."""
    repeats = Repeats(2)
    for number in range(3):
        await repeats.once(fact(str(number), 1), written)
    assert await repeats.once(fact("0", 5), written) is True
    with pytest.raises(ConflictError):
        await repeats.once(fact("2", 5), written)


async def test_a_new_gateway_knows_the_ids_of_the_store(tmp_path: Path) -> None:
    """So that a restart does not make a conflict a second vote."""
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    with store.session() as session:
        event = fact("c", 4)
        row = {name: getattr(event, name) for name in event.__struct_fields__ if name != "schema"}
        session.add(Feedback(**row))
        session.commit()
    repeats = Repeats(10)
    assert repeats.load(store) == 1
    assert await repeats.once(fact("c", 4), written) is False
    with pytest.raises(ConflictError):
        await repeats.once(fact("c", 5), written)
    store.close()
    assert Repeats(10).load(Store("postgresql+psycopg://127.0.0.1:1/none")) == 0


async def test_a_person_and_an_address_have_a_limit(settings: Settings) -> None:
    """429 with the seconds to wait; another person goes on."""
    async for service in running(limited(settings, per_subject_per_minute=2)):
        _, token = receipt()
        statuses = [
            (await service.give(receipt=token, kind="thumbs", value=True)).status_code
            for _ in range(3)
        ]
        assert statuses == [201, 201, 429]
        response = await service.give(receipt=token, kind="thumbs", value=True)
        assert 20 < int(response.headers["retry-after"]) <= 30
        other = {"interaction_id": new_id(), "kind": "thumbs", "value": True, "user": "bob"}
        assert (await service.give("Bearer desk-key", **other)).status_code == 201
    async for service in running(limited(settings, per_address_per_minute=3)):
        results = await batch(service, *[{"kind": "copied"}] * 5)
        assert [result["status"] for result in results].count(429) == 0  # not even readable
        _, token = receipt()
        results = await batch(service, *[{"receipt": token, "kind": "copied"}] * 5)
        assert sorted(result["status"] for result in results) == [201] * 3 + [429] * 2


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # nobody's proxy: may say what it wants
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "nonsense"),
    ],
)
def test_an_address_is_the_nearest_that_no_proxy_has(
    peer: str, forwarded: str, address: str
) -> None:
    """What a client writes into the header itself is not believed."""
    assert client_address(peer, forwarded, [ip_network("10.0.0.0/8")]) == address
