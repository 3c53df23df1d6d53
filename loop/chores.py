"""What ingest and relay do between batches, each for itself: chores, each at its own pace.

They keep the spools of this machine small, which no other process can do for it; what is done once
for the whole service is `loop.jobs`. A chore that fails is told in the log and comes again at its
next time: it must not stop ingest. `chores_of` is the list of ingest's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from core.settings import Settings
from feedback.log.slots import seal_abandoned
from feedback.positions import read_positions
from loop.wiring import Parts, spool_limits

SPOOLS_EVERY_S = 60.0  # our choice: a segment may be an hour old before it is sealed at all

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do again and again; what it returns is only logged, and only if it is true."""

    name: str
    every_s: float
    run: Callable[[], object]


class Chores:
    """Chores and when each is due; the first time is at once."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = chores
        self._due_s = {chore.name: 0.0 for chore in chores}

    def run_due(self) -> None:
        """Do what is due."""
        for chore in self._chores:
            now_s = time.monotonic()
            if now_s >= self._due_s[chore.name]:
                self._due_s[chore.name] = now_s + chore.every_s
                _run(chore)


def chores_of(parts: Parts) -> list[Chore]:
    """Return the chores of an ingest process."""

    def let_go() -> object:
        with parts.store.session() as session:
            known = read_positions(session)
        mine = {part: known[part] for part in parts.source.assigned() if part in known}
        return parts.source.applied(mine)

    return spool_chores(parts.settings, let_go)


def spool_chores(settings: Settings, let_go: Callable[[], object]) -> list[Chore]:
    """Return what keeps spools small while nothing comes in, for whoever consumes them.

    Their applied records are let go when their time is over, though no new ones come to make
    anybody look; what dead processes left is mended, sealed, and so can go as well.
    """

    def seal() -> object:
        return seal_abandoned(settings.spool_dir, spool_limits(settings))

    return [
        Chore("abandoned spools", SPOOLS_EVERY_S, seal),
        Chore("spools", SPOOLS_EVERY_S, let_go),
    ]


def _run(chore: Chore) -> None:
    try:
        result = chore.run()
    except Exception as error:  # the job edge: a database that is down, a folder that is full
        _log.error("chore_failed", chore=chore.name, exc_info=error)
        return
    if result:
        _log.info("chore_done", chore=chore.name, result=result)
