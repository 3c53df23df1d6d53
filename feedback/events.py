"""The events on the wire: what the gateway and the conductor put in the event log.

Values are msgspec-encoded JSON with `schema` and `event_id`; the key is the interaction id
(for rollouts, the rollout id). An event is a fact in the past tense and is never changed.
Knows nothing of tables or topics' storage.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

INTERACTIONS_TOPIC = "ratchet.interactions.v1"
FEEDBACK_TOPIC = "ratchet.feedback.v1"
ROLLOUTS_TOPIC = "ratchet.rollouts.v1"
ERASURES_TOPIC = "ratchet.erasures.v1"
DEAD_LETTER_TOPIC = "ratchet.dead-letter.v1"
# in the order in which ingest applies them: an interaction before its feedback, where it can
SOURCES = (INTERACTIONS_TOPIC, FEEDBACK_TOPIC, ROLLOUTS_TOPIC, ERASURES_TOPIC, DEAD_LETTER_TOPIC)

Arm = Literal["baseline", "canary"]
ExplicitKind = Literal["thumbs", "rating", "score", "comment", "correction", "preference", "flag"]
ImplicitKind = Literal[
    "copied", "regenerated", "accepted", "abandoned", "escalated", "task_completed"
]
FeedbackKind = Literal[ExplicitKind, ImplicitKind]
InteractionStatus = Literal["ok", "error", "disconnected"]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One chat turn; `content` is redacted text."""

    role: str
    content: str


class _Fact(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """How events are read and written.

    Made of what JSON holds, they cannot refer to themselves; ingest has thousands at a time, and
    the garbage collector looking through them took a tenth of its time.
    """


class InteractionFinished(_Fact, frozen=True, kw_only=True):
    """One request and its answer, as served. Times in seconds; `subject` is a keyed hash."""

    schema: Literal["interaction.v1"] = "interaction.v1"
    event_id: str
    interaction_id: str
    application: str
    subject: str | None = None
    adapter: str | None = None  # None: the base model answered
    arm: Arm = "baseline"
    rollout_id: str | None = None  # set: this interaction is an exposure
    step: int | None = None  # index of the rollout step (stratum) it was exposed in
    endpoint: str
    requested_model: str
    messages: list[Message] = []
    answer: str = ""
    status: InteractionStatus = "ok"
    error: str | None = None
    finish_reason: str | None = None
    stream: bool = False
    parameters: dict[str, Any] = {}
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float
    ttft_s: float | None = None  # time to first token; only a stream shows it
    itl_s: float | None = None  # mean inter-token latency of a stream
    cost: float | None = None  # estimated, in the currency of the price table
    started_at: datetime
    shadow_of: str | None = None  # set: nobody saw this answer; the interaction it copies
    redactions: dict[str, str] = {}  # placeholder in the texts: keyed fingerprint of what it hides
    refused: bool | None = None  # whether the answer begins by refusing; None: not looked at
    stratum: str | None = None  # what the application's rollouts are stratified by


class FeedbackGiven(_Fact, frozen=True, kw_only=True):
    """One fact that somebody stated about an interaction.

    Which values are set goes by `kind`: `thumbs`; `rating`; `name` and `number` of a score; `text`
    of a comment or a correction; `other` of a preference, and of a regeneration where it is
    known; `name` of a flag; none of an implicit signal. A retraction has none but `name`.
    """

    schema: Literal["feedback.v1"] = "feedback.v1"
    event_id: str
    client_id: str  # idempotency: equal client ids of one interaction are one feedback
    interaction_id: str
    application: str
    subject: str | None = None
    kind: FeedbackKind
    retracted: bool = False  # takes back what the subject said of this kind before
    thumbs: bool | None = None
    rating: int | None = None  # 1-5
    name: str | None = None  # the metric of a score, the category of a flag
    number: float | None = None  # the score
    text: str | None = None  # comment or correction, redacted
    other: str | None = None  # the interaction that this one is preferred to, or that replaced it
    redactions: dict[str, str] = {}  # as of an interaction, by the same fingerprints
    given_at: datetime


class RolloutChanged(_Fact, frozen=True, kw_only=True):
    """A rollout moved to another state, with who or what decided it and why."""

    schema: Literal["rollout.v1"] = "rollout.v1"
    event_id: str
    rollout_id: str
    application: str
    state: str
    step: int
    share: float
    decided_by: str
    reason: str
    changed_at: datetime


class ErasureRequested(_Fact, frozen=True, kw_only=True):
    """Everything of a subject up to `requested_at` is to be erased."""

    schema: Literal["erasure.v1"] = "erasure.v1"
    event_id: str
    erasure_id: str
    application: str
    subject: str
    requested_by: str  # id of the API key, or a person's name
    requested_at: datetime


Event = InteractionFinished | FeedbackGiven | RolloutChanged | ErasureRequested

_TYPE_OF_TOPIC: dict[str, type[Event]] = {
    INTERACTIONS_TOPIC: InteractionFinished,
    FEEDBACK_TOPIC: FeedbackGiven,
    ROLLOUTS_TOPIC: RolloutChanged,
    ERASURES_TOPIC: ErasureRequested,
}
_FIELDS_OF_TOPIC = {
    topic: frozenset(kind.__struct_fields__) for topic, kind in _TYPE_OF_TOPIC.items()
}
_ENCODER = msgspec.json.Encoder()
_RAW_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DECODERS = {topic: msgspec.json.Decoder(kind) for topic, kind in _TYPE_OF_TOPIC.items()}


def encode(event: Event) -> bytes:
    """Return the event as the JSON bytes that are appended to the log."""
    return _ENCODER.encode(event)


def decode(topic: str, value: bytes) -> Event:
    """Return the event that `value` holds.

    Raises: msgspec.ValidationError, msgspec.DecodeError if it is not an event of `topic`, or has
    fields that this version does not know.
    """
    return _DECODERS[topic].decode(value)


class Received(msgspec.Struct, frozen=True, gc=False):
    """An event as it came, and as JSON what a newer gateway says that we do not know."""

    event: Event
    extra: str = "{}"


def receive(topic: str, value: bytes) -> Received:
    """Return the event that `value` holds, and its fields that this version does not know.

    Raises: msgspec.ValidationError, msgspec.DecodeError if it is not an event of `topic`.
    """
    try:
        return Received(decode(topic, value))
    except msgspec.ValidationError:  # looked into only then: reading twice costs as much again
        fields = _RAW_DECODER.decode(value)
        unknown = {name: fields.pop(name) for name in fields.keys() - _FIELDS_OF_TOPIC[topic]}
        if not unknown:
            raise
    return Received(decode(topic, _ENCODER.encode(fields)), _ENCODER.encode(unknown).decode())
