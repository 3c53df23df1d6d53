"""The machine's clock jumps back an hour under load: ids, receipts and votes go on as before.

A small library between the processes and the C library moves their wall clock by what a file
says; clocks that only measure time are left alone, as on a real machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stack.fault_world import ROOT, fault_world

pytestmark = pytest.mark.stack

BACK_S = 3_600
MOVED_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static const volatile long *moved_s;
static void __attribute__((constructor)) begin(void) {
    int file = open(getenv("CLOCK_MOVED_BY"), O_RDONLY);
    void *page = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) moved_s = page;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if ((clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && moved_s)
        now->tv_sec += *moved_s;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec at;
    int failed = clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return failed;
}
time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
"""


def _moved_clock(folder: Path) -> tuple[Path, dict[str, str]]:
    """Return the file that says by how much the clock is moved, and what makes a process see it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) here, so no process's clock can be moved")
    source, library, moved = folder / "clock.c", folder / "clock.so", folder / "moved"
    source.write_text(MOVED_CLOCK)
    command = (compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl")
    subprocess.run(command, check=True)
    moved.write_bytes(bytes(8))
    return moved, {"LD_PRELOAD": str(library), "CLOCK_MOVED_BY": str(moved)}


def _move(moved: Path, by_s: int) -> None:
    with moved.open("r+b") as file:
        file.write(by_s.to_bytes(8, "little", signed=True))
        os.fsync(file.fileno())


def test_the_moved_clock_is_seen(tmp_path: Path) -> None:
    """The wall clock of a process under the library is moved, and its ids are with it."""
    moved, environment = _moved_clock(tmp_path)
    _move(moved, -BACK_S)
    code = "import uuid_utils; from core.clock import utc_now; print(int(utc_now().timestamp()), "
    code += "uuid_utils.uuid7().timestamp // 1000)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    for seen in told.stdout.split():
        assert abs(int(seen) + BACK_S - time.time()) < 10


def test_a_clock_that_jumps_back_breaks_no_promise(tmp_path: Path) -> None:
    """Receipts from the future are taken, ids do not collide, and the last vote still counts."""
    moved, environment = _moved_clock(tmp_path)
    with fault_world(tmp_path, environment=environment) as world, world.load(60.0) as load:
        for by_s in (-BACK_S, -2 * BACK_S, 60, -3 * BACK_S):
            time.sleep(1.5)
            _move(moved, by_s)
        time.sleep(1.5)
        load.end()
        assert set(load.promises.statuses) == {"asked 200", "rated 201"}, load.promises.statuses
        world.require_kept(load.promises, 20.0, why="after the clock jumped back")
