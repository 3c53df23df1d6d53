"""The settings of the console: where it listens, how people sign in, how live its pages are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from core.sections import LOOPBACK_HOSTS, Port, Section

Role = Literal["viewer", "reviewer", "operator", "admin"]


class OidcSettings(Section):
    """Signing in by an OpenID Connect provider; without an issuer it is off.

    The address to come back to, for the provider's list, is `<the console>/login/oidc/back`.
    """

    issuer: str | None = (
        None  # its URL; what it can do is read from /.well-known/openid-configuration
    )
    client_id: str = "ratchet"
    client_secret: SecretStr | None = None  # none: a public client, PKCE alone
    url: str | None = None  # how people reach the console; not set: console.url
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "email"  # by which somebody is known here
    role_claim: str = "groups"  # a text or a list of texts
    roles: dict[str, Role] = Field(default={})  # what the claim says: role here; the highest counts
    default_role: Role | None = None  # of whom no entry of `roles` fits; none: they may not enter
    timeout_s: float = Field(default=10.0, gt=0.0)  # for each answer of the provider

    @field_validator("issuer", "url")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError(f"must be a URL like https://id.example.org, got {url!r}")
        return url and url.rstrip("/")


class ConsoleSettings(Section):
    """People's pages: their own port, their own login (a user, or a key of scope ops or review)."""

    host: str = "127.0.0.1"
    port: Port = 8001
    session_s: float = Field(default=8 * 3_600.0, ge=1.0)  # a working day
    https: bool | None = (
        None  # people come by https; not set: where `host` is not this machine's own
    )
    live_every_s: float = Field(default=2.0, gt=0.0)  # between two looks for what pages show live
    roll_up_every_s: float = Field(default=60.0, gt=0.0)  # metrics of the pages; an hour is a point
    oidc: OidcSettings = OidcSettings()

    @property
    def url(self) -> str:
        """The console's base URL, without a trailing slash."""
        return f"http://{self.host}:{self.port}"

    @property
    def is_https(self) -> bool:
        """Whether browsers reach it by https, so that its cookies may ask for that."""
        return self.host not in LOOPBACK_HOSTS if self.https is None else self.https
