"""One leader of all schedulers of a store, and a fence around what it writes.

A store goes in; `acquire` gives a `Term` to one of all processes that ask, and each new leader
counts the epoch up. A leader that was replaced without knowing it cannot commit: each commit of
a `fenced` store looks at the epoch first. Knows nothing of jobs.

On PostgreSQL the leader is who holds an advisory lock on a connection of its own: the server frees
it when that connection ends, and ends the connection of a dead host after some 15 s. On SQLite
it holds a lock of the file beside the database, which the kernel frees when the process dies.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlmodel import Session, col, update

from core.clock import utc_now
from core.errors import StateError
from feedback.job_tables import Leadership
from feedback.schema import LOCK_KEY
from feedback.store import Store

NAME = "scheduler"
LEADER_KEY = LOCK_KEY + 1  # of PostgreSQL's advisory locks; the first is the schema's
# Seconds: a dead host is noticed after 5 + 3 × 3, by either side. Our choice, below 30.
KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3}


@dataclass(frozen=True, slots=True)
class Term:
    """One leader's time in office."""

    epoch: int
    holder: str


class LeadershipLostError(StateError):
    """Another leads now: what was to be written is not."""


class Leader(Protocol):
    """Somebody who may lead; the same promise on every database."""

    def acquire(self) -> Term | None:
        """Return the new term, or None while another leads.

        Raises: SQLAlchemyError when the database is away.
        """
        ...

    def holds(self, term: Term) -> bool:
        """Return whether the term goes on; False also when that cannot be known."""
        ...

    def release(self) -> None:
        """Let another lead; nothing happens without a term."""
        ...


def leader_of(store: Store) -> Leader:
    """Return the kind of leader that the store's database needs."""
    return FileLeader(store) if store.engine.dialect.name == "sqlite" else LockLeader(store)


class LockLeader:
    """Leads by an advisory lock of PostgreSQL, on a connection that does nothing else."""

    def __init__(self, store: Store) -> None:
        self._engine = create_engine(
            store.engine.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={**KEEPALIVES, "tcp_user_timeout": 10_000, "connect_timeout": 10},
        )
        self._connection: Connection | None = None

    def acquire(self) -> Term | None:
        """Return the new term, or None while another leads. Raises: SQLAlchemyError."""
        self.release()
        connection = self._engine.connect()
        try:
            for name, value in KEEPALIVES.items():
                connection.execute(text(f"SET tcp_{name} = {value}"))
            key = {"key": LEADER_KEY}
            if connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar():
                with Session(connection) as session:
                    term = _next_term(session)
                self._connection, connection = connection, None
                return term
            return None
        finally:
            if connection is not None:
                _drop(connection)

    def holds(self, term: Term) -> bool:
        """Return whether the connection, and with it the lock, is still there."""
        if self._connection is None:
            return False
        try:
            with Session(self._connection) as session:
                return _epoch(session) == term.epoch
        except SQLAlchemyError:
            return False

    def release(self) -> None:
        """Free the lock and end the connection; by its end alone it would be free only soon."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):  # a broken connection holds no lock
                key = {"key": LEADER_KEY}
                self._connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
            _drop(self._connection)
            self._connection = None


class FileLeader:
    """Leads by a lock of a file beside SQLite's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = Path(f"{store.engine.url.database}.leader")
        self._file: IO[str] | None = None

    def acquire(self) -> Term | None:
        """Return the new term, or None while another leads. Raises: SQLAlchemyError."""
        self.release()
        file = self._path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with self._store.session() as session:
                term = _next_term(session)
        except BlockingIOError:
            file.close()
            return None
        except SQLAlchemyError:
            file.close()
            raise
        self._file = file
        return term

    def holds(self, term: Term) -> bool:
        """Return whether nobody has begun another term."""
        try:
            with self._store.session() as session:
                return self._file is not None and _epoch(session) == term.epoch
        except SQLAlchemyError:
            return False

    def release(self) -> None:
        """Free the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def fenced(store: Store, term: Term) -> Generator[Store]:
    """Give the same store by connections of its own that commit only while the term goes on.

    A commit raises LeadershipLostError when another leads. On PostgreSQL the epoch's row is locked
    from that look to the commit's end, so that a new leader waits for it; on SQLite whoever
    writes is alone.
    """
    own = Store(store.url)
    lock = "" if own.engine.dialect.name == "sqlite" else " FOR SHARE"
    look = f"SELECT epoch FROM leadership WHERE name = '{NAME}'{lock}"

    def check(connection: Connection) -> None:
        epoch = connection.exec_driver_sql(look).scalar()
        if epoch != term.epoch:
            raise LeadershipLostError(
                f"another process leads the scheduler (epoch {epoch}, not {term.epoch}): "
                "what this one still did is not written; the new leader does it again"
            )

    event.listen(own.engine, "commit", check)
    try:
        yield own
    finally:
        own.close()


def _epoch(session: Session) -> int | None:
    row = session.get(Leadership, NAME, populate_existing=True)
    return None if row is None else row.epoch


def _next_term(session: Session) -> Term:
    """Count the epoch up; the caller holds the lock, so nobody else does."""
    holder = f"{socket.gethostname()}:{os.getpid()}"
    counted = session.exec(
        update(Leadership)
        .where(col(Leadership.name) == NAME)
        .values(epoch=Leadership.epoch + 1, holder=holder, since=utc_now())
        .returning(col(Leadership.epoch))
    ).scalar()
    if counted is None:
        counted = 1
        session.add(Leadership(name=NAME, epoch=counted, holder=holder))
    session.commit()
    return Term(counted, holder)


def _drop(connection: Connection) -> None:
    with suppress(SQLAlchemyError):  # a connection that is broken already is gone as well
        connection.close()
