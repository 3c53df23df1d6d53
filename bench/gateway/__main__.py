"""The whole benchmark: mock and targets up, everything measured, results written, all stopped.

.venv/bin/python -m bench.gateway [--quick] [--targets direct ratchet-durable ...]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from bench.gateway import measure, report
from bench.gateway.figures import goals
from bench.gateway.measure import DIRECT, QUICK, Extent, Subject
from bench.gateway.process import Busyness, Server, StartError, free_port, start, wait_until_up
from bench.gateway.targets import TARGETS, Place, started
from bench.gateway.upstream import Timing
from bench.report import machine

RESULTS = Path("bench/results")
PARTS = {
    "latency": measure.measure_latency,
    "sustained": measure.measure_sustained,
    "streams": measure.measure_streams,
    "memory": measure.measure_memory,
}


def main() -> int:
    """Run the benchmark; the exit status is 0 whether or not goals are met."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
    console, began_s = Console(), time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:5.0f} s[/]  {text}", highlight=False)

    extent = QUICK if asked.quick else Extent()
    if asked.memory_requests:
        extent = replace(extent, memory_requests=asked.memory_requests)
    before = Busyness.now()
    result = run(asked.targets, asked.parts, extent, say)
    after = Busyness.now()  # all servers have ended, so they are in it
    result["took_s"] = time.monotonic() - began_s
    result["machine"]["others_busy_cores"] = after.others_cores(before)
    report.write(result, asked.results)
    report.print_result(console, result)
    console.print(f"written: {asked.results}/gateway.json and gateway.svg", highlight=False)
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gateway", description="what the gateway costs, beside its peers"
    )
    parser.add_argument("--quick", action="store_true", help="a rough run of about two minutes")
    parser.add_argument("--targets", nargs="+", default=[DIRECT, *TARGETS], metavar="NAME")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--memory-requests", type=int, help="instead of 100,000")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    asked = parser.parse_args()
    unknown = sorted(set(asked.targets) - {DIRECT, *TARGETS})
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; there are: {DIRECT}, {', '.join(TARGETS)}")
    return asked


def run(
    names: Sequence[str], parts: Sequence[str], extent: Extent, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the result of measuring `parts` of the targets `names`."""
    load_core, target_core = _cores()
    result: dict[str, Any] = {
        "machine": machine(),
        "settings": {
            "extent": asdict(extent),
            "mock": asdict(Timing()),
            "load_core": load_core,
            "target_core": target_core,
        },
        "missing": {},
    }
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="bench-gateway-")))
        mock = _mock(folder, load_core)
        closing.callback(mock.stop)
        subjects = [Subject(DIRECT, mock, load_core)] if DIRECT in names else []
        place = Place(folder, mock.port, target_core)
        for name in names:
            if name == DIRECT:
                continue
            try:
                server = started(TARGETS[name], place, say)
            except StartError as error:
                say(f"[bold red]{name} is left out:[/] {error}")
                result["missing"][name] = str(error)
                continue
            closing.callback(server.stop)
            server.pause()
            version = TARGETS[name].version()
            subjects.append(Subject(name, server, load_core, {"version": version}))
        measure.warm_up(subjects, extent)
        for part in parts:
            PARTS[part](subjects, extent, say)
    result["targets"] = {subject.name: subject.numbers for subject in subjects}
    result["ratios"] = _ratios(result["targets"])
    result["goals"] = [asdict(goal) for goal in goals(result)]
    result["machine"]["load_after"] = os.getloadavg()[0]
    return result


def _cores() -> tuple[int | None, int | None]:
    """Return the core of mock and generator, and that of the target; None if there is one only."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def _mock(folder: Path, core: int | None) -> Server:
    port, log = free_port(), folder / "mock.log"
    command = (sys.executable, "-m", "bench.gateway.upstream", "--port", str(port))
    mock = start("mock", command, port, log=log, core=core, environment={})
    try:
        wait_until_up(mock, "/health", log=log, timeout_s=10.0)
    except StartError:
        mock.stop()
        raise
    return mock


def _ratios(targets: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return Ratchet's numbers, durable, as ratios to everyone else's."""
    ours = targets.get("ratchet-durable", {})
    found: dict[str, float] = {}
    for name, other in targets.items():
        for part, key in (
            ("sustained", "rate_per_s"),
            ("sustained", "cpu_ms_per_request"),
            ("streams", "per_s"),
            ("streams_unpaced", "per_s"),
        ):
            own, theirs = ours.get(part, {}).get(key), other.get(part, {}).get(key)
            if other is not ours and own and theirs:
                found[f"{part}.{key} to {name}"] = own / theirs
    return found


if __name__ == "__main__":
    sys.exit(main())
