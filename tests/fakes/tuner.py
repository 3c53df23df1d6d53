"""A model's owner on this machine: the routes of OpenAI's fine-tuning API that the client uses.

Files and jobs lie in memory; each look at a job moves it on by one of its `course` of statuses.
Under `/openai/` it answers as Azure OpenAI does. Speaks HTTP, so the real clients talk to it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

KEY = "sk-tuner"
JOB = "ftjob-1"


@dataclass
class Tuner:
    """What the owner holds, and how a job will go."""

    url: str = ""
    course: list[str] = field(default_factory=lambda: ["running", "succeeded"])
    error: str | None = None
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    job: dict[str, Any] = field(default_factory=dict[str, Any])
    cancelled: bool = False
    paths: list[str] = field(default_factory=list[str])


@contextmanager
def running_tuner() -> Generator[Tuner]:
    """Run an owner until the end of the block."""
    held = Tuner()

    class Handler(_Handler):
        tuner = held

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tuner: Tuner

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = self._path()
        if path.endswith("/events"):
            self._answer({"object": "list", "data": self._events(), "has_more": False})
            return
        if len(self.tuner.course) > 1:
            self.tuner.job["status"] = self.tuner.course.pop(0)
        else:
            self.tuner.job["status"] = self.tuner.course[0]
        self._answer(self._job())

    def do_POST(self) -> None:
        path = self._path()
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {KEY}" and (
            self.headers.get("api-key") != KEY
        ):
            self._answer({"error": {"message": "Incorrect API key", "type": "auth"}}, 401)
        elif path.endswith("/files"):
            self._answer(self._take_file(raw))
        elif path.endswith("/cancel"):
            self.tuner.cancelled = True
            self._answer(self._job())
        else:
            self.tuner.job = json.loads(raw) | {"status": "validating_files"}
            self._answer(self._job())

    def _path(self) -> str:
        path = urlsplit(self.path).path
        self.tuner.paths.append(path)
        return path

    def _take_file(self, raw: bytes) -> dict[str, Any]:
        name = re.search(rb'filename="([^"]+)"', raw)
        assert name is not None
        body = raw[name.end() :].split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        self.tuner.files[name[1].decode()] = body
        file = {"id": f"file-{name[1].decode()}", "object": "file", "bytes": len(body)}
        return file | {"created_at": 1, "filename": name[1].decode(), "purpose": "fine-tune"}

    def _job(self) -> dict[str, Any]:
        asked = self.tuner.job
        done = asked["status"] == "succeeded"
        return {
            "id": JOB,
            "object": "fine_tuning.job",
            "created_at": 1,
            "error": {"code": "bad", "message": self.tuner.error} if self.tuner.error else None,
            "fine_tuned_model": f"ft:{asked['model']}:acme:{asked['suffix']}" if done else None,
            "finished_at": 2 if done else None,
            "hyperparameters": {},
            "model": asked["model"],
            "organization_id": "acme",
            "result_files": [],
            "seed": asked["seed"],
            "status": asked["status"],
            "trained_tokens": 1234 if done else None,
            "training_file": asked["training_file"],
            "validation_file": asked.get("validation_file"),
        }

    def _events(self) -> list[dict[str, Any]]:
        metrics = {"step": 3, "total_steps": 6, "train_loss": 0.7, "valid_loss": 0.9}
        return [
            _event(2, "Step 3/6", "metrics", metrics),
            _event(1, "Created fine-tuning job", "message", {}),
        ]

    def _answer(self, body: Any, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _event(number: int, message: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"ftevent-{number}",
        "object": "fine_tuning.job.event",
        "created_at": number,
        "level": "info",
        "message": message,
        "type": kind,
        "data": data,
    }
