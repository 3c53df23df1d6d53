"""Shadow: the canary answers a sample of requests too, and users neither see it nor wait."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.settings import CanarySettings
from feedback.events import InteractionFinished
from feedback.ingest import Ingest
from feedback.tables import Interaction, Rollout
from monitoring.counts import count_rollout
from tests.fakes.memory_log import MemorySource
from tests.unit.gateway_world import CANARY, LIVE, World, open_world

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "shop", "messages": [{"role": "user", "content": "Hello"}]}


@contextmanager
def shadowed(folder: Path, *, state: str = "shadow", **canary: Any) -> Generator[World]:
    """Give a world with a rollout in which every request is copied, unless told otherwise."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        world.add_adapter(CANARY)
        world.add_rollout(share=0.0, state=state)

    changes = {"canary": {"shadow_share": 1.0, **canary}}
    with open_world(folder, prepare=prepare, changes=changes) as world:
        yield world


def pair(world: World) -> tuple[InteractionFinished, InteractionFinished]:
    """Return the user's interaction and its shadow, once both are logged."""
    world.engine.wait_until(lambda: len(world.events()) == 2)
    first, second = world.events()
    return first, second


@pytest.mark.parametrize("stream", [False, True])
def test_both_answers_are_logged_as_a_pair(tmp_path: Path, stream: bool) -> None:
    """The user gets the baseline's; the canary's has its own interaction, arm and rollout."""
    with shadowed(tmp_path) as world:
        answer = world.post(CHAT, ASKED | {"stream": stream, "user": "ann"})
        assert answer.headers["x-ratchet-adapter"] == LIVE
        seen, unseen = pair(world)
    assert seen.interaction_id == answer.headers["x-ratchet-interaction"]
    assert (seen.adapter, seen.rollout_id, seen.shadow_of) == (LIVE, None, None)
    assert unseen.shadow_of == seen.interaction_id
    assert (unseen.adapter, unseen.arm, unseen.status) == (CANARY, "canary", "ok")
    assert (unseen.rollout_id, unseen.step) == ("rollout-1", None)
    assert unseen.answer == f"{CANARY} answers: Hello"
    assert unseen.subject == seen.subject
    assert unseen.completion_tokens
    assert unseen.ttft_s is not None
    assert unseen.interaction_id not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "Hello"}),
        ("/v1/responses", {"input": "Hello"}),
        ("/v1/messages", {"max_tokens": 50, "messages": ASKED["messages"]}),
    ],
)
def test_every_dialect_that_streams_has_shadows(
    tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    """Read by the dialect's own reader."""
    with shadowed(tmp_path) as world:
        answer = world.post(path, {"model": "shop", **body})
        assert answer.status_code == 200, answer.text
        seen, unseen = pair(world)
    assert unseen.shadow_of == seen.interaction_id
    assert (unseen.endpoint, unseen.status) == (path, "ok")
    assert unseen.answer == f"{CANARY} answers: Hello"


def test_a_shadow_is_no_exposure(tmp_path: Path) -> None:
    """In the tables it is found by its rollout, and no count has it."""
    with shadowed(tmp_path) as world:
        world.post(CHAT, ASKED)
        seen, unseen = pair(world)
        Ingest(MemorySource(world.log), world.store, letters=world.log, batch=100).drain()
        with world.store.session() as session:
            row = session.get_one(Interaction, unseen.interaction_id)
            assert row.shadow_of == seen.interaction_id
            rollout = session.get_one(Rollout, "rollout-1")
            assert count_rollout(session, rollout, CanarySettings()).steps == ()


def test_the_user_does_not_wait_for_a_slow_canary(tmp_path: Path) -> None:
    """The answer is there long before the shadow's."""
    with shadowed(tmp_path) as world:
        began = time.monotonic()
        world.engine.reply = lambda model, _: "word " * (20 if model == CANARY else 1)
        world.engine.word_pause_s = 0.05
        assert world.post(CHAT, ASKED).status_code == 200
        assert time.monotonic() - began < 0.6
        pair(world)
        assert time.monotonic() - began > 0.9


def test_a_failing_canary_is_logged_and_nobody_notices(tmp_path: Path) -> None:
    """The shadow's error is the pair's other half."""
    with shadowed(tmp_path) as world:
        world.engine.stream_fault = "out of memory"
        assert world.post(CHAT, ASKED).status_code == 200
        seen, unseen = pair(world)
    assert (seen.status, unseen.status) == ("ok", "error")
    assert "out of memory" in (unseen.error or "")


def test_shadows_beyond_the_limit_are_dropped(tmp_path: Path) -> None:
    """One at a time is allowed: of quick requests only some have a shadow."""
    with shadowed(tmp_path, shadow_concurrent=1) as world:
        world.engine.reply = lambda model, _: "word " * (40 if model == CANARY else 1)
        world.engine.word_pause_s = 0.02
        for _ in range(5):
            world.post(CHAT, ASKED)
        world.engine.wait_until(lambda: any(event.shadow_of for event in world.events()))
        assert len([event for event in world.events() if event.shadow_of]) == 1


@pytest.mark.parametrize(
    ("canary", "state", "asked"),
    [
        ({"shadow_share": 0.0}, "shadow", {}),
        ({}, "canary", {}),
        ({}, "shadow", {"model": "base"}),
        ({}, "shadow", {"model": LIVE}),
    ],
    ids=["not sampled", "not in shadow", "the base model", "an exact adapter"],
)
def test_other_requests_have_no_shadow(
    tmp_path: Path, canary: dict[str, Any], state: str, asked: dict[str, Any]
) -> None:
    """Only a sample of what would be the canary's traffic is copied."""
    with shadowed(tmp_path, state=state, **canary) as world:
        world.post(CHAT, ASKED | asked)
        time.sleep(0.3)
        assert [event.shadow_of for event in world.events()] == [None]


def test_a_gateway_that_stops_ends_its_shadows(tmp_path: Path) -> None:
    """What was under way is logged as broken off, and the engine works for nobody."""
    with shadowed(tmp_path) as world:
        world.engine.reply = lambda model, _: "word " * (500 if model == CANARY else 1)
        world.engine.word_pause_s = 0.02
        world.post(CHAT, ASKED)
        world.engine.wait_until(lambda: world.engine.running == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    _, unseen = world.events()
    assert unseen.status == "disconnected"
