"""SERVE: traces by OpenTelemetry, sent in batches to a collector that speaks OTLP over HTTP.

The head of a request begins a trace (or continues the client's, by `traceparent`); its parts
become spans, named as the conventions for generative AI name things, without any text of people.
Spans wait in a bounded queue and are sent by a thread: a collector that is down costs the oldest
of them, and no request any time. Imported only when `traces.endpoint` is set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.settings import TraceSettings
from feedback.events import InteractionFinished
from serving.hardware import BASE_MODEL_NAME

SERVICE = "ratchet-gateway"
# Source: OpenTelemetry specification, "Batching processor": its defaults, but sent every second
MAX_WAITING_SPANS = 2048  # some 4 MB
MAX_BATCH_SPANS = 512
SEND_EVERY_MS = 1_000
SEND_TIMEOUT_S = 5.0  # by a thread of its own
FLUSH_TIMEOUT_S = 2.0  # at the end, should the collector not answer

_PROPAGATOR = TraceContextTextMapPropagator()
_OPERATIONS = {"/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}
_SAMPLING = {
    "temperature": gen_ai.GEN_AI_REQUEST_TEMPERATURE,
    "top_p": gen_ai.GEN_AI_REQUEST_TOP_P,
    "max_tokens": gen_ai.GEN_AI_REQUEST_MAX_TOKENS,
    "max_completion_tokens": gen_ai.GEN_AI_REQUEST_MAX_TOKENS,
}

_log = structlog.get_logger(__name__)


class Tracer:
    """Begins traces, and sends what they become; build one for each process, close it."""

    def __init__(self, settings: TraceSettings) -> None:
        """Start the thread that sends; nothing is sent, or connected to, yet."""
        self._url = f"{settings.endpoint}/v1/traces"
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample_share)),
            resource=Resource({"service.name": SERVICE}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=self._url, timeout=SEND_TIMEOUT_S),
                max_queue_size=MAX_WAITING_SPANS,
                schedule_delay_millis=SEND_EVERY_MS,
                max_export_batch_size=MAX_BATCH_SPANS,
                export_timeout_millis=SEND_TIMEOUT_S * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("ratchet")

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> Trace:
        """Return the trace of a request; `headers` are those of W3C Trace Context that it has."""
        return Trace(self._tracer, method, path, _PROPAGATOR.extract(headers))

    def close(self) -> None:
        """Send what waits, for at most `FLUSH_TIMEOUT_S`, then stop."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(FLUSH_TIMEOUT_S)
        if closing.is_alive():
            _log.warning("traces_lost", url=self._url, waited_s=FLUSH_TIMEOUT_S)


class Trace:
    """One request's span and, if it is sampled, the spans of its parts."""

    def __init__(self, tracer: Any, method: str, path: str, parent: Context) -> None:
        self._tracer = tracer
        self._path = path
        self._began_ns = time.time_ns()
        self._span = tracer.start_span(
            f"{method} {path}",
            context=parent,
            kind=SpanKind.SERVER,
            start_time=self._began_ns,
            attributes={
                http_attributes.HTTP_REQUEST_METHOD: method,
                url_attributes.URL_PATH: path,
            },
        )
        self._context = set_span_in_context(self._span, parent)
        self._described = False
        self.headers: dict[str, str] = {}
        _PROPAGATOR.inject(self.headers, self._context)

    def part(self, name: str) -> AbstractContextManager[None]:
        """Return a block that is a span of its own, if the request is sampled."""
        return self._part(name) if self._span.is_recording() else nullcontext()

    @contextmanager
    def _part(self, name: str) -> Generator[None]:
        """Make the block a span; a fault is named by its class, never by its words."""
        kind = SpanKind.CLIENT if name == "engine" else SpanKind.INTERNAL
        span = self._tracer.start_span(name, context=self._context, kind=kind)
        try:
            yield
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            span.set_attribute(error_attributes.ERROR_TYPE, type(error).__name__)
            raise
        finally:
            span.end()

    def admit(self) -> None:
        """End the first part: from the request's arrival until it may be answered."""
        if not self._span.is_recording():
            return
        span = self._tracer.start_span(
            "admission", context=self._context, start_time=self._began_ns
        )
        span.end()

    def describe(self, event: InteractionFinished) -> None:
        """Put the interaction's facts on the request's span: the first that is written, no other.

        A further one comes from work that goes on behind the answer.
        """
        if self._described or not self._span.is_recording():
            return
        self._described = True
        self._span.set_attributes(_attributes(event))

    def end(self, status: int) -> None:
        """End the request's span with its HTTP status."""
        self._span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _attributes(event: InteractionFinished) -> dict[str, Any]:
    known = {
        gen_ai.GEN_AI_OPERATION_NAME: _OPERATIONS.get(event.endpoint, "chat"),
        gen_ai.GEN_AI_PROVIDER_NAME: "vllm",
        gen_ai.GEN_AI_REQUEST_MODEL: event.requested_model,
        gen_ai.GEN_AI_REQUEST_STREAM: event.stream,
        gen_ai.GEN_AI_RESPONSE_MODEL: event.adapter or BASE_MODEL_NAME,
        gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: event.finish_reason and [event.finish_reason],
        gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: event.ttft_s,
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: event.prompt_tokens,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: event.completion_tokens,
        error_attributes.ERROR_TYPE: None if event.status == "ok" else event.status,
        "ratchet.interaction": event.interaction_id,
        "ratchet.application": event.application,
        "ratchet.arm": event.arm,
        "ratchet.rollout": event.rollout_id,
        "ratchet.inter_token_latency_s": event.itl_s,
        "ratchet.cost": event.cost,
    }
    known |= {
        name: event.parameters[key] for key, name in _SAMPLING.items() if key in event.parameters
    }
    return {name: value for name, value in known.items() if value is not None}
