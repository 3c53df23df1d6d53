"""The key with which this installation signs what it made, and the signatures of others.

Bytes and a key go in, an Ed25519 signature (RFC 8032) comes out, or whether one is right. The
secret key is a file that only its owner can read, made when it is first needed. Knows no adapter.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.errors import SettingsError
from core.settings import Settings

KEY_BYTES = 32
KEY_FILE = "registry.key"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs."""

    key: Ed25519PrivateKey

    @property
    def public(self) -> str:
        """The public key, base64."""
        return _text(self.key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> str:
        """Return the signature of `data`, base64."""
        return _text(self.key.sign(data))


def open_signer(settings: Settings) -> Signer:
    """Return the signer of this installation; its key is made when there is none.

    Raises: SettingsError for a file that holds no key, or a named one that is missing.
    """
    named = settings.registry.signing_key
    path = named or settings.data_dir / KEY_FILE
    if named is None and not path.is_file():
        _make_key(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"registry.signing_key is {path}, which cannot be read: {error.strerror}"
        ) from error
    if len(raw) != KEY_BYTES:
        raise SettingsError(
            f"{path} holds {len(raw)} bytes, an Ed25519 key has {KEY_BYTES}: restore it from a "
            "backup; a new one signs new adapters only"
        )
    return Signer(Ed25519PrivateKey.from_private_bytes(raw))


def is_signed(data: bytes, signature: str, public: str) -> bool:
    """Return whether `signature` of `data` was made by the owner of the public key."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(signature, validate=True), data)
    except (InvalidSignature, ValueError):  # no base64 and a key of another length are ValueErrors
        return False
    return True


def _make_key(path: Path) -> None:
    """Write a new key, unless another process was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)  # fails where one is there: two processes must not sign by two keys
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
