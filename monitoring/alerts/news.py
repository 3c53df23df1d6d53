"""What is told of an incident: plain values, the same for every channel, kept in the outbox.

Knows neither channels nor tables.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

Event = Literal["firing", "resolved"]


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of news of one incident. Numbers and names, never text of prompts or answers."""

    event: Event
    incident: str
    rule: str
    application: str  # empty: the whole service
    severity: str
    summary: str
    metric: str
    comparison: str
    threshold: float
    value: float | None
    opened_at: datetime
    at: datetime
    labels: dict[str, str] = {}
    links: dict[str, str] = {}

    @property
    def headline(self) -> str:
        """One line: how bad, what, whose, and whether it is over."""
        whose = self.application or "the service"
        return f"[{self.severity}] {self.rule}: {whose} {self.event}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON's values."""
        return msgspec.to_builtins(self)


def news_from(values: dict[str, Any]) -> News:
    """Return what `to_dict` gave."""
    return msgspec.convert(values, News)
