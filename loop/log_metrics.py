"""What Prometheus may ask of the processes behind the gateway: how far relay and ingest are behind.

Off unless the settings name a port. Asked in a thread of their own, so they share no connection
with the process's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.settings import Settings
from feedback.ingest import Ingest
from feedback.log.kafka_client import TOPICS
from feedback.log.relay import Relay
from feedback.log.spool_status import spool_statuses


class _Asked(Collector):
    def __init__(self, ask: Callable[[], Iterable[Metric]]) -> None:
        self._ask = ask

    def collect(self) -> Iterable[Metric]:
        return self._ask()


def serve_relay_metrics(settings: Settings, relay: Relay) -> None:
    """Serve the relay's numbers where the settings name a port."""

    def ask() -> Iterable[Metric]:
        positions, max_bytes = relay.positions.read(), settings.log.max_bytes
        spools = spool_statuses(settings.spool_dir, TOPICS, positions, max_bytes)
        waiting = sum(spool.waiting for spool in spools)
        age_s = max((spool.waiting_s for spool in spools), default=0.0)
        yield GaugeMetricFamily("ratchet_relay_waiting_records", "Not in Kafka yet", value=waiting)
        yield GaugeMetricFamily("ratchet_relay_waiting_seconds", "Of the oldest", value=age_s)
        yield CounterMetricFamily(
            "ratchet_relay_moved_records", "Since the start", value=relay.moved
        )

    _serve(settings.log.metrics_host, settings.log.relay_metrics_port, ask)


def serve_ingest_metrics(settings: Settings, ingest: Ingest) -> None:
    """Serve ingest's numbers where the settings name a port."""

    def ask() -> Iterable[Metric]:
        gauge = GaugeMetricFamily(
            "ratchet_ingest_lag_records", "Behind the log's end", labels=["topic", "partition"]
        )
        for (topic, name), records in list(ingest.seen_lag.items()):
            gauge.add_metric([topic, name], records)
        yield gauge
        yield CounterMetricFamily("ratchet_ingest_records", "Dealt with", value=ingest.dealt_with)

    _serve(settings.log.metrics_host, settings.log.ingest_metrics_port, ask)


def _serve(host: str, port: int | None, ask: Callable[[], Iterable[Metric]]) -> None:
    if port is not None:
        registry = CollectorRegistry()
        registry.register(_Asked(ask))
        start_http_server(port, host, registry)
