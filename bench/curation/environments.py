"""The environments of peers, made on first use: each its own, so that none meets ours."""

from __future__ import annotations

import subprocess
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import rmtree

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / "bench" / ".envs"
INSTALL_TIMEOUT_S = 900.0
RUN_TIMEOUT_S = 3_600.0
TOLD_CHARS = 400


class PeerError(Exception):
    """A peer cannot be installed or run; the message has the end of what it said."""


def install(name: str, packages: Sequence[str], say: Callable[[str], None]) -> Path:
    """Return the Python of a peer's environment, made unless it is there.

    Raises: PeerError when pip fails; the half-made environment is removed.
    """
    folder = ENVIRONMENTS / name
    python, done = folder / "bin" / "python", folder / "installed"
    if done.is_file():
        return python
    rmtree(folder, ignore_errors=True)
    began_s = time.monotonic()
    say(f"installing {', '.join(packages)} into {folder.relative_to(ROOT)}, once")
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        _run([*pip, *packages], INSTALL_TIMEOUT_S)
    except PeerError:
        rmtree(folder, ignore_errors=True)
        raise
    done.touch()
    say(f"installed {name} in {time.monotonic() - began_s:.0f} s")
    return python


def run_script(python: Path, script: Path, asked: Path, found: Path) -> None:
    """Run a peer's script. Raises: PeerError when it fails or takes too long."""
    _run([str(python), str(script), str(asked), str(found)], RUN_TIMEOUT_S)


def _run(command: Sequence[str], timeout_s: float) -> None:
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{command[0]} took longer than {timeout_s:.0f} s") from error
    if told.returncode != 0:
        raise PeerError(f"{command[0]}: {told.stderr.strip()[-TOLD_CHARS:]}")
