"""A process of several must not outlive the launcher that started it, however that one dies.

torch's launcher ends its processes when one of them fails, but nobody ends them when the launcher
itself is killed: they would train on unseen, and hold their devices. The kernel is asked to.
"""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h

_prctl = ctypes.CDLL(None).prctl


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends.

    A parent that died before this cannot be joined any more: the process fails at that.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
