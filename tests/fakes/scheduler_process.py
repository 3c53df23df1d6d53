"""A scheduler as a process of its own, with one job that leaves a line in a file each time.

Run by `python -m tests.fakes.scheduler_process DATA_DIR STORE_URL FILE EVERY_S`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from core.scheduler_settings import SchedulerSettings
from core.settings import Settings
from loop.jobs import Job
from loop.scheduler import run_scheduler
from loop.service import stopped_by_signals
from loop.wiring import Parts, open_parts


def main(data_dir: str, store_url: str, file: str, every_s: str) -> None:
    """Run until SIGTERM."""
    settings = Settings(
        data_dir=Path(data_dir),
        store_url=store_url,
        scheduler=SchedulerSettings(take_over_every_s=0.5, check_every_s=0.2),
    )

    def mark(_parts: Parts) -> str:
        with Path(file).open("a") as lines:
            lines.write(f"{os.getpid()} {time.time()}\n")
        return "marked"

    with open_parts(settings, "scheduler") as parts, stopped_by_signals(threading.Event()) as stop:
        run_scheduler(parts, stop, [Job("mark", float(every_s), mark)])


if __name__ == "__main__":
    main(*sys.argv[1:])
