"""What the processes of one training must agree on: the first decides, the others follow.

Without it each would look at its own clock and disk, and one would wait for ever. In a training of
one process nothing is asked. Imports torch.
"""

from __future__ import annotations

from typing import TypeVar

from torch import distributed

Value = TypeVar("Value")


def is_first() -> bool:
    """Return whether this process speaks for all."""
    return not _several() or distributed.get_rank() == 0


def as_first_says(value: Value) -> Value:
    """Return what the first process gives here; all must call it."""
    if not _several():
        return value
    told: list[Value] = [value]
    distributed.broadcast_object_list(told, src=0)
    return told[0]


def wait_for_all() -> None:
    """Return when all processes are here."""
    if _several():
        distributed.barrier()


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
