"""The embedded log on disk: crashes, several processes, limits, wrong files."""

from __future__ import annotations

import itertools
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import LogFullError, SettingsError
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool

MAX_BYTES = 1 << 24
ROOT = Path(__file__).parents[2]

# Appends records and prints each number once its append has returned.
APPENDING_CHILD = """
import itertools, sys
from pathlib import Path
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool

spool = Spool(Path(sys.argv[1]), max_bytes=1 << 24)
for number in range(int(sys.argv[3])) if len(sys.argv) > 3 else itertools.count():
    spool.append([NewRecord("t", f"{sys.argv[2]}{number}", b"x" * 500)])
    print(number, flush=True)
"""


def child(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that appends to the log at `path`."""
    return subprocess.Popen(
        [sys.executable, "-c", APPENDING_CHILD, str(path), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def keys(spool: Spool) -> list[str]:
    """Return the keys of all records of topic t."""
    return [record.key for record in spool.read("t", after=0, limit=1_000_000)]


def one(key: str, size: int = 10) -> list[NewRecord]:
    """Return a batch of one record."""
    return [NewRecord("t", key, b"x" * size)]


def fill(spool: Spool) -> tuple[int, LogFullError]:
    """Append until the log is full; return how many records went in, and the error."""
    for number in itertools.count():
        try:
            spool.append(one(str(number), 10_000))
        except LogFullError as error:
            return number, error
    raise AssertionError("never")


def test_records_survive_reopening(tmp_path: Path) -> None:
    """What was appended is there after the file is closed and opened, and offsets go on."""
    spool = Spool(tmp_path / "new" / "log.db", max_bytes=MAX_BYTES)
    spool.append(one("a"))
    end = spool.end("t")
    spool.close()
    spool = Spool(tmp_path / "new" / "log.db", max_bytes=MAX_BYTES)
    spool.append(one("b"))
    assert keys(spool) == ["a", "b"]
    assert spool.end("t") > end
    spool.close()


def test_acknowledged_records_survive_kill_9(tmp_path: Path) -> None:
    """A process killed while it appends loses no record whose append had returned."""
    path = tmp_path / "log.db"
    process = child(path, "n")
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(100)]
    process.kill()
    acknowledged += [int(line) for line in process.stdout.read().splitlines()]
    process.wait()
    process.stdout.close()
    spool = Spool(path, max_bytes=MAX_BYTES)
    stored = keys(spool)
    # one more may have been written than its process could say
    assert stored[: len(acknowledged)] == [f"n{number}" for number in acknowledged]
    assert len(stored) - len(acknowledged) in (0, 1)
    spool.close()


def test_a_torn_transaction_disappears_and_the_others_stay(tmp_path: Path) -> None:
    """With the end of the write-ahead log cut off, the last batch is gone as a whole."""
    spool = Spool(tmp_path / "log.db", max_bytes=MAX_BYTES)
    spool.append([*one("a"), *one("b")])
    spool.append([*one("torn", 20_000), *one("torn too")])
    crashed = tmp_path / "crashed.db"
    shutil.copy(tmp_path / "log.db", crashed)
    written_ahead = (tmp_path / "log.db-wal").read_bytes()
    (tmp_path / "crashed.db-wal").write_bytes(written_ahead[:-1000])
    spool.close()
    recovered = Spool(crashed, max_bytes=MAX_BYTES)
    assert keys(recovered) == ["a", "b"]
    recovered.append(one("next"))
    assert keys(recovered) == ["a", "b", "next"]
    recovered.close()


def test_several_processes_append_to_one_file(tmp_path: Path) -> None:
    """Processes that open a new file at once and append to it lose nothing."""
    path = tmp_path / "log.db"
    processes = [child(path, name, "50") for name in "abc"]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    spool = Spool(path, max_bytes=MAX_BYTES)
    assert sorted(keys(spool)) == sorted(f"{name}{n}" for name in "abc" for n in range(50))
    spool.close()


def test_a_batch_that_cannot_be_stored_leaves_nothing_and_blocks_nobody(tmp_path: Path) -> None:
    """A key that is no text rolls its batch back, and another process may append at once."""
    spool = Spool(tmp_path / "log.db", max_bytes=MAX_BYTES)
    other = Spool(tmp_path / "log.db", max_bytes=MAX_BYTES)
    with pytest.raises(UnicodeEncodeError):
        spool.append([*one("a"), *one("\ud800")])
    other.append(one("b"))
    spool.append(one("c"))
    assert keys(spool) == ["b", "c"]
    other.close()
    spool.close()


def test_offsets_are_never_used_twice(tmp_path: Path) -> None:
    """Also after the newest record has been deleted, as a relay will do."""
    spool = Spool(tmp_path / "log.db", max_bytes=MAX_BYTES)
    spool.append([*one("a"), *one("b")])
    gone = spool.end("t")
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("DELETE FROM record")
    connection.close()
    spool.append(one("c"))
    assert spool.end("t") > gone
    spool.close()


def test_a_full_log_says_its_size_and_the_mend_and_takes_more_when_the_limit_is_raised(
    tmp_path: Path,
) -> None:
    """The file stays within its limit; nothing that was acknowledged is lost by raising it."""
    path = tmp_path / "log.db"
    spool = Spool(path, max_bytes=1 << 20)
    appended, error = fill(spool)
    assert re.search(rf"{path} is full.*1,048,576.*Raise log.max_bytes", error.message)
    assert 90 < appended < 105
    assert spool.depth().bytes <= 1 << 20
    spool.close()
    assert path.stat().st_size <= 1 << 20
    spool = Spool(path, max_bytes=1 << 21)
    spool.append(one("more", 10_000))
    assert len(keys(spool)) == appended + 1
    spool.close()


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_only_a_durable_log_waits_for_the_disk(tmp_path: Path, durable: bool, level: int) -> None:
    """SQLite's synchronous level is FULL for a durable log and NORMAL for another."""
    spool = Spool(tmp_path / "log.db", max_bytes=MAX_BYTES, durable=durable)
    writer = spool._writer  # pyright: ignore[reportPrivateUsage]
    assert writer.execute("PRAGMA synchronous").fetchone() == (level,)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    spool.close()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    """The error names the file and what to do with it."""
    path = tmp_path / "log.db"
    path.write_text("not a database, but long enough to look at " * 100)
    with pytest.raises(SettingsError, match=rf"{path}.*Move the file away"):
        Spool(path, max_bytes=MAX_BYTES)
