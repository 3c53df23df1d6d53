"""Tells alerts by e-mail, through a server that takes them by SMTP.

The news of one incident make one thread: its end answers its beginning. Errors name the server's
code, never what it was told.
"""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime

from core.alert_settings import EmailSettings
from monitoring.alerts.channels.protocol import NotToldError
from monitoring.alerts.news import News


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail server and those who read."""

    settings: EmailSettings
    timeout_s: float

    def send(self, news: News, delivery_id: str) -> None:
        """Return once the server has taken it for all who are to read it. Raises: NotToldError."""
        told = message(news, self.settings)
        try:
            with self._connected() as server:
                refused = server.send_message(told)
        except smtplib.SMTPResponseException as error:
            raise NotToldError(f"{self.settings.host} answered SMTP {error.smtp_code}") from None
        except smtplib.SMTPServerDisconnected as error:  # smtplib's own words: it timed out, say
            raise NotToldError(f"{self.settings.host}: {error}") from None
        except OSError as error:  # smtplib's other errors are such, too
            reason = error.strerror or type(error).__name__
            raise NotToldError(f"{self.settings.host}: {reason}") from None
        if refused:
            raise NotToldError(f"{self.settings.host} refused {len(refused)} of those who read")

    def _connected(self) -> smtplib.SMTP:
        """Return a connection on which a message may be sent."""
        settings = self.settings
        if settings.security == "tls":
            context = ssl.create_default_context(cafile=settings.ca_file)
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=self.timeout_s, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=self.timeout_s)
        try:
            if settings.security == "starttls":
                server.starttls(context=ssl.create_default_context(cafile=settings.ca_file))
            if settings.username is not None:
                password = settings.password.get_secret_value() if settings.password else ""
                server.login(settings.username, password)
        except BaseException:
            server.close()
            raise
        return server


def message(news: News, settings: EmailSettings) -> EmailMessage:
    """Return the news as a message; a repetition has the same id, which mail readers show once."""
    told = EmailMessage()
    told["Subject"] = " ".join(news.headline.split())
    told["From"], told["To"] = settings.sender, ", ".join(settings.to)
    told["Date"] = format_datetime(news.at)
    told["Message-ID"] = _id(news, news.event)
    told["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    if news.event == "resolved":
        told["In-Reply-To"] = told["References"] = _id(news, "firing")
    lines = [news.summary, "", f"rule: {news.rule}", f"since: {news.opened_at:%Y-%m-%d %H:%M} UTC"]
    lines += [f"{name}: {value}" for name, value in news.labels.items()]
    lines += [f"{what}: {url}" for what, url in news.links.items()]
    told.set_content("\n".join([*lines, f"incident: {news.incident}"]) + "\n")
    return told


def _id(news: News, event: str) -> str:
    return f"<{news.incident}.{event}@ratchet>"
