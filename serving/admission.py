"""SERVE: whether a request may be answered now: the limits of its key.

A caller and a validated request come in; a ticket goes out, or a RateLimitError that says when to
come again. Tokens are reserved by an estimate before the answer and settled by the engine's count
after it. Knows nothing of HTTP, arms or engines.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from core.errors import RateLimitError
from feedback.api_keys import Caller
from feedback.limits import Budget, Quota
from serving.requests import InferenceRequest

CHARS_PER_TOKEN = 4  # of English text. Source: OpenAI's rule of thumb for its tokenizers
ANSWER_TOKENS = 256  # reserved where the client set no limit; settled after the answer
ANSWER_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
BUSY_RETRY_S = 1.0  # a place is free when an answer ends, which nobody can foresee


@dataclass
class Ticket:
    """A request that was let in; `headers` tell the client what is left. Release it once."""

    caller: Caller
    admission: Admission
    reserved_tokens: float = 0.0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    _open: bool = True

    async def settle(self, tokens: int | None) -> None:
        """Replace the estimate by what was used, where the engine said it, and leave."""
        if self._open and self.reserved_tokens and tokens is not None:
            await self.admission.correct(self, tokens)
        self.release()

    def release(self) -> None:
        """Leave the place to the next one; may be called again."""
        if self._open:
            self._open = False
            self.admission.leave(self.caller.key_id)


class Admission:
    """Lets requests in, key by key."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._running: Counter[str] = Counter()

    async def admit(self, caller: Caller, request: InferenceRequest) -> Ticket:
        """Return the ticket of a request that may be answered.

        Raises: RateLimitError.
        """
        limits, key_id = caller.limits, caller.key_id
        if limits.concurrent is not None and self._running[key_id] >= limits.concurrent:
            raise RateLimitError(
                f"key {key_id} has {limits.concurrent} requests under way, as many as it may: "
                "wait for one to end",
                retry_after_s=BUSY_RETRY_S,
            )
        self._running[key_id] += 1
        ticket = Ticket(caller, self)
        try:
            await self._take(ticket, "requests", limits.requests_per_minute, 1.0)
            await self._take_tokens(ticket, request)
        except BaseException:
            ticket.release()
            raise
        return ticket

    async def correct(self, ticket: Ticket, tokens: int) -> None:
        """Give back what was reserved and not used, or take what was used beyond it."""
        per_minute = ticket.caller.limits.tokens_per_minute
        if per_minute is not None:
            await self._budget.give_back(
                _name(ticket.caller, "tokens"), Quota(per_minute), ticket.reserved_tokens - tokens
            )

    def leave(self, key_id: str) -> None:
        """Free the place of a request that has ended."""
        self._running[key_id] -= 1
        if self._running[key_id] <= 0:
            del self._running[key_id]

    async def close(self) -> None:
        """Return what the budget holds for this gateway."""
        await self._budget.close()

    async def _take_tokens(self, ticket: Ticket, request: InferenceRequest) -> None:
        per_minute = ticket.caller.limits.tokens_per_minute
        if per_minute is None:
            return
        # more than a minute's worth takes all of it, and is settled afterwards
        tokens = min(estimated_tokens(request), float(per_minute))
        try:
            await self._take(ticket, "tokens", per_minute, tokens)
        except RateLimitError:
            if (requests := ticket.caller.limits.requests_per_minute) is not None:
                name = _name(ticket.caller, "requests")
                await self._budget.give_back(name, Quota(requests), 1.0)
            raise
        ticket.reserved_tokens = tokens

    async def _take(self, ticket: Ticket, what: str, per_minute: int | None, amount: float) -> None:
        if per_minute is None:
            return
        wait_s = await self._budget.take(_name(ticket.caller, what), Quota(per_minute), amount)
        ticket.headers[f"x-ratelimit-limit-{what}"] = str(per_minute)
        if wait_s > 0:
            raise RateLimitError(
                f"key {ticket.caller.key_id} may use {per_minute:,} {what} a minute, and has: "
                f"try again in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
                headers=ticket.headers | {f"x-ratelimit-remaining-{what}": "0"},
            )


def estimated_tokens(request: InferenceRequest) -> float:
    """Return about how many tokens a request will cost: its prompt and the longest answer."""
    chars = sum(len(turn.content) for turn in request.logged_messages())
    wished = (getattr(request, name, None) for name in ANSWER_FIELDS)
    answer = next((limit for limit in wished if isinstance(limit, int)), ANSWER_TOKENS)
    return chars / CHARS_PER_TOKEN + answer


def _name(caller: Caller, what: str) -> str:
    return f"{caller.key_id}/{what}"
