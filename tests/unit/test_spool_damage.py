"""A damaged spool: the process starts, and every record whose bytes are whole comes back."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from feedback.log.carving import carve
from feedback.log.protocol import NewRecord, Partition
from feedback.log.segment import first_offset, segment_files
from feedback.log.spool import OFFSET_STRIDE, Spool, SpoolLimits
from feedback.log.spool_reader import SpoolReader
from feedback.log.spool_source import Keeping, SpoolSource
from tests.unit.spool_world import LIMITS, SMALL, contents, keys, one

PAGE_BYTES = 4096
ROWS_IN_PAGE = 8  # of 500 bytes
Contents = dict[int, tuple[str, bytes]]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contents]:
    """A spool of several segments as a killed process leaves it, and what it held."""
    chance = random.Random(1)
    spool = Spool(tmp_path_factory.mktemp("crashed") / "good", SMALL)
    for number in range(300):
        size = 10_000 if number % 25 == 0 else 500
        spool.append([NewRecord("t", str(number), chance.randbytes(size))])
    copy = spool.folder.with_name("crashed")
    shutil.copytree(spool.folder, copy)
    held = contents(spool)
    spool.close()
    return copy, held


def spoil(path: Path, chance: random.Random) -> int:
    """Cut a file, zero a part of it, or write rubbish into it; return how many pages that hit."""
    raw = bytearray(path.read_bytes())
    begin = chance.randrange(len(raw))
    end = min(begin + chance.randrange(1, 20_000), len(raw))
    match chance.randrange(3):
        case 0:
            del raw[begin:]
            end = path.stat().st_size
        case 1:
            raw[begin:end] = bytes(end - begin)
        case _:
            raw[begin:end] = chance.randbytes(end - begin)
    path.write_bytes(raw)
    # a page in the write-ahead log stands behind a header, and so across two pages' places
    return (end - 1) // PAGE_BYTES - begin // PAGE_BYTES + 1 + path.name.endswith("-wal")


@pytest.mark.parametrize("seed", range(60))
def test_every_record_whose_bytes_are_whole_comes_back(
    tmp_path: Path, crashed: tuple[Path, Contents], seed: int
) -> None:
    """Wherever a file is damaged, no more is lost than lay there, and nothing comes back wrong."""
    chance = random.Random(seed)
    folder, held = crashed
    shutil.copytree(folder, tmp_path / "bad")
    files = [file for file in (tmp_path / "bad").iterdir() if file.suffix in {".db", ".db-wal"}]
    pages = spoil(chance.choice(sorted(file for file in files if file.stat().st_size)), chance)
    spool = Spool(tmp_path / "bad", SMALL)
    back = contents(spool)
    assert back.items() <= held.items()
    assert len(held) - len(back) <= ROWS_IN_PAGE * pages
    spool.append(one("next"))
    assert max(contents(spool)) >= max(held) + OFFSET_STRIDE / 2
    spool.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_reader_of_a_damaged_spool_gets_what_is_left(
    tmp_path: Path, crashed: tuple[Path, Contents], seed: int
) -> None:
    """Before its writer has mended it, and without writing; the last segment is its writer's."""
    chance = random.Random(seed)
    folder, held = crashed
    shutil.copytree(folder, tmp_path / "bad-0")
    path = chance.choice(segment_files(tmp_path / "bad-0")[:-1])
    pages = spoil(path, chance)
    spoiled = path.read_bytes()
    reader = SpoolReader(tmp_path / "bad-0")
    back = contents(reader)
    assert back.items() <= held.items()
    assert len(held) - len(back) <= ROWS_IN_PAGE * pages
    assert path.read_bytes() == spoiled
    reader.close()


def spoiled_in_the_middle(folder: Path) -> tuple[Spool, Path]:
    """Return an open spool of several segments, and one of them whose rows are damaged."""
    spool = Spool(folder, SMALL)
    for number in range(400):
        spool.append(one(str(number), 500))
    path = segment_files(folder)[1]
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 :] = bytes(len(raw) - len(raw) // 2)
    path.write_bytes(raw)
    return spool, path


def test_a_consumer_goes_on_beyond_damage_and_sets_it_aside(tmp_path: Path) -> None:
    """What is left is read, all later segments too, and the damaged file is kept for a person."""
    spool, path = spoiled_in_the_middle(tmp_path / "gateway-0-a")
    source = SpoolSource(tmp_path, ["t"], Keeping(0, 1 << 24))
    positions = dict.fromkeys(source.assigned(), 0)
    count = 0
    with capture_logs() as logs:
        while records := source.read(positions, limit=50):
            count += len(records)
            positions[records[-1].partition] = records[-1].offset
            source.applied(positions)
    assert 340 <= count < 400
    assert [(log["event"], log["file"]) for log in logs] == [("segment_unreadable", str(path))]
    assert len(segment_files(spool.folder)) == 1
    assert [file.name for file in spool.folder.glob("*.damaged")] == [f"{path.name}.damaged"]
    assert source.ends() == {Partition("t", "gateway-0-a"): 400}
    source.close()
    spool.close()


def test_a_changed_value_is_noticed(tmp_path: Path) -> None:
    """SQLite keeps no checksums of its own; ours find a record that is not what was written."""
    spool = Spool(tmp_path / "spool", LIMITS)
    spool.append([*one("a"), NewRecord("t", "b", b"the true value"), *one("c")])
    path = segment_files(spool.folder)[0]
    spool.close()
    path.write_bytes(path.read_bytes().replace(b"the true value", b"another value!"))
    reader = SpoolReader(tmp_path / "spool")
    assert keys(reader) == ["a", "c"]
    reader.close()


def test_damage_is_told_with_its_file_and_what_was_saved(tmp_path: Path) -> None:
    """An operator can find the file, and knows what it cost."""
    spool = Spool(tmp_path / "spool", LIMITS)
    spool.append([*one("a"), *one("b")])
    path = segment_files(spool.folder)[0]
    spool.close()
    raw = bytearray(path.read_bytes())
    raw[:100] = bytes(100)
    path.write_bytes(raw)
    with capture_logs() as logs:
        spool = Spool(tmp_path / "spool", LIMITS)
    [told] = logs
    assert told == {
        "event": "segment_damaged",
        "log_level": "error",
        "file": str(path),
        "records_saved": 2,
    }
    assert keys(spool) == ["a", "b"]
    assert path.with_name(f"{path.name}.damaged").read_bytes() == raw
    spool.close()


def test_transactions_behind_a_damaged_one_in_the_log_come_back(tmp_path: Path) -> None:
    """SQLite would pass over all that follows a bad page of its write-ahead log."""
    spool = Spool(tmp_path / "spool", LIMITS)
    for number in range(50):
        spool.append(one(str(number), 500))
    crashed = tmp_path / "crashed"
    shutil.copytree(spool.folder, crashed)
    spool.close()
    [log] = crashed.glob("*-wal")
    raw = bytearray(log.read_bytes())
    raw[:32] = bytes(32)  # its header: to SQLite the log is empty
    log.write_bytes(raw)
    recovered = Spool(crashed, LIMITS)
    assert keys(recovered) == [str(number) for number in range(50)]
    recovered.close()


def test_a_running_process_that_meets_damage_goes_on_in_the_next_segment(tmp_path: Path) -> None:
    """The append is answered, and what is left of the damaged one is mended at the next opening."""
    spool = Spool(tmp_path / "spool", LIMITS)
    for number in range(200):
        spool.append(one(str(number), 500))
    writer = spool._writer._connection  # pyright: ignore[reportPrivateUsage]
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = segment_files(spool.folder)[0]
    raw = bytearray(path.read_bytes())
    raw[PAGE_BYTES : 3 * PAGE_BYTES] = b"\xff" * (2 * PAGE_BYTES)  # the roots of both trees
    path.write_bytes(raw)
    writer.execute("PRAGMA shrink_memory")
    spool.append(one("next", 500))
    spool.append(one("and more", 500))
    assert len(segment_files(spool.folder)) == 2
    spool.close()
    spool = Spool(tmp_path / "spool", LIMITS)
    assert keys(spool) == [*(str(number) for number in range(200)), "next", "and more"]
    spool.close()


def test_a_salvage_that_was_broken_off_is_finished(tmp_path: Path) -> None:
    """Whether what was saved is whole or not, and whether its place was taken or not."""
    spool = Spool(tmp_path / "spool", LIMITS)
    spool.append(one("a"))
    path = segment_files(spool.folder)[0]
    spool.close()
    path.rename(path.with_name(f"{path.name}.saved"))
    spool = Spool(tmp_path / "spool", LIMITS)
    assert keys(spool) == ["a"]
    spool.close()
    shutil.copy(path, path.with_name(f"{path.name}.saved"))
    path.write_bytes(b"damaged")
    path.with_name(f"{path.name}.saving").write_bytes(b"half")
    spool = Spool(tmp_path / "spool", LIMITS)
    assert keys(spool) == ["a"]
    assert not list(spool.folder.glob("*.sav*"))
    spool.close()


def test_long_records_are_carved_whole(tmp_path: Path) -> None:
    """Their chains of pages are followed, for every length around the borders of the format."""
    lengths = [0, 1, 400, 4_000, 4_060, 4_070, *range(4_030, 4_070, 3), 5_000, 8_200, 100_000]
    spool = Spool(tmp_path / "spool", LIMITS)
    spool.append(
        [NewRecord("t", "é" * (length % 5), bytes([length % 251]) * length) for length in lengths]
    )
    held = contents(spool)
    path = segment_files(spool.folder)[0]
    from_log = carve(path)
    spool.close()
    for carved in (from_log, carve(path)):
        assert {offset: (row.key, row.value) for offset, row in carved.items()} == held


def test_a_file_that_is_no_segment_is_set_aside(tmp_path: Path) -> None:
    """A database of somebody else's under a segment's name does not stop the process."""
    folder = tmp_path / "spool"
    folder.mkdir()
    path = folder / f"{1:020}.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (a)")
    connection.close()
    spool = Spool(folder, SpoolLimits(1 << 24))
    spool.append(one("a"))
    assert keys(spool) == ["a"]
    assert first_offset(segment_files(folder)[-1]) >= OFFSET_STRIDE
    assert path.with_name(f"{path.name}.damaged").exists()
    spool.close()
