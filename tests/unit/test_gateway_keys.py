"""The gateway holds each key to its scopes and limits, and each page to its application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from feedback.api_keys import KeyLimits
from feedback.key_store import KeyWish, create_key, revoke_key
from tests.unit.gateway_world import (
    API_KEY,
    APPLICATION,
    CANARY,
    LIVE,
    ORIGIN,
    World,
    open_world,
)

CHAT = "/v1/chat/completions"
BODY = {"model": "base", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9}
OWN_ORIGIN = "https://bank.example"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway whose second application has an origin and a body size of its own."""
    folder: Path = tmp_path_factory.mktemp("keys")
    bank = {
        "allowed_origins": (OWN_ORIGIN,),
        "max_body_bytes": 400,
        "request_timeout_s": 0.3,
    }
    with open_world(folder, changes={"bank": bank}) as opened:
        yield opened


def made(world: World, *scopes: str, limits: KeyLimits | None = None) -> tuple[str, str]:
    """Make a key that the gateway knows by now; return its id and secret."""
    with world.store.session() as session:
        wish = KeyWish(APPLICATION, scopes, limits=limits or KeyLimits())
        row, secret = create_key(session, wish)
        session.commit()
        id_ = row.id
    world.engine.wait_until(lambda: asked(world, secret, path="/v1/models").status_code != 401)
    return id_, secret


def asked(
    world: World, key: str, *, path: str = CHAT, body: object = BODY, **headers: str
) -> httpx.Response:
    """Send a request with a key."""
    sent = {"authorization": f"Bearer {key}"} | headers
    if path == "/v1/models":
        return httpx.get(f"{world.url}{path}", headers=sent)
    return httpx.post(f"{world.url}{path}", json=body, headers=sent, timeout=20)


def test_a_key_without_the_scope_is_refused_by_name(world: World) -> None:
    """403 in OpenAI's shape; nothing reaches the engine."""
    _, secret = made(world, "feedback")
    world.engine.bodies.clear()
    refused = asked(world, secret)
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("permission_error", "forbidden")
    assert "'infer'" in error["message"]
    assert world.engine.bodies == []


def test_feedback_by_key_needs_its_scope(world: World) -> None:
    """A key that only asks does not rate."""
    _, secret = made(world, "infer")
    answer = asked(world, secret)
    vote = {
        "interaction_id": answer.headers["x-ratchet-interaction"],
        "kind": "thumbs",
        "value": True,
    }
    assert asked(world, secret, path="/v1/feedback", body=vote).status_code == 403
    _, rater = made(world, "feedback")
    assert asked(world, rater, path="/v1/feedback", body=vote).status_code == 201


def test_a_key_may_come_as_anthropics_clients_send_it(world: World) -> None:
    """`x-api-key` is as good as a bearer token."""
    answer = httpx.post(f"{world.url}{CHAT}", json=BODY, headers={"x-api-key": API_KEY})
    assert answer.status_code == 200


def test_a_revoked_key_stops_within_the_refresh(world: World) -> None:
    """No restart, no database on the way of a request."""
    id_, secret = made(world, "infer")
    assert asked(world, secret).status_code == 200
    with world.store.session() as session:
        revoke_key(session, id_)
        session.commit()
    world.engine.wait_until(lambda: asked(world, secret).status_code == 401)


def test_requests_over_the_limit_get_429_and_a_true_retry_after(world: World) -> None:
    """After that time the next one is answered."""
    _, secret = made(world, "infer", limits=KeyLimits(requests_per_minute=12))
    answers = [asked(world, secret) for _ in range(16)]
    refused = [each for each in answers if each.status_code == 429]
    assert {each.status_code for each in answers} == {200, 429}
    assert answers[0].headers["x-ratelimit-limit-requests"] == "12"
    error = refused[-1].json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    wait_s = int(refused[-1].headers["retry-after"])
    assert 1 <= wait_s <= 5
    world.engine.wait_until(lambda: asked(world, secret).status_code == 200, wait_s + 1)


def test_tokens_are_counted_as_the_engine_counted_them(world: World) -> None:
    """The estimate of a long answer is given back when the answer was short."""
    _, secret = made(world, "infer", limits=KeyLimits(tokens_per_minute=1000))
    for _ in range(5):  # 900 each by estimate: the second would not pass if none were given back
        assert asked(world, secret, body=BODY | {"max_tokens": 900}).status_code == 200
    wordy = BODY | {"messages": [{"role": "user", "content": "word " * 2000}]}
    assert asked(world, secret, body=wordy).status_code == 429


def test_every_answer_says_what_is_left(world: World) -> None:
    """Whole or streamed, of requests and tokens, as OpenAI names it; no limit, no header."""
    _, secret = made(
        world, "infer", limits=KeyLimits(requests_per_minute=100, tokens_per_minute=10_000)
    )
    for number, streamed in enumerate((False, True), start=1):
        told = asked(world, secret, body=BODY | {"stream": streamed}).headers
        assert told["x-ratelimit-limit-requests"] == "100"
        assert 100 - number <= int(told["x-ratelimit-remaining-requests"]) <= 101 - number
        assert told["x-ratelimit-limit-tokens"] == "10000"
        assert 9_900 < int(told["x-ratelimit-remaining-tokens"]) < 10_000
    unlimited = asked(world, API_KEY).headers
    assert not [name for name in unlimited if name.startswith("x-ratelimit")]


def test_a_refusal_says_what_is_left_too(world: World) -> None:
    """Too few tokens for this request may be enough for a shorter one."""
    _, secret = made(world, "infer", limits=KeyLimits(tokens_per_minute=1000))
    wordy = BODY | {"messages": [{"role": "user", "content": "word " * 500}]}
    assert asked(world, secret, body=wordy).status_code == 200
    refused = asked(world, secret, body=BODY | {"max_tokens": 990})
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-limit-tokens"] == "1000"
    assert 400 < int(refused.headers["x-ratelimit-remaining-tokens"]) < 990


def test_pages_may_read_what_is_left(world: World) -> None:
    """CORS hides every header that is not named."""
    exposed = asked(world, API_KEY, origin=ORIGIN).headers["access-control-expose-headers"]
    assert "x-ratelimit-remaining-tokens" in exposed


def test_requests_at_once_are_limited(world: World) -> None:
    """A stream holds its place until it has ended, and then frees it."""
    _, secret = made(world, "infer", limits=KeyLimits(concurrent=1))
    world.engine.word_pause_s = 0.2
    try:
        with httpx.stream(
            "POST",
            f"{world.url}{CHAT}",
            json=BODY | {"stream": True},
            headers={"authorization": f"Bearer {secret}"},
        ) as stream:
            assert asked(world, secret).status_code == 429
            stream.read()
    finally:
        world.engine.word_pause_s = 0.0
    assert asked(world, secret).status_code == 200


def test_a_refused_request_leaves_its_place(world: World) -> None:
    """Wrong models and faults of the engine do not use a key up."""
    _, secret = made(world, "infer", limits=KeyLimits(concurrent=1))
    assert asked(world, secret, body=BODY | {"model": "nothing"}).status_code == 404
    world.engine.fail_next(500, path=CHAT)
    assert asked(world, secret).status_code == 502
    world.engine.fail_next(400, path=CHAT)
    assert asked(world, secret).status_code == 400
    assert asked(world, secret).status_code == 200


def test_a_request_that_was_not_answered_costs_no_tokens(world: World) -> None:
    """The estimate of one for an unknown model is given back."""
    _, secret = made(world, "infer", limits=KeyLimits(tokens_per_minute=1000))
    long = BODY | {"max_tokens": 900}
    for _ in range(3):
        assert asked(world, secret, body=long | {"model": "nothing"}).status_code == 404
    assert asked(world, secret, body=long).status_code == 200


def test_an_application_may_have_a_smaller_body(world: World) -> None:
    """413 names the size."""
    long = BODY | {"messages": [{"role": "user", "content": "x" * 500}]}
    refused = asked(world, "bank-key", body=long)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_large")
    assert "400" in refused.json()["error"]["message"]
    assert asked(world, API_KEY, body=long).status_code == 200


def test_an_application_may_have_less_patience(world: World) -> None:
    """Its answers are given up earlier than the gateway's others."""
    world.engine.word_pause_s = 0.4
    try:
        late = asked(world, "bank-key")
        assert (late.status_code, late.json()["error"]["code"]) == (503, "engine_unavailable")
        assert asked(world, API_KEY).status_code == 200
    finally:
        world.engine.word_pause_s = 0.0


@pytest.mark.parametrize("origin", [ORIGIN, OWN_ORIGIN])
def test_a_preflight_knows_no_application_and_allows_all_origins(world: World, origin: str) -> None:
    """It carries no key."""
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    answer = httpx.options(f"{world.url}{CHAT}", headers=headers)
    assert answer.status_code < 300
    assert answer.headers["access-control-allow-origin"] == origin
    assert "x-stainless-lang" in answer.headers["access-control-allow-headers"].lower()


def test_pages_call_only_for_applications_that_allow_them(world: World) -> None:
    """One application's page is not another's; the gateway's own pages may call for any."""
    assert asked(world, "bank-key", origin=OWN_ORIGIN).status_code == 200
    assert asked(world, API_KEY, origin=ORIGIN).status_code == 200
    assert asked(world, API_KEY, origin=world.url).status_code == 200
    refused = asked(world, API_KEY, origin=OWN_ORIGIN)
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "origin")
    assert f"applications.{APPLICATION}.allowed_origins" in refused.json()["error"]["message"]


def test_an_operator_may_force_an_arm(world: World) -> None:
    """By header and with scope `ops`; it answers from that arm, and is no exposure."""
    world.add_live_adapter(LIVE)
    world.add_adapter(CANARY)
    world.add_rollout(share=0.01)
    _, secret = made(world, "infer", "ops")
    body = BODY | {"model": APPLICATION}
    forced = {"x-ratchet-arm": "canary"}
    world.engine.wait_until(
        lambda: asked(world, secret, body=body, **forced).headers["x-ratchet-adapter"] == CANARY
    )
    world.forget()
    answer = asked(world, secret, body=body, **forced)
    assert answer.headers["x-ratchet-adapter"] == CANARY
    event = world.wait_for_event()
    assert (event.adapter, event.rollout_id, event.step) == (CANARY, None, None)
    _, plain = made(world, "infer")
    assert asked(world, plain, body=body, **forced).status_code == 403
