"""SERVE: one streamed answer on its way from the engine to the client.

The engine's events go on as the bytes they are, at once; a copy is read for the log. The end is
held back until the interaction is durable: then a last chunk with `ratchet`, and `[DONE]`. A
client that leaves aborts the answer in the engine, and what was sent is logged as disconnected.
Knows nothing of routes or requests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import structlog

from core.errors import EngineError, EngineUnavailable, RatchetError
from feedback.events import InteractionStatus
from serving.engine_client import EngineAnswer
from serving.exchange import Exchange, Ledger, Outcome
from serving.pace import Pace
from serving.requests import wants_usage
from serving.sse import (
    DONE_EVENT,
    Chunk,
    Splitter,
    Transcript,
    data_event,
    is_done,
    read_event,
)

_log = structlog.get_logger(__name__)


class Relay:
    """The stream of one exchange; `answer` has begun. Iterate `events` once, then `close`."""

    def __init__(self, ledger: Ledger, exchange: Exchange, answer: EngineAnswer) -> None:
        self._ledger = ledger
        self._exchange = exchange
        self._answer = answer
        self._splitter = Splitter()
        self._transcript = Transcript()
        self._shows_usage = wants_usage(exchange.asked.request)
        self._pace = Pace()
        self._ended = False  # [DONE] came from the engine
        self._fault: EngineError | None = None  # came from the engine inside the stream
        self._written = False  # the interaction is in the log, or was refused by it

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what goes to the client; the last bytes only once the interaction is logged."""
        try:
            async for piece in self._answer.chunks():
                if passed := self._take(piece):
                    yield passed
                if self._ended or self._fault:
                    break
            yield await self._finish()
        except RatchetError as error:
            yield await self._break_off(error)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the engine, and log a stream that was left early; may be called again.

        Litestar neither closes the iterator of a client that left nor lets it finish: this is
        called from the iterator's `finally` and once more after the response, whichever is
        first, and cannot be cancelled.
        """
        self._answer.close()
        if self._written:
            return
        self._written = True
        with anyio.CancelScope(shield=True):
            try:
                await self._ledger.write(self._exchange, self._outcome("disconnected"))
            except RatchetError as error:  # nobody is left to tell
                _log.error("disconnected_unlogged", **self._ids(), error=error.message)
        _log.info("client_disconnected", **self._ids())

    def _take(self, piece: bytes) -> bytes:
        """Read what came in; return the part that goes on."""
        passed: list[bytes] = []
        for event in self._splitter.feed(piece):
            if is_done(event):
                self._ended = True
                break
            chunk = read_event(event)
            if chunk is not None and chunk.error is not None:
                self._fault = EngineError(f"the engine failed: {chunk.error.message}")
                break
            if chunk is None or self._is_for_client(chunk):
                passed.append(event)
        return b"".join(passed)

    def _is_for_client(self, chunk: Chunk) -> bool:
        if self._transcript.add(chunk):
            self._pace.note(self._exchange.elapsed_s())
        only_usage = chunk.usage is not None and not chunk.choices
        return self._shows_usage or not only_usage

    async def _finish(self) -> bytes:
        """Log the answer; return its last bytes.

        Raises: EngineError when the engine did not finish; LogFullError.
        """
        if self._fault is not None:
            raise self._fault
        if not self._ended:
            raise EngineUnavailable("the engine ended its stream early: try again")
        outcome = self._outcome("ok")
        self._written = True
        await self._ledger.write(self._exchange, outcome)
        head = self._transcript.head or Chunk()
        last = {
            "id": head.id,
            "object": head.object,
            "created": head.created,
            "model": head.model,
            "choices": [],
            "ratchet": self._exchange.stamp(),
        }
        return data_event(last) + DONE_EVENT

    async def _break_off(self, error: RatchetError) -> bytes:
        """Log the fault, unless it came from the log; return the event that tells the client."""
        if not self._written:
            self._written = True
            await self._ledger.write(self._exchange, self._outcome("error", error.message))
        _log.warning("stream_broken_off", **self._ids(), code=error.code, error=error.message)
        body = {
            "message": error.message,
            "type": "server_error",
            "param": error.field,
            "code": error.code,
        }
        return data_event({"error": body, "ratchet": self._exchange.stamp()})

    def _outcome(self, status: InteractionStatus, error: str | None = None) -> Outcome:
        usage = self._transcript.usage
        counted = usage.completion_tokens if usage else None
        return Outcome(
            status=status,
            latency_s=self._exchange.elapsed_s(),
            answer=self._transcript.text,
            finish_reason=self._transcript.finish_reason,
            error=error,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=self._pace.tokens(counted),
            ttft_s=self._pace.first_s,
            itl_s=self._pace.itl_s(counted),
        )

    def _ids(self) -> dict[str, str]:
        asked = self._exchange.asked
        return {"interaction": asked.interaction_id, "application": asked.application}
