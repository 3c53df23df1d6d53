"""Which application calls: the API key in `Authorization`, compared with the settings.

For the gateway's inference routes and for feedback that an application's own server gives.
Never says in an error, or in a log, what key was sent.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

from core.errors import AuthenticationError
from core.settings import Settings

_FIELD = "authorization"


def sent_authorization(headers: Mapping[str, str]) -> str | None:
    """Return the `Authorization` header; Anthropic's clients send their key as `x-api-key`."""
    key = headers.get("x-api-key")
    return headers.get("authorization") or (f"Bearer {key}" if key else None)


def authenticate(headers_authorization: str | None, settings: Settings) -> str:
    """Return the name of the application whose key the header carries.

    Every key is compared, in constant time, so that timing tells nothing about any.

    Raises: AuthenticationError without a key, or with one that no application has.
    """
    sent = _digest(_bearer_token(headers_authorization))
    found = [
        name
        for name, application in settings.applications.items()
        if hmac.compare_digest(_digest(application.api_key.get_secret_value()), sent)
    ]
    if not found:
        raise AuthenticationError(
            "unknown API key: send the one set as applications.<name>.api_key", field=_FIELD
        )
    return found[0]


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()


def _bearer_token(header: str | None) -> str:
    scheme, _, token = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationError(
            "no API key: send the header `Authorization: Bearer <key>`", field=_FIELD
        )
    return token.strip()
