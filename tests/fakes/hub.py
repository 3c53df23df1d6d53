"""A small Hugging Face Hub on this machine: the routes that `huggingface_hub` uses.

Repositories live in memory, commit by commit. Parquet files and weights go by Git LFS and others in
the commit, as the real Hub decides; a file is accepted only with the hash that the client named.
Tokens say who may read and who may write. Speaks HTTP, so the real client talks to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

WRITER = "hf_writer"
READER = "hf_reader"

Files = dict[str, bytes]


@dataclass
class Repository:
    """A repository: its commits by hash, the newest last."""

    private: bool
    commits: dict[str, Files] = field(default_factory=dict[str, Files])

    @property
    def head(self) -> str:
        """The newest commit."""
        return list(self.commits)[-1]

    def commit(self, files: Files) -> str:
        """Add a commit that holds these files, and return its hash."""
        names = repr((len(self.commits), sorted(files), list(map(hash, files.values()))))
        oid = hashlib.sha1(names.encode()).hexdigest()
        self.commits[oid] = files
        return oid


@dataclass
class Hub:
    """What the server holds, and what was asked of it."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict[str, Repository])
    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])  # of LFS, by SHA-256
    asked: list[str] = field(default_factory=list[str])
    refuse_uploads: bool = False

    def create(self, name: str, *, private: bool) -> Repository:
        """Add a repository with the one file that the Hub puts into each."""
        made = Repository(private)
        made.commit({".gitattributes": b"*.parquet filter=lfs\n"})
        self.repositories[name] = made
        return made


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@contextmanager
def running_hub() -> Generator[Hub]:
    """Run a hub until the end of the block."""
    hub = Hub()

    class Handler(_Handler):
        held = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # clients keep their connections
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(self._read)

    def do_HEAD(self) -> None:
        self._answer(self._read)

    def do_POST(self) -> None:
        self._answer(self._write)

    def do_PUT(self) -> None:
        self._answer(self._upload)

    def _answer(self, act: Callable[[str, bytes], tuple[Any, dict[str, str]]]) -> None:
        path = unquote(urlsplit(self.path).path)
        self.held.asked.append(f"{self.command} {path}")
        size = int(self.headers.get("Content-Length") or 0)
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        body = self._chunks() if chunked else self.rfile.read(size)
        try:
            found, headers = act(path, body)
            status = 200
        except Refused as refused:
            status = refused.status
            found = {"error": str(refused)}
            headers = {"X-Error-Message": str(refused)}
            headers |= {"X-Error-Code": refused.code} if refused.code else {}
        raw = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _read(self, path: str, _: bytes) -> tuple[Any, dict[str, str]]:
        if "/resolve/" in path:
            name, rest = path.removeprefix("/datasets").removeprefix("/").split("/resolve/")
            revision, file = rest.split("/", 1)
            repository, oid = self._found(name, revision)
            if file not in repository.commits[oid]:
                raise Refused(404, "Entry not found", "EntryNotFound")
            raw = repository.commits[oid][file]
            tag = hashlib.sha256(raw).hexdigest()
            return raw, {"ETag": f'"{tag}"', "X-Repo-Commit": oid}
        name, kind, revision = _parted(path)
        repository, oid = self._found(name, revision)
        files = repository.commits[oid]
        if kind == "tree":
            return [_entry(file, raw) for file, raw in files.items()], {}
        return {"id": name, "sha": oid, "private": repository.private, "siblings": []}, {}

    def _write(self, path: str, body: bytes) -> tuple[Any, dict[str, str]]:
        if path == "/api/validate-yaml":
            if not json.loads(body)["content"].startswith("---\n"):
                raise Refused(400, "no metadata")
            return {"errors": [], "warnings": []}, {}
        if path == "/lfs/verify":
            return {}, {}
        self._require_writer()
        if path == "/api/repos/create":
            return self._create(json.loads(body)), {}
        if path.endswith(".git/info/lfs/objects/batch"):
            return {"objects": list(map(self._upload_action, json.loads(body)["objects"]))}, {}
        name, kind, revision = _parted(path)
        repository, oid = self._found(name, revision)
        if kind == "preupload":
            return {"files": [_mode(file) for file in json.loads(body)["files"]]}, {}
        made = self._commit(repository, oid, [json.loads(line) for line in body.splitlines()])
        url = f"{self.held.address}/{name}/commit/{made}"
        return {"success": True, "commitOid": made, "commitUrl": url}, {}

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"{asked['organization'] or 'me'}/{asked['name']}"
        page = "datasets/" if asked.get("type") == "dataset" else ""
        url = f"{self.held.address}/{page}{name}"
        if name in self.held.repositories:
            raise Refused(409, "You already created this repo")
        self.held.create(name, private=asked["visibility"] == "private")
        return {"url": url, "name": name}

    def _upload_action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.held.objects:
            return wanted
        actions = {
            "upload": {"href": f"{self.held.address}/lfs/{wanted['oid']}"},
            "verify": {"href": f"{self.held.address}/lfs/verify"},
        }
        return wanted | {"actions": actions}

    def _upload(self, path: str, body: bytes) -> tuple[Any, dict[str, str]]:
        oid = path.rpartition("/")[2]
        if self.held.refuse_uploads:
            raise Refused(403, "the storage quota is used up")
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "other bytes than announced")
        self.held.objects[oid] = body
        return b"", {}

    def _commit(self, repository: Repository, parent: str, lines: list[dict[str, Any]]) -> str:
        header, *operations = lines
        if header["value"].get("parentCommit", parent) != parent:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.commits[parent])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.held.objects[value["oid"]]
        return repository.commit(files)

    def _found(self, name: str, revision: str) -> tuple[Repository, str]:
        """Return a repository and the commit of a revision, if the caller may know of them."""
        repository = self.held.repositories.get(name)
        if repository is None or (repository.private and not self._token()):
            raise Refused(404 if self._token() else 401, "Repository not found", "RepoNotFound")
        oid = repository.head if revision in ("", "main") else revision
        if oid not in repository.commits:
            raise Refused(404, "Invalid rev id", "RevisionNotFound")
        return repository, oid

    def _token(self) -> str:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return token if token in (WRITER, READER) else ""

    def _require_writer(self) -> None:
        if self._token() != WRITER:
            raise Refused(403 if self._token() else 401, "You may not write here")


def _parted(path: str) -> tuple[str, str, str]:
    """Return repository, what is asked of it, and the revision, of an API path."""
    _, _, owner, name, *rest = path.removeprefix("/").split("/")  # /api/datasets/… or /api/models/…
    kind, revision = (*rest, "", "")[:2]
    return f"{owner}/{name}", kind, revision


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    mode = "lfs" if file["path"].endswith((".parquet", ".safetensors")) else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


def _entry(file: str, raw: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\x00" % len(raw) + raw).hexdigest()
    return {"type": "file", "path": file, "size": len(raw), "oid": oid}
