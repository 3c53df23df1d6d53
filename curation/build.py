"""CURATE: what one build of a dataset version works with. Made once, handed from stage to stage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.clock import as_utc
from core.settings import Settings
from curation.engine import Engine
from curation.history import History
from curation.ledger import Ledger
from curation.selection import Selection


@dataclass(frozen=True, slots=True)
class Build:
    """What one build of a dataset version works with."""

    settings: Settings
    application: str
    selection: Selection
    history: History
    engine: Engine
    folder: Path  # where shards lie meanwhile
    ledger: Ledger


def span(selection: Selection) -> dict[str, str | None]:
    """Return the times of a selection as JSON has them."""
    return {"since": iso(selection.since), "until": iso(selection.until)}


def iso(instant: datetime | None) -> str | None:
    """Return an instant as JSON has it."""
    return None if instant is None else as_utc(instant).isoformat()
