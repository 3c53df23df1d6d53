"""SERVE: one interaction, from the request's arrival to the event in the log.

An exchange knows who asked, who answers, and since when; it makes the receipt that goes out with
the answer and the InteractionFinished that goes into the log. The ledger writes that event before
the answer ends, or follows the policy for a full log. Text is redacted here, before it is written
anywhere. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import structlog

from core.canary_settings import CanarySettings
from core.clock import utc_now
from core.errors import LogFullError
from core.ids import new_id, subject_hash
from core.keys import Keys
from core.refusals import refuses
from core.settings import Settings
from feedback.events import (
    INTERACTIONS_TOPIC,
    InteractionFinished,
    InteractionStatus,
    Message,
    encode,
)
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import NewRecord
from feedback.receipts import Receipt, sign
from feedback.redaction.writing import Redactors
from serving.hardware import BASE_MODEL_NAME
from serving.metrics import Metrics
from serving.prices import Usage, estimated_cost
from serving.requests import InferenceRequest, logged_parameters
from serving.routing import Arm, Assignment
from serving.tracing import admitted, described, part

REDACTED_AT_ONCE_CHARS = 5_000  # some 7 ms where every sentence is personal; plain text 0.1 ms

Settled = Callable[[int | None], Awaitable[None]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked what, and when. `endpoint` is the path, `started_s` monotonic."""

    interaction_id: str
    application: str
    subject: str | None
    endpoint: str
    request: InferenceRequest
    started_at: datetime
    started_s: float
    turns: list[Message]  # the request as it is logged, read from it once
    settled: Settled | None = None  # told of its tokens, None if unknown, once it has ended
    forced_arm: Arm | None = None  # an operator's wish; such a request is no exposure
    shadow_of: str | None = None  # nobody waits for this answer: it is paired with that one

    @property
    def chars(self) -> int:
        """How much text came in."""
        return sum(len(turn.content) for turn in self.turns)

    @property
    def unit(self) -> str:
        """What the arm sticks to: the end user, or this interaction where none is named."""
        return self.subject or self.interaction_id


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went, as far as it came. Times in seconds since the request arrived."""

    status: InteractionStatus
    latency_s: float
    answer: str = ""
    finish_reason: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ttft_s: float | None = None
    itl_s: float | None = None  # mean inter-token latency
    reached_engine: bool = True  # False: no adapter was used, so this is no exposure

    @property
    def tokens(self) -> int | None:
        """How many tokens it cost, where the engine said so."""
        if self.prompt_tokens is None:
            return None if self.reached_engine else 0
        return self.prompt_tokens + (self.completion_tokens or 0)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with its assignment and its receipt."""

    asked: Asked
    assignment: Assignment
    receipt: str

    @property
    def served_by(self) -> str:
        """The engine's name for who answers."""
        return self.assignment.adapter or BASE_MODEL_NAME

    def headers(self) -> dict[str, str]:
        """Return the headers that every answer carries; the last only when another one answers."""
        headers = {
            "x-ratchet-interaction": self.asked.interaction_id,
            "x-ratchet-receipt": self.receipt,
            "x-ratchet-adapter": self.served_by,
        }
        if self.assignment.fell_back:
            headers["x-ratchet-fallback"] = self.assignment.fell_back
        return headers

    def stamp(self) -> dict[str, Any]:
        """Return what the body carries under `ratchet`; `arm` only on an exposure."""
        stamp = {
            "interaction": self.asked.interaction_id,
            "receipt": self.receipt,
            "adapter": self.served_by,
        }
        if self.assignment.fell_back:
            stamp["fallback"] = self.assignment.fell_back
        return stamp | ({"arm": self.assignment.arm} if self.assignment.rollout_id else {})

    def elapsed_s(self) -> float:
        """Return the seconds since the request arrived."""
        return time.monotonic() - self.asked.started_s


Listener = Callable[[Exchange, Outcome], None]


@dataclass
class Ledger:
    """Begins exchanges, and writes their events; counts what it could not write.

    `listeners` are told of each exchange that was written, and must not wait for anything.
    """

    settings: Settings
    commits: GroupCommit
    keys: Keys
    metrics: Metrics | None = None
    unlogged: int = field(default=0, init=False)
    redactors: Redactors = field(init=False)
    rules: dict[str, CanarySettings] = field(init=False)  # by application
    full_at_s: float = field(default=-math.inf, init=False)  # monotonic: the log took nothing
    listeners: list[Listener] = field(default_factory=list[Listener], init=False)

    def __post_init__(self) -> None:
        self.redactors = Redactors(self.settings.applications, self.keys.subject)
        names = self.settings.applications
        self.rules = {name: self.settings.canary_of(name) for name in names}

    def asked(
        self,
        application: str,
        endpoint: str,
        request: InferenceRequest,
        *,
        settled: Settled | None = None,
        forced_arm: Arm | None = None,
    ) -> Asked:
        """Return the request as an interaction that begins now."""
        admitted()
        user = request.end_user()
        return Asked(
            interaction_id=new_id(),
            application=application,
            subject=None if user is None else subject_hash(self.keys.subject, application, user),
            endpoint=endpoint,
            request=request,
            started_at=utc_now(),
            started_s=time.monotonic(),
            turns=request.logged_messages(),
            settled=settled,
            forced_arm=forced_arm,
        )

    def exchange(self, asked: Asked, assignment: Assignment) -> Exchange:
        """Return the exchange, with a signed receipt for whoever gets the answer."""
        issued_at = int(asked.started_at.timestamp())
        receipt = Receipt(
            interaction_id=asked.interaction_id,
            application=asked.application,
            subject=asked.subject,
            adapter=assignment.adapter,
            arm=assignment.arm,
            issued_at=issued_at,
            expires_at=issued_at + int(self.settings.gateway.receipt_ttl_s),
        )
        return Exchange(asked, assignment, sign(receipt, self.keys.receipt))

    async def write(self, exchange: Exchange, outcome: Outcome) -> None:
        """Return once the interaction is in the log, or may be served without.

        Raises: LogFullError when the log is full and the policy is to refuse.
        """
        try:
            await self._write(exchange, outcome)
        finally:
            if exchange.asked.settled is not None:
                await exchange.asked.settled(outcome.tokens)
        for listener in self.listeners:
            listener(exchange, outcome)

    async def _write(self, exchange: Exchange, outcome: Outcome) -> None:
        if _redacted_chars(exchange, outcome) <= REDACTED_AT_ONCE_CHARS:
            await self._append(self._finished(exchange, outcome))
            return
        # Shielded: a client that leaves now must not take the interaction with it
        await asyncio.shield(self._append_long(exchange, outcome))

    async def _append_long(self, exchange: Exchange, outcome: Outcome) -> None:
        """Redact long texts in a thread, others meanwhile answered."""
        await self._append(await asyncio.to_thread(self._finished, exchange, outcome))

    def _finished(self, exchange: Exchange, outcome: Outcome) -> InteractionFinished:
        """Return the event, its texts redacted in the order of the conversation."""
        asked = exchange.asked
        writing = self.redactors.writing(asked.application, asked.interaction_id)
        *turns, answer = writing.texts([*(turn.content for turn in asked.turns), outcome.answer])
        messages = [Message(turn.role, text) for turn, text in zip(asked.turns, turns, strict=True)]
        error = None if outcome.error is None else writing.text(outcome.error)
        parameters = writing.parameters(logged_parameters(asked.request))
        event = _event(exchange, outcome, _cost(exchange, outcome, self.settings))
        return msgspec.structs.replace(
            event,
            messages=messages,
            answer=answer,
            error=error,
            parameters=parameters | event.parameters,
            redactions=writing.redactions(),
            refused=refuses(outcome.answer) if outcome.status == "ok" else None,
            stratum=self._stratum(asked),
        )

    def _stratum(self, asked: Asked) -> str | None:
        """Return the stratum of a request where the application's rollouts are stratified.

        Only values that the settings name are written: a tag may hold anything.
        """
        rules = self.rules.get(asked.application)
        if rules is None or rules.stratify_by is None:
            return None
        return rules.stratum_of(asked.request.tag(rules.tag) if rules.tag else asked.endpoint)

    async def _append(self, event: InteractionFinished) -> None:
        """Count the event, and hand it to the log."""
        described(event)
        if self.metrics is not None:
            self.metrics.count_interaction(event)
        with part("log"):
            await self._commit(event)

    async def _commit(self, event: InteractionFinished) -> None:
        """Hand the event to the log; that has happened before anything is waited for."""
        record = NewRecord(INTERACTIONS_TOPIC, event.interaction_id, encode(event))
        if self.settings.log.mode == "async":
            self.commits.append_later(record)
            return
        began_s = time.monotonic()
        try:
            await self.commits.append(record)
        except LogFullError as error:
            self.unlogged += 1
            self.full_at_s = time.monotonic()
            _log.error(
                "interaction_unlogged",
                interaction=event.interaction_id,
                application=event.application,
                unlogged=self.unlogged,
                error=error.message,
            )
            if self.settings.log.full_policy == "refuse":
                raise
        else:
            self.full_at_s = -math.inf
        if self.metrics is not None:
            self.metrics.count_commit(time.monotonic() - began_s)


def _redacted_chars(exchange: Exchange, outcome: Outcome) -> int:
    """Return how much text there is to redact; of parameters, those that hold some."""
    values = logged_parameters(exchange.asked.request).values()
    texts = [value for value in values if isinstance(value, str | list | dict)]
    size = len(msgspec.json.encode(texts)) if texts else 0
    return size + len(outcome.answer) + exchange.asked.chars


def _event(exchange: Exchange, outcome: Outcome, cost: float | None) -> InteractionFinished:
    """Return the event without any text of people or of the engine."""
    asked, assignment = exchange.asked, exchange.assignment
    exposed = outcome.reached_engine
    return InteractionFinished(
        event_id=new_id(),
        interaction_id=asked.interaction_id,
        application=asked.application,
        subject=asked.subject,
        adapter=assignment.adapter,
        arm=assignment.arm,
        rollout_id=assignment.rollout_id if exposed else None,
        step=assignment.step if exposed else None,
        endpoint=asked.endpoint,
        requested_model=asked.request.model,
        status=outcome.status,
        finish_reason=outcome.finish_reason,
        stream=asked.request.is_streamed(),
        parameters={"fell_back": assignment.fell_back} if assignment.fell_back else {},
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        latency_s=outcome.latency_s,
        ttft_s=outcome.ttft_s,
        itl_s=outcome.itl_s,
        cost=cost,
        started_at=asked.started_at,
        shadow_of=asked.shadow_of,
    )


def _cost(exchange: Exchange, outcome: Outcome, settings: Settings) -> float | None:
    busy_s = outcome.latency_s if outcome.reached_engine else 0.0
    usage = Usage(outcome.prompt_tokens, outcome.completion_tokens, busy_s)
    return estimated_cost(settings.prices, exchange.served_by, usage)
