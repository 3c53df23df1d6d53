"""Spools and processes: one for each, taken over after a crash, which loses nothing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import StateError
from feedback.log.protocol import Partition
from feedback.log.segment import segment_files
from feedback.log.slots import ProcessLog, claim, owner, seal_abandoned, spool_folders
from feedback.log.spool import Spool, SpoolLimits
from feedback.log.spool_source import Keeping, SpoolSource
from tests.unit.spool_world import LIMITS, ROOT, DoomedWriter, keys, one


def test_acknowledged_records_survive_kill_9_at_any_moment(tmp_path: Path) -> None:
    """A process killed while it appends or begins a segment loses no acknowledged record."""
    acknowledged: list[int] = []
    chance = random.Random(4)
    for _ in range(30):
        writer = DoomedWriter(tmp_path / "spool", len(acknowledged))
        acknowledged += [writer.next() for _ in range(chance.randint(1, 300))]
        time.sleep(chance.random() / 500)
        acknowledged += writer.kill()
    spool = Spool(tmp_path / "spool", LIMITS)
    stored = [int(key) for key in keys(spool)]
    # each kill may leave one record that was written before its process could say so
    assert set(acknowledged) <= set(stored)
    assert len(stored) - len(acknowledged) <= 30
    assert len(segment_files(tmp_path / "spool")) > 30
    spool.close()


def test_a_consumer_gets_everything_while_its_writer_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    """Each acknowledged record once and in order, while segments are sealed and let go."""
    source = SpoolSource(tmp_path, ["t"], Keeping(0, 1 << 26))
    chance = random.Random(7)
    positions: dict[Partition, int] = {}
    got: list[int] = []
    acknowledged: list[int] = []

    def consume() -> None:
        positions.update({part: positions.get(part, 0) for part in source.assigned()})
        for record in source.read(positions, limit=100):
            got.append(int(record.key))
            positions[record.partition] = record.offset
        source.applied(positions)

    for _ in range(12):
        writer = DoomedWriter(tmp_path / "gateway-0-a", len(acknowledged))
        for _ in range(chance.randint(1, 300)):
            acknowledged.append(writer.next())
            if chance.random() < 0.1:
                consume()
        acknowledged += writer.kill()
    Spool(tmp_path / "gateway-0-a", LIMITS).close()
    while source.behind(positions):
        consume()
    consume()
    assert set(acknowledged) <= set(got)
    assert got == sorted(got)
    assert len(got) - len(acknowledged) <= 12
    assert len(segment_files(tmp_path / "gateway-0-a")) == 1
    source.close()


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


def test_looking_who_writes_takes_nobodys_place(tmp_path: Path) -> None:
    """However often somebody looks, a process gets the first free slot."""
    log = ProcessLog(tmp_path, "gateway", LIMITS, durable=True)
    log.append(one("a"))
    log.close()
    (folder,) = spool_folders(tmp_path)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            owner(folder)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(30):
            slot = claim(tmp_path, "gateway")
            assert slot.folder == folder
            slot.lock.close()
    finally:
        stop.set()
        thread.join()


def test_an_idle_process_seals_its_segment_by_itself(tmp_path: Path) -> None:
    """What it appended once can be let go, though it never appends again."""
    limits = SpoolLimits(1 << 24, segment_s=0.1)
    log = ProcessLog(tmp_path, "conductor", limits, durable=True)
    log.append(one("a"))
    (folder,) = spool_folders(tmp_path)
    deadline = time.monotonic() + 10
    while len(segment_files(folder)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    log.close()


def test_what_a_dead_process_left_is_sealed(tmp_path: Path) -> None:
    """Also if nobody ever takes its slot again; living processes are left alone."""
    dead = Spool(tmp_path / "gateway-1-dead", LIMITS)
    dead.append(one("a"))
    shutil.copytree(dead.folder, tmp_path / "gateway-2-crashed")  # with its write-ahead log
    dead.close()
    living = ProcessLog(tmp_path, "gateway", LIMITS, durable=True)
    living.append(one("b"))
    assert seal_abandoned(tmp_path, LIMITS) == ["gateway-2-crashed"]
    assert seal_abandoned(tmp_path, LIMITS) == []
    left = segment_files(tmp_path / "gateway-2-crashed")
    assert len(left) == 2
    assert owner(tmp_path / "gateway-2-crashed") is None
    assert len(segment_files(living.open().folder)) == 1
    living.close()


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    """A process that stops does not claim a spool on its way out."""
    log = ProcessLog(tmp_path, "cli", LIMITS, durable=True)
    log.close()
    with pytest.raises(StateError, match="stopping"):
        log.append(one("a"))
    assert spool_folders(tmp_path) == []
