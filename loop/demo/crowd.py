"""The demo's side of the crowd: starts the users' process, reads how they fare, ends it.

In come a running service's address and what the crowd shall do; out come its progress lines
and its summary. The users themselves are `loop.demo.users`, which knows only the public API.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import StateError
from serving.keeper import die_with_parent
from serving.launcher import tail

END_TIMEOUT_S = 120.0  # for the answers under way when a crowd is told to go home

Told = Callable[[dict[str, Any]], None]


@dataclass
class Crowd:
    """One running users' process; `latest` is its newest progress, at the end its summary."""

    child: subprocess.Popen[str]
    told: Told
    log_path: Path
    latest: dict[str, Any] = field(default_factory=dict[str, Any])
    fault: Exception | None = None

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, name="crowd", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Take in progress lines until the process closes its output."""
        assert self.child.stdout is not None
        try:
            with self.child.stdout as lines:
                for line in lines:
                    self.latest = json.loads(line)
                    self.told(self.latest)
        except Exception as fault:  # `finish` raises it: a thread's own error is seen by nobody
            self.fault = fault
            self.child.terminate()

    def finish(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the summary once the process has ended.

        Raises: StateError if it ended badly or not in time.
        """
        try:
            code = self.child.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as late:
            raise StateError(f"the users did not go home within {timeout_s:.0f} s") from late
        self._reader.join()  # the summary is the last line: it may be read after the end
        if self.fault is not None:
            raise StateError(f"the users' progress is unreadable: {self.fault!r}") from self.fault
        if code != 0:
            raise StateError(
                f"the users' process ended with code {code}; {self.log_path} ends:\n"
                f"{tail(self.log_path)}"
            )
        return self.latest

    def send_home(self) -> None:
        """End the process, if it has not ended by itself."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(timeout=END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self._reader.join()


@dataclass(frozen=True)
class Crowds:
    """Starts crowds against one gateway."""

    base_url: str
    api_key: str
    system: str
    folder: Path  # for their records and logs
    concurrency: int

    def ask_all(
        self, model: str, out: Path, told: Told, *, limit: int | None, topic: str = "known"
    ) -> dict[str, Any]:
        """Ask held-out questions of exactly `model`, without feedback; return the summary."""
        arguments = ["--mode", "heldout", "--topic", topic]
        if limit is not None:
            arguments += ["--limit", str(limit)]
        with self._running(model, out, told, arguments) as crowd:
            return crowd.finish()

    def serve(self, model: str, out: Path, told: Told, arguments: Sequence[str]) -> dict[str, Any]:
        """Let a crowd of given size use the service to its end; return the summary."""
        with self._running(model, out, told, arguments) as crowd:
            return crowd.finish()

    @contextmanager
    def using(
        self, model: str, out: Path, told: Told, arguments: Sequence[str]
    ) -> Generator[Crowd]:
        """Keep a crowd at work inside the block, and send it home at its end."""
        enough = out.with_suffix(".stop")
        enough.unlink(missing_ok=True)
        with self._running(model, out, told, [*arguments, "--until-file", str(enough)]) as crowd:
            yield crowd
            enough.touch()
            crowd.finish(END_TIMEOUT_S)

    @contextmanager
    def _running(
        self, model: str, out: Path, told: Told, arguments: Sequence[str]
    ) -> Generator[Crowd]:
        command = [
            *(sys.executable, "-m", "loop.demo.users"),
            *("--base-url", self.base_url, "--api-key", self.api_key, "--model", model),
            *("--system", self.system, "--concurrency", str(self.concurrency)),
            *("--out", str(out), "--progress", *arguments),
        ]
        log_path = self.folder / "users.log"
        with log_path.open("a") as log:
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=die_with_parent
            )
        crowd = Crowd(child, told, log_path)
        try:
            yield crowd
        finally:
            crowd.send_home()
