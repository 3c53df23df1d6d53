"""The two kinds of secret keys: those that sign receipts, and the one that hashes end users.

Settings go in. What they do not name is made once and kept in `data_dir`, readable by its owner
only. Receipt keys rotate; the subject key never does, because another key would make every end
user a stranger to their own arm, votes and erasure. Built once by the composition root.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings

RECEIPT_FILE = "receipt.key"
SUBJECT_FILE = "subject.key"
KEY_BYTES = 32  # as long as what HMAC-SHA256 makes of it. Source: RFC 2104, section 3


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs and what hashes. `receipt`: newest first; the first signs, all verify."""

    receipt: tuple[bytes, ...]
    subject: bytes


def load_keys(settings: Settings) -> Keys:
    """Return the keys that the settings name, or this installation's own."""
    receipt = tuple(secret.get_secret_value().encode() for secret in settings.secrets)
    subject = settings.subject_secret
    return Keys(
        receipt=receipt or (_own_key(settings.data_dir / RECEIPT_FILE),),
        subject=subject.get_secret_value().encode()
        if subject
        else _own_key(settings.data_dir / SUBJECT_FILE),
    )


def _own_key(path: Path) -> bytes:
    """Return the key in `path`, made if need be; of processes that race, one makes it."""
    if path.is_file():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_bytes(secrets.token_hex(KEY_BYTES).encode())
    try:
        os.link(fresh, path)  # fails if another process was first: then its key is the key
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return path.read_bytes()
