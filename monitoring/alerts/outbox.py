"""Tells what waits in the outbox, each piece of news once for each channel, again if it failed.

Store, channels and settings go in. A row is marked after its channel has taken it, in a commit of
its own: a crash between the two tells it twice, never not at all, and channels say by an id that
it is the same. A channel that fails is left alone until the next time, so it holds up no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from core.alert_settings import AlertSettings
from core.clock import utc_now
from feedback.alert_tables import AlertDelivery
from feedback.store import Store
from monitoring.alerts.channels.protocol import Channel, NotToldError
from monitoring.alerts.incidents import note
from monitoring.alerts.news import news_from

AT_ONCE = 100  # rows in one look; the next look takes the next ones

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the rows that were due."""

    told: int = 0
    failed: int = 0
    given_up: int = 0

    def __str__(self) -> str:
        if not (self.told or self.failed or self.given_up):
            return "nothing to tell"
        return f"{self.told} told, {self.failed} failed, {self.given_up} given up"


def deliver(
    store: Store, channels: Mapping[str, Channel], settings: AlertSettings, now: datetime
) -> Told:
    """Tell what is due."""
    with store.session() as session:
        query = select(AlertDelivery).where(
            AlertDelivery.state == "waiting", col(AlertDelivery.next_at) <= now
        )
        ordered = query.order_by(col(AlertDelivery.created_at), col(AlertDelivery.id))
        due = list(session.exec(ordered.limit(AT_ONCE)))
        behind = _beginnings(session)
    counts: Counter[str] = Counter()
    dead: set[str] = set()
    for row in due:
        if row.channel in dead or (row.event == "resolved" and _whose(row) in behind):
            continue
        error = _send(row, channels)
        with store.session() as session:
            _note_result(session, row, error, settings)
            session.commit()
        if error is not None:
            dead.add(row.channel)
        if row.state != "waiting":
            behind.discard(_whose(row))
        counts["failed" if row.state == "waiting" else row.state] += 1
    return Told(counts["told"], counts["failed"], counts["given_up"])


def retry_delay_s(attempts: int, settings: AlertSettings, asked_s: float | None = None) -> float:
    """Return how long to wait after that many failures: it doubles, up to a limit.

    What the other side asks for counts if it is longer, and up to the same limit.
    """
    doubled = settings.first_retry_s * 2.0 ** min(attempts - 1, 32)
    return min(max(doubled, asked_s or 0.0), settings.longest_retry_s)


def _beginnings(session: Session) -> set[tuple[str, str]]:
    """Return whose beginnings still wait: their ends are not told before them."""
    query = select(AlertDelivery).where(
        AlertDelivery.state == "waiting", AlertDelivery.event == "firing"
    )
    return {_whose(row) for row in session.exec(query)}


def _whose(row: AlertDelivery) -> tuple[str, str]:
    return row.incident_id, row.channel


def _send(row: AlertDelivery, channels: Mapping[str, Channel]) -> NotToldError | None:
    channel = channels.get(row.channel)
    if channel is None:
        return NotToldError("the settings no longer name this channel")
    try:
        channel.send(news_from(row.news), row.id)
    except NotToldError as error:
        return error
    return None


def _note_result(
    session: Session, row: AlertDelivery, error: NotToldError | None, settings: AlertSettings
) -> None:
    now = utc_now()
    row.attempts += 1
    if error is None:
        row.state, row.told_at, row.error = "told", now, None
        note(session, row.incident_id, "told", f"{row.channel} was told: {row.event}", now=now)
    else:
        row.error = str(error)
        told = f"{row.channel} was not told ({row.event}, try {row.attempts}): {error}"
        if row.attempts >= settings.attempts:
            row.state = "given_up"
            told += "; given up"
        else:
            delay_s = retry_delay_s(row.attempts, settings, error.retry_after_s)
            row.next_at = now + timedelta(seconds=delay_s)
            told += f"; again in {delay_s:.0f} s"
        note(session, row.incident_id, "not_told", told, now=now)
        _log.warning(
            "alert_not_told", channel=row.channel, incident=row.incident_id, error=str(error)
        )
    session.add(row)
