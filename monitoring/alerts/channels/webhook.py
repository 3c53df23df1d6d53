"""Tells alerts to a program: the news as JSON, signed so that it can know who sent it.

`x-ratchet-signature` is `sha256=` and the HMAC-SHA-256, by the channel's secret, of the timestamp,
a full stop and the body. A receiver refuses old timestamps, and delivery ids that it has seen.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass

import msgspec

from core.alert_settings import WebhookSettings
from monitoring.alerts.channels.posting import Poster
from monitoring.alerts.news import News


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that takes news."""

    settings: WebhookSettings
    poster: Poster

    def send(self, news: News, delivery_id: str) -> None:
        """Return once it is taken. Raises: NotToldError."""
        body = msgspec.json.encode(news)
        headers = {"x-ratchet-delivery": delivery_id, "x-ratchet-event": news.event}
        if self.settings.secret is not None:
            timestamp = str(int(time.time()))
            headers["x-ratchet-timestamp"] = timestamp
            secret = self.settings.secret.get_secret_value()
            headers["x-ratchet-signature"] = signature(secret, timestamp, body)
        self.poster.post(self.settings.url.get_secret_value(), body, headers)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what `x-ratchet-signature` says of a body. Source: RFC 2104."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"
