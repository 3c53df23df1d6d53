"""Files that are either whole or absent, and the hashes that name their content."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def write_atomic(path: Path, data: bytes | str) -> None:
    """Put `data` at `path` so that a reader, or a crash, never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, 64 hex characters."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def folder_sha256(folder: Path, *, ignore: frozenset[str] = frozenset()) -> str:
    """Return one SHA-256 over the relative names and bytes of all files below `folder`.

    `ignore` holds file names that do not count (a card that names this very hash, say).
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in ignore):
        digest.update(f"{path.relative_to(folder).as_posix()}\x00{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def sources_sha256(package: Path, suffixes: tuple[str, ...] = (".py",)) -> str:
    """Return one SHA-256 over the sources of a package: names what made something."""
    sources = sorted(path for path in package.rglob("*") if path.suffix in suffixes)
    return json_sha256(
        [[path.relative_to(package).as_posix(), file_sha256(path)] for path in sources]
    )


def json_sha256(value: Any) -> str:
    """Return the SHA-256 of `value` as canonical JSON: equal settings give equal hashes."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
