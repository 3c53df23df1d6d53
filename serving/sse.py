"""SERVE: server-sent events: bytes in as they arrive, whole events out, unchanged.

vLLM's stream is cut at event boundaries; what is left over is the start of an event that may go
on before its end is there. Knows nothing of what events say: that is their dialect's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.errors import EngineError

END = b"\n\n"
MAX_EVENT_BYTES = 4 << 20  # far above any event of vLLM's: a stream without ends is a fault

_DATA = b"data:"
_EVENT = b"event:"


class Splitter:
    """Cuts a byte stream into whole events, each with its terminator."""

    def __init__(self) -> None:
        self.rest = b""  # the start of an event that is not whole yet

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the events that `piece` completes.

        Raises: EngineError when an event does not end.
        """
        *whole, self.rest = (self.rest + piece).split(END)
        if len(self.rest) > MAX_EVENT_BYTES:
            raise EngineError(f"the engine sent an event of over {MAX_EVENT_BYTES:,} bytes")
        return [event + END for event in whole]


def data_of(event: bytes) -> bytes:
    """Return the data of an event; empty for a comment."""
    if event.startswith(_DATA) and event.find(b"\n") == len(event) - len(END):  # most of them
        return event[len(_DATA) :].strip()
    lines = (line.strip() for line in event.splitlines())
    return b"\n".join(line[len(_DATA) :].strip() for line in lines if line.startswith(_DATA))


def name_of(start: bytes) -> str | None:
    """Return the event's name from its first line; None while that is not whole, or names none."""
    line, newline, _ = start.partition(b"\n")
    if not newline or not line.startswith(_EVENT):
        return None
    return line[len(_EVENT) :].strip().decode(errors="replace")


def data_event(value: Any, name: str | None = None) -> bytes:
    """Return `value` as one event."""
    return raw_event(msgspec.json.encode(value), name)


def raw_event(data: bytes, name: str | None = None) -> bytes:
    """Return JSON that is encoded already as one event."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + data + END
