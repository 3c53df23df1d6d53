"""`ratchet up` is whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.loop_world import write_settings_file

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
UP = (sys.executable, "-m", "loop.cli", "up")


def test_up_ends_whole_when_a_part_cannot_start(tmp_path: Path) -> None:
    """Without a model the engine ends, and with it gateway, ingest and conductor, in one error."""
    file = write_settings_file(tmp_path)  # its model does not exist
    done = subprocess.run(
        UP,
        cwd=ROOT,
        env=os.environ | {"RATCHET_SETTINGS": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "error: engine ended at once with code 1" in done.stderr
    assert "no model in" in done.stderr
    assert "Traceback" not in done.stderr
    assert _of_session(str(tmp_path)) == []


def test_ctrl_c_while_starting_stops_all(tmp_path: Path) -> None:
    """One Ctrl-C is enough, at any time, and ends with exit code 0 and no trace."""
    file = write_settings_file(tmp_path)
    with subprocess.Popen(
        UP,
        cwd=ROOT,
        env=os.environ | {"RATCHET_SETTINGS": str(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        deadline = time.monotonic() + 30
        while not (tmp_path / "data" / "logs" / "engine.log").exists():
            assert time.monotonic() < deadline, "it never started its processes"
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert out.endswith("stopping\n")
    assert "Traceback" not in err
    assert _of_session(str(tmp_path)) == []


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _of_session(mark: str) -> list[int]:
    """Return the processes whose environment has `mark`: children inherit the settings file."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environment and _is_alive(int(folder.name)):
            found.append(int(folder.name))
    return found
