"""`/api/review`: reviewers work with a bearer key, and see nothing that would sway them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.config.csrf import CSRFConfig
from litestar.testing import TestClient
from pydantic import SecretStr

from core.curation_settings import ReviewSettings
from core.settings import ApplicationSettings, Settings
from curation.review.comparison import Compared
from curation.review.desk import ReviewDesk
from curation.review.queue import Known, Proposal
from feedback.events import Message
from feedback.key_ring import KeyRing
from feedback.key_store import KeyWish, create_key
from feedback.store import Store
from loop.review_api import review_handlers
from tests.ready_store import ready_store

QUESTION = (Message("user", "where?"), Message("assistant", "there"))


@dataclass
class World:
    """The routes in an app that guards its forms, and the desk behind them."""

    client: TestClient[Litestar]
    desk: ReviewDesk
    store: Store
    callers: KeyRing

    def key(self, scope: str = "review", application: str = "desk") -> str:
        """Return a new key."""
        with self.store.session() as session:
            _, secret = create_key(session, KeyWish(application, (scope,)))
            session.commit()
        self.callers.refresh()
        return secret

    def post(self, route: str, key: str, **body: Any) -> httpx.Response:
        """Call a route."""
        return self.client.post(
            f"/api/review/{route}", json=body, headers={"authorization": f"Bearer {key}"}
        )

    def get(self, route: str, key: str) -> httpx.Response:
        """Read a route."""
        return self.client.get(f"/api/review/{route}", headers={"authorization": f"Bearer {key}"})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two items of `desk` in the queue, none of `shop`."""
    settings = Settings(
        data_dir=tmp_path,
        applications={
            "desk": ApplicationSettings(api_key=SecretStr("desk-key")),
            "shop": ApplicationSettings(api_key=SecretStr("shop-key")),
        },
        review=ReviewSettings(calibration_share=0.0),
    )
    store = ready_store(settings.store_address)
    desk, callers = ReviewDesk(store, settings), KeyRing(settings, store)
    desk.fill("desk", [Proposal(f"c{n}", f"i{n}", QUESTION, ("novel",)) for n in range(2)])
    app = Litestar(review_handlers(desk, callers), csrf_config=CSRFConfig(secret="s" * 32))
    with TestClient(app) as client:
        yield World(client, desk, store, callers)
    store.close()


def test_an_item_is_taken_decided_and_counted(world: World) -> None:
    """From the first call to the verdict; sending it again changes nothing."""
    key = world.key()
    shown = world.post("next", key).json()["assignment"]
    assert shown["messages"] == [
        {"role": "user", "content": "where?"},
        {"role": "assistant", "content": "there"},
    ]
    decision = {
        "token": shown["token"],
        "decision": "correct",
        "text": "right there",
        "rubric": {"style": 2},
        "reason": "too short",
    }
    done = world.post("decide", key, **decision)
    assert (done.status_code, done.json()["choice"], done.json()["repeated"]) == (
        *(200, "correct"),
        False,
    )
    assert world.post("decide", key, **decision).json()["repeated"] is True
    progress = world.get("progress", key).json()
    assert (progress["open"], progress["corrected"], progress["mine_done"]) == (1, 1, 1)
    [verdict] = world.desk.outcomes("desk").values()
    assert verdict.text == "right there"


def test_a_reviewer_sees_neither_why_nor_whose(world: World) -> None:
    """No reason of sampling, no adapter, no order of two answers, no known answer."""
    world.desk.compare("desk", [Compared("i9", QUESTION[:1], "desk--v1", "desk--v2", "x", "y")])
    world.desk.calibrate("desk", [Known(QUESTION, "reject")])
    key = world.key()
    for kinds in (["demonstration"], ["comparison"]):
        shown = world.post("next", key, kinds=kinds).json()["assignment"]
        assert set(shown) == {
            *("token", "item_id", "kind", "messages", "rejected", "first", "second"),
            "expires_at",
        }
        assert "desk--" not in str(shown)
    assert {shown["first"], shown["second"]} == {"x", "y"}


def test_an_item_given_back_is_had_by_another(world: World) -> None:
    """And whose it was can decide it no longer."""
    mine, other = world.key(), world.key()
    token = world.post("next", mine).json()["assignment"]["token"]
    assert world.post("release", mine, token=token).json() == {"released": True}
    late = world.post("decide", mine, token=token, decision="approve")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")
    assert "lease has ended" in late.json()["error"]["message"]
    assert world.post("next", other).json()["assignment"] is not None


def test_only_keys_of_review_may_review_and_only_their_application(world: World) -> None:
    """401 without a key, 403 with one of another scope, nothing of other applications."""
    assert world.client.post("/api/review/next").status_code == 401
    refused = world.post("next", world.key("feedback"))
    assert refused.status_code == 403
    assert "--scope review" in refused.json()["error"]["message"]
    assert world.get("progress", "desk-key").status_code == 403
    shop = world.key(application="shop")
    assert world.post("next", shop).json() == {"assignment": None}
    assert world.get("progress", shop).json()["open"] == 0
    token = world.post("next", world.key("admin")).json()["assignment"]["token"]
    assert world.post("decide", shop, token=token, decision="approve").status_code == 409


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"token": "t"}', "decision"),
        (b'{"token": "t", "decision": "maybe"}', "maybe"),
        (b'{"token": "t", "decision": "skip", "worth": 1}', "worth"),
        (b'{"token": 7, "decision": "skip"}', "token"),
        (b'{"token": "\xff", "decision": "skip"}', "the body is not"),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(world: World, body: bytes, told: str) -> None:
    """400, in the shape of all errors."""
    headers = {"authorization": f"Bearer {world.key()}"}
    answer = world.client.post("/api/review/decide", content=body, headers=headers)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]


def test_a_decision_that_does_not_fit_names_its_field(world: World) -> None:
    """The reviewer still holds the item."""
    key = world.key()
    token = world.post("next", key).json()["assignment"]["token"]
    wrong = world.post("decide", key, token=token, decision="approve", rubric={"charm": 3})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "rubric")
    assert world.post("decide", key, token=token, decision="approve").status_code == 200


def test_agreement_is_told(world: World) -> None:
    """None where it cannot be told yet."""
    told = world.get("agreement", world.key()).json()
    assert told["decisions"] == {"value": None, "items": 0, "reviewers": 0}
    assert set(told["rubric"]) == {"accuracy", "relevance", "completeness", "style", "safety"}
