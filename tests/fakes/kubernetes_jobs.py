"""A Kubernetes API server that knows Jobs, on HTTPS, with a service account beside it.

Jobs lie in memory until a test says how they end. Answers have the shape of the real one's
(batch/v1). No cluster was there to compare.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.kubernetes import write_certificate

TOKEN = "a-token"
JOBS = "/apis/batch/v1/namespaces/ratchet/jobs"


@dataclass
class JobServer:
    """What the server holds, and what was asked of it."""

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    asked: list[str] = field(default_factory=list[str])
    deleted: list[str] = field(default_factory=list[str])
    refuse: int | None = None

    def end(self, name: str, kind: str, reason: str = "", message: str = "") -> None:
        """Let a job be `Complete` or `Failed`."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.jobs[name]["status"] = {"conditions": [condition]}


@contextmanager
def running_jobs(account: Path) -> Generator[JobServer]:
    """Run a server until the end of the block; its account lies in the folder `account`."""
    account.mkdir(parents=True, exist_ok=True)
    write_certificate(account)
    (account / "token").write_text(f"{TOKEN}\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(account / "ca.crt", account / "key.pem")
    held = JobServer()

    class Handler(_Handler):
        api = held

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    held.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: JobServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        manifest = json.loads(self.rfile.read(size))
        self._note()
        name = manifest["metadata"]["name"]
        if name in self.api.jobs:
            self._answer(409, _status(f'jobs.batch "{name}" already exists', "AlreadyExists"))
            return
        self.api.jobs[name] = manifest | {"status": {}}
        self._answer(201, self.api.jobs[name])

    def do_GET(self) -> None:
        name = self._note()
        self._answer_job(name, self.api.jobs.get(name))

    def do_DELETE(self) -> None:
        name = self._note()
        self.api.deleted.append(name)
        self._answer_job(name, self.api.jobs.pop(name, None))

    def _note(self) -> str:
        path = urlsplit(self.path).path
        self.api.asked.append(f"{self.command} {path}")
        assert path.startswith(JOBS)
        return path.removeprefix(JOBS).removeprefix("/")

    def _answer_job(self, name: str, job: dict[str, Any] | None) -> None:
        if job is None:
            self._answer(404, _status(f'jobs.batch "{name}" not found', "NotFound"))
        else:
            self._answer(200, job)

    def _answer(self, status: int, body: Any) -> None:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, body = 401, _status("Unauthorized", "Unauthorized")
        if self.api.refuse is not None:
            status, body = self.api.refuse, _status("jobs.batch is forbidden", "Forbidden")
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _status(message: str, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, "reason": reason}
