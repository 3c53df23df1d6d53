"""SERVE: the parent of vLLM's processes, so that none of them outlives the launcher.

    python -m serving.keeper STOP_TIMEOUT_S COMMAND …

Runs COMMAND in its own process group and waits, asleep, for one of two things: the command ends,
or standard input closes, which is what happens when the launcher closes it or dies, by kill -9
too. Then it ends the whole group, kindly first. Exits with the command's code. Standard library
only; knows nothing of vLLM.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

# Source: linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_prctl = ctypes.CDLL(None).prctl


def keep(command: Sequence[str], stop_timeout_s: float) -> int:
    """Run `command` until it ends or standard input closes; return its exit code."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the group become ours to wait for
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=die_with_parent
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, partial(_ask_to_stop, child.pid))
    ended = os.pidfd_open(child.pid)
    readable, _, _ = select.select([sys.stdin.fileno(), ended], [], [])
    if ended not in readable:
        _ask_to_stop(child.pid)
        select.select([ended], [], [], stop_timeout_s)
    # what is left: the workers of a server that died, or all of one that did not stop
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    _wait_for_the_rest(child.pid)
    return code if code >= 0 else 128 - code  # as a shell reports a signal


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the keeper itself is killed (it has one thread only)."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _ask_to_stop(group: int, *_signal: Any) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)


def _wait_for_the_rest(group: int) -> None:
    """Return when no process of the group is left: the next start needs their port and memory."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


if __name__ == "__main__":
    raise SystemExit(keep(sys.argv[2:], float(sys.argv[1])))
