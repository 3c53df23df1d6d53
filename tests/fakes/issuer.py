"""A small OpenID Connect provider on this machine: real keys, codes, PKCE and signed tokens.

It asks nobody anything: whoever is sent to it comes back with a code for `claims`. `spoil` changes
the claims of the token before it is signed. Everything else is as the standards say.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

CLIENT, KEY_ID = "ratchet", "key-1"


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@dataclass
class Issuer:
    """The provider's state."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    spoil: Callable[[dict[str, Any]], None] = lambda _claims: None
    key: rsa.RSAPrivateKey = field(default_factory=_new_key)
    signing_key: rsa.RSAPrivateKey | None = None  # another one: the signature is wrong
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def discovery(self) -> dict[str, Any]:
        """Return what the provider can do."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }

    def keys(self) -> dict[str, Any]:
        """Return the public keys."""
        jwk = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [jwk | {"kid": KEY_ID, "use": "sig", "alg": "RS256"}]}

    def authorize(self, asked: dict[str, str]) -> str:
        """Return where the browser goes back to."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Return the answer to a code, or None if it is not one, or not this client's."""
        asked = self.codes.pop(form.get("code", ""), None)  # a code is worth one token
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return None
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300} | self.claims
        claims["nonce"] = asked["nonce"]
        self.spoil(claims)
        key = self.signing_key or self.key
        signed = jwt.encode(claims, key, algorithm="RS256", headers={"kid": KEY_ID})
        return {"id_token": signed, "token_type": "Bearer", "access_token": "unused"}


@contextmanager
def open_issuer(**claims: Any) -> Generator[Issuer]:
    """Give a running provider that vouches for these claims."""
    issuer = Issuer(claims=claims)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, issuer))
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, issuer: Issuer, *args: Any) -> None:
        self._issuer = issuer
        super().__init__(*args)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/authorize":
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            self.send_response(302)
            self.send_header("location", self._issuer.authorize(asked))
            self.end_headers()
        elif address.path == "/.well-known/openid-configuration":
            self._answer(200, self._issuer.discovery())
        elif address.path == "/keys":
            self._answer(200, self._issuer.keys())
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        answer = self._issuer.token({name: v[0] for name, v in parse_qs(body).items()})
        self._answer(400 if answer is None else 200, answer or {"error": "invalid_grant"})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
