"""Events on the wire: old ones are read by new code."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from feedback.events import INTERACTIONS_TOPIC, InteractionFinished, decode, encode, receive

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


def test_what_a_newer_gateway_adds_is_kept_apart() -> None:
    """The event is as this version knows it, and equal to one that was made here."""
    newer = msgspec.to_builtins(EVENT) | {"mood": {"calm": 0.5}, "seed": 7}
    received = receive(INTERACTIONS_TOPIC, msgspec.json.encode(newer))
    assert received.event == EVENT
    assert msgspec.json.decode(received.extra) == {"mood": {"calm": 0.5}, "seed": 7}
    assert receive(INTERACTIONS_TOPIC, encode(EVENT)).extra == "{}"


@pytest.mark.parametrize("wrong", [{"latency_s": "slow"}, {"schema": "interaction.v9"}])
def test_a_new_field_excuses_no_wrong_one(wrong: dict[str, str]) -> None:
    """What this version knows must be as it knows it."""
    newer = msgspec.to_builtins(EVENT) | {"seed": 7} | wrong
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        receive(INTERACTIONS_TOPIC, msgspec.json.encode(newer))
