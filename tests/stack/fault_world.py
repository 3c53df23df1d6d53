"""Ratchet's own processes, in front of a fake engine, for tests that kill and starve them.

A folder goes in; a gateway, an ingest and whatever else is named run as `python -m loop.cli`, each
killed and started again at will. What they promised is kept by `tests.stack.promises`. All are
ended by their process ids.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from core.settings import KafkaSettings
from feedback.store import Store
from tests.fakes.engine import FakeEngine
from tests.ports import free_port
from tests.stack.promises import API_KEY, APPLICATION, Load, Promises, broken

ROOT = Path(__file__).resolve().parents[2]
START_S = 40.0  # of a process on a busy machine; 1.5 s on an idle one
STOP_S = 40.0
SETTLE_S = 60.0
LOOK_EVERY_S = 0.05
MANY = 10_000_000  # per minute: no limit on feedback is reached
TOLD_CHARS = 2_000


@dataclass
class Program:
    """One process of Ratchet; what it says goes to a file."""

    name: str
    settings_file: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    child: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        """Where its words are."""
        return self.settings_file.parent / f"{self.name}.log"

    def start(self) -> None:
        """Start it, and do not wait for anything."""
        assert not self.is_running(), f"{self.name} runs already"
        command = (sys.executable, "-m", "loop.cli", "--settings", str(self.settings_file))
        with self.output.open("ab") as output:
            self.child = subprocess.Popen(
                (*command, self.name),
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def is_running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self.child is not None and self.child.poll() is None

    def kill(self) -> None:
        """End it as a power cut would, at whatever it is doing."""
        assert self.child is not None
        self.child.kill()
        self.child.wait()

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if not self.is_running():
            return
        assert self.child is not None
        self.child.terminate()
        try:
            self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop; it said:\n{self.said()}") from None

    def resident_mb(self) -> float:
        """Return how much memory it has now."""
        assert self.child is not None
        return psutil.Process(self.child.pid).memory_info().rss / 1e6

    def said(self) -> str:
        """Return its last words."""
        if not self.output.exists():
            return ""
        return self.output.read_text(errors="replace")[-TOLD_CHARS:]


@dataclass
class FaultWorld:
    """Everything around one gateway."""

    folder: Path
    url: str
    store_url: str
    engine: FakeEngine
    programs: Mapping[str, Program]

    @property
    def spool_dir(self) -> Path:
        """Where the processes' spools are."""
        return self.folder / "data" / "spool"

    def load(self, rate_per_s: float, seed: int = 0) -> Load:
        """Return people who ask and rate; use it in a `with` block."""
        return Load(self.url, rate_per_s, seed)

    def restart(self, name: str) -> None:
        """Kill a process and start it again, without waiting until it works."""
        self.programs[name].kill()
        self.programs[name].start()

    def answers(self, path: str = "/health/live") -> bool:
        """Return whether the gateway answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}{path}", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def health(self) -> dict[str, Any]:
        """Return what the gateway says of its readiness, ready or not."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/health/ready", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def wait_until(
        self, condition: Callable[[], bool], timeout_s: float = START_S, *, what: str = ""
    ) -> None:
        """Return when the condition holds; the test fails with the processes' words if not."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                words = "\n".join(f"{p.name}: {p.said()}" for p in self.programs.values())
                raise AssertionError(f"{what or 'it'} did not come in {timeout_s:.0f} s\n{words}")
            time.sleep(LOOK_EVERY_S)

    def require_kept(self, promises: Promises, timeout_s: float = SETTLE_S, why: str = "") -> None:
        """Return once the store holds all that was promised until now, each once and right."""
        promised = promises.copy()
        store = Store(self.store_url)
        faults: list[str] = []

        def kept() -> bool:
            faults[:] = broken(promised, store)
            return not faults

        try:
            self.wait_until(kept, timeout_s, what="all that was promised")
        except AssertionError as error:
            told = "\n".join(faults[:10])
            raise AssertionError(f"{why}: {len(faults)} faults:\n{told}\n{error}") from None
        finally:
            store.close()


@contextmanager
def fault_world(
    folder: Path,
    programs: Sequence[str] = ("gateway", "ingest"),
    *,
    store_url: str | None = None,
    kafka: KafkaSettings | None = None,
    environment: Mapping[str, str] | None = None,
    **log: Any,
) -> Generator[FaultWorld]:
    """Give a world whose processes run; `log` and `kafka` are settings of these sections."""
    with ExitStack() as closing:
        engine = closing.enter_context(FakeEngine())
        port = free_port()
        file = folder / "ratchet.toml"
        sections: dict[str, Mapping[str, Any]] = {
            "": {"data_dir": str(folder / "data"), "log_level": "WARNING"},
            f"applications.{APPLICATION}": {"api_key": API_KEY},
            "engine": {"replicas": [engine.url]},
            "gateway": {"port": port},
            "feedback": {"per_subject_per_minute": MANY, "per_address_per_minute": MANY},
            "log": {"ingest_every_s": 0.05} | log,
        }
        if store_url is not None:
            sections[""] = {**sections[""], "store_url": store_url}
        if kafka is not None:
            sections["log.kafka"] = kafka.model_dump(mode="json", exclude_unset=True)
        file.write_text("\n".join(_toml(name, fields) for name, fields in sections.items()))
        world = FaultWorld(
            folder=folder,
            url=f"http://127.0.0.1:{port}",
            store_url=store_url or f"sqlite:///{folder / 'data' / 'store.db'}",
            engine=engine,
            programs={name: Program(name, file, environment or {}) for name in programs},
        )
        for program in world.programs.values():
            closing.callback(program.stop)
            program.start()
        world.wait_until(lambda: world.answers("/health/ready"), what="the gateway")
        yield world


def _toml(section: str, fields: Mapping[str, Any]) -> str:
    head = f"[{section}]\n" if section else ""
    return head + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
