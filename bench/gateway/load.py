"""The load generator: a plan comes in as JSON, what became of each request goes out as JSON.

Open load: requests leave when the plan says, and latency counts from then, whether or not a
connection was free. Closed load (no rate): as many at once as there are connections. Runs in its
own process, which `run_load` starts. Knows nothing of what it asks.

    .venv/bin/python -m bench.gateway.load < plan.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from socket import socket

from bench.gateway.figures import Arrival, due_times_s
from bench.gateway.poller import Poller, connected
from bench.gateway.upstream import content_length

ROOT = Path(__file__).resolve().parents[2]
RECEIVE_BYTES = 1 << 18
LAST_CHUNK = b"\r\n0\r\n\r\n"
SAMPLE_EVERY_S = 0.25  # of what is watched meanwhile (memory)


@dataclass(frozen=True)
class Plan:
    """What to ask of whom. `rate_per_s` 0 is closed load of `requests` requests."""

    port: int
    path: str
    body: str
    headers: Mapping[str, str]
    rate_per_s: float = 0.0
    duration_s: float = 0.0
    requests: int = 0
    arrival: Arrival = "poisson"
    seed: int = 0
    connections: int = 512  # at most so many at once; who finds none free waits, and it counts
    grace_s: float = 3.0  # for the last answers
    core: int | None = None
    more_bodies: Sequence[str] = ()  # the requests take turns
    status: int = 200  # of an answer that is no failure

    def due_times_s(self) -> list[float]:
        """Return when each request is to leave."""
        if not self.rate_per_s:
            return [0.0] * self.requests
        return due_times_s(self.rate_per_s, self.duration_s, self.arrival, self.seed)


@dataclass
class Report:
    """What came of it. Latencies of those that succeeded, from the scheduled time if open."""

    sent: int = 0
    failed: int = 0
    unfinished: int = 0  # open when the grace was over
    backlog: int = 0  # open when the schedule was over
    elapsed_s: float = 0.0
    events: int = 0
    latencies_s: list[float] = field(default_factory=list[float])
    first_bytes_s: list[float] = field(default_factory=list[float])
    late_s: list[float] = field(default_factory=list[float])  # the generator's own delay
    faults: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class _Line:
    """One connection and the request that is on it."""

    socket: socket
    since_s: float = 0.0
    first_s: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    body_at: int = 0  # 0: the head is not whole yet
    ends_at: int = 0  # 0: chunked


class Generator:
    """Sends what a plan says and reads the answers."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._poller = Poller()
        self._requests = cycle([_request(plan, body) for body in (plan.body, *plan.more_bodies)])
        self._lines: dict[int, _Line] = {}  # those with a request on them
        self._free: list[_Line] = []
        self._waiting: deque[float] = deque()
        self._report = Report()

    def run(self) -> Report:
        """Return what became of the requests once all are answered, or the grace is over."""
        plan, report = self._plan, self._report
        due, scheduled = plan.due_times_s(), 0
        is_open = plan.rate_per_s > 0.0
        began_s = time.perf_counter()
        while scheduled < len(due) or self._waiting or self._lines:
            now_s = time.perf_counter() - began_s
            while scheduled < len(due) and due[scheduled] <= now_s:
                self._waiting.append(began_s + due[scheduled])
                if is_open:
                    report.late_s.append(now_s - due[scheduled])
                scheduled += 1
                if scheduled == len(due):
                    report.backlog = len(self._lines) + len(self._waiting)
            self._send_waiting(is_open)
            wait_s = self._wait_s(due, scheduled, began_s)
            if wait_s is None:
                break
            for number in self._poller.ready(wait_s):
                if line := self._lines.get(number):
                    self._receive(line)
        report.unfinished = len(self._lines) + len(self._waiting)
        report.elapsed_s = time.perf_counter() - began_s
        return report

    def _wait_s(self, due: list[float], scheduled: int, began_s: float) -> float | None:
        """Return how long there is nothing to send; None when the grace is over."""
        now_s = time.perf_counter() - began_s
        if scheduled < len(due):
            return max(0.0, due[scheduled] - now_s)
        if not self._plan.rate_per_s:
            return self._plan.grace_s
        left_s = self._plan.duration_s + self._plan.grace_s - now_s
        return left_s if left_s > 0.0 else None

    def _send_waiting(self, is_open: bool) -> None:
        while self._waiting:
            if not self._free and len(self._lines) >= self._plan.connections:
                return
            due_s = self._waiting.popleft()
            line = self._free.pop() if self._free else self._connect()
            if line is None:
                continue
            line.since_s = due_s if is_open else time.perf_counter()
            line.first_s, line.body_at = 0.0, 0
            line.received.clear()
            self._lines[line.socket.fileno()] = line
            self._report.sent += 1
            try:
                line.socket.send(next(self._requests))
            except OSError as error:
                self._fail(line, type(error).__name__)

    def _connect(self) -> _Line | None:
        try:
            line = _Line(connected("127.0.0.1", self._plan.port))
        except OSError as error:
            self._report.sent += 1
            self._count(type(error).__name__)
            return None
        self._poller.add(line.socket)
        return line

    def _receive(self, line: _Line) -> None:
        try:
            received = line.socket.recv(RECEIVE_BYTES)
        except OSError as error:
            self._fail(line, type(error).__name__)
            return
        if not received:
            self._fail(line, "closed")
            return
        line.first_s = line.first_s or time.perf_counter()
        line.received += received
        if self._is_whole(line):
            self._finish(line)

    def _is_whole(self, line: _Line) -> bool:
        if not line.body_at:
            end = line.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(line.received[:end])
            line.body_at = end + 4
            chunked = b"transfer-encoding: chunked" in head.lower()
            line.ends_at = 0 if chunked else line.body_at + content_length(head)
        if line.ends_at:
            return len(line.received) >= line.ends_at
        return line.received.endswith(LAST_CHUNK)

    def _finish(self, line: _Line) -> None:
        now_s = time.perf_counter()
        del self._lines[line.socket.fileno()]
        self._free.append(line)
        status = line.received[9:12].decode()
        if status != str(self._plan.status):
            self._count(f"status {status}")
            return
        self._report.events += line.received.count(b"data: ")
        self._report.latencies_s.append(now_s - line.since_s)
        self._report.first_bytes_s.append(line.first_s - line.since_s)

    def _fail(self, line: _Line, fault: str) -> None:
        del self._lines[line.socket.fileno()]
        self._poller.remove(line.socket)
        line.socket.close()
        self._count(fault)

    def _count(self, fault: str) -> None:
        self._report.failed += 1
        self._report.faults[fault] = self._report.faults.get(fault, 0) + 1


def run_load(plan: Plan, sample: Callable[[], None] | None = None) -> Report:
    """Return what a generator in a process of its own reports; call `sample` meanwhile."""
    command = [sys.executable, "-m", "bench.gateway.load"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        told: str | None = json.dumps(asdict(plan))
        answer: str | None = None
        while answer is None:
            try:
                answer, _ = process.communicate(told, timeout=SAMPLE_EVERY_S)
            except subprocess.TimeoutExpired:
                told = None  # it has it
                if sample is not None:
                    sample()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}: see above")
    return Report(**json.loads(answer))


def _request(plan: Plan, text: str) -> bytes:
    body = text.encode()
    headers = {
        "host": f"127.0.0.1:{plan.port}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **plan.headers,
    }
    lines = [f"POST {plan.path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def main() -> None:
    """Read a plan from the input, carry it out, write the report to the output."""
    plan = Plan(**json.load(sys.stdin))
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    json.dump(asdict(Generator(plan).run()), sys.stdout)


if __name__ == "__main__":
    main()
