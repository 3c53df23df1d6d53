"""What every channel offers, and what it says when it could not tell the news."""

from __future__ import annotations

from typing import Protocol

from monitoring.alerts.news import News


class NotToldError(Exception):
    """The news did not reach its channel; `str(error)` names no address and no secret."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # what the other side asks for


class Channel(Protocol):
    """Somewhere to tell news."""

    def send(self, news: News, delivery_id: str) -> None:
        """Return once the other side has taken it; `delivery_id` lets it know a repetition.

        Raises: NotToldError.
        """
        ...
