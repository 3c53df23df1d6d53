"""Signing in by OpenID Connect: authorization code with PKCE, and an ID token that is verified.

The provider's discovery document, keys and answers come in; who somebody is, or an error, goes out.
Issuer, audience, nonce, signature and times are checked by PyJWT. Knows nothing of routes or users.

Source: OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9700 (security of OAuth 2.0).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from core.console_settings import OidcSettings, Role
from core.errors import AuthenticationError, PermissionDeniedError, SettingsError
from loop.console.visitors import highest

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")  # never none, never HS
LEEWAY_S = 60.0  # between two clocks
FRESH_S = 3_600.0  # after which what a provider can do is read anew
MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a browser takes along to the provider and back, so that nobody else's answer counts."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Attempt:
        """Return a fresh one."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier. Source: RFC 7636, S256."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Person:
    """Who a provider vouches for; `subject` names them for ever, with the issuer."""

    name: str
    subject: str
    role: Role


class Provider:
    """One OpenID Connect provider."""

    def __init__(self, settings: OidcSettings, back: str) -> None:
        self._settings = settings
        self._back = back
        self._known: dict[str, Any] = {}
        self._known_at_s = 0.0

    async def address(self, attempt: Attempt) -> str:
        """Return where the browser is sent. Raises: AuthenticationError."""
        known = await self._discover()
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._back,
            "scope": " ".join(self._settings.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return f"{known['authorization_endpoint']}?{urlencode(asked)}"

    async def person(self, code: str, attempt: Attempt) -> Person:
        """Return who came back with this code.

        Raises: AuthenticationError when the provider or its token is not as it must be;
        PermissionDeniedError for who has no role here.
        """
        known = await self._discover()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back,
            "client_id": self._settings.client_id,
            "code_verifier": attempt.verifier,
        }
        if self._settings.client_secret is not None:
            form["client_secret"] = self._settings.client_secret.get_secret_value()
        answer = await self._fetch(known["token_endpoint"], form)
        keys = await self._fetch(known["jwks_uri"])
        claims = verified(str(answer.get("id_token", "")), keys, self._settings, attempt.nonce)
        return person_of(claims, self._settings)

    async def _discover(self) -> dict[str, Any]:
        """Return what the provider says of itself, at most an hour old."""
        if time.monotonic() - self._known_at_s > FRESH_S or not self._known:
            issuer = self._settings.issuer
            found = await self._fetch(f"{issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != issuer:
                raise AuthenticationError(f"the provider at {issuer} says that it is another one")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not str(found.get(name, "")).startswith(("https://", "http://")):
                    raise AuthenticationError(f"the provider at {issuer} names no {name}")
            self._known, self._known_at_s = found, time.monotonic()
        return self._known

    async def _fetch(self, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return a JSON object from the provider. Raises: AuthenticationError."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as client,
                client.request("POST" if form else "GET", url, data=form) as answer,
            ):
                body = await answer.content.read(MAX_BYTES)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AuthenticationError(f"the sign-in at {url} does not answer: try again") from error
        if status != 200:
            raise AuthenticationError(f"the sign-in at {url} refused with {status}: try again")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise AuthenticationError(f"the sign-in at {url} answered no JSON object") from error


def verified(
    token: str, keys: Mapping[str, Any], settings: OidcSettings, nonce: str
) -> dict[str, Any]:
    """Return the claims of an ID token that is this issuer's, for this client and this attempt.

    Raises: AuthenticationError; SettingsError when PyJWT is not installed.
    """
    try:
        import jwt
    except ImportError as error:
        raise SettingsError(
            "console.oidc needs PyJWT: pip install 'ratchet-llm[oidc]', or unset its issuer"
        ) from error
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(
            token,
            _key(jwt.PyJWKSet.from_dict(dict(keys)), header.get("kid")),
            algorithms=list(ALGORITHMS),
            audience=settings.client_id,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iat", "sub", "iss", "aud"]},
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise AuthenticationError(f"the sign-in's token is not valid: {error}") from error
    if str(claims["iss"]).rstrip("/") != settings.issuer:
        raise AuthenticationError("the sign-in's token is of another issuer")
    if claims.get("azp", settings.client_id) != settings.client_id:
        raise AuthenticationError("the sign-in's token was made for another client")
    if not secrets.compare_digest(str(claims.get("nonce", "")), nonce):
        raise AuthenticationError("the sign-in's token is of another attempt: try again")
    return claims


def person_of(claims: Mapping[str, Any], settings: OidcSettings) -> Person:
    """Return who the claims speak of, with the highest role that they say.

    Raises: PermissionDeniedError without a name or a role, or with an e-mail nobody has verified.
    """
    name = str(claims.get(settings.name_claim) or "")
    if not name:
        raise PermissionDeniedError(f"the sign-in says no {settings.name_claim}: ask an admin")
    if settings.name_claim == "email" and claims.get("email_verified") is False:
        raise PermissionDeniedError(f"the address {name} is not verified at your organisation")
    said = claims.get(settings.role_claim, ())
    said = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    role = highest(settings.roles[each] for each in map(str, said) if each in settings.roles)
    role = role or settings.default_role
    if role is None:
        raise PermissionDeniedError(f"{name} has no role here: ask an admin for one")
    return Person(name, f"{settings.issuer} {claims['sub']}", role)


def _key(keys: Any, id_: str | None) -> Any:
    """Return the key that signed; the only one where the token does not say which."""
    usable = [key for key in keys.keys if key.public_key_use in {None, "sig"}]
    named = [key for key in usable if id_ is None or key.key_id == id_]
    if len(named) != 1:
        raise ValueError(f"no one key {id_!r} among the issuer's")
    return named[0].key
