"""SERVE: one streamed answer on its way from the engine to the client.

The engine's bytes go on as they are, at once, even before an event is whole where its start tells
that it goes on; a copy is read for the log by the dialect. The end is held back until the
interaction is durable, and then carries `ratchet`. A client that leaves aborts the answer in the
engine, and what was sent is logged as disconnected. Knows nothing of routes or requests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import structlog

from core.errors import EngineError, EngineUnavailable, RatchetError
from feedback.events import InteractionStatus
from serving.dialects.protocol import Fate, StreamReader
from serving.engine_client import EngineAnswer
from serving.exchange import Exchange, Ledger, Outcome
from serving.pace import Pace
from serving.sse import END, Splitter

_log = structlog.get_logger(__name__)


class Relay:
    """The stream of one exchange; `answer` has begun. Iterate `events` once, then `close`."""

    def __init__(
        self, ledger: Ledger, exchange: Exchange, answer: EngineAnswer, reader: StreamReader
    ) -> None:
        self._ledger = ledger
        self._exchange = exchange
        self._answer = answer
        self._reader = reader
        self._splitter = Splitter()
        self._sent_ahead = 0  # bytes of an event that went on before it was whole
        self._pace = Pace()
        self._ended = False  # the engine said so
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
        """Read what came in; return the part that goes on. A fault waits until that has gone."""
        passed: list[bytes] = []
        try:
            for event in self._splitter.feed(piece):
                heard = len(self._reader.transcript.parts)
                fate = self._reader.read(event)
                if len(self._reader.transcript.parts) > heard:
                    self._pace.note(self._exchange.elapsed_s())
                if fate is Fate.END:
                    self._ended = True
                    break
                if fate is Fate.PASS:
                    passed.append(event[self._sent_ahead :])
                self._sent_ahead = 0
            else:
                passed.append(self._ahead())
        except EngineError as error:
            self._fault = error
        return b"".join(passed)

    def _ahead(self) -> bytes:
        """Return what may go on of an event that is not whole yet."""
        rest = self._splitter.rest
        if not rest or not (self._sent_ahead or self._reader.passes(rest)):
            return b""
        ahead = rest[self._sent_ahead :]
        self._sent_ahead = len(rest)
        return ahead

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
        return self._reader.last(self._exchange.stamp())

    async def _break_off(self, error: RatchetError) -> bytes:
        """Log the fault, unless it came from the log; return the event that tells the client."""
        if not self._written:
            self._written = True
            await self._ledger.write(self._exchange, self._outcome("error", error.message))
        _log.warning("stream_broken_off", **self._ids(), code=error.code, error=error.message)
        told = self._reader.error(error, self._exchange.stamp())
        return END + told if self._sent_ahead else told

    def _outcome(self, status: InteractionStatus, error: str | None = None) -> Outcome:
        said = self._reader.transcript.said()
        return Outcome(
            status=status,
            latency_s=self._exchange.elapsed_s(),
            answer=said.text,
            finish_reason=said.finish_reason,
            error=error,
            prompt_tokens=said.prompt_tokens,
            completion_tokens=self._pace.tokens(said.completion_tokens),
            ttft_s=self._pace.first_s,
            itl_s=self._pace.itl_s(said.completion_tokens),
        )

    def _ids(self) -> dict[str, str]:
        asked = self._exchange.asked
        return {"interaction": asked.interaction_id, "application": asked.application}
