"""All channels that the settings name, by kind and name: `webhook/ops`, `slack/team`, `email/ops`.

Settings go in; what can be told news comes out, and who takes which. Knows nothing of the outbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.alert_settings import AlertSettings, ChannelSettings
from monitoring.alerts.channels.mail import Mail
from monitoring.alerts.channels.posting import Poster
from monitoring.alerts.channels.protocol import Channel
from monitoring.alerts.channels.slack import Slack
from monitoring.alerts.channels.webhook import Webhook
from monitoring.alerts.evaluation import Severity, is_severe_enough


def open_channels(settings: AlertSettings) -> Mapping[str, Channel]:
    """Return each channel by its name; nothing is connected yet."""
    proxy = settings.proxy.get_secret_value() if settings.proxy else None
    poster = Poster(settings.timeout_s, proxy)
    return {
        **{f"webhook/{name}": Webhook(its, poster) for name, its in settings.webhooks.items()},
        **{f"slack/{name}": Slack(its, poster) for name, its in settings.slack.items()},
        **{f"email/{name}": Mail(its, settings.timeout_s) for name, its in settings.email.items()},
    }


def takers(settings: AlertSettings, severity: Severity, application: str) -> list[str]:
    """Return the names of the channels that take such an alert; `application` may be the service.

    What concerns the whole service goes to channels that name no application.
    """
    return [
        name
        for name, its in _named(settings)
        if is_severe_enough(severity, its.at_least)
        and (not its.applications or application in its.applications)
    ]


def _named(settings: AlertSettings) -> Iterator[tuple[str, ChannelSettings]]:
    for name, webhook in settings.webhooks.items():
        yield f"webhook/{name}", webhook
    for name, slack in settings.slack.items():
        yield f"slack/{name}", slack
    for name, email in settings.email.items():
        yield f"email/{name}", email
