"""The gateway over several engines: who is asked, who is passed over, and what users are told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedback.events import INTERACTIONS_TOPIC
from feedback.tables import AdapterReplica
from tests.fakes.engine import FakeEngine, answer_by_rule
from tests.unit.gateway_world import CANARY, LIVE, World, open_world

CHAT = "/v1/chat/completions"
QUICK = {"engine": {"check_every_s": 0.1, "eject_after": 2, "longest_ejection_s": 0.2}}


def asked(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "shop", "messages": [{"role": "user", "content": text}], **fields}


def counts(world: World) -> list[int]:
    """Return how many requests each engine got."""
    return [len(engine.bodies) for engine in world.engines]


def with_live_adapter(world: World) -> None:
    world.add_live_adapter()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three engines, all with the live adapter."""
    with open_world(tmp_path, prepare=with_live_adapter, engines=3, changes=QUICK) as opened:
        yield opened


def preferred(world: World, text: str = "Hello") -> FakeEngine:
    """Return the engine that requests with this beginning go to."""
    for engine in world.engines:
        engine.bodies.clear()
    world.post(CHAT, asked(text))
    return next(engine for engine in world.engines if engine.bodies)


def test_equal_beginnings_meet_the_same_engine(world: World) -> None:
    """So that its prefix cache serves them; other beginnings go elsewhere."""
    for number in range(6):
        world.post(CHAT, asked("The same long beginning", seed=number))
    assert sorted(counts(world)) == [0, 0, 6]
    for number in range(30):
        world.post(CHAT, asked(f"{number} is how this one begins"))
    assert all(counts(world))


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_connection_is_answered_by_another_engine(world: World, stream: bool) -> None:
    """The user sees nothing of it, and it is one interaction."""
    preferred(world).stop()
    world.forgotten = world.log.end(INTERACTIONS_TOPIC)
    answer = world.post(CHAT, asked(stream=stream))
    assert answer.status_code == 200
    assert answer.headers["x-ratchet-adapter"] == LIVE
    (event,) = world.events()
    assert (event.status, event.answer) == ("ok", f"{LIVE} answers: Hello")


def test_a_busy_engine_is_passed_over(world: World) -> None:
    """503 means that it took nothing: each other engine is asked once, and no more."""
    first = preferred(world)
    first.fail_next(503, path="chat")
    assert world.post(CHAT, asked()).status_code == 200
    for engine in world.engines:
        engine.fail_next(503, path="chat")
    assert world.post(CHAT, asked()).status_code == 503
    assert world.post(CHAT, asked()).status_code == 200, "an engine was not asked"


def test_a_fault_that_may_have_done_something_is_not_tried_again(world: World) -> None:
    """500 comes from an engine that took the request: nobody else is asked."""
    preferred(world).fail_next(500, path="chat")
    before = sum(counts(world))
    assert world.post(CHAT, asked()).status_code == 502
    assert sum(counts(world)) == before


def test_a_stream_that_began_is_never_tried_again(world: World) -> None:
    """The client has part of one answer, and must not get that of another."""
    preferred(world).broken_after = 1
    before = sum(counts(world))
    answer = world.post(CHAT, asked(stream=True))
    assert "engine_unavailable" in answer.text
    assert sum(counts(world)) == before + 1


def test_an_engine_that_dies_is_left_out_and_returns(world: World) -> None:
    """Ejected by its health, not asked while it is out, and back once it is well."""
    sick = preferred(world)
    sick.healthy = False
    world.engine.wait_until(lambda: preferred(world) is not sick)
    sick.healthy = True
    world.engine.wait_until(lambda: preferred(world) is sick)


def test_when_all_are_out_all_are_tried(world: World) -> None:
    """A health check that is wrong about everyone does not end the service."""
    for engine in world.engines:
        engine.healthy = False
    time.sleep(1.0)  # several rounds of checks
    assert world.post(CHAT, asked()).status_code == 200


def test_only_engines_with_the_adapter_are_asked(tmp_path: Path) -> None:
    """The canary is ready on one of three engines: it alone answers for it."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        world.add_adapter(CANARY, on=[world.engines[1]])
        world.add_rollout(share=1.0)

    with open_world(tmp_path, prepare=prepare, engines=3) as world:
        for number in range(12):
            answer = world.post(CHAT, asked(f"{number}"))
            assert answer.headers["x-ratchet-adapter"] == CANARY
        assert counts(world) == [0, 12, 0]


def test_a_draining_adapter_gets_no_more_requests(world: World) -> None:
    """Within the route table's refresh, its engine is passed over."""
    drained = preferred(world)
    with world.store.session() as session:
        row = session.get_one(AdapterReplica, (LIVE, drained.url))
        row.state = "draining"
        session.add(row)
        session.commit()
    world.engine.wait_until(lambda: preferred(world) is not drained)


def test_an_engine_that_restarted_is_passed_over_for_its_adapter(world: World) -> None:
    """It has forgotten the adapter, others have it: no fallback to the base model."""
    preferred(world).adapters.clear()
    answer = world.post(CHAT, asked())
    assert answer.headers["x-ratchet-adapter"] == LIVE
    assert "x-ratchet-fallback" not in answer.headers


def test_an_adapter_that_every_engine_forgot_is_told(world: World) -> None:
    """All restarted a moment ago: each was asked, then the base model answers."""
    for engine in world.engines:
        engine.adapters.clear()
    answer = world.post(CHAT, asked())
    assert answer.headers["x-ratchet-adapter"] == "base"
    assert answer.headers["x-ratchet-fallback"] == "missing"
    assert sum(counts(world)) == 4


def test_an_exact_adapter_is_answered_by_no_other(world: World) -> None:
    """Who asked for it by name must not get something else."""
    for engine in world.engines:
        engine.adapters.clear()
    assert world.post(CHAT, asked(model=LIVE)).status_code == 502
    (event,) = world.events()
    assert (event.status, event.adapter) == ("error", LIVE)


def test_an_adapter_that_is_ready_nowhere_is_told(tmp_path: Path) -> None:
    """The base model answers, and header, body and log say why."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        with world.store.session() as session:
            row = session.get_one(AdapterReplica, (LIVE, world.engine.url))
            row.state = "loading"
            session.add(row)
            session.commit()

    with open_world(tmp_path, prepare=prepare) as world:
        answer = world.post(CHAT, asked())
        assert answer.headers["x-ratchet-fallback"] == "not_ready"
        assert answer.json()["ratchet"]["fallback"] == "not_ready"
        streamed = world.post(CHAT, asked(stream=True))
        assert streamed.headers["x-ratchet-fallback"] == "not_ready"
        assert '"fallback":"not_ready"' in streamed.text
        assert world.events()[0].parameters == {"fell_back": "not_ready"}


def test_an_adapter_that_keeps_failing_is_cut_off_and_comes_back(tmp_path: Path) -> None:
    """After errors in a row on any engines the baseline answers; a good try ends that."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        world.add_adapter(CANARY)
        world.add_rollout(share=1.0)

    def fail_the_canary(model: str, prompt: str) -> str:
        if model == CANARY:
            raise RuntimeError("the adapter's weights are not numbers")
        return answer_by_rule(model, prompt)

    changes = {"engine": {"breaker_errors": 12, "breaker_pause_s": 0.5}}
    with open_world(tmp_path, prepare=prepare, engines=2, changes=changes) as world:
        for engine in world.engines:
            engine.reply = fail_the_canary
        answers = [world.post(CHAT, asked(f"{number}")) for number in range(13)]
        assert [answer.status_code for answer in answers] == [502] * 12 + [200]
        assert answers[-1].headers["x-ratchet-adapter"] == LIVE
        assert answers[-1].headers["x-ratchet-fallback"] == "breaker_open"
        assert all(counts(world)), "the errors came from one engine only"
        for engine in world.engines:
            engine.reply = answer_by_rule
        world.engine.wait_until(
            lambda: world.post(CHAT, asked()).headers["x-ratchet-adapter"] == CANARY
        )
        assert "x-ratchet-fallback" not in world.post(CHAT, asked()).headers


def test_a_pinned_adapter_answers_instead_of_the_rollout(tmp_path: Path) -> None:
    """applications.shop.adapter: no exposures, whatever the rollout's share."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        world.add_adapter(CANARY)
        world.add_rollout(share=1.0)

    changes = {"shop": {"adapter": LIVE}}
    with open_world(tmp_path, prepare=prepare, changes=changes) as world:
        answer = world.post(CHAT, asked(user="ann"))
        assert answer.headers["x-ratchet-adapter"] == LIVE
        assert world.events()[0].rollout_id is None


def test_nobody_may_force_an_arm_without_the_scope(world: World) -> None:
    """403 in OpenAI's shape, and nothing is asked or logged."""
    before = sum(counts(world))
    headers = {"authorization": "Bearer shop-key", "x-ratchet-arm": "canary"}
    answer = httpx.post(f"{world.url}{CHAT}", json=asked(), headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["param"] == "x-ratchet-arm"
    assert sum(counts(world)) == before
    assert not world.events()
