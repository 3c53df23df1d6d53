"""A server as the benchmark sees it: started on a core, watched by its process tree, stopped.

Commands come in; CPU seconds and resident megabytes go out. Every process is ended by its own
number. Knows nothing of what the servers do.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_TIMEOUT_S = 10.0
PROBE_EVERY_S = 0.1
SETTLE_S = 0.2  # after a pause: timers that fell due meanwhile
TOLD_CHARS = 600  # of the log of a server that does not start


class StartError(Exception):
    """A server did not come up; the message has the end of its log."""


@dataclass(frozen=True)
class Server:
    """A process and its children, listening on `port`."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """Return the CPU seconds of the whole tree so far, in user and kernel mode."""
        times = [member.cpu_times() for member in self._tree()]
        return sum(spent.user + spent.system for spent in times)

    def resident_mb(self) -> float:
        """Return the resident memory of the whole tree."""
        return sum(member.memory_info().rss for member in self._tree()) / 1e6

    @contextmanager
    def awake(self) -> Generator[None]:
        """Let the tree run inside the block; before and after it is stopped."""
        self._signal(signal.SIGCONT)
        time.sleep(SETTLE_S)
        try:
            yield
        finally:
            self.pause()

    def pause(self) -> None:
        """Stop the tree where it is, so that it takes nothing from the others."""
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for member in self._tree():
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)

    def _tree(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self) -> None:
        """End the tree: asked first, then forced."""
        tree = self._tree() if self.process.poll() is None else []
        self._signal(signal.SIGCONT) if tree else None
        self.process.terminate()
        _, left = psutil.wait_procs(tree, timeout=STOP_TIMEOUT_S)
        for member in left:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()


def start(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    log: Path,
    core: int | None,
    environment: Mapping[str, str],
) -> Server:
    """Return the server, which has started but may not answer yet; its output goes to `log`."""

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
            cwd=environment.get("PWD"),
            preexec_fn=pin,
        )
    return Server(name, port, process)


def wait_until_up(server: Server, path: str, *, log: Path, timeout_s: float) -> None:
    """Return when GET `path` is answered with 200.

    Raises: StartError when the process ends or does not answer in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while not _answers(server.port, path):
        ended = server.process.poll()
        if ended is None and time.monotonic() < deadline_s:
            time.sleep(PROBE_EVERY_S)
            continue
        how = f"ended with {ended}" if ended is not None else f"did not answer in {timeout_s:.0f} s"
        told = log.read_text(errors="replace").strip()[-TOLD_CHARS:]
        raise StartError(f"{server.name} {how}: {told}")


@dataclass(frozen=True)
class Busyness:
    """CPU seconds of the whole machine, and of this process with its ended children, so far."""

    at_s: float
    machine_s: float
    own_s: float

    @classmethod
    def now(cls) -> Busyness:
        """Return what was spent until now."""
        spent, own = psutil.cpu_times(), os.times()
        busy_s = spent.user + spent.nice + spent.system + spent.softirq + spent.irq
        return cls(
            time.monotonic(),
            busy_s,
            own.user + own.system + own.children_user + own.children_system,
        )

    def others_cores(self, earlier: Busyness) -> float:
        """Return how many cores everybody else kept busy since `earlier`, on average."""
        spent_s = self.machine_s - earlier.machine_s - (self.own_s - earlier.own_s)
        return max(0.0, spent_s) / (self.at_s - earlier.at_s)


def free_port() -> int:
    """Return a port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
