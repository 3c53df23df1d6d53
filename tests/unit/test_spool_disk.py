"""A full disk, for real: the spool refuses, keeps what it acknowledged, and mends itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.spool_world import ROOT

# Fills the spool, makes room, and says what happened. `limit` makes writes fail as `disk` does.
FILLING_CHILD = """
import resource, sys
from pathlib import Path
from core.errors import LogFullError
from feedback.log.slots import ProcessLog
from feedback.log.spool import Spool, SpoolLimits
from tests.unit.spool_world import fill, keys, one

place, kind = Path(sys.argv[1]), sys.argv[2]
limits = SpoolLimits(1 << 30, segment_bytes=1 << 19)
ballast = place / "ballast"
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

def full(yes):
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000 if yes else soft, hard))
    elif yes:
        pour(ballast, 1 << 20)
    else:
        ballast.unlink()

def pour(path, size):
    with path.open("wb", buffering=0) as file:
        while size > 0:
            try:
                size -= file.write(bytes(512))
            except OSError:
                return

full(True)
spool = Spool(place / "spool", limits)
appended, error = fill(spool)
assert appended > 5, appended
assert "bytes left" in error.message, error.message
held = [str(number) for number in range(appended)]
assert keys(spool) == held, keys(spool)
for _ in range(5):  # being refused does no harm
    try:
        spool.append(one("refused", 10_000))
    except LogFullError:
        continue
    held.append("refused")  # what was left of a page
full(False)
spool.append(one("again", 10_000))
assert keys(spool) == [*held, "again"], keys(spool)
full(True)
number = fill(spool)[0]
spool.close()
if kind == "disk":  # to the last byte, so that nothing can be opened
    pour(place / "rest", 1 << 30)
    log = ProcessLog(place, "spool", limits, durable=True)
    assert log.depth().bytes == limits.max_bytes, "a gateway starts, and says that it is full"
    try:
        log.append(one("refused"))
    except LogFullError as error:
        assert "free the disk" in error.message
    else:
        raise AssertionError("a full disk took a record")
    full(False)
    log.append(one("taken"))
    log.close()
else:
    full(False)
spool = Spool(place / "spool", limits)
assert keys(spool) == [*held, "again", *(str(n) for n in range(number))], keys(spool)
spool.close()
print("mended", appended)
"""
# as root, as somebody who may have namespaces of their own, as somebody who may become root
MOUNTERS = (("unshare", "-m"), ("unshare", "-rm"), ("sudo", "-n", "-E", "unshare", "-m"))


def fill_and_mend(place: Path, kind: str, *, within: tuple[str, ...] = ()) -> str:
    """Run the child, `within` other commands, and return what it printed."""
    done = subprocess.run(
        [*within, sys.executable, "-c", FILLING_CHILD, str(place), kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def works(*command: str) -> bool:
    """Return whether the command exists and succeeds."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_is_a_full_log_until_there_is_room(tmp_path: Path) -> None:
    """On a file system of 3 MB: nothing acknowledged is lost, nothing else is kept."""
    mount = ("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path))
    usable = [how for how in MOUNTERS if works(*how, *mount)]  # gone with its namespace
    if not usable:
        mend = "this user may not mount a small disk; the test of the limit stands for it"
        if os.environ.get("CI"):
            pytest.fail(mend)
        pytest.skip(mend)
    within = (*usable[0], "sh", "-c", f'{" ".join(mount)} && exec "$@"', "sh")
    assert "mended" in fill_and_mend(tmp_path, "disk", within=within)


def test_a_disk_that_takes_no_more_is_a_full_log_until_it_does(tmp_path: Path) -> None:
    """As a quota or a limit on files makes it: writing fails though the disk has room."""
    assert "mended" in fill_and_mend(tmp_path, "limit")
