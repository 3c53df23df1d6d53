"""What Prometheus and the log learn of what a gateway served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.settings import PriceSettings
from serving.health import is_private
from tests.fakes.memory_log import MemoryLog
from tests.unit.gateway_world import APPLICATION, CANARY, World, open_world

ASKED: Any = [{"role": "user", "content": "one two three four"}]
ANSWER_TOKENS = 6  # "base answers: one two three four"
BODY = {"model": "shop", "messages": ASKED}
BASE = {"application": APPLICATION, "adapter": "base", "arm": "baseline"}
PRICES = {
    "default": PriceSettings(prompt_per_million=1_000.0, completion_per_million=10_000.0),
    CANARY: PriceSettings(per_second=3.0),
}


def priced(world: World) -> None:
    world.settings = world.settings.model_copy(update={"prices": PRICES})


def metrics_for(who: str) -> Callable[[World], None]:
    """Return how to set who may read metrics."""

    def prepare(world: World) -> None:
        gateway = world.settings.gateway.model_copy(update={"metrics": who})
        world.settings = world.settings.model_copy(update={"gateway": gateway})

    return prepare


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, prepare=priced) as opened:
        yield opened


def scraped(world: World, name: str, **labels: str) -> float:
    """Return the value of a sample as Prometheus reads it; 0 when there is none."""
    answer = httpx.get(f"{world.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name == f"ratchet_{name}" and sample.labels == labels:
                return sample.value
    return 0.0


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_served_is_counted(world: World, stream: bool) -> None:
    """Latency, tokens, cost and status, under application, adapter and arm, streamed or not."""
    world.engine.word_pause_s = 0.01
    assert world.post("/v1/chat/completions", BODY | {"stream": stream}).status_code == 200
    (event,) = world.events()
    assert scraped(world, "interactions_total", status="ok", **BASE) == 1
    assert scraped(world, "latency_seconds_count", **BASE) == 1
    assert scraped(world, "latency_seconds_sum", **BASE) == event.latency_s
    assert scraped(world, "prompt_tokens_sum", **BASE) == event.prompt_tokens == 4
    assert scraped(world, "completion_tokens_sum", **BASE) == event.completion_tokens
    assert event.completion_tokens == ANSWER_TOKENS
    assert event.cost == pytest.approx(4 * 1e-3 + ANSWER_TOKENS * 1e-2)
    assert scraped(world, "cost_total", **BASE) == pytest.approx(event.cost)
    assert scraped(world, "log_commit_seconds_count") == 1


def test_a_stream_tells_its_pace(world: World) -> None:
    """Time to first token and the mean pause between tokens, in the log and for Prometheus."""
    world.engine.word_pause_s = 0.03
    world.post("/v1/chat/completions", BODY | {"stream": True})
    (event,) = world.events()
    assert event.ttft_s is not None
    assert event.itl_s is not None
    assert event.itl_s >= 0.03
    span_s = event.latency_s - event.ttft_s
    assert event.itl_s * (ANSWER_TOKENS - 1) <= span_s
    assert scraped(world, "time_to_first_token_seconds_sum", **BASE) == event.ttft_s
    assert scraped(world, "inter_token_latency_seconds_sum", **BASE) == event.itl_s


def test_a_whole_answer_has_no_pace(world: World) -> None:
    """Its first token cannot be told from its last: nothing is made up."""
    world.post("/v1/chat/completions", BODY)
    (event,) = world.events()
    assert (event.ttft_s, event.itl_s) == (None, None)
    assert scraped(world, "time_to_first_token_seconds_count", **BASE) == 0


def test_arms_are_counted_apart(tmp_path: Path) -> None:
    """What the canary answered stands under its adapter and arm, at its own price."""

    def prepare(world: World) -> None:
        priced(world)
        world.add_live_adapter()
        world.add_adapter(CANARY)
        world.add_rollout(share=1.0)

    with open_world(tmp_path, prepare=prepare) as world:
        world.post("/v1/chat/completions", BODY)
        (event,) = world.events()
        canary = {"application": APPLICATION, "adapter": CANARY, "arm": "canary"}
        assert scraped(world, "latency_seconds_count", **canary) == 1
        assert scraped(world, "latency_seconds_count", **BASE) == 0
    assert event.cost == pytest.approx(3.0 * event.latency_s)


def test_an_error_is_counted(world: World) -> None:
    """As an interaction with status error, and as a request that ended with 502."""
    world.engine.fail_next(500, path="chat")
    world.post("/v1/chat/completions", BODY)
    assert scraped(world, "interactions_total", status="error", **BASE) == 1
    path = "/v1/chat/completions"
    assert scraped(world, "http_requests_total", path=path, status="502") == 1


def test_a_stream_that_its_client_left_is_counted_as_far_as_it_came(world: World) -> None:
    """The tokens that came, their pace and the least that they cost, though usage never came."""
    world.engine.word_pause_s = 0.1
    headers = {"authorization": "Bearer shop-key"}
    url, body = f"{world.url}/v1/chat/completions", BODY | {"stream": True}
    with httpx.stream("POST", url, json=body, headers=headers) as answer:
        for seen in answer.iter_text():
            if "one" in seen:
                break
    event = world.wait_for_event()
    assert event.status == "disconnected"
    assert event.completion_tokens is not None
    assert 3 <= event.completion_tokens < ANSWER_TOKENS
    assert event.cost == pytest.approx(event.completion_tokens * 1e-2)
    assert event.itl_s is not None
    assert event.itl_s > 0.05
    assert scraped(world, "interactions_total", status="disconnected", **BASE) == 1


def test_requests_in_flight_are_seen(world: World) -> None:
    """While a stream goes on there is one more than the scrape itself."""
    world.engine.word_pause_s = 0.1
    headers = {"authorization": "Bearer shop-key"}
    url, body = f"{world.url}/v1/chat/completions", BODY | {"stream": True}
    with httpx.stream("POST", url, json=body, headers=headers) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        assert scraped(world, "requests_in_flight") == 2
        list(pieces)
    assert scraped(world, "requests_in_flight") == 1


def test_what_never_reached_a_route_is_counted_without_new_names(world: World) -> None:
    """A wrong key under its path and status; paths that are not ours are all `other`."""
    world.post("/v1/chat/completions", BODY, api_key="stolen")
    for path in ("/wp-login.php", "/v1/secrets", "/v1/models/7"):
        httpx.get(f"{world.url}{path}")
    path = "/v1/chat/completions"
    assert scraped(world, "http_requests_total", path=path, status="401") == 1
    assert scraped(world, "http_requests_total", path="other", status="404") == 3


def test_feedback_is_counted_by_its_kind(world: World) -> None:
    """Only what is in the log."""
    receipt = world.post("/v1/chat/completions", BODY).headers["x-ratchet-receipt"]
    rated = {"receipt": receipt, "kind": "thumbs", "value": True}
    world.post("/v1/feedback", rated)
    world.post("/v1/feedback", rated | {"value": "great"})
    assert scraped(world, "feedback_total", application=APPLICATION, kind="thumbs") == 1


def test_the_log_is_seen(world: World) -> None:
    """Its depth grows with what is served; routes are fresh."""
    before = scraped(world, "log_records"), scraped(world, "log_bytes")
    world.post("/v1/chat/completions", BODY)
    assert scraped(world, "log_records") == before[0] + 1
    assert scraped(world, "log_bytes") > before[1]
    assert scraped(world, "log_max_bytes") == 1 << 30
    assert scraped(world, "routes_age_seconds") < 5


def test_unlogged_interactions_are_counted(tmp_path: Path) -> None:
    """A full log that is served through stays ready, says so, and counts the loss."""
    with open_world(tmp_path, log=MemoryLog(max_bytes=10), full_policy="serve_unlogged") as world:
        world.post("/v1/chat/completions", BODY)
        assert scraped(world, "unlogged_total") == 1
        assert scraped(world, "interactions_total", status="ok", **BASE) == 1
        health = httpx.get(f"{world.url}/health/ready")
    assert (health.status_code, health.json()["log"]) == (200, False)


def test_a_full_log_that_refuses_is_not_ready(tmp_path: Path) -> None:
    """Readiness names the reason and its mend."""
    with open_world(tmp_path, log=MemoryLog(max_bytes=10)) as world:
        assert httpx.get(f"{world.url}/health/ready").status_code == 200
        world.post("/v1/chat/completions", BODY)
        health = httpx.get(f"{world.url}/health/ready")
    assert health.status_code == 503
    assert ["log.max_bytes" in reason for reason in health.json()["reasons"]] == [True]


def test_readiness_asks_the_engine_once_a_second_and_names_it(world: World) -> None:
    """However often it is asked; an engine that says that it is sick is the reason."""
    world.engine.healthy = False
    world.engine.wait_until(lambda: httpx.get(f"{world.url}/health/ready").status_code == 503)
    report = httpx.get(f"{world.url}/health/ready").json()
    assert (report["routes"], report["engine"], report["log"]) == (True, False, True)
    assert ["engine" in reason for reason in report["reasons"]] == [True]
    asked = world.engine.health_asked
    with httpx.Client() as client:
        for _ in range(20):
            client.get(f"{world.url}/health/ready")
    assert world.engine.health_asked - asked <= 3


def test_metrics_do_not_pass_a_proxy(world: World) -> None:
    """Behind a proxy on this machine everybody looks local: a forwarded request gets 404."""
    for name in ("x-forwarded-for", "forwarded", "via"):
        answer = httpx.get(f"{world.url}/metrics", headers={name: "203.0.113.7"})
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.2.3.4", True),
        ("192.168.1.1", True),
        ("8.8.8.8", False),
        ("2001:4860:4860::8888", False),
        ("", False),
        (None, False),
        ("testclient", False),
    ],
)
def test_private_addresses_are_told_from_public_ones(host: str | None, private: bool) -> None:
    """Whoever has no address is nobody's neighbour."""
    assert is_private(host) == private


@pytest.mark.parametrize(("who", "status"), [("off", 404), ("everyone", 200)])
def test_metrics_can_be_shown_to_nobody_or_everyone(tmp_path: Path, who: str, status: int) -> None:
    """As gateway.metrics says, whatever stands between."""
    with open_world(tmp_path, prepare=metrics_for(who)) as world:
        assert world.post("/v1/chat/completions", BODY).status_code == 200
        answer = httpx.get(f"{world.url}/metrics", headers={"x-forwarded-for": "203.0.113.7"})
    assert answer.status_code == status
