"""Traces of a gateway's requests, as a collector gets them."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from pydantic import ValidationError

from core.settings import TraceSettings
from serving.otlp import FLUSH_TIMEOUT_S, MAX_BATCH_SPANS, MAX_WAITING_SPANS, Tracer
from tests.fakes.collector import FakeCollector, FakeSpan
from tests.ports import free_port
from tests.unit.gateway_world import World, open_world
from tests.unit.test_events import EVENT

ASKED: Any = [{"role": "user", "content": "a very secret question"}]
BODY = {"model": "shop", "messages": ASKED, "temperature": 0.5}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
REQUEST = "POST /v1/chat/completions"


def traced(world: World, endpoint: str, share: float = 1.0) -> None:
    """Set where traces go."""
    traces = TraceSettings(endpoint=endpoint, sample_share=share)
    world.settings = world.settings.model_copy(update={"traces": traces})


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    with FakeCollector() as opened:
        yield opened


@pytest.fixture
def world(tmp_path: Path, collector: FakeCollector) -> Iterator[World]:
    with open_world(tmp_path, prepare=lambda world: traced(world, collector.url)) as opened:
        yield opened


def spans_of(world: World, collector: FakeCollector) -> dict[str, FakeSpan]:
    """Return the spans of one request by name, once its own has come: it ends last."""
    world.engine.wait_until(lambda: any(span.name == REQUEST for span in collector.spans))
    return {span.name: span for span in collector.spans}


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_becomes_a_trace(world: World, collector: FakeCollector, stream: bool) -> None:
    """One span for the request with what came of it, and one below it for each part."""
    world.engine.word_pause_s = 0.02
    answer = world.post("/v1/chat/completions", BODY | {"stream": stream})
    spans = spans_of(world, collector)
    assert set(spans) == {REQUEST, "admission", "routing", "engine", "log"}
    request = spans[REQUEST]
    parts = [span for span in spans.values() if span is not request]
    assert {span.parent_id for span in parts} == {request.span_id}
    assert {span.trace_id for span in spans.values()} == {request.trace_id}
    (event,) = world.events()
    told = request.attributes
    assert told["http.response.status_code"] == 200
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "shop"
    assert told["gen_ai.response.model"] == "base"
    assert told["gen_ai.request.temperature"] == 0.5
    assert told["gen_ai.usage.input_tokens"] == event.prompt_tokens
    assert told["gen_ai.usage.output_tokens"] == event.completion_tokens
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert told["ratchet.interaction"] == answer.headers["x-ratchet-interaction"]
    assert ("gen_ai.response.time_to_first_chunk" in told) == stream
    assert request.took_s >= event.latency_s
    assert spans["engine"].took_s < request.took_s


def test_no_text_of_people_is_in_a_trace(world: World, collector: FakeCollector) -> None:
    """Neither question nor answer, also when the engine's fault repeats them."""
    world.engine.fail_next(500, path="chat", message="cannot answer 'a very secret question'")
    world.post("/v1/chat/completions", BODY)
    spans = spans_of(world, collector)
    assert b"secret" not in collector.raw
    assert spans["engine"].is_error
    assert spans["engine"].attributes["error.type"] == "EngineError"
    assert spans[REQUEST].is_error
    assert spans[REQUEST].attributes["error.type"] == "error"
    assert spans[REQUEST].attributes["http.response.status_code"] == 502


def test_a_clients_trace_goes_on_into_the_engine(world: World, collector: FakeCollector) -> None:
    """The request's span hangs below the client's, the engine's below the request's."""
    headers = {
        "authorization": "Bearer shop-key",
        "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01",
    }
    httpx.post(f"{world.url}/v1/chat/completions", json=BODY, headers=headers)
    request = spans_of(world, collector)[REQUEST]
    assert (request.trace_id, request.parent_id) == (TRACE_ID, PARENT_ID)
    assert world.engine.traceparents == [f"00-{TRACE_ID}-{request.span_id}-01"]


def test_a_traceparent_that_cannot_be_read_begins_a_trace(
    world: World, collector: FakeCollector
) -> None:
    """Garbage from a client is no reason to refuse it, nor to pass the garbage on."""
    headers = [
        (b"authorization", b"Bearer shop-key"),
        (b"traceparent", b"00-\xff-zz"),
        (b"tracestate", b"="),
    ]
    answer = httpx.post(f"{world.url}/v1/chat/completions", json=BODY, headers=headers)
    assert answer.status_code == 200
    request = spans_of(world, collector)[REQUEST]
    assert request.parent_id == ""
    assert (world.engine.traceparents[0] or "").startswith(f"00-{request.trace_id}-")


def test_what_goes_on_behind_an_answer_does_not_describe_its_request(
    collector: FakeCollector,
) -> None:
    """A second interaction in the same trace leaves the facts of the first."""
    tracer = Tracer(TraceSettings(endpoint=collector.url, sample_share=1.0))
    trace = tracer.begin("POST", "/v1/chat/completions", {})
    trace.describe(EVENT)
    trace.describe(msgspec.structs.replace(EVENT, interaction_id="behind", requested_model="x"))
    trace.end(200)
    trace.describe(EVENT)
    tracer.close()
    (span,) = collector.spans
    assert span.attributes["ratchet.interaction"] == EVENT.interaction_id
    assert span.attributes["gen_ai.request.model"] == "shop"
    assert span.attributes["gen_ai.operation.name"] == "text_completion"


def test_requests_at_once_keep_their_traces_apart(world: World, collector: FakeCollector) -> None:
    """Ten streams at the same time: each trace has its own five spans."""
    world.engine.word_pause_s = 0.02
    streams = [
        httpx.Client(headers={"authorization": "Bearer shop-key"}, timeout=20) for _ in range(10)
    ]
    sent = [
        client.send(
            client.build_request(
                "POST", f"{world.url}/v1/chat/completions", json=BODY | {"stream": True}
            ),
            stream=True,
        )
        for client in streams
    ]
    for answer, client in zip(sent, streams, strict=True):
        answer.read()
        client.close()
    world.engine.wait_until(lambda: len(collector.spans) == 50)
    by_trace: dict[str, set[str]] = {}
    for span in collector.spans:
        by_trace.setdefault(span.trace_id, set()).add(span.name)
    assert list(by_trace.values()) == [{REQUEST, "admission", "routing", "engine", "log"}] * 10


def test_only_a_share_is_traced(tmp_path: Path, collector: FakeCollector) -> None:
    """With a share of 0 nothing is sent but what a client has decided to trace."""
    with open_world(tmp_path, prepare=lambda world: traced(world, collector.url, 0.0)) as world:
        world.post("/v1/chat/completions", BODY)
        headers = {
            "authorization": "Bearer shop-key",
            "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01",
        }
        httpx.post(f"{world.url}/v1/chat/completions", json=BODY, headers=headers)
    assert {span.trace_id for span in collector.spans} == {TRACE_ID}
    unsampled = world.engine.traceparents[0]
    assert unsampled is not None
    assert not int(unsampled[-2:], 16) & 1, "the engine was told that this is sampled"


def test_the_last_traces_are_sent_at_shutdown(tmp_path: Path, collector: FakeCollector) -> None:
    """What waits for its batch when the gateway stops is not lost."""
    with open_world(tmp_path, prepare=lambda world: traced(world, collector.url)) as world:
        world.post("/v1/chat/completions", BODY)
    assert REQUEST in {span.name for span in collector.spans}


def test_a_collector_that_hangs_slows_nobody(tmp_path: Path, collector: FakeCollector) -> None:
    """Answers come as fast as ever, and the gateway stops in time."""
    collector.stalled = True
    with open_world(tmp_path, prepare=lambda world: traced(world, collector.url)) as world:
        world.post("/v1/chat/completions", BODY)
        assert collector.asked.wait(10)
        headers = {"authorization": "Bearer shop-key"}
        with httpx.Client(base_url=world.url, headers=headers) as client:
            for _ in range(20):
                assert client.post("/v1/chat/completions", json=BODY).status_code == 200
        assert sorted(event.latency_s for event in world.events())[10] < 0.2
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 3 * FLUSH_TIMEOUT_S


def test_spans_that_nobody_takes_do_not_fill_memory() -> None:
    """Nobody listens: the queue keeps its limit, and beginning a trace stays cheap."""
    tracer = Tracer(TraceSettings(endpoint=f"http://127.0.0.1:{free_port()}", sample_share=1.0))
    rounds = MAX_WAITING_SPANS
    began_s = time.thread_time()
    for _ in range(rounds):
        trace = tracer.begin("POST", "/v1/chat/completions", {})
        trace.admit()
        for name in ("routing", "engine", "log"):
            with trace.part(name):
                pass
        trace.end(200)
    took_s = (time.thread_time() - began_s) / rounds
    print(f"one trace: {took_s * 1e6:.0f} µs")
    # by type(): isinstance would ask torch's lazy objects for their class, and they warn
    kept = sum(issubclass(type(thing), ReadableSpan) for thing in gc.get_objects())
    assert kept <= MAX_WAITING_SPANS + 2 * MAX_BATCH_SPANS  # what waits, and what is being sent
    assert took_s < 0.002
    tracer.close()


def test_a_gateway_without_traces_does_not_know_opentelemetry(tmp_path: Path) -> None:
    """It is not even imported, and the engine gets no header."""
    code = (
        "import sys, serving.server;"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with open_world(tmp_path) as world:
        world.post("/v1/chat/completions", BODY)
        assert world.engine.traceparents == [None]


def test_an_endpoint_is_a_url() -> None:
    """Anything else is refused at the start, with what it should look like."""
    with pytest.raises(ValidationError, match=r"http://127\.0\.0\.1:4318"):
        TraceSettings(endpoint="collector:4317")
    assert TraceSettings(endpoint="http://collector:4318/").endpoint == "http://collector:4318"
