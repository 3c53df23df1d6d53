"""A spool for each process: which one is whose, and the log that opens its own when it is needed.

A process claims the first free slot of its name (`gateway-0`, `gateway-1`, …) by a lock that the
kernel frees when it dies; the next one goes on where a crashed one stopped. A spool's folder
carries a random tag, so that a folder made anew is never taken for the one that was there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

import structlog

from core.errors import LogFullError, SettingsError, StateError
from feedback.log.protocol import Depth, NewRecord
from feedback.log.spool import Spool, SpoolLimits, is_left_open

TAG_BYTES = 4
LOCK_SUFFIX = ".lock"
TRIES = 3  # a look at who has a lock holds it for microseconds
TRY_EVERY_S = 0.01
LOOKS = 10  # of an idle process at its segment, in `segment_s`

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Slot:
    """A claimed place; closing `lock` frees it."""

    folder: Path
    lock: IO[str]


def claim(spool_dir: Path, name: str) -> Slot:
    """Return the first free slot of `name`.

    Raises: SettingsError when the folder cannot be written to.
    """
    try:
        spool_dir.mkdir(parents=True, exist_ok=True)
        for number in count():
            slot = f"{name}-{number}"
            if (lock := _locked(spool_dir / f"{slot}{LOCK_SUFFIX}")) is not None:
                return Slot(_folder(spool_dir, slot), lock)
    except OSError as error:
        raise SettingsError(
            f"cannot open the event log in {spool_dir}: {error.strerror}. "
            "Give this user write access to it, or set data_dir to another folder"
        ) from error
    raise AssertionError("count() never ends")


def spool_folders(spool_dir: Path) -> list[Path]:
    """Return the folders of all spools."""
    if not spool_dir.is_dir():
        return []
    return sorted(path for path in spool_dir.iterdir() if path.is_dir())


def owner(folder: Path) -> int | None:
    """Return the process that writes the spool in `folder` now, or None if none does."""
    path = _lock_of(folder)
    with path.open("a+") if path.exists() else open(os.devnull, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            return int(file.read() or 0)
    return None


def seal_abandoned(spool_dir: Path, limits: SpoolLimits) -> list[str]:
    """Mend and seal what dead processes left, so that it can be let go; return whose it was.

    Raises: LogFullError when the disk has no room for that.
    """
    return [
        folder.name
        for folder in spool_folders(spool_dir)
        if owner(folder) is None and is_left_open(folder) and _seal(folder, limits)
    ]


def _seal(folder: Path, limits: SpoolLimits) -> bool:
    lock = _locked(_lock_of(folder))
    if lock is None:  # somebody has just claimed it
        return False
    with lock:
        Spool(folder, limits).close()
    return True


class ProcessLog:
    """The event log of this process: a spool that is claimed and opened at its first use."""

    def __init__(self, spool_dir: Path, name: str, limits: SpoolLimits, *, durable: bool) -> None:
        self._spool_dir = spool_dir
        self._name = name
        self._limits = limits
        self._durable = durable
        self._opening = threading.Lock()
        self._closing = threading.Event()
        self._sealer: threading.Thread | None = None
        self._slot: Slot | None = None
        self._spool: Spool | None = None

    def append(self, records: Sequence[NewRecord]) -> None:
        """Return once every record is durable, all of them or none.

        Raises: LogFullError when they do not fit; SettingsError when the spool cannot be opened.
        """
        self.open().append(records)

    def depth(self) -> Depth:
        """Return what the spool holds; full, while its disk is too full to open it.

        Raises: SettingsError when it cannot be opened for another reason.
        """
        try:
            return self.open().depth()
        except LogFullError:
            return Depth(0, self._limits.max_bytes, self._limits.max_bytes)

    def close(self) -> None:
        """Close the spool and free its slot; closing twice does nothing."""
        self._closing.set()
        if self._sealer is not None:
            self._sealer.join()
        with self._opening:
            if self._spool is not None:
                self._spool.close()
            if self._slot is not None:
                self._slot.lock.close()

    def open(self) -> Spool:
        """Return the spool, claimed and opened if it was not yet.

        Raises: SettingsError; StateError after `close`; LogFullError when its disk is full.
        """
        with self._opening:
            if self._spool is None:
                if self._closing.is_set():
                    raise StateError("the event log is closed: the process is stopping")
                self._slot = self._slot or claim(self._spool_dir, self._name)
                self._spool = Spool(self._slot.folder, self._limits, durable=self._durable)
                self._sealer = threading.Thread(
                    target=self._seal_when_old, args=(self._spool,), name="spool-seal", daemon=True
                )
                self._sealer.start()
            return self._spool

    def _seal_when_old(self, spool: Spool) -> None:
        while not self._closing.wait(self._limits.segment_s / LOOKS):
            try:
                spool.seal_if_old()
            except (sqlite3.Error, OSError) as error:  # a full disk: the next look may do better
                _log.warning("segment_not_sealed", folder=str(spool.folder), error=str(error))


def _locked(path: Path) -> IO[str] | None:
    """Return the lock's open file, or None if another process has it."""
    file = path.open("a+")
    for _ in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TRY_EVERY_S)
            continue
        file.truncate(0)
        with suppress(OSError):  # for people only; a full disk may have no room for it
            os.write(file.fileno(), str(os.getpid()).encode())
        return file
    file.close()
    return None


def _folder(spool_dir: Path, slot: str) -> Path:
    there = sorted(path for path in spool_dir.glob(f"{slot}-*") if path.is_dir())
    return there[0] if there else spool_dir / f"{slot}-{secrets.token_hex(TAG_BYTES)}"


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name.rpartition("-")[0] + LOCK_SUFFIX)
