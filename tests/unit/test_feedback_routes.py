"""`POST /v1/feedback` over HTTP, on a real spool: who may rate, what is logged and answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from pydantic import SecretStr

from core.clock import utc_now
from core.ids import new_id, subject_hash
from core.keys import Keys
from core.settings import ApplicationSettings, GatewaySettings, LogSettings, Settings
from feedback.desk import Desk
from feedback.events import FEEDBACK_TOPIC, FeedbackGiven, decode
from feedback.http_errors import exception_handlers
from feedback.key_ring import KeyRing
from feedback.log.group_commit import GroupCommit
from feedback.log.spool import Spool, SpoolLimits
from feedback.receipts import Receipt, sign
from feedback.routes import feedback_router

KEYS = Keys(receipt=(b"new key", b"old key"), subject=b"a third")
SUBJECT = "5" * 32


@dataclass
class Service:
    """The routes over a spool, and what a test looks at."""

    client: AsyncTestClient[Litestar]
    spool: Spool
    settings: Settings

    async def give(self, authorization: str | None = None, /, **body: Any) -> httpx.Response:
        """Post a feedback."""
        headers = {} if authorization is None else {"Authorization": authorization}
        return await self.client.post("/v1/feedback", json=body, headers=headers)

    def logged(self) -> list[FeedbackGiven]:
        """Return the feedback that is durable by now."""
        records = self.spool.read(FEEDBACK_TOPIC, after=0, limit=1000)
        events = [decode(record.topic, record.value) for record in records]
        return [event for event in events if isinstance(event, FeedbackGiven)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One application for each redaction mode."""
    return Settings(
        data_dir=tmp_path,
        applications={
            "desk": ApplicationSettings(api_key=SecretStr("desk-key")),
            "open": ApplicationSettings(api_key=SecretStr("open-key"), redaction="full"),
            "bank": ApplicationSettings(api_key=SecretStr("bank-key"), redaction="metadata_only"),
        },
    )


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """The routes, running."""
    async for service in running(settings):
        yield service


async def running(settings: Settings, max_bytes: int = 1 << 24) -> AsyncIterator[Service]:
    """Yield the routes over a new spool, and close everything."""
    spool = Spool(settings.spool_dir / "service-0-test", SpoolLimits(max_bytes))
    commits = GroupCommit(spool, commit_every_ms=settings.log.commit_every_ms)
    router = feedback_router(Desk(settings, commits, KEYS, KeyRing(settings)))
    app = Litestar([router], exception_handlers=exception_handlers)
    async with AsyncTestClient(app) as client:
        yield Service(client, spool, settings)
    await commits.close()
    spool.close()


def receipt(
    application: str = "desk", *, ttl_s: float = 86_400, keys: tuple[bytes, ...] = KEYS.receipt
) -> tuple[str, str]:
    """Return a new interaction's id and its receipt."""
    interaction_id, now = new_id(), utc_now()
    content = Receipt(
        interaction_id=interaction_id,
        application=application,
        subject=SUBJECT,
        issued_at=int(now.timestamp()),
        expires_at=int((now + timedelta(seconds=ttl_s)).timestamp()),
    )
    return interaction_id, sign(content, keys)


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        ("thumbs", True, "thumbs"),
        ("thumbs", False, "thumbs"),
        ("rating", 4, "rating"),
        ("comment", "Too long.", "text"),
        ("correction", "Hold it for 5 seconds.", "text"),
    ],
)
async def test_a_receipt_lets_its_holder_give_each_kind(
    service: Service, kind: str, value: Any, field: str
) -> None:
    """No API key is needed, the answer repeats the ids, and the event is durable by then."""
    interaction_id, token = receipt()
    response = await service.give(receipt=token, kind=kind, value=value, id="vote-1")
    assert response.status_code == 201
    assert response.json() == {
        "id": "vote-1",
        "interaction_id": interaction_id,
        "kind": kind,
        "accepted": True,
    }
    [event] = service.logged()
    assert (event.interaction_id, event.application, event.subject, event.client_id) == (
        interaction_id,
        "desk",
        SUBJECT,
        "vote-1",
    )
    values = {"thumbs": event.thumbs, "rating": event.rating, "text": event.text}
    assert values.pop(field) == value
    assert set(values.values()) == {None}


async def test_without_an_id_each_call_is_another_feedback(service: Service) -> None:
    """The answer says which id it got."""
    _, token = receipt()
    ids = [
        (await service.give(receipt=token, kind="thumbs", value=True)).json()["id"]
        for _ in range(2)
    ]
    assert [event.client_id for event in service.logged()] == ids
    assert ids[0] != ids[1]


async def test_the_same_call_again_gets_the_same_answer(service: Service) -> None:
    """A client that did not hear the answer may just repeat it; ingest keeps one."""
    _, token = receipt()
    body = {"receipt": token, "kind": "thumbs", "value": True, "id": "vote-1"}
    first, second = await service.give(**body), await service.give(**body)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    events = service.logged()
    assert len({(event.interaction_id, event.client_id) for event in events}) == 1


async def test_an_older_key_still_verifies(service: Service) -> None:
    """Receipts outlive a rotation of keys."""
    _, token = receipt(keys=KEYS.receipt[1:])
    assert (await service.give(receipt=token, kind="thumbs", value=True)).status_code == 201


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("nonsense", "malformed"),
        (receipt(keys=(b"stolen",))[1], "signature"),
        (receipt(ttl_s=-1)[1], "expired"),
        (receipt("gone")[1], "no longer served"),
    ],
)
async def test_a_bad_receipt_is_refused(service: Service, token: str, message: str) -> None:
    """Malformed, forged, expired and orphaned receipts get 401, also beside a good API key."""
    for authorization in (None, "Bearer desk-key"):
        response = await service.give(authorization, receipt=token, kind="thumbs", value=True)
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (401, "receipt")
        assert message in error["message"]
    assert service.logged() == []


async def test_an_api_key_lets_its_application_rate_for_a_user(service: Service) -> None:
    """The application is the key's, the subject the same hash that the gateway makes of `user`."""
    interaction_id = new_id()
    response = await service.give(
        "Bearer open-key", interaction_id=interaction_id, kind="rating", value=2, user="ann"
    )
    assert response.status_code == 201
    [event] = service.logged()
    assert (event.interaction_id, event.application) == (interaction_id, "open")
    assert event.subject == subject_hash(KEYS.subject, "open", "ann")


async def test_an_api_key_without_user_rates_for_nobody_in_particular(service: Service) -> None:
    """The subject is then unknown."""
    response = await service.give(
        "Bearer desk-key", interaction_id=new_id(), kind="thumbs", value=True
    )
    assert response.status_code == 201
    assert service.logged()[0].subject is None


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "desk-key", "Bearer "])
async def test_an_interaction_id_needs_an_api_key(
    service: Service, authorization: str | None
) -> None:
    """Whoever only knows an id cannot rate."""
    response = await service.give(
        authorization, interaction_id=new_id(), kind="thumbs", value=False
    )
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert service.logged() == []


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"value": "yes"}, "value"),
        ({"kind": "applause"}, "kind"),
        ({"colour": "red"}, "colour"),
        ({"user": "ann"}, "user"),
    ],
)
async def test_a_wrong_field_gets_400_with_its_name(
    service: Service, changes: dict[str, Any], param: str
) -> None:
    """The error has the OpenAI API's shape and nothing is logged."""
    _, token = receipt()
    response = await service.give(**{"receipt": token, "kind": "thumbs", "value": True, **changes})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
    assert param in error["message"]
    assert service.logged() == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", ""])
async def test_a_browser_may_send_it_as_a_beacon(service: Service, content_type: str) -> None:
    """The body is JSON whatever its type is called: beacons are text to a browser."""
    _, token = receipt()
    response = await service.client.post(
        "/v1/feedback",
        content=f'{{"receipt": "{token}", "kind": "thumbs", "value": true}}',
        headers={"Content-Type": content_type},
    )
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("application", "text"),
    [("desk", "write to [EMAIL_1]"), ("open", "write to bob@example.com"), ("bank", "")],
)
@pytest.mark.parametrize("kind", ["comment", "correction"])
async def test_text_is_redacted_before_it_is_logged(
    service: Service, application: str, text: str, kind: str
) -> None:
    """As the application's mode says, and nothing else reaches the disk."""
    _, token = receipt(application)
    await service.give(receipt=token, kind=kind, value="write to bob@example.com")
    assert [event.text for event in service.logged()] == [text]


async def test_a_full_log_refuses_feedback(settings: Settings) -> None:
    """503 with the mend, and no 2xx for what is not durable; what was accepted is there."""
    async for service in running(settings, max_bytes=1 << 16):
        accepted = 0
        while True:
            _, token = receipt()
            response = await service.give(receipt=token, kind="comment", value="x" * 5_000)
            if response.status_code != 201:
                break
            accepted += 1
        assert (response.status_code, response.json()["error"]["code"]) == (503, "log_full")
        assert "log.max_bytes" in response.json()["error"]["message"]
        assert accepted == len(service.logged()) > 0


@pytest.mark.parametrize("mode", ["durable", "async"])
async def test_both_modes_log_the_event(
    settings: Settings, mode: Literal["durable", "async"]
) -> None:
    """Mode async only answers earlier."""
    settings = settings.model_copy(update={"log": LogSettings(mode=mode)})
    async for service in running(settings):
        _, token = receipt()
        assert (await service.give(receipt=token, kind="thumbs", value=True)).status_code == 201
    spool = Spool(settings.spool_dir / "service-0-test", SpoolLimits(1 << 24))
    assert spool.end(FEEDBACK_TOPIC) == 1
    spool.close()


async def test_a_huge_body_is_refused(settings: Settings) -> None:
    """The gateway's limit holds here too."""
    settings = settings.model_copy(update={"gateway": GatewaySettings(max_body_bytes=2_000)})
    async for service in running(settings):
        _, token = receipt()
        response = await service.give(receipt=token, kind="comment", value="x" * 3_000)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
