"""What every Kafka client of ours is made with: the settings as kafka-python's options, and topics.

Settings go in; clients and topics come out. What goes wrong on the way to the cluster is a
`LogUnavailableError`, what is wrong in the settings a `SettingsError`. Knows nothing of records.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from core.errors import LogUnavailableError, SettingsError
from core.settings import KafkaSettings
from feedback.events import DEAD_LETTER_TOPIC, FEEDBACK_TOPIC, INTERACTIONS_TOPIC, SOURCES

TOPICS = tuple(dict.fromkeys((*SOURCES, DEAD_LETTER_TOPIC)))
# Their records hold people's texts, under the interaction's id: a tombstone takes them out
COMPACTED = frozenset({INTERACTIONS_TOPIC, FEEDBACK_TOPIC})
DAY_MS = 86_400_000
CONNECT_MS = 5_000  # to the first broker that answers; commands must not hang longer
MAX_RECORD_BYTES = 16 << 20  # a body of gateway.max_body_bytes, twice, and room

_log = structlog.get_logger(__name__)


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what kafka-python's clients have in common, by its own names."""
    password = kafka.sasl_password
    named: dict[str, Any] = {
        "bootstrap_servers": list(kafka.servers),
        "client_id": "ratchet",
        "bootstrap_timeout_ms": CONNECT_MS,
        "security_protocol": kafka.security_protocol,
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
        "ssl_cafile": kafka.ssl_cafile and str(kafka.ssl_cafile),
        "ssl_certfile": kafka.ssl_certfile and str(kafka.ssl_certfile),
        "ssl_keyfile": kafka.ssl_keyfile and str(kafka.ssl_keyfile),
    }
    return {name: value for name, value in named.items() if value is not None} | kafka.options


def make_producer(kafka: KafkaSettings) -> KafkaProducer:
    """Return a producer that repeats nothing and acknowledges only what all replicas have.

    Raises: LogUnavailableError, SettingsError.
    """
    own: dict[str, Any] = {
        "acks": "all",
        "enable_idempotence": True,
        "max_in_flight_requests_per_connection": kafka.max_in_flight,
        "linger_ms": kafka.linger_ms,
        "max_block_ms": CONNECT_MS,
        "max_request_size": MAX_RECORD_BYTES,
        "delivery_timeout_ms": 6 * CONNECT_MS,  # then the relay begins again where it was
        "request_timeout_ms": 2 * CONNECT_MS,
        "allow_auto_create_topics": False,
    }
    with faults(kafka):
        return KafkaProducer(**(client_options(kafka) | own))


def make_consumer(kafka: KafkaSettings, **own: Any) -> KafkaConsumer:
    """Return a consumer with further options of its own.

    Raises: LogUnavailableError, SettingsError.
    """
    fixed: dict[str, Any] = {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "max_partition_fetch_bytes": MAX_RECORD_BYTES,
    }
    with faults(kafka):
        return KafkaConsumer(**(client_options(kafka) | fixed | own))


def make_topics(kafka: KafkaSettings) -> None:
    """Make the topics that are missing; those that are there are left as they are.

    Raises: LogUnavailableError, SettingsError.
    """
    with _administering(kafka) as admin:
        for topic in sorted(set(TOPICS) - set(admin.list_topics())):
            _make_topic(admin, topic, kafka)


def partition_counts(kafka: KafkaSettings) -> dict[str, int]:
    """Return how many partitions each of our topics has, as far as it is there.

    Raises: LogUnavailableError, SettingsError.
    """
    with _administering(kafka) as admin:
        there = [topic for topic in TOPICS if topic in set(admin.list_topics())]
        described = admin.describe_topics(there) if there else []
        return {topic["name"]: len(topic["partitions"]) for topic in described}


@contextmanager
def _administering(kafka: KafkaSettings) -> Generator[Any]:
    """Give an administrator's client; its stub knows less than it does."""
    with faults(kafka):
        admin: Any = KafkaAdminClient(**client_options(kafka))
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def faults(kafka: KafkaSettings) -> Generator[None]:
    """Turn kafka-python's errors into ours."""
    servers = ", ".join(kafka.servers)
    try:
        yield
    except (AssertionError, TypeError, ValueError, FileNotFoundError) as error:
        raise SettingsError(
            f"Kafka at {servers} cannot be asked with these settings: {error}. Mend log.kafka"
        ) from error
    except (KafkaError, OSError) as error:
        raise LogUnavailableError(
            f"Kafka at {servers} does not answer ({type(error).__name__}: {error}): "
            "start it, or set log.kafka.servers; what is logged waits in the spools"
        ) from error


def topic_configs(topic: str, kafka: KafkaSettings) -> dict[str, str]:
    """Return how a topic is kept. Source: Kafka's topic configuration reference."""
    configs = {
        "retention.ms": str(int(kafka.retention_days * DAY_MS)),
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "cleanup.policy": "delete",
    }
    if topic in COMPACTED:
        configs["cleanup.policy"] = "compact,delete"
        configs["min.compaction.lag.ms"] = str(int(kafka.compact_after_days * DAY_MS))
    return configs


def _make_topic(admin: Any, topic: str, kafka: KafkaSettings) -> None:
    wanted = {
        "num_partitions": kafka.partitions,
        "replication_factor": kafka.replication,
        "configs": topic_configs(topic, kafka),
    }
    answer = admin.create_topics({topic: wanted}, raise_errors=False)
    code = answer["topics"][0]["error_code"]
    if code not in {0, TopicAlreadyExistsError.errno}:  # another relay may have been quicker
        raise for_code(code)(answer["topics"][0].get("error_message") or topic)
    _log.info("topic_made", topic=topic, partitions=kafka.partitions)
