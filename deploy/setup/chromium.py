"""The browser that tests run in: where it is, and how Debian and its kin install it.

Only looks; setup.py runs the commands. Playwright drives the distribution's chromium, because a
browser of Playwright's own would be a download of 150 MB from a place that mirrors lack.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser")  # Debian's name, and the one that Ubuntu and Alpine use
INSTALLED = Path("/usr/bin/chromium")  # where the package of that name puts it
LOCK_WAIT_S = 300  # another apt-get, such as the nightly one, may be at work
INSTALL_COMMANDS = (
    ("apt-get", "update"),
    (
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "-o",
        f"DPkg::Lock::Timeout={LOCK_WAIT_S}",
        "chromium",
    ),
)


def find_chromium() -> Path | None:
    """Return the browser on the path, or None."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


def can_install() -> bool:
    """Return whether this process may install packages, and has apt-get for it."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None
