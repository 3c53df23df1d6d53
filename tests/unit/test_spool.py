"""The spool: what was acknowledged stays, in segments, within its limits."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest

from core.errors import SettingsError
from feedback.log.protocol import NewRecord
from feedback.log.segment import SegmentReader, first_offset, segment_files
from feedback.log.spool import OFFSET_STRIDE, Spool, SpoolLimits
from tests.unit.spool_world import LIMITS, SMALL, fill, keys, one


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


def test_what_is_closed_is_sealed(tmp_path: Path) -> None:
    """A process that stops leaves nothing that its consumers could not let go."""
    spool = Spool(tmp_path / "spool", LIMITS)
    spool.append(one("a"))
    spool.close()
    sealed, begun = segment_files(spool.folder)
    assert SegmentReader.open(sealed).last() == 1
    assert first_offset(begun) == 2


def test_openings_leave_no_empty_segments(tmp_path: Path) -> None:
    """A process that is started again and again without work takes no more room."""
    for _ in range(5):
        Spool(tmp_path / "spool", LIMITS).close()
    spool = Spool(tmp_path / "spool", LIMITS)
    assert len(segment_files(spool.folder)) == 1
    spool.append(one("a"))
    assert spool.end("t") > OFFSET_STRIDE
    spool.close()


def test_an_idle_spool_seals_what_is_old(tmp_path: Path) -> None:
    """Only when its time is over, and only if there is something."""
    spool = Spool(tmp_path / "spool", SpoolLimits(1 << 24, segment_s=0.2))
    time.sleep(0.25)
    spool.seal_if_old()
    assert len(segment_files(spool.folder)) == 1
    spool.append(one("a"))
    spool.append(one("b"))
    count = len(segment_files(spool.folder))
    time.sleep(0.25)
    spool.seal_if_old()
    spool.seal_if_old()
    assert len(segment_files(spool.folder)) == count + 1
    assert keys(spool) == ["a", "b"]
    spool.close()


def test_a_small_spool_has_smaller_segments(tmp_path: Path) -> None:
    """Otherwise its one segment would fill it, and nothing applied could be let go."""
    spool = Spool(tmp_path / "spool", SpoolLimits(1 << 20))
    fill(spool)
    assert len(segment_files(spool.folder)) >= 4
    spool.close()


def test_opening_a_large_spool_does_not_read_through_it(tmp_path: Path) -> None:
    """Sealed segments are only looked at: a gateway starts within seconds whatever it holds."""
    spool = Spool(tmp_path / "spool", SpoolLimits(1 << 30, segment_bytes=1 << 22))
    for _ in range(40):
        spool.append([NewRecord("t", str(number), b"x" * 1_000) for number in range(500)])
    spool.close()
    began_s = time.monotonic()
    spool = Spool(tmp_path / "spool", SpoolLimits(1 << 30))
    assert time.monotonic() - began_s < 1.0
    assert spool.depth().records == 20_000
    spool.close()
