"""What a machine lacks before anything is installed on it, in words that say how to mend it.

Only looks; changes nothing. `faults` stop the set-up, `warnings` do not.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path

PYTHON = (3, 11)
GLIBC = (2, 28)  # the wheels of torch, vLLM and pyarrow are manylinux_2_28
# Measured on CPU: 3.5 GB of packages, 0.6 GB of model, the rest for downloads in passing and for
# a first turn of the loop. GPU: estimated.
NEEDED_GB = {"cpu": 5.5, "gpu": 20.0}
SPARE_GB = 1.0  # enough to go on with a set-up that has begun
GB = 1 << 30


def faults(engine: str, folder: Path, *, fresh: bool) -> list[str]:
    """Return what makes a set-up for `engine` in `folder` impossible, one sentence each.

    A `fresh` set-up needs room for everything.
    """
    needed_gb = NEEDED_GB[engine] if fresh else SPARE_GB
    found = (_python(), _venv(), _platform(), _libc(), _disk(needed_gb, folder))
    return [fault for fault in found if fault is not None]


def warnings(engine: str) -> list[str]:
    """Return what will make the engine fail or crawl, although it can be installed."""
    found: list[str] = []
    if engine == "gpu" and not Path("/proc/driver/nvidia/version").is_file():
        found.append("no NVIDIA driver is loaded: the engine will not start until there is one")
    if engine == "cpu" and "avx2" not in _cpu_flags():
        found.append("this CPU does not report AVX2, which vLLM's CPU build needs")
    return found


def _python() -> str | None:
    if sys.version_info[:2] == PYTHON:
        return None
    wanted = ".".join(map(str, PYTHON))
    return (
        f"Python {platform.python_version()} ({sys.executable}) is not {wanted}, for which the "
        f"locked packages were chosen: install it, then `make setup PYTHON=/path/to/python{wanted}`"
    )


def _venv() -> str | None:
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return None
    return "this Python has no venv and pip: apt-get install python3.11-venv"


def _platform() -> str | None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) == ("Linux", "x86_64"):
        return None
    return f"{system} on {machine}: the locked packages exist for Linux on x86_64 only"


def _libc() -> str | None:
    name, version = platform.libc_ver()
    try:
        numbers = tuple(int(part) for part in version.split("."))
    except ValueError:
        numbers = ()
    if name == "glibc" and numbers >= GLIBC:
        return None
    return f"C library {name or 'unknown'} {version}: the locked packages need glibc 2.28 or newer"


def _disk(needed_gb: float, folder: Path) -> str | None:
    free_gb = shutil.disk_usage(folder).free / GB
    if free_gb >= needed_gb:
        return None
    return (
        f"{free_gb:.1f} GB free in {folder}, {needed_gb:.0f} GB needed: free some, "
        "or check Ratchet out on a larger disk"
    )


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split())
    return set()
