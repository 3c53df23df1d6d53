"""The only composition root: every long-lived part is built here, once, and handed on.

Commands and processes call `open_parts` and pass what they need as arguments. Nothing else
constructs a store, a log or keys.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from core.clock import utc_now
from core.errors import SettingsError
from core.keys import Keys, load_keys
from core.settings import Settings
from feedback.events import SOURCES
from feedback.ingest import Ingest
from feedback.log.protocol import EventLog, EventSource
from feedback.log.slots import ProcessLog
from feedback.log.spool import SpoolLimits
from feedback.log.spool_source import Keeping, SpoolSource
from feedback.store import Store
from feedback.tables import Application

INGEST = "ingest"  # the process of that name


@dataclass(frozen=True)
class Parts:
    """What the stages share while a process runs."""

    settings: Settings
    store: Store
    log: EventLog
    source: EventSource
    keys: Keys

    def ingest(self) -> Ingest:
        """Return the consumer that fills the store."""
        batch = self.settings.log.ingest_batch
        return Ingest(self.source, self.store, letters=self.log, batch=batch)


@contextmanager
def open_parts(settings: Settings, process: str = "cli") -> Generator[Parts]:
    """Open the store and the log that `settings` name, and close them at the end.

    Creates what is missing: the data folder, the tables, a row for each application. What
    is appended goes into the spool of `process`, which is claimed when it first is.

    Raises: SettingsError when one of them cannot be opened.
    """
    with ExitStack() as closing:
        with _alone(data_folder(settings)):
            store = _open_store(settings)
            closing.callback(store.close)
            log = _process_log(settings, process)
            closing.callback(log.close)
            source = _source(settings, process)
            closing.callback(source.close)
            parts = Parts(settings, store, log, source, load_keys(settings))
        yield parts


def spool_limits(settings: Settings) -> SpoolLimits:
    """Return the limits of each process's spool."""
    log = settings.log
    return SpoolLimits(log.max_bytes, log.segment_bytes, log.segment_s)


def _process_log(settings: Settings, process: str) -> ProcessLog:
    durable = settings.log.mode == "durable"
    return ProcessLog(settings.spool_dir, process, spool_limits(settings), durable=durable)


def _source(settings: Settings, process: str) -> EventSource:
    """Return what ingest reads; the service's own shares a cluster's partitions with others."""
    if settings.log.kafka.servers:
        from feedback.log.kafka_source import KafkaSource  # 0.1 s that others do not pay

        return KafkaSource(settings.log.kafka, in_group=process == INGEST)
    keeping = Keeping(settings.log.keep_s, settings.log.max_bytes)
    return SpoolSource(settings.spool_dir, SOURCES, keeping)


def data_folder(settings: Settings) -> Path:
    """Return the data folder, made if need be.

    Raises: SettingsError when it cannot be.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"data_dir is {folder}, which cannot be made or is no folder ({error.strerror}): "
            "set data_dir to a place where this user may write"
        ) from error
    return folder


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep other processes waiting: two that make the same tables at once would both fail."""
    with (folder / "opening.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        yield


def _open_store(settings: Settings) -> Store:
    try:
        store = Store(settings.store_address)
        store.create_tables()
        with store.session() as session:
            _add_applications(session, settings)
    except (SQLAlchemyError, ImportError) as error:
        # the driver's own words: SQLAlchemy's have the statement, and may have the URL
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise SettingsError(
            f"cannot open the store: {reason}. Start the database or set store_url; "
            "`ratchet doctor` looks at it"
        ) from error
    return store


def _add_applications(session: Session, settings: Settings) -> None:
    for name in settings.applications:
        if session.get(Application, name) is None:
            session.add(Application(name=name, updated_at=utc_now()))
    session.commit()
