"""SERVE: server-sent events: bytes in as they arrive, whole events out, unchanged.

vLLM's stream is cut at event boundaries and read on the side: text, finish reason, usage, fault.
The bytes that go on to the client are the engine's own. Knows nothing of requests, arms or the
log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.errors import EngineError

END = b"\n\n"
DATA = b"data:"
DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
MAX_EVENT_BYTES = 4 << 20  # far above any event of vLLM's: a stream without ends is a fault


class ToolCallDelta(msgspec.Struct):
    """A piece of a tool call."""

    index: int = 0
    function: dict[str, Any] | None = None


class Delta(msgspec.Struct):
    """What one event adds to an answer."""

    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class Choice(msgspec.Struct):
    """One answer's part of an event, of either endpoint."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Fault(msgspec.Struct):
    """An error that the engine put into the stream."""

    message: str = ""


class Chunk(msgspec.Struct):
    """The part of an event that Ratchet reads."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    choices: list[Choice] = []
    usage: Usage | None = None
    error: Fault | None = None


_DECODER = msgspec.json.Decoder(Chunk)
_ENCODER = msgspec.json.Encoder()


class Splitter:
    """Cuts a byte stream into whole events, each with its terminator."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the events that `piece` completes.

        Raises: EngineError when an event does not end.
        """
        *whole, self._rest = (self._rest + piece).split(END)
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EngineError(f"the engine sent an event of over {MAX_EVENT_BYTES:,} bytes")
        return [event + END for event in whole]


@dataclass
class Transcript:
    """What a stream has said so far: the text of its first choice, and how it ended."""

    head: Chunk | None = None
    parts: list[str] = field(default_factory=list[str])
    finish_reason: str | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self.parts)

    def add(self, chunk: Chunk) -> bool:
        """Take in an event; return whether it carried text (or part of a tool call)."""
        self.head = self.head or chunk
        self.usage = chunk.usage or self.usage
        texts = [_choice_text(choice) for choice in chunk.choices if choice.index == 0]
        self.parts += texts
        for choice in chunk.choices:
            if choice.index == 0 and choice.finish_reason:
                self.finish_reason = choice.finish_reason
        return any(texts)


def read_event(event: bytes) -> Chunk | None:
    """Return what a data event says; None for `[DONE]` and for comments.

    Raises: EngineError when the data are not the JSON that vLLM sends.
    """
    data = _data(event)
    if data in {b"", DONE}:
        return None
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise EngineError(f"the engine sent an event that cannot be read: {error}") from error


def is_done(event: bytes) -> bool:
    """Return whether the event is the one that ends a stream."""
    return _data(event) == DONE


def data_event(value: Any) -> bytes:
    """Return `value` as one event."""
    return b"data: " + _ENCODER.encode(value) + END


def _data(event: bytes) -> bytes:
    lines = (line.strip() for line in event.splitlines())
    return b"\n".join(line[len(DATA) :].strip() for line in lines if line.startswith(DATA))


def _choice_text(choice: Choice) -> str:
    if choice.delta is None:
        return choice.text or ""
    if choice.delta.content:
        return choice.delta.content
    calls = choice.delta.tool_calls or []
    return "".join(
        str(call.function.get(key) or "")
        for call in calls
        if call.function
        for key in ("name", "arguments")
    )
