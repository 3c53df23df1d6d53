"""Channels tell alerts to real servers, sign what they tell, and never tell a secret."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.alert_settings import AlertSettings
from monitoring.alerts.channels.directory import open_channels, takers
from monitoring.alerts.channels.protocol import NotToldError
from monitoring.alerts.channels.slack import message as slack_message
from monitoring.alerts.channels.webhook import signature
from monitoring.alerts.news import News, news_from
from tests.fakes.mail_server import MailServer, write_certificate
from tests.fakes.post_box import PostBox
from tests.ports import free_port

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
NEWS = News(
    event="firing",
    incident="0190-1",
    rule="error_rate",
    application="desk",
    severity="critical",
    summary="error_rate is 0.2 (> 0.05): 20 of 100 <answers> & more",
    metric="error_rate",
    comparison=">",
    threshold=0.05,
    value=0.2,
    opened_at=AT,
    at=AT,
    labels={"team": "search"},
    links={"incident": "http://console/incidents/0190-1"},
)
OVER = news_from({**NEWS.to_dict(), "event": "resolved"})


@pytest.fixture
def box() -> Iterator[PostBox]:
    """A program that takes posts."""
    with PostBox() as box:
        yield box


def settings(**channels: Any) -> AlertSettings:
    return AlertSettings.model_validate({"timeout_s": 2.0, **channels})


def send(rules: AlertSettings, news: News = NEWS, delivery_id: str = "d1") -> None:
    """Tell it to the only channel."""
    [channel] = open_channels(rules).values()
    channel.send(news, delivery_id)


def test_a_webhook_gets_the_news_signed(box: PostBox) -> None:
    """Its receiver can know who sent it, when, and whether it has it already."""
    send(settings(webhooks={"ops": {"url": f"{box.url}/hook", "secret": "key"}}))
    [post] = box.posts
    assert post.path == "/hook"
    assert news_from(post.json) == NEWS
    assert post.headers["x-ratchet-delivery"] == "d1"
    assert post.headers["content-type"] == "application/json"
    timestamp = post.headers["x-ratchet-timestamp"]
    assert post.headers["x-ratchet-signature"] == signature("key", timestamp, post.body)
    assert signature("key", timestamp, post.body) != signature("other", timestamp, post.body)


def test_a_signature_is_what_anybody_computes() -> None:
    """HMAC-SHA-256 of timestamp, full stop, body; the value is from `openssl dgst -hmac`."""
    assert signature("key", "1", b"{}") == (
        "sha256=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
    )


def test_a_webhook_without_a_secret_is_not_signed(box: PostBox) -> None:
    """An empty signature would look like one."""
    send(settings(webhooks={"ops": {"url": box.url}}))
    assert "x-ratchet-signature" not in box.posts[0].headers


def test_slack_gets_its_own_format(box: PostBox) -> None:
    """Coloured by severity, green when it is over; nothing of others in it is a mention."""
    rules = settings(slack={"team": {"url": f"{box.url}/services/T0/B0/token"}})
    send(rules)
    send(rules, OVER)
    [firing, resolved] = [post.json for post in box.posts]
    assert firing == slack_message(NEWS)
    assert firing["text"] == "[critical] error_rate: desk firing"
    [attachment] = firing["attachments"]
    words = attachment["blocks"][0]["text"]["text"]
    assert words.endswith("20 of 100 &lt;answers&gt; &amp; more")
    small = attachment["blocks"][1]["elements"][0]["text"]
    assert "<http://console/incidents/0190-1|incident>" in small
    assert "*team* search" in small
    assert attachment["color"] != resolved["attachments"][0]["color"]


@pytest.mark.parametrize("kind", ["webhooks", "slack"])
def test_what_is_not_taken_is_told_without_the_address(box: PostBox, kind: str) -> None:
    """An address may be a secret; the other side's wish for later is passed on."""
    rules = settings(**{kind: {"ops": {"url": f"{box.url}/secret-token?key=secret"}}})
    box.answers = [(500, {}), (429, {"retry-after": "7"})]
    with pytest.raises(NotToldError, match=r"^127\.0\.0\.1 answered HTTP 500$"):
        send(rules)
    with pytest.raises(NotToldError, match="429") as caught:
        send(rules)
    assert caught.value.retry_after_s == 7.0


def test_a_redirect_is_not_followed(box: PostBox) -> None:
    """A signed body goes nowhere but where the settings say."""
    box.answers = [(302, {"location": f"{box.url}/elsewhere"})]
    with pytest.raises(NotToldError, match="answered HTTP 302"):
        send(settings(webhooks={"ops": {"url": box.url}}))
    assert len(box.posts) == 1


def test_nobody_there_is_told_in_words() -> None:
    """The kernel's."""
    with pytest.raises(NotToldError, match=r"^127\.0\.0\.1: Connection refused$"):
        send(settings(webhooks={"ops": {"url": f"http://127.0.0.1:{free_port()}/secret"}}))


@pytest.mark.parametrize("kind", ["http", "smtp"])
def test_a_server_that_never_answers_is_given_up(kind: str) -> None:
    """After `timeout_s`, so that it holds up no other channel for long."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        fields: dict[str, Any] = {"timeout_s": 0.2}
        if kind == "http":
            rules = settings(**fields, webhooks={"ops": {"url": f"http://127.0.0.1:{port}"}})
        else:
            rules = email(port).model_copy(update=fields)
        with pytest.raises(NotToldError, match=r"^127\.0\.0\.1: .*(TimeoutError|timed out)$"):
            send(rules)


def test_a_proxy_is_used_where_one_is_set(box: PostBox) -> None:
    """It gets the whole address, as HTTP has it."""
    send(settings(proxy=box.url, webhooks={"ops": {"url": "http://hooks.invalid/x"}}))
    assert box.posts[0].path == "http://hooks.invalid/x"


def email(port: int, **changes: Any) -> AlertSettings:
    fields = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "ratchet@example.org",
        "to": ["ann@example.org", "bob@example.org"],
        **changes,
    }
    return settings(email={"ops": fields})


def test_an_email_reaches_all_who_are_to_read_it() -> None:
    """The end of an incident answers its beginning, and a repetition has the same id."""
    with MailServer() as server:
        for news in (NEWS, NEWS, OVER):
            send(email(server.port), news)
    first, again, over = server.mails
    assert (first.sender, first.to) == (
        "ratchet@example.org",
        ["ann@example.org", "bob@example.org"],
    )
    assert first.message["Subject"] == "[critical] error_rate: desk firing"
    body = first.message.get_payload()
    assert isinstance(body, str)
    assert "20 of 100" in body
    assert "http://console/incidents/0190-1" in body
    assert again.message["Message-ID"] == first.message["Message-ID"]
    assert over.message["In-Reply-To"] == first.message["Message-ID"]
    assert over.message["Message-ID"] != first.message["Message-ID"]
    assert (first.encrypted, first.login) == (False, None)


def test_an_email_is_encrypted_and_signs_in(tmp_path: Path) -> None:
    """By STARTTLS, with a certificate that it believes, before the password is said."""
    certificate = write_certificate(tmp_path / "server.pem")
    login: dict[str, Any] = {"security": "starttls", "username": "ratchet", "password": "right"}
    with MailServer(certificate) as server:
        send(email(server.port, ca_file=certificate, **login))
        with pytest.raises(NotToldError, match=r"^127\.0\.0\.1 answered SMTP 535$"):
            send(email(server.port, ca_file=certificate, **{**login, "password": "secret"}))
        with pytest.raises(NotToldError, match="CERTIFICATE_VERIFY_FAILED"):
            send(email(server.port, **login))
    [mail] = server.mails
    assert (mail.encrypted, mail.login) == (True, ":ratchet:right")


def test_an_email_goes_by_tls_from_the_first_byte(tmp_path: Path) -> None:
    """Where the server wants it so."""
    certificate = write_certificate(tmp_path / "server.pem")
    with MailServer(certificate, encrypted=True) as server:
        send(email(server.port, security="tls", ca_file=certificate))
    assert [mail.encrypted for mail in server.mails] == [True]


def test_a_server_without_starttls_is_not_told_in_the_clear() -> None:
    """Neither the password nor the news."""
    with MailServer() as server, pytest.raises(NotToldError, match="SMTPNotSupportedError"):
        send(email(server.port, security="starttls", username="ratchet", password="right"))
    assert server.mails == []


def test_a_server_that_refuses_is_told_by_its_code() -> None:
    """And one that is not there in the kernel's words."""
    with MailServer() as server:
        server.refuse_next = 1
        with pytest.raises(NotToldError, match="answered SMTP 451"):
            send(email(server.port))
    with pytest.raises(NotToldError, match="Connection refused"):
        send(email(free_port()))


def test_channels_take_what_they_want() -> None:
    """By severity and application; what concerns the service goes to those that name none."""
    rules = settings(
        webhooks={"all": {"url": "http://a"}},
        slack={"desk": {"url": "http://b", "applications": ["desk"]}},
        email={"night": {"host": "c", "sender": "d", "to": ["e"], "at_least": "critical"}},
    )
    assert takers(rules, "critical", "desk") == ["webhook/all", "slack/desk", "email/night"]
    assert takers(rules, "warning", "desk") == ["webhook/all", "slack/desk"]
    assert takers(rules, "warning", "shop") == takers(rules, "warning", "") == ["webhook/all"]


def test_settings_do_not_show_secrets() -> None:
    """Printed or logged as a whole."""
    rules = settings(
        proxy="http://user:secret@proxy",
        webhooks={"ops": {"url": "https://a/secret", "secret": "secret"}},
        slack={"ops": {"url": "https://b/secret"}},
        email={"ops": {"host": "c", "sender": "d", "to": ["e"], "password": "secret"}},
    )
    assert "secret=" in repr(rules)
    assert repr(rules).count("secret") == 1
