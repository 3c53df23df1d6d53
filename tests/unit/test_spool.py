"""The spool: what was acknowledged survives crashes, damage and a full disk, within its limits."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import LogFullError, SettingsError
from feedback.log.protocol import NewRecord
from feedback.log.segment import first_offset, segment_files
from feedback.log.slots import ProcessLog, claim, owner, spool_folders
from feedback.log.spool import OFFSET_STRIDE, Spool, SpoolLimits
from feedback.log.spool_reader import SpoolReader

ROOT = Path(__file__).parents[2]
LIMITS = SpoolLimits(1 << 24)
SMALL = SpoolLimits(1 << 24, segment_bytes=1 << 16)  # a new segment every 100 records or so

# Appends records until it is told to stop or killed, and says each number once it is durable.
APPENDING_CHILD = """
import itertools, sys
from pathlib import Path
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool, SpoolLimits

spool = Spool(Path(sys.argv[1]), SpoolLimits(1 << 26, segment_bytes=1 << 16))
for number in itertools.count(int(sys.argv[2])):
    spool.append([NewRecord("t", str(number), b"x" * 500)])
    print(number, flush=True)
"""


def child(folder: Path, first: int) -> subprocess.Popen[str]:
    """Start a process that appends to the spool in `folder`, from number `first` on."""
    return subprocess.Popen(
        [sys.executable, "-c", APPENDING_CHILD, str(folder), str(first)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def keys(spool: Spool | SpoolReader) -> list[str]:
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


def offsets(spool: Spool) -> list[int]:
    """Return the offsets of all records of topic t."""
    return [record.offset for record in spool.read("t", after=0, limit=1_000_000)]


def test_records_survive_reopening(tmp_path: Path) -> None:
    """What was appended is there after the spool is closed and opened, and offsets go on."""
    spool = Spool(tmp_path / "new" / "spool", LIMITS)
    spool.append(one("a"))
    end = spool.end("t")
    spool.close()
    spool = Spool(tmp_path / "new" / "spool", LIMITS)
    spool.append(one("b"))
    assert keys(spool) == ["a", "b"]
    assert spool.end("t") >= end + OFFSET_STRIDE / 2
    spool.close()


def test_acknowledged_records_survive_kill_9_at_any_moment(tmp_path: Path) -> None:
    """A process killed while it appends or begins a segment loses no acknowledged record."""
    acknowledged: list[int] = []
    chance = random.Random(4)
    for _ in range(20):
        process = child(tmp_path / "spool", len(acknowledged))
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randint(1, 400))]
        time.sleep(chance.random() / 500)
        process.kill()
        lines += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        acknowledged += [int(line) for line in lines if line.strip()]
    spool = Spool(tmp_path / "spool", LIMITS)
    stored = [int(key) for key in keys(spool)]
    # each kill may leave one record that was written before its process could say so
    assert set(acknowledged) <= set(stored)
    assert len(stored) - len(acknowledged) <= 20
    assert len(segment_files(tmp_path / "spool")) > 20
    spool.close()


def test_a_torn_transaction_disappears_and_the_others_stay(tmp_path: Path) -> None:
    """With the end of the write-ahead log cut off, the last batch is gone as a whole."""
    spool = Spool(tmp_path / "spool", LIMITS)
    spool.append([*one("a"), *one("b")])
    spool.append([*one("torn", 20_000), *one("torn too")])
    (written,) = segment_files(spool.folder)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    shutil.copy(written, crashed)
    written_ahead = written.with_name(f"{written.name}-wal").read_bytes()
    (crashed / f"{written.name}-wal").write_bytes(written_ahead[:-1000])
    spool.close()
    recovered = Spool(crashed, LIMITS)
    assert keys(recovered) == ["a", "b"]
    recovered.append(one("next"))
    assert keys(recovered) == ["a", "b", "next"]
    recovered.close()


def damaged_copy(source: Path, target: Path, chance: random.Random) -> None:
    """Copy a spool and spoil one of its files: cut it, zero a part, or write rubbish into it."""
    shutil.copytree(source, target)
    path = chance.choice(segment_files(target))
    raw = bytearray(path.read_bytes())
    at = chance.randrange(len(raw))
    match chance.randrange(3):
        case 0:
            raw = raw[:at]
        case 1:
            raw[at : at + 5000] = bytes(len(raw[at : at + 5000]))
        case _:
            raw[at : at + 5000] = chance.randbytes(len(raw[at : at + 5000]))
    path.write_bytes(raw)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_stops_nobody_and_gives_back_what_it_can(tmp_path: Path, seed: int) -> None:
    """The spool opens, other segments are whole, no record comes back wrong, offsets go on."""
    chance = random.Random(seed)
    spool = Spool(tmp_path / "good", SMALL)
    for number in range(300):
        spool.append(one(str(number), 500))
    good = dict(zip(offsets(spool), keys(spool), strict=True))
    spool.close()
    damaged_copy(tmp_path / "good", tmp_path / "bad", chance)
    reader = SpoolReader(tmp_path / "bad")
    keys(reader)  # a reader in another process passes over it
    reader.close()
    spool = Spool(tmp_path / "bad", SMALL)
    spool.append(one("next"))
    back = dict(zip(offsets(spool), keys(spool), strict=True))
    assert back.popitem()[1] == "next"
    assert spool.end("t") > max(good)
    assert back.items() <= good.items()
    firsts = [first_offset(path) for path in segment_files(tmp_path / "good")]
    largest = max(after - first for first, after in itertools.pairwise([*firsts, max(good) + 1]))
    assert len(back) >= len(good) - largest
    spool.close()


def test_a_salvage_that_was_broken_off_is_finished(tmp_path: Path) -> None:
    """Whether the damaged file was set aside already or not, the saved records are there."""
    spool = Spool(tmp_path / "spool", LIMITS)
    spool.append(one("a"))
    (path,) = segment_files(spool.folder)
    spool.close()
    path.rename(path.with_name(f"{path.name}.saved"))
    spool = Spool(tmp_path / "spool", LIMITS)
    assert keys(spool) == ["a"]
    spool.close()
    path.with_name(f"{path.name}.saved").write_bytes(b"half")
    spool = Spool(tmp_path / "spool", LIMITS)
    assert keys(spool) == ["a"]
    assert not list(spool.folder.glob("*.saved"))
    spool.close()


def test_a_batch_that_cannot_be_stored_leaves_nothing(tmp_path: Path) -> None:
    """A key that is no text rolls its batch back, and the next one is stored."""
    spool = Spool(tmp_path / "spool", LIMITS)
    with pytest.raises(UnicodeEncodeError):
        spool.append([*one("a"), *one("\ud800")])
    spool.append(one("c"))
    assert keys(spool) == ["c"]
    spool.close()


def test_a_new_segment_begins_by_size_and_by_age(tmp_path: Path) -> None:
    """All of them are read as one log, in order."""
    spool = Spool(tmp_path / "spool", SMALL)
    for number in range(500):
        spool.append(one(str(number), 500))
    assert len(segment_files(spool.folder)) >= 4
    assert keys(spool) == [str(number) for number in range(500)]
    some = spool.read("t", after=150, limit=200)
    assert [record.offset for record in some] == list(range(151, 351))
    spool.close()
    aged = Spool(tmp_path / "aged", SpoolLimits(1 << 24, segment_s=0.05))
    aged.append(one("a"))
    time.sleep(0.06)
    aged.append(one("b"))
    assert len(segment_files(aged.folder)) == 2
    assert keys(aged) == ["a", "b"]
    aged.close()


def test_a_full_log_says_its_size_and_the_mend(tmp_path: Path) -> None:
    """It stays within its limit over all segments, and takes more when the limit is raised."""
    limits = SpoolLimits(1 << 20, segment_bytes=1 << 18)
    spool = Spool(tmp_path / "spool", limits)
    appended, error = fill(spool)
    assert re.search(rf"{spool.folder} is full.*1,048,576.*raise log.max_bytes", error.message)
    assert 85 < appended < 105
    assert spool.depth().bytes <= 1 << 20
    spool.close()
    assert sum(path.stat().st_size for path in segment_files(spool.folder)) <= 1 << 20
    spool = Spool(tmp_path / "spool", SpoolLimits(1 << 21))
    spool.append(one("more", 10_000))
    assert len(keys(spool)) == appended + 1
    spool.close()


def test_room_that_readers_make_is_used_without_a_restart(tmp_path: Path) -> None:
    """When another process lets segments go, the writer sees it at its next append."""
    spool = Spool(tmp_path / "spool", SpoolLimits(1 << 20, segment_bytes=1 << 18))
    fill(spool)
    segment_files(spool.folder)[0].unlink()
    spool.append(one("again", 10_000))
    assert keys(spool)[-1] == "again"
    spool.close()


@contextmanager
def small_disk(place: Path) -> Generator[Path]:
    """Yield a folder on a file system of 3 MB of its own.

    Needs the right to mount; CONTRIBUTING says how the tests are run.
    """
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_a_full_log_until_there_is_room(tmp_path: Path) -> None:
    """Nothing acknowledged is lost, nothing else is kept, and it mends itself."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk; the limit in bytes is tested without")
    with small_disk(tmp_path / "disk") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1 << 20))
        spool = Spool(disk / "spool", SpoolLimits(1 << 30, segment_bytes=1 << 19))
        appended, error = fill(spool)
        assert "bytes left" in error.message
        assert keys(spool) == [str(number) for number in range(appended)]
        ballast.unlink()
        spool.append(one("again", 10_000))
        assert keys(spool) == [*(str(number) for number in range(appended)), "again"]
        spool.close()


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_only_a_durable_log_waits_for_the_disk(tmp_path: Path, durable: bool, level: int) -> None:
    """SQLite's synchronous level is FULL for a durable log and NORMAL for another."""
    spool = Spool(tmp_path / "spool", LIMITS, durable=durable)
    writer = spool._writer._connection  # pyright: ignore[reportPrivateUsage]
    assert writer.execute("PRAGMA synchronous").fetchone() == (level,)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    spool.close()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """The error names it and what to do."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=rf"{tmp_path}/file.*data_dir"):
        Spool(tmp_path / "file" / "spool", LIMITS)


def test_each_process_has_a_spool_of_its_own(tmp_path: Path) -> None:
    """A second claim of a name takes the next slot; a free one is taken over with its records."""
    first = ProcessLog(tmp_path, "gateway", LIMITS, durable=True)
    second = ProcessLog(tmp_path, "gateway", LIMITS, durable=True)
    assert spool_folders(tmp_path) == [], "nothing is made before it is needed"
    first.append(one("a"))
    second.append(one("b"))
    names = [folder.name.rsplit("-", 1)[0] for folder in spool_folders(tmp_path)]
    assert names == ["gateway-0", "gateway-1"]
    first.close()
    third = ProcessLog(tmp_path, "gateway", LIMITS, durable=True)
    third.append(one("c"))
    assert keys(third.open()) == ["a", "c"]
    assert len(spool_folders(tmp_path)) == 2
    second.close()
    third.close()


CLAIMING_CHILD = """
import sys, time
from pathlib import Path
from feedback.log.slots import claim
slot = claim(Path(sys.argv[1]), "gateway")
print(slot.folder, flush=True)
time.sleep(60)
"""


def test_a_slot_is_free_when_its_process_is_killed(tmp_path: Path) -> None:
    """The kernel gives the lock back, and who holds it can be told."""
    command = [sys.executable, "-c", CLAIMING_CHILD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert owner(folder) == process.pid
        os.kill(process.pid, signal.SIGKILL)
    assert owner(folder) is None
    slot = claim(tmp_path, "gateway")
    assert slot.folder.name.startswith("gateway-0-")
    slot.lock.close()


def test_a_folder_made_anew_is_another_spool(tmp_path: Path) -> None:
    """Somebody who deletes the spool must not make readers skip what comes after."""
    log = ProcessLog(tmp_path, "gateway", LIMITS, durable=True)
    log.append(one("a"))
    log.close()
    (folder,) = spool_folders(tmp_path)
    shutil.rmtree(folder)
    log = ProcessLog(tmp_path, "gateway", LIMITS, durable=True)
    log.append(one("b"))
    log.close()
    assert spool_folders(tmp_path)[0].name != folder.name
