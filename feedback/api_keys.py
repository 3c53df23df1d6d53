"""API keys as values: how one looks, how a request carries it, what its holder may do.

Pure. Whether a key is known, and to whom it belongs, is `feedback.key_ring`'s business; keys
are made, rotated and revoked by `feedback.key_store`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal, get_args

from core.errors import AuthenticationError, PermissionDeniedError

Scope = Literal["infer", "feedback", "review", "ops", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
SETTINGS_SCOPES: frozenset[Scope] = frozenset({"infer", "feedback"})  # of the key in the settings

PREFIX = "rk"
ID_BYTES = 6
SECRET_BYTES = 32  # 256 bits; nobody guesses it, so a fast hash is enough (decision 0015)

_FIELD = "authorization"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may use; None means no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key came with a request, and what it allows."""

    application: str
    key_id: str
    scopes: frozenset[Scope]
    limits: KeyLimits = NO_LIMITS
    expires_at: datetime | None = None

    @property
    def allowed(self) -> frozenset[Scope]:
        """All scopes that the key amounts to; `admin` is every one."""
        return frozenset(SCOPES) if "admin" in self.scopes else self.scopes

    def require(self, scope: Scope) -> None:
        """Return if the key has `scope`.

        Raises: PermissionDeniedError.
        """
        if scope not in self.allowed:
            raise PermissionDeniedError(
                f"key {self.key_id} has no scope {scope!r}, only {', '.join(sorted(self.scopes))}: "
                f"make one with `ratchet key create {self.application} --scope {scope}`",
                field=_FIELD,
            )


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; `secret` is whole, and is never stored."""

    id: str
    secret: str

    @property
    def digest(self) -> str:
        """What is stored of it."""
        return key_digest(self.secret)


def new_key() -> NewKey:
    """Return a fresh random key: `rk_<id>_<secret>`."""
    id_ = secrets.token_hex(ID_BYTES)
    return NewKey(id_, f"{PREFIX}_{id_}_{secrets.token_urlsafe(SECRET_BYTES)}")


def key_digest(key: str) -> str:
    """Return the SHA-256 by which a key is stored and found, 64 hex characters."""
    return sha256(key.encode(errors="surrogatepass")).hexdigest()


def sent_key(headers: Mapping[str, str]) -> str:
    """Return the key of a request; Anthropic's clients send theirs as `x-api-key`.

    Raises: AuthenticationError when there is none.
    """
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else ""
    key = key or headers.get("x-api-key", "").strip()
    if not key:
        raise AuthenticationError(
            "no API key: send the header `Authorization: Bearer <key>`", field=_FIELD
        )
    return key


def unknown_key() -> AuthenticationError:
    """Return the error for a key that nobody has; it does not repeat the key."""
    return AuthenticationError(
        "unknown API key, or one that has expired or was revoked: send one that "
        "`ratchet key create` printed, or the one set as applications.<name>.api_key",
        field=_FIELD,
    )
