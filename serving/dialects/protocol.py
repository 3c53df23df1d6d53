"""SERVE: what a dialect is: how one API shape is asked, read, stamped and broken off.

A dialect names its path, the type of its requests, how a whole answer is read, and who reads its
streams. The engine speaks every dialect itself: its bytes go on as they are, and only the end of
an answer is changed, to carry `ratchet`. Knows nothing of HTTP, arms or the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

import msgspec

from core.errors import EngineError, RatchetError
from serving.requests import InferenceRequest


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says, as it is logged. Finish reasons are OpenAI's, in every dialect."""

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(slots=True)
class Transcript:
    """What a stream has said so far."""

    parts: list[str] = field(default_factory=list[str])
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self.parts)

    def add(self, text: str | None) -> None:
        """Take in a piece of the answer, if it has any text."""
        if text:
            self.parts.append(text)

    def said(self) -> Said:
        """Return it as it is logged."""
        return Said(self.text, self.finish_reason, self.prompt_tokens, self.completion_tokens)


class Fate(Enum):
    """What becomes of an event of the engine's."""

    PASS = auto()  # it goes on as it is
    DROP = auto()  # the client did not ask for it
    END = auto()  # it is held until the interaction is durable, then replaced by `last`


class StreamReader(Protocol):
    """Reads one stream, event by event."""

    transcript: Transcript

    def passes(self, start: bytes) -> bool:
        """Return whether the event that starts so surely goes on as it is."""
        ...

    def read(self, event: bytes) -> Fate:
        """Take in a whole event; return what becomes of it.

        Raises: EngineError when it tells of a fault, or cannot be read.
        """
        ...

    def last(self, stamp: dict[str, Any]) -> bytes:
        """Return the end of the stream, with the stamp; only after `read` returned END."""
        ...

    def error(self, error: RatchetError, stamp: dict[str, Any]) -> bytes:
        """Return the event that tells the client why its stream ends here."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API shape. `read_answer` raises msgspec.DecodeError for what is no such answer."""

    path: str
    request: type[InferenceRequest]
    read_answer: Callable[[bytes], Said]
    open_stream: Callable[[InferenceRequest], StreamReader] | None = None  # None: it never streams


def stamped(raw: bytes, stamp: dict[str, Any]) -> bytes:
    """Return the JSON object `raw` with `ratchet` as its last member, all else byte for byte.

    `raw` has been read as an object with members: it ends in a brace, and a comma may follow.
    """
    return b"".join((raw.rstrip()[:-1], b',"ratchet":', msgspec.json.encode(stamp), b"}"))


def openai_error(error: RatchetError) -> dict[str, Any]:
    """Return the error inside a stream as the OpenAI clients read it."""
    return {
        "message": error.message,
        "type": "server_error",
        "param": error.field,
        "code": error.code,
    }


def engine_fault(message: str | None) -> EngineError:
    """Return the error for a fault that the engine put into its stream."""
    return EngineError(f"the engine failed: {message or 'it does not say why'}")


def unreadable(error: msgspec.DecodeError) -> EngineError:
    """Return the error for an event that is not the JSON it should be."""
    return EngineError(f"the engine sent an event that cannot be read: {error}")
