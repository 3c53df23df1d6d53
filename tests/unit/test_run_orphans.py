"""A process that asked for it dies with its parent, however that one dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
CHILD = (
    "import time; from retrain.runs.orphans import die_with_parent;"
    "die_with_parent(); print('ready', flush=True); time.sleep(60)"
)
PARENT = (
    "import subprocess, sys;"
    f"child = subprocess.Popen([sys.executable, '-c', {CHILD!r}], stdout=subprocess.PIPE);"
    "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
)


def test_a_killed_parent_takes_its_child_along() -> None:
    """kill -9 lets nobody clean up: the kernel does it."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
