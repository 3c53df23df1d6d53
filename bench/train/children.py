"""Trainings and measurements as processes of their own, with what they cost. Knows no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "adapter_model.safetensors"
LOOK_EVERY_S = 0.05

# For all sides: a thread that waits for another must not spin while other work wants its core.
# Source: measured, docs/experiments.md.
ENVIRONMENT: Mapping[str, str] = {
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Cost:
    """What a process took; `began` is on the clock of the file system."""

    began: float
    seconds: float
    cpu_s: float
    peak_mb: float
    stopped: bool = False  # before its end, because it took too long


def run(module: str, words: Sequence[str], log: Path, limit_s: float | None = None) -> Cost:
    """Run `python -m module words` to its end, or for so long; both outputs in `log`.

    Raises: RuntimeError with the log's last lines when it fails.
    """
    began, start = time.time(), time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
        )
        try:
            stopped = limit_s is not None and not _ends_within(child, limit_s)
            if stopped:
                child.kill()
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode and not stopped:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{module} ended with {child.returncode}:\n{tail}")
    cpu_s = used.ru_utime + used.ru_stime
    return Cost(began, time.monotonic() - start, cpu_s, used.ru_maxrss / 1024, stopped)


def _ends_within(child: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Wait for a process, and leave its end to be taken by who asks what it used."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(LOOK_EVERY_S)
    return False


def run_killed(module: str, words: Sequence[str], log: Path, when: Callable[[], bool]) -> None:
    """Run `python -m module words` and kill it, without warning, as soon as `when` says so.

    Raises: RuntimeError if it ends by itself first.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
        )
        try:
            while not when():
                if child.poll() is not None:
                    raise RuntimeError(f"{module} ended before it was killed: see {log}")
                time.sleep(LOOK_EVERY_S)
        finally:
            child.kill()
            child.wait()


def saved(folder: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints in a folder by their steps."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{WEIGHTS}")]
    return sorted((int(path.name.rpartition("-")[2]), path) for path in found)


def heldout_losses(
    dataset: Path, model: Path, adapters: Sequence[Path], log: Path
) -> dict[str, float]:
    """Return the held-out loss of each adapter by its path, and the base model's as "base"."""
    run("bench.train.heldout", [str(dataset), str(model), *map(str, adapters)], log)
    last = log.read_text().strip().splitlines()[-1]
    losses: dict[str, float] = json.loads(last)
    return losses
