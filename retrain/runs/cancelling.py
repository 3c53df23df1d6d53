"""A run that somebody wants to end: a note in its folder, which whoever works on it looks for.

The note says who and why; it is all that crosses between the process of the one who cancels and the
one that trains, wherever both are.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from core.files import write_atomic

FILE = "cancel.json"


class Cancellation(msgspec.Struct, frozen=True):
    """Who wants the end of a run, and why."""

    by: str
    reason: str = ""

    def __str__(self) -> str:
        return f"cancelled by {self.by}" + (f": {self.reason}" if self.reason else "")


def ask_to_cancel(folder: Path, cancellation: Cancellation) -> None:
    """Leave the note in a run's folder."""
    write_atomic(folder / FILE, msgspec.json.encode(cancellation))


def cancellation_of(folder: Path) -> Cancellation | None:
    """Return the note in a run's folder, or None."""
    path = folder / FILE
    if not path.is_file():
        return None
    return msgspec.json.decode(path.read_bytes(), type=Cancellation)


def forget_cancellation(folder: Path) -> None:
    """Take the note away: the run is resumed."""
    (folder / FILE).unlink(missing_ok=True)
