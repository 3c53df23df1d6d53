"""Tells alerts to Slack, or whatever takes the format of its incoming webhooks.

Source of the format: Slack's documentation, "Sending messages using incoming webhooks" and
"Formatting text for app surfaces".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from core.alert_settings import SlackSettings
from monitoring.alerts.channels.posting import Poster
from monitoring.alerts.news import News

COLORS = {"critical": "#b3261e", "warning": "#9a6700", "info": "#3b6ea5"}
GOOD = "#2e7d32"
MAX_TEXT_CHARS = 2_900  # Slack refuses a block's text over 3,000


@dataclass(frozen=True, slots=True)
class Slack:
    """An incoming webhook."""

    settings: SlackSettings
    poster: Poster

    def send(self, news: News, delivery_id: str) -> None:
        """Return once it is taken; Slack knows no repetitions. Raises: NotToldError."""
        body = msgspec.json.encode(message(news))
        self.poster.post(self.settings.url.get_secret_value(), body, {})


def message(news: News) -> dict[str, Any]:
    """Return the news as Slack wants it: a line for notifications, and a coloured block."""
    color = GOOD if news.event == "resolved" else COLORS.get(news.severity, COLORS["info"])
    links = " · ".join(f"<{url}|{_escaped(what)}>" for what, url in news.links.items())
    labels = [f"*{_escaped(name)}* {_escaped(value)}" for name, value in news.labels.items()]
    small = " · ".join([f"incident {news.incident}", *labels, *([links] if links else [])])
    return {
        "text": _escaped(news.headline),
        "attachments": [
            {
                "color": color,
                "blocks": [
                    _block(f"*{_escaped(news.headline)}*\n{_escaped(news.summary)}"),
                    {"type": "context", "elements": [_text(small)]},
                ],
            }
        ],
    }


def _block(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text[:MAX_TEXT_CHARS]}


def _escaped(text: str) -> str:
    """Return text in which nothing is a link, a mention or a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
