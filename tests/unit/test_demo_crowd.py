"""The demo's crowd is a process whose last line is its summary, and which leaves when told."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import StateError
from loop.demo.crowd import Crowd


def crowd(folder: Path, code: str, told: Callable[[dict[str, Any]], None]) -> Crowd:
    """Return a crowd whose process runs `code`."""
    log = folder / "users.log"
    with log.open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    return Crowd(child, told, log)


def ignore(_: dict[str, Any]) -> None:
    pass


def test_the_summary_is_the_last_line_however_slowly_it_is_read(tmp_path: Path) -> None:
    """A process may end before its last line has been taken in."""
    users = crowd(tmp_path, "print('{\"n\": 1}'); print('{\"n\": 2}')", lambda _: time.sleep(0.1))
    assert users.finish() == {"n": 2}


def test_a_crowd_that_fails_says_why(tmp_path: Path) -> None:
    """The error has the code and the log's last words."""
    users = crowd(tmp_path, "raise SystemExit('no key')", ignore)
    with pytest.raises(StateError, match=r"code 1(?s:.)*no key"):
        users.finish()


def test_progress_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It does not leave a process behind that waits for a reader."""
    users = crowd(tmp_path, "print('oops', flush=True); import time; time.sleep(60)", ignore)
    with pytest.raises(StateError, match="unreadable"):
        users.finish(10)
    assert users.child.poll() is not None


def test_a_crowd_that_stays_is_an_error_and_can_be_sent_home(tmp_path: Path) -> None:
    """Sending home ends the process and the thread that reads it."""
    users = crowd(tmp_path, "import time; time.sleep(60)", ignore)
    with pytest.raises(StateError, match="did not go home"):
        users.finish(0.01)
    users.send_home()
    assert users.child.poll() is not None
    assert "crowd" not in {thread.name for thread in threading.enumerate()}
