"""Events on the wire: old ones are read by new code."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from feedback.events import INTERACTIONS_TOPIC, InteractionFinished, decode, encode

EVENT = InteractionFinished(
    event_id="e",
    interaction_id="i",
    application="shop",
    endpoint="/v1/completions",
    requested_model="shop",
    latency_s=1.0,
    itl_s=0.02,
    cost=0.5,
    started_at=datetime(2026, 1, 2, tzinfo=UTC),
)


def test_pace_and_cost_come_back_as_they_went() -> None:
    """What is encoded is decoded."""
    assert decode(INTERACTIONS_TOPIC, encode(EVENT)) == EVENT


def test_an_event_from_before_pace_and_cost_is_read() -> None:
    """Fields that were not known then are None."""
    old = msgspec.json.decode(encode(EVENT))
    del old["itl_s"], old["cost"]
    read = decode(INTERACTIONS_TOPIC, msgspec.json.encode(old))
    assert read == msgspec.structs.replace(EVENT, itl_s=None, cost=None)
