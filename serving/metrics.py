"""SERVE: what Prometheus may ask of a gateway: one registry, fed by events that are made anyway.

Finished interactions, given feedback and ended HTTP requests come in; text in Prometheus' format
goes out. Labels are bounded: paths that are not ours are `other`, adapters are those that the
route table served, and of them the latest `MAX_SERIES`. Knows nothing of HTTP or of the log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from feedback.events import FeedbackGiven, InteractionFinished
from serving.hardware import BASE_MODEL_NAME

OTHER = "other"
WHO = ("application", "adapter", "arm")
# Label sets that are kept; each is 90 lines and 1 ms of a scrape, measured. An adapter by which
# nobody was answered for so long that others took all places is forgotten: to rate() its counter
# begins anew.
MAX_SERIES = 50
# Source: OpenTelemetry semantic conventions, "Generative AI metrics": the boundaries advised for
# gen_ai.server.request.duration, time_to_first_token, time_per_output_token, client.token.usage.
# Ours go on where a CPU is slow, and end where gateway settings end requests.
LATENCY_S = tuple(0.02 * 2**step for step in range(14))  # to 164 s
TTFT_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
ITL_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
# A commit took 0.3 ms, and waits for company at most log.commit_every_ms (docs/experiments.md)
COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class State:
    """What is true at the moment of a scrape, and counted elsewhere."""

    log_records: int
    log_bytes: int
    log_max_bytes: int
    log_failures: int  # records lost in mode `async`
    unlogged: int  # interactions that a full log did not take
    routes_age_s: float  # infinite: never read


@dataclass(frozen=True, slots=True)
class _Series:
    """The metrics of one application, adapter and arm: looked up once, not at every answer."""

    latency: Histogram
    ttft: Histogram
    itl: Histogram
    prompt_tokens: Histogram
    completion_tokens: Histogram
    cost: Counter


class Metrics:
    """All metrics of one gateway. Fed from the event loop; rendered in any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._series: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()
        ProcessCollector(registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"ratchet_{name}", what, WHO, buckets=buckets, registry=registry)

        self._histograms = (
            histogram("latency_seconds", "From request to the end of its answer", LATENCY_S),
            histogram("time_to_first_token_seconds", "Of streams", TTFT_S),
            histogram("inter_token_latency_seconds", "Mean of each stream", ITL_S),
            histogram("prompt_tokens", "Of each interaction", TOKENS),
            histogram("completion_tokens", "Of each interaction", TOKENS),
        )
        self._cost = Counter(
            "ratchet_cost", "Estimated, in the price table's currency", WHO, registry=registry
        )
        self._interactions = Counter(
            "ratchet_interactions",
            "Finished: ok, error or disconnected",
            (*WHO, "status"),
            registry=registry,
        )
        self._feedback = Counter(
            "ratchet_feedback", "Given", ("application", "kind"), registry=registry
        )
        self._requests = Counter(
            "ratchet_http_requests", "Ended", ("path", "status"), registry=registry
        )
        self._in_flight = Gauge(
            "ratchet_requests_in_flight", "Begun and not ended", registry=registry
        )
        self._commit = Histogram(
            "ratchet_log_commit_seconds",
            "Waiting until an interaction is durable",
            buckets=COMMIT_S,
            registry=registry,
        )

    def watch(self, state: Callable[[], State]) -> None:
        """Ask for `state` at each scrape, from then on."""
        self._registry.register(_StateCollector(state))

    def render(self) -> bytes:
        """Return all metrics as text, as Prometheus reads it."""
        return generate_latest(self._registry)

    def count_interaction(self, event: InteractionFinished) -> None:
        """Count a finished interaction, logged or not."""
        arm = "shadow" if event.shadow_of else event.arm  # nobody waited for that one
        who = (event.application, event.adapter or BASE_MODEL_NAME, arm)
        self._interactions.labels(*who, event.status).inc()
        series = self._of(who)
        series.latency.observe(event.latency_s)
        if event.ttft_s is not None:
            series.ttft.observe(event.ttft_s)
        if event.itl_s is not None:
            series.itl.observe(event.itl_s)
        if event.prompt_tokens is not None:
            series.prompt_tokens.observe(event.prompt_tokens)
        if event.completion_tokens is not None:
            series.completion_tokens.observe(event.completion_tokens)
        if event.cost:
            series.cost.inc(event.cost)

    def count_feedback(self, event: FeedbackGiven) -> None:
        """Count a feedback that is in the log."""
        self._feedback.labels(event.application, event.kind).inc()

    def count_commit(self, waited_s: float) -> None:
        """Count how long an interaction waited for the log."""
        self._commit.observe(waited_s)

    def begin_request(self) -> None:
        """Count an HTTP request that came in."""
        self._in_flight.inc()

    def end_request(self, path: str, status: int) -> None:
        """Count an HTTP request that is over."""
        self._in_flight.dec()
        self._requests.labels(path, str(status)).inc()

    def _of(self, who: tuple[str, str, str]) -> _Series:
        series = self._series.get(who)
        if series is None:
            series = self._add(who)
        self._series.move_to_end(who)
        return series

    def _add(self, who: tuple[str, str, str]) -> _Series:
        while len(self._series) >= MAX_SERIES:
            self._forget(self._series.popitem(last=False)[0])
        histograms = [histogram.labels(*who) for histogram in self._histograms]
        series = self._series[who] = _Series(*histograms, cost=self._cost.labels(*who))
        return series

    def _forget(self, who: tuple[str, str, str]) -> None:
        for metric in (*self._histograms, self._cost):
            metric.remove(*who)
        self._interactions.remove_by_labels(dict(zip(WHO, who, strict=True)))


class _StateCollector(Collector):
    """Asks for the state when Prometheus asks for metrics."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing: the registry need not ask for the state to learn the names."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """Return the state as metrics."""
        state = self._state()

        def gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"ratchet_{name}", what, value=value)

        def counter(name: str, what: str, value: float) -> CounterMetricFamily:
            return CounterMetricFamily(f"ratchet_{name}", what, value=value)

        return (
            gauge("log_records", "In the spool", state.log_records),
            gauge("log_bytes", "Of the spool", state.log_bytes),
            gauge("log_max_bytes", "At which the spool is full", state.log_max_bytes),
            counter("log_failures", "Records lost in mode async", state.log_failures),
            counter("unlogged", "Interactions that a full log did not take", state.unlogged),
            gauge("routes_age_seconds", "Since routes were last read", state.routes_age_s),
        )
