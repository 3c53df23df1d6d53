"""The running service: engine, gateway, ingest, conductor, …, each a process of its own.

`ratchet up` starts this and keeps it: a process that ends is started again with back-off, one
that cannot start at all ends the whole with its last words. The processes die with their
parent; one data folder has one service at a time. Knows nothing of what they do beyond how to
start them and how to see that they are ready.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from core.errors import StateError
from core.settings import FILE_VARIABLE, Settings
from loop.wiring import data_folder
from serving.keeper import die_with_parent
from serving.launcher import check_port, tail

POLL_S = 0.25
STOP_GRACE_S = 20.0  # beyond engine.stop_timeout_s: the gateway lets answers end for 30 s
ASK_AGAIN_S = 2.0  # a process that is just being set up may have missed the first signal
ASK_TIMEOUT_S = 2.0
LOCK_FILE = "service.lock"

PROCESSES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway",),
    "ingest": ("ingest",),
    "conductor": ("canary", "run"),
    "scheduler": ("scheduler",),
    "console": ("console",),
    "engine": ("engine",),
}

RELAY = {"relay": ("relay",)}  # only with Kafka

log = structlog.get_logger()


@dataclass(frozen=True)
class Pace:
    """How soon a process that ended is started again."""

    first_delay_s: float = 1.0  # before a second start; doubles
    longest_delay_s: float = 30.0
    settled_s: float = 30.0  # after this long a start counts as good, and the delay begins anew


@dataclass
class Process:
    """One child and how its starts went."""

    name: str
    command: tuple[str, ...]
    log_path: Path
    environment: Mapping[str, str]
    pace: Pace = Pace()
    child: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started: float = 0.0
    delay_s: float | None = None  # the last one; None: no start has failed of late
    start_at: float | None = None  # set while the child waits to be started again

    def start(self) -> None:
        """Start the child; its output goes to its log."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as output:
            self.child = self._spawn(output)
        self.started, self.starts, self.start_at = time.monotonic(), self.starts + 1, None

    def _spawn(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(self.environment),
            start_new_session=True,  # Ctrl-C reaches the parent only, which stops all in order
            preexec_fn=die_with_parent,
        )

    def require_running(self) -> None:
        """Return if the child has not ended. Raises: StateError with its last words."""
        if self.child is not None and self.child.poll() is not None:
            raise StateError(
                f"{self.name} ended at once with code {self.child.returncode}; "
                f"{self.log_path} ends:\n{tail(self.log_path)}"
            )

    def revive(self) -> None:
        """Start the child again if it has ended and its delay has passed; never waits.

        Raises: StateError when it has never run for long: starting it again would not help.
        """
        if self.child is None or self.is_running():
            return
        now = time.monotonic()
        if self.start_at is None:
            self._plan_start(now)
        elif now >= self.start_at:
            self.start()

    def _plan_start(self, now: float) -> None:
        assert self.child is not None
        settled = now - self.started >= self.pace.settled_s
        if self.starts == 1 and not settled:
            self.require_running()
        if settled or self.delay_s is None:
            self.delay_s = self.pace.first_delay_s
        else:
            self.delay_s = min(self.delay_s * 2, self.pace.longest_delay_s)
        self.start_at = now + self.delay_s
        log.warning(
            "process_ended",
            process=self.name,
            code=self.child.returncode,
            restart_in_s=self.delay_s,
        )

    def is_running(self) -> bool:
        """Return whether the child was started and has not ended."""
        return self.child is not None and self.child.poll() is None

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it is running."""
        if self.child is not None:
            self.child.terminate()

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended, as soon as it has and within the time at the latest."""
        if self.child is None:
            return True
        try:
            self.child.wait(timeout=max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once; return when it is gone."""
        if self.child is not None:
            log.warning("process_killed", process=self.name)
            self.child.kill()
            self.child.wait()


@dataclass(frozen=True)
class Service:
    """All processes of one Ratchet."""

    settings: Settings
    processes: tuple[Process, ...]
    stopping: threading.Event = field(default_factory=threading.Event)

    def is_ready(self) -> bool:
        """Return whether the gateway answers and its engine is up."""
        return _says_yes(f"{self.settings.gateway.url}/health/ready")

    def start_again(self, name: str) -> None:
        """Stop one process and start it: it reads its settings anew. Not while `keep` runs."""
        (process,) = (one for one in self.processes if one.name == name)
        stop_all([process], self.settings.engine.stop_timeout_s + STOP_GRACE_S)
        process.start()

    def revive(self) -> None:
        """Start again what has ended. Raises: StateError, see `Process.revive`."""
        for process in self.processes:
            process.revive()

    def wait_until_ready(self, told: Callable[[float], None] = lambda _s: None) -> bool:
        """Return True when the service answers, False when it is to stop before that.

        `told` is given the seconds waited so far.

        Raises: StateError when a process cannot start or the engine's start timeout passes.
        """
        began = time.monotonic()
        while not self.stopping.is_set():
            for process in self.processes:
                process.require_running()
            if self.is_ready():
                return True
            waited_s = time.monotonic() - began
            if waited_s > self.settings.engine.start_timeout_s:
                raise StateError(
                    f"the service is not ready after {waited_s:.0f} s: look into "
                    f"{self.settings.data_dir / 'logs'} or raise engine.start_timeout_s"
                )
            told(waited_s)
            self.stopping.wait(POLL_S)
        return False

    def keep(self) -> None:
        """Watch the processes until `stopping` is set."""
        while not self.stopping.wait(POLL_S):
            self.revive()


@contextmanager
def running_service(
    settings: Settings, settings_file: Path | None, stopping: threading.Event | None = None
) -> Generator[Service]:
    """Start all processes, yield them, and stop them in the end, whatever happened.

    Raises: SettingsError when a port is taken, StateError when the data folder has a service.
    """
    processes = tuple(_processes(settings, settings_file))
    with _only_service(data_folder(settings)):
        check_port(settings.gateway.host, settings.gateway.port, "gateway")
        check_port(settings.console.host, settings.console.port, "console")
        if not settings.engine.is_external:
            check_port(settings.engine.host, settings.engine.port, "engine")
        try:
            for process in processes:
                process.start()
            yield Service(settings, processes, stopping or threading.Event())
        finally:
            with _patience():
                stop_all(processes, settings.engine.stop_timeout_s + STOP_GRACE_S)


def stop_all(processes: Iterable[Process], timeout_s: float, again_s: float = ASK_AGAIN_S) -> None:
    """Stop the processes, all at once; return when none of them is left."""
    left = [process for process in processes if process.is_running()]
    deadline = time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        for process in left:
            process.ask_to_stop()
        asked_until = min(time.monotonic() + again_s, deadline)
        left = [process for process in left if not process.wait(asked_until - time.monotonic())]
    for process in left:
        process.kill()


def require_no_service(data_dir: Path) -> None:
    """Return if no service runs on this data folder, which may not exist. Raises: StateError."""
    if data_dir.is_dir():
        with _only_service(data_dir):
            pass


@contextmanager
def _only_service(data_dir: Path) -> Generator[None]:
    """Be the one service of the data folder. The kernel frees it when this process dies."""
    with (data_dir / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StateError(
                f"a service runs on {data_dir} already (process {file.read() or 'unknown'}): "
                "stop it first, or set data_dir and the ports to others"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _patience() -> Generator[None]:
    """Let no second Ctrl-C break off the stopping (signals are the main thread's)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with stopped_by_signals(threading.Event()):
        yield


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Generator[threading.Event]:
    """Yield `stop`, which SIGTERM and SIGINT set while inside."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _processes(settings: Settings, settings_file: Path | None) -> Iterator[Process]:
    environment = dict(os.environ)
    names = {**PROCESSES, **(RELAY if settings.log.kafka.servers else {})}
    if settings_file is not None:
        environment[FILE_VARIABLE] = str(settings_file.resolve())
    for name, arguments in names.items():
        command = (sys.executable, "-m", "loop.cli", *arguments)
        yield Process(name, command, settings.data_dir / "logs" / f"{name}.log", environment)


def _says_yes(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ASK_TIMEOUT_S) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
