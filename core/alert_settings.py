"""The settings of alerts: whose rules, who is told, and how often what was not taken is sent again.

Addresses that let anybody post, passwords and signing keys are secrets: they are never shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from core.errors import SettingsError
from core.sections import Port, Section

Severity = Literal["info", "warning", "critical"]


class WebhookSettings(Section):
    """A JSON body, posted; signed with `secret` where there is one."""

    url: SecretStr
    secret: SecretStr | None = None  # the key of `x-ratchet-signature`, HMAC-SHA-256
    at_least: Severity = "info"
    applications: tuple[str, ...] = ()  # none named: all, and what concerns the whole service

    @field_validator("url")
    @classmethod
    def _http(cls, url: SecretStr) -> SecretStr:
        return _require_http(url)


class SlackSettings(Section):
    """An incoming webhook of Slack, or of whatever takes its format."""

    url: SecretStr
    at_least: Severity = "info"
    applications: tuple[str, ...] = ()  # none named: all, and what concerns the whole service

    @field_validator("url")
    @classmethod
    def _http(cls, url: SecretStr) -> SecretStr:
        return _require_http(url)


class EmailSettings(Section):
    """A mail server that takes messages by SMTP."""

    host: str
    port: Port = 587  # RFC 6409: submission
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None  # whom to believe the server's certificate; none: the system's
    username: str | None = None
    password: SecretStr | None = None
    sender: str
    to: tuple[str, ...] = Field(min_length=1)
    at_least: Severity = "info"
    applications: tuple[str, ...] = ()  # none named: all, and what concerns the whole service


ChannelSettings = WebhookSettings | SlackSettings | EmailSettings


class AlertSettings(Section):
    """Rules and channels of alerts."""

    rules: Path | None = None  # a TOML file like monitoring/alerts/rules.toml
    defaults: bool = True  # false: only the rules of that file
    webhooks: dict[str, WebhookSettings] = Field(default={})
    slack: dict[str, SlackSettings] = Field(default={})
    email: dict[str, EmailSettings] = Field(default={})
    console_url: str | None = None  # as people reach it, for links; not set: console.host and port
    proxy: SecretStr | None = None  # http://host:port, for webhooks and Slack
    timeout_s: float = Field(default=10.0, gt=0.0)  # of one try; our choice
    first_retry_s: float = Field(default=10.0, gt=0.0)  # after a failure; doubles
    longest_retry_s: float = Field(default=600.0, gt=0.0)
    attempts: int = Field(
        default=30, ge=1
    )  # then it is given up, after some four hours; our choice


def _require_http(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("http://", "https://")):
        # no ValueError: pydantic shows the value with one, and an address may be a secret
        raise SettingsError("alerts: the url of a webhook or Slack must be like https://host/path")
    return url
