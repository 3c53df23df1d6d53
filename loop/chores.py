"""What the ingest process does between batches: each chore at its own pace, one after the other.

A chore that fails is told in the log and comes again at its next time: it must not stop ingest.
`chores_of` is the list of them all. Knows nothing of what a chore does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from core.clock import utc_now
from core.settings import Settings
from curation.review.erasure import expire_reviews
from feedback.anomalies import mark_anomalies
from feedback.log.slots import seal_abandoned
from feedback.positions import read_positions
from feedback.retention import cutoffs, expire
from loop.erasing import carry_out_requests
from loop.rollup_job import roll_up_metrics
from loop.wiring import Parts, spool_limits
from retrain.registry.mlflow_models import sync_models

DAY_S = 86_400.0
SPOOLS_EVERY_S = 60.0  # our choice: a segment may be an hour old before it is sealed at all
MLFLOW_EVERY_S = 60.0  # our choice: people look there, nothing waits for it
ERASE_EVERY_S = 5.0  # who asks for it looks at its state soon

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
    """Return all chores of a service."""

    def retain() -> object:
        expired = expire(parts.store, cutoffs(parts.settings, utc_now()))
        if expired:
            with parts.store.session() as session:
                for application in parts.settings.applications:
                    expire_reviews(session, application)
                session.commit()
        return expired

    def mark() -> object:
        with parts.store.session() as session:
            count = mark_anomalies(session, parts.settings.feedback, utc_now())
            session.commit()
        return count

    def erase() -> object:
        return carry_out_requests(parts)

    def let_go() -> object:
        with parts.store.session() as session:
            known = read_positions(session)
        mine = {part: known[part] for part in parts.source.assigned() if part in known}
        return parts.source.applied(mine)

    def list_in_mlflow() -> object:
        with parts.store.session() as session:
            return sync_models(session, parts.settings)

    return [
        Chore("mlflow", MLFLOW_EVERY_S, list_in_mlflow),
        Chore("erasures", ERASE_EVERY_S, erase),
        Chore("anomalies", parts.settings.feedback.mark_every_s, mark),
        Chore("retention", DAY_S, retain),
        Chore("metrics", parts.settings.console.roll_up_every_s, lambda: roll_up_metrics(parts)),
        *spool_chores(parts.settings, let_go),
    ]


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
