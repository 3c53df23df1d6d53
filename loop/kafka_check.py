"""Whether the cluster that the settings name can be used, for `ratchet doctor`. Changes nothing."""

from __future__ import annotations

from core.errors import RatchetError
from core.settings import Settings
from loop.check import Check


def kafka_checks(settings: Settings) -> list[Check]:
    """Return what is to be said of Kafka; nothing where it is not set."""
    kafka = settings.log.kafka
    if not kafka.servers:
        return []
    try:
        from feedback.log.kafka_client import TOPICS, partition_counts
    except ImportError:
        mend = 'install it: pip install "ratchet-llm[kafka]"'
        return [Check("Kafka", False, "kafka-python is not installed", mend)]
    try:
        counts = partition_counts(kafka)
    except RatchetError as error:
        return [Check("Kafka", False, str(error), "start the cluster, or mend log.kafka")]
    missing = [topic for topic in TOPICS if topic not in counts]
    if missing:
        told = f"reached; {len(missing)} of {len(TOPICS)} topics are not there yet"
        return [Check("Kafka", None, told, "start `ratchet relay`, which makes them")]
    return [Check("Kafka", True, f"{len(TOPICS)} topics of {min(counts.values())} partitions")]
