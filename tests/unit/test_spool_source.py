"""The spools as a consumer reads them: several writers, and letting go of what is applied."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from feedback.log.protocol import NewRecord, Partition
from feedback.log.segment import segment_files, segment_path
from feedback.log.spool import Spool, SpoolLimits
from feedback.log.spool_erasure import erase_records
from feedback.log.spool_reader import MAX_OPEN
from feedback.log.spool_source import Keeping, SpoolSource

LIMITS = SpoolLimits(1 << 24, segment_bytes=1 << 16)


def filled(folder: Path, name: str, count: int, topic: str = "t") -> Spool:
    """Return a spool of several segments."""
    spool = Spool(folder / name, LIMITS)
    for number in range(count):
        spool.append([NewRecord(topic, f"{name}{number}", b"x" * 500)])
    return spool


def positions_at_end(source: SpoolSource) -> dict[Partition, int]:
    """Return positions behind everything there is."""
    return dict(source.ends())


def test_spools_of_several_writers_are_read_side_by_side(tmp_path: Path) -> None:
    """Each is a partition; one that comes later is found."""
    source = SpoolSource(tmp_path, ["t"], Keeping(60, 1 << 24))
    assert source.assigned() == []
    first = filled(tmp_path, "gateway-0-a", 3)
    assert source.assigned() == [Partition("t", "gateway-0-a")]
    second = filled(tmp_path, "gateway-1-b", 3)
    after = dict.fromkeys(source.assigned(), 0)
    assert len(source.read(after, limit=2)) == 4
    assert len(source.read(after, limit=10)) == 6
    for opened in (source, first, second):
        opened.close()


def test_applied_segments_go_and_the_one_that_is_written_stays(tmp_path: Path) -> None:
    """With nothing to keep for replay, at once; what is not applied stays."""
    spool = filled(tmp_path, "gateway-0-a", 400)
    source = SpoolSource(tmp_path, ["t"], Keeping(0, 1 << 24))
    before = segment_files(spool.folder)
    assert len(before) > 3
    middle = int(before[2].stem)
    source.assigned()
    source.applied({Partition("t", spool.folder.name): middle})
    assert segment_files(spool.folder) == before[2:]
    source.applied(positions_at_end(source))
    assert segment_files(spool.folder) == before[-1:]
    spool.append([NewRecord("t", "next", b"")])
    assert spool.read("t", after=0, limit=1000)[-1].key == "next"
    assert spool.depth().records == 400 - int(before[-1].stem) + 2
    source.close()
    spool.close()


def test_applied_segments_stay_for_replay_until_room_is_short(tmp_path: Path) -> None:
    """As long as `keep_s`; above 80 % of the limit the oldest go first."""
    spool = filled(tmp_path, "gateway-0-a", 400)
    before = segment_files(spool.folder)
    roomy = SpoolSource(tmp_path, ["t"], Keeping(3_600, 1 << 24))
    roomy.applied(positions_at_end(roomy))
    assert segment_files(spool.folder) == before
    held = sum(path.stat().st_size for path in before)
    crowded = SpoolSource(tmp_path, ["t"], Keeping(3_600, held))
    crowded.applied(positions_at_end(crowded))
    left = segment_files(spool.folder)
    assert 0 < len(left) < len(before)
    assert left == before[-len(left) :]
    assert sum(path.stat().st_size for path in left) <= 0.8 * held
    for opened in (roomy, crowded, spool):
        opened.close()


def test_a_segment_stays_while_another_topic_in_it_is_unread(tmp_path: Path) -> None:
    """Positions are by topic, segments hold all topics."""
    spool = Spool(tmp_path / "gateway-0-a", LIMITS)
    for number in range(300):
        spool.append([NewRecord("ab"[number % 2], str(number), b"x" * 500)])
    source = SpoolSource(tmp_path, ["a", "b"], Keeping(0, 1 << 24))
    before = segment_files(spool.folder)
    source.applied({Partition("a", spool.folder.name): 1_000})
    assert segment_files(spool.folder) == before
    source.applied(positions_at_end(source))
    assert segment_files(spool.folder) == before[-1:]
    source.close()
    spool.close()


def test_what_waits_is_counted_exactly(tmp_path: Path) -> None:
    """Over segments, and though offsets leave out a million at each opening."""
    for _ in range(3):
        filled(tmp_path, "gateway-0-a", 150).close()
    source = SpoolSource(tmp_path, ["t", "other"], Keeping(60, 1 << 24))
    positions = dict.fromkeys(source.assigned(), 0)
    part = Partition("t", "gateway-0-a")
    assert source.behind(positions) == {part: 450}
    assert source.behind(positions | {part: 100}) == {part: 350}
    assert source.behind(dict(source.ends())) == {}
    source.close()


def test_a_reader_sees_what_an_erasure_rewrote(tmp_path: Path) -> None:
    """Also in a segment that it has open; the tombstone is intact, and nothing seems damaged."""
    spool = filled(tmp_path, "gateway-0-a", 300)
    source = SpoolSource(tmp_path, ["t"], Keeping(60, 1 << 24))
    part = Partition("t", "gateway-0-a")
    source.assigned()
    assert all(record.value for record in source.read({part: 0}, limit=1_000))
    assert erase_records(tmp_path, lambda _topic, _value: True) == 300
    with capture_logs() as logs:
        assert [record.value for record in source.read({part: 0}, limit=1_000)] == [b""] * 300
        source.applied({})
    assert logs == []
    source.close()
    spool.close()


def test_a_spool_of_many_segments_needs_few_open_files(tmp_path: Path) -> None:
    """Also for a topic of which there is nothing: its reader knows where it need not look."""
    spool = Spool(tmp_path / "gateway-0-a", LIMITS)
    for _ in range(30):
        spool.append([NewRecord("t", "k", b"x" * 500)] * 100)
    assert len(segment_files(spool.folder)) > 25
    source = SpoolSource(tmp_path, ["t", "rare"], Keeping(60, 1 << 24))
    source.assigned()
    before = open_files()
    found = source.read(
        {Partition("t", "gateway-0-a"): 0, Partition("rare", "gateway-0-a"): 0}, limit=5_000
    )
    assert len(found) == 3_000
    assert open_files() <= before + 3 * MAX_OPEN
    source.close()
    spool.close()


def test_nothing_goes_into_a_segment_that_readers_take_for_sealed(tmp_path: Path) -> None:
    """When beginning the next one breaks off, the next append begins it first."""
    spool = Spool(tmp_path / "gateway-0-a", LIMITS)
    spool.append([NewRecord("t", "first", b"x" * (1 << 16))])
    obstacle = segment_path(spool.folder, 2)
    obstacle.mkdir()
    with pytest.raises(sqlite3.OperationalError):
        spool.append([NewRecord("t", "refused", b"")])
    source = SpoolSource(tmp_path, ["t"], Keeping(0, 1 << 24))
    positions = dict.fromkeys(source.assigned(), 1)
    source.applied(positions)
    assert segment_files(spool.folder) == [obstacle], "to readers the first one was sealed"
    obstacle.rmdir()
    spool.append([NewRecord("t", "next", b"")])
    assert [record.key for record in source.read(positions, limit=10)] == ["next"]
    source.close()
    spool.close()


def open_files() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
