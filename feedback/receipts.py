"""Receipts: the signed strings that let whoever holds one rate one interaction.

The gateway signs one for each answer; the feedback route verifies it without a database and
before the interaction is ingested. Form: `payload.signature`, both URL-safe base64, the payload
JSON with short names. Not secret, but not forgeable: whoever lacks a key can change nothing.
Pure: the time is an argument.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime

import msgspec

from core.errors import AuthenticationError
from feedback.events import Arm

_PURPOSE = b"receipt.v1."  # whatever else a key may sign is no receipt
_FIELD = "receipt"


class Receipt(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={
        "interaction_id": "i",
        "application": "a",
        "subject": "s",
        "adapter": "d",
        "arm": "r",
        "issued_at": "t",
        "expires_at": "x",
    },
):
    """What a receipt says. Times are unix seconds; `adapter` None means the base model."""

    interaction_id: str
    application: str
    subject: str | None = None
    adapter: str | None = None
    arm: Arm = "baseline"
    issued_at: int
    expires_at: int


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Receipt)


def sign(receipt: Receipt, keys: tuple[bytes, ...]) -> str:
    """Return the receipt as a string, signed with the first (newest) key."""
    payload = _base64(_ENCODER.encode(receipt))
    return f"{payload}.{_signature(payload, keys[0])}"


def verify(token: str, keys: tuple[bytes, ...], now: datetime) -> Receipt:
    """Return what `token` says, signed by any of the keys and not expired at `now`.

    Raises: AuthenticationError when it is malformed, forged or expired.
    """
    payload, dot, signature = token.partition(".")
    if not dot or not token.isascii():
        raise _malformed()
    if not _is_signed(payload, signature, keys):
        raise AuthenticationError(
            "the receipt's signature is wrong: it was changed, or its key is no longer in use",
            field=_FIELD,
        )
    receipt = _read(payload)
    if receipt.expires_at <= now.timestamp():
        ended = datetime.fromtimestamp(receipt.expires_at, UTC).isoformat()
        raise AuthenticationError(
            f"the receipt expired at {ended}: rate a newer answer", field=_FIELD
        )
    return receipt


def looks_like_receipt(text: str) -> bool:
    """Return whether `text` is meant as a receipt, not as an interaction's id."""
    return "." in text


def _is_signed(payload: str, signature: str, keys: tuple[bytes, ...]) -> bool:
    """Compare with every key and in constant time, so that timing tells a forger nothing."""
    matches = [hmac.compare_digest(_signature(payload, key), signature) for key in keys]
    return any(matches)


def _read(payload: str) -> Receipt:
    try:
        return _DECODER.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError as error:  # signed by us, but by another version: base64, JSON or fields
        raise _malformed() from error


def _malformed() -> AuthenticationError:
    return AuthenticationError(
        "malformed receipt: send the x-ratchet-receipt of the answer unchanged", field=_FIELD
    )


def _signature(payload: str, key: bytes) -> str:
    return _base64(hmac.digest(key, _PURPOSE + payload.encode(), "sha256"))


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
