"""Runs ingest: the event log goes into the store, chores are done, outages are waited out.

Parts go in. A database or a cluster that is away stops nothing for good: what it could not apply
stays in the log, and the next try begins at the same place. Run it by `ratchet ingest`.
"""

from __future__ import annotations

import threading

from sqlalchemy.exc import InterfaceError, OperationalError

from core.errors import LogFullError, LogUnavailableError
from core.outage import Outage
from loop.chores import Chore, Chores, chores_of
from loop.log_metrics import serve_ingest_metrics
from loop.wiring import Parts

LAG_EVERY_S = 5.0
# What is over when somebody has mended it: no database, a locked one, no broker, a full disk
AWAY = (OperationalError, InterfaceError, LogUnavailableError, LogFullError)


def run_ingest(parts: Parts, stop: threading.Event) -> None:
    """Apply what comes into the log until `stop` is set."""
    ingest, outage = parts.ingest(), Outage("ingest")
    serve_ingest_metrics(parts.settings, ingest)
    chores = Chores([Chore("lag", LAG_EVERY_S, ingest.note_lag), *chores_of(parts)])
    while not stop.is_set():
        try:
            applied = ingest.run_once()
        except AWAY as error:
            stop.wait(outage.begin(error))
            continue
        outage.end()
        chores.run_due()
        if applied == 0:
            stop.wait(parts.settings.log.ingest_every_s)
