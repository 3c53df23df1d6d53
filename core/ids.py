"""Identifiers: UUIDv7 for records (sortable by time) and keyed hashes for end users.

A subject is known to Ratchet only as `subject_hash(...)`: without the key nobody can
walk back from the hash to the application's `user` field.
"""

from __future__ import annotations

import hashlib
import hmac

import uuid_utils

GATE = "gate-"  # begins no adapter's name: those are an application's
SUBJECT_HEX_CHARS = 32  # 128 bits: no collision among any number of people that exist


def new_id() -> str:
    """Return a new UUIDv7 as 36 characters. Source: RFC 9562, section 5.7."""
    return str(uuid_utils.uuid7())


def subject_hash(key: bytes, application: str, user: str) -> str:
    """Return the keyed hash by which `user` of `application` is known, 32 hex characters."""
    message = f"{application}\x00{user}".encode()
    return hmac.new(key, message, "sha256").hexdigest()[:SUBJECT_HEX_CHARS]


def subject_digest(subject: str) -> str:
    """Return what is kept of an erased subject's hash: enough to know it, not to say it."""
    return hashlib.sha256(subject.encode()).hexdigest()


def gate_adapter(run_id: str, label: str) -> str:
    """Return the name by which an engine has a model for as long as the gate of a run asks it."""
    return f"{GATE}{run_id}-{label}"


def gate_run(name: str) -> str | None:
    """Return the run whose gate uses an engine's adapter of that name; None of any other name."""
    if not name.startswith(GATE):
        return None
    return name.removeprefix(GATE).rpartition("-")[0]
