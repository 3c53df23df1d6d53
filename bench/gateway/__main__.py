"""The whole benchmark: mock and targets up, everything measured, results written, all stopped.

.venv/bin/python -m bench.gateway [--quick] [--targets direct ratchet-durable ...]
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.gateway import measure, report
from bench.gateway.figures import goals
from bench.gateway.measure import DIRECT, QUICK, Extent, Subject
from bench.gateway.process import Server, StartError, free_port, start, wait_until_up
from bench.gateway.targets import TARGETS, Place, started
from bench.gateway.upstream import Timing
from bench.running import Benchmark, Work

PARTS = {
    "latency": measure.measure_latency,
    "sustained": measure.measure_sustained,
    "streams": measure.measure_streams,
    "memory": measure.measure_memory,
}


def measure_targets(work: Work[Extent]) -> dict[str, Any]:
    """Return the result of the parts that were asked for, of the targets that were asked for."""
    extent = work.extent
    if work.asked.memory_requests:
        extent = replace(extent, memory_requests=work.asked.memory_requests)
    load_core, target_core = _cores()
    result: dict[str, Any] = {
        "settings": {
            "extent": asdict(extent),
            "mock": asdict(Timing()),
            "load_core": load_core,
            "target_core": target_core,
        },
        "missing": {},
    }
    with ExitStack() as closing:
        mock = _mock(work.folder, load_core)
        closing.callback(mock.stop)
        subjects = [Subject(DIRECT, mock, load_core)] if DIRECT in work.asked.targets else []
        place = Place(work.folder, mock.port, target_core)
        for name in work.asked.targets:
            if name == DIRECT:
                continue
            try:
                server = started(TARGETS[name], place, work.say)
            except StartError as error:
                work.say(f"[bold red]{name} is left out:[/] {error}")
                result["missing"][name] = str(error)
                continue
            closing.callback(server.stop)
            server.pause()
            version = TARGETS[name].version()
            subjects.append(Subject(name, server, load_core, {"version": version}))
        measure.warm_up(subjects, extent)
        for part in work.asked.parts:
            PARTS[part](subjects, extent, work.say)
    result["targets"] = {subject.name: subject.numbers for subject in subjects}
    result["ratios"] = _ratios(result["targets"])
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


NAMES = [DIRECT, *TARGETS]
BENCHMARK = Benchmark(
    name="gateway",
    about="what the gateway costs, beside its peers",
    quick_about="a rough run of about two minutes",
    extent=Extent(),
    quick=QUICK,
    measure=measure_targets,
    goals=goals,
    report=report,
    parts=tuple(PARTS),
    options=[
        ("--targets", {"nargs": "+", "default": NAMES, "choices": NAMES, "metavar": "NAME"}),
        ("--memory-requests", {"type": int, "help": "instead of 100,000"}),
    ],
    drawing="svg",
)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
