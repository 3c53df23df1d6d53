"""Resident memory of a spool's writer and of the relay while the broker is away.

The writer is a process of its own: group commit and spool as a gateway has them, and nothing
else. The relay is the real one; its broker does not exist.

    .venv/bin/python -m bench.log.outage FOLDER EVENTS
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.gateway.process import Server, free_port
from bench.gateway.targets import ROOT
from bench.log.commits import open_log
from bench.log.events import records
from bench.log.figures import grown_mb
from bench.log.ingest import settings_for
from core.settings import KafkaSettings, LogSettings
from feedback.log.group_commit import GroupCommit

CALLERS = 64
WARM_SHARE = 0.05  # of the events: imports, caches of SQLite, buffers of the allocator
SAMPLE_EVERY_S = 0.2
RELAY_UP_S = 60.0
AFTERWARDS_S = 5.0  # the relay goes on trying over a full spool


@dataclass(frozen=True)
class Outage:
    """What an outage of so many events did."""

    events: int
    spool_bytes: int
    writer_growth_mb: float
    writer_mb: float
    relay_growth_mb: float
    relay_mb: float


def measure_outage(folder: Path, events: int) -> Outage:
    """Return how memory grew while `events` came in and nobody took them away."""
    from bench.log.relaying import ratchet

    kafka = KafkaSettings(servers=(f"127.0.0.1:{free_port()}",))
    settings = settings_for(folder / "data", log=LogSettings(kafka=kafka))
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    with ratchet(folder, "relay", settings) as relay:
        _wait_for_outage(folder / "relay.log")
        relay_mb = [relay.resident_mb()]
        command = (sys.executable, "-m", "bench.log.outage", str(settings.spool_dir), str(events))
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            _sample(relay, relay_mb, writer)
            told = json.loads(writer.stdout.read())
        ended_s = time.monotonic()
        while time.monotonic() - ended_s < AFTERWARDS_S:
            relay_mb.append(relay.resident_mb())
            time.sleep(SAMPLE_EVERY_S)
    held = sum(file.stat().st_size for file in settings.spool_dir.rglob("*.db"))
    writer_mb: list[float] = told["resident_mb"]
    return Outage(
        events, held, grown_mb(writer_mb), writer_mb[-1], grown_mb(relay_mb), relay_mb[-1]
    )


def _sample(relay: Server, found_mb: list[float], writer: subprocess.Popen[str]) -> None:
    while writer.poll() is None:
        found_mb.append(relay.resident_mb())
        time.sleep(SAMPLE_EVERY_S)
    if writer.returncode:
        raise RuntimeError(f"the spool's writer ended with {writer.returncode}: see above")


def _wait_for_outage(log: Path) -> None:
    """Return when the relay has loaded all it needs and knows that there is no broker."""
    deadline_s = time.monotonic() + RELAY_UP_S
    while "kafka_unavailable" not in log.read_text():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the relay noticed no outage: {log.read_text()}")
        time.sleep(SAMPLE_EVERY_S)


async def _write(spool_dir: Path, events: int) -> list[float]:
    """Append the events, and return resident megabytes from the warm process to the end."""
    log = open_log(spool_dir)
    commits = GroupCommit(log, commit_every_ms=LogSettings().commit_every_ms)
    own, given = psutil.Process(), records(events)
    resident_mb: list[float] = []
    count = 0

    async def call() -> None:
        nonlocal count
        while count < events:
            count += 1
            await commits.append(next(given))
            if count >= WARM_SHARE * events and count % 500 == 0:
                resident_mb.append(own.memory_info().rss / 1e6)

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    await commits.close()
    log.close()
    return [*resident_mb, own.memory_info().rss / 1e6]


def main() -> None:
    """Be the writer; tell its resident megabytes."""
    folder, events = Path(sys.argv[1]), int(sys.argv[2])
    json.dump({"resident_mb": asyncio.run(_write(folder, events))}, sys.stdout)


if __name__ == "__main__":
    main()
