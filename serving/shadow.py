"""SERVE: in state shadow, the canary answers a sample of requests once more, unseen.

An exchange whose answer was logged comes in; the same request goes to the canary in the
background, and its interaction into the log, paired by `shadow_of`. Nobody waits for it: it
begins once the user's answer has left, and is dropped when enough are under way. It has no
receipt and is no exposure. Knows nothing of rollouts' rules.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import msgspec
import structlog

from core.clock import utc_now
from core.errors import RatchetError
from core.ids import new_id
from serving.dispatch import Serving, failed, is_routed, open_answer
from serving.engine_client import ModelMissing
from serving.exchange import Asked, Exchange, Outcome
from serving.inference import DIALECTS
from serving.relay import Relay
from serving.routing import Assignment, assign_shadow

# The listener is called before the answer's last bytes are written, a few turns of the event
# loop later: by then they have left (writing them was measured at well under 1 ms).
AFTER_S = 0.05
STREAM_READERS = {dialect.path: dialect.open_stream for dialect in DIALECTS if dialect.open_stream}

_log = structlog.get_logger(__name__)


class Shadows:
    """The canary's background answers; `close` ends those under way."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._running: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def consider(self, exchange: Exchange, outcome: Outcome) -> None:
        """Begin the shadow of an exchange, if it is to have one; a ledger's listener."""
        assignment = self._assignment(exchange, outcome)
        if assignment is None:
            return
        if len(self._running) >= self._serving.ledger.settings.canary.shadow_concurrent:
            self.dropped += 1
            return
        task = asyncio.create_task(self._answer(exchange.asked, assignment))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what is under way; it is logged as broken off."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _assignment(self, exchange: Exchange, outcome: Outcome) -> Assignment | None:
        asked, snapshot = exchange.asked, self._serving.table.current
        if snapshot is None or outcome.status != "ok" or asked.shadow_of is not None:
            return None
        if asked.forced_arm or not is_routed(asked) or asked.endpoint not in STREAM_READERS:
            return None
        share = self._serving.ledger.settings.canary.shadow_share
        route = snapshot.route(asked.application)
        return assign_shadow(route, exchange.assignment, asked.interaction_id, share)

    async def _answer(self, asked: Asked, assignment: Assignment) -> None:
        await asyncio.sleep(AFTER_S)
        try:
            await self._copy(asked, assignment)
        except RatchetError as error:  # in the log where that was possible; nobody waits for it
            _log.info("shadow_failed", shadow_of=asked.interaction_id, error=error.message)

    async def _copy(self, asked: Asked, assignment: Assignment) -> None:
        serving, snapshot = self._serving, self._serving.table.current
        assert snapshot is not None
        engines = serving.engines.usable(snapshot.having(assignment.adapter))
        exchange = serving.ledger.exchange(_again(asked), assignment)
        try:
            answer = await open_answer(serving, exchange, engines)
        except ModelMissing as error:  # the engine restarted; the reconciler mends that
            raise await failed(serving.ledger, exchange, error) from error
        reader = STREAM_READERS[asked.endpoint](exchange.asked.request)
        relay = Relay(serving.ledger, exchange, answer, reader)
        try:
            async for _ in relay.events():
                pass
        finally:
            await relay.close()


def _again(asked: Asked) -> Asked:
    """Return the same request as an interaction of its own that begins now.

    It is streamed whatever the first one was: so the time to the first token is known.
    """
    return replace(
        asked,
        interaction_id=new_id(),
        request=msgspec.structs.replace(asked.request, stream=True),
        started_at=utc_now(),
        started_s=time.monotonic(),
        shadow_of=asked.interaction_id,
    )
