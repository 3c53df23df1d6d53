"""SERVE: where a request's trace is told what happens; nothing at all while traces are off.

`Observed` puts the trace of a request in its context; the parts of answering name themselves here
(`with part("engine")`), wherever they run, without a trace being handed through every call. Knows
nothing of OpenTelemetry: `serving.otlp` does, and is imported only when traces have an endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from feedback.events import InteractionFinished

if TYPE_CHECKING:
    from serving.otlp import Trace

# of the request that is being answered; None: it is not traced
current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)

_UNTRACED = nullcontext()
_NO_HEADERS: Mapping[str, str] = {}


def part(name: str) -> AbstractContextManager[None]:
    """Return a block that is one part of answering the request, in its trace."""
    trace = current_trace.get()
    return _UNTRACED if trace is None else trace.part(name)


def admitted() -> None:
    """Say that the request is known to be valid, and whose it is: its first part ends."""
    trace = current_trace.get()
    if trace is not None:
        trace.admit()


def described(event: InteractionFinished) -> None:
    """Say what came of the request: names, counts and times, never text."""
    trace = current_trace.get()
    if trace is not None:
        trace.describe(event)


def handed_on() -> Mapping[str, str]:
    """Return the headers by which the engine continues the trace (W3C Trace Context)."""
    trace = current_trace.get()
    return _NO_HEADERS if trace is None else trace.headers
