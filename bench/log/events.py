"""Events as the gateway writes them: interactions of 1 KB, and feedback for a third of them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.log.figures import FEEDBACK_SHARE
from core.clock import utc_now
from core.ids import new_id
from feedback.events import (
    FEEDBACK_TOPIC,
    INTERACTIONS_TOPIC,
    FeedbackGiven,
    InteractionFinished,
    Message,
    encode,
)
from feedback.log.protocol import NewRecord

APPLICATION = "bench"
QUESTION = "I forgot my password, and order 48213 has not come. What do I do? " * 4
ANSWER = "Open the page of your account and ask for a new one; the parcel is in Bern. " * 4


def records(interactions: int) -> Iterator[NewRecord]:
    """Yield the interactions, each with its feedback right behind it, if it has any."""
    for number in range(interactions):
        yield from _interaction(number)


def _interaction(number: int) -> Iterator[NewRecord]:
    key, subject = new_id(), f"{number % 500:032x}"
    finished = InteractionFinished(
        event_id=new_id(),
        interaction_id=key,
        application=APPLICATION,
        subject=subject,
        endpoint="/v1/chat/completions",
        requested_model=APPLICATION,
        messages=[Message("user", QUESTION)],
        answer=ANSWER,
        finish_reason="stop",
        parameters={"temperature": 0.2, "max_tokens": 256},
        prompt_tokens=80,
        completion_tokens=62,
        latency_s=0.4,
        started_at=utc_now(),
    )
    yield NewRecord(INTERACTIONS_TOPIC, key, encode(finished))
    if number % FEEDBACK_SHARE == 0:
        given = FeedbackGiven(
            event_id=new_id(),
            client_id=new_id(),
            interaction_id=key,
            application=APPLICATION,
            subject=subject,
            kind="thumbs",
            thumbs=number % 2 == 0,
            given_at=utc_now(),
        )
        yield NewRecord(FEEDBACK_TOPIC, key, encode(given))
