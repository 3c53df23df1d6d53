"""The console: who may sign in, for how long, and what other pages cannot do."""

from __future__ import annotations

import re
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from litestar.middleware.session.client_side import AAD
from structlog.testing import capture_logs

from feedback.tables import ApiKey
from tests.unit.console_world import Console, opened, secret_on


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console on this machine's own address."""
    with opened(tmp_path) as console:
        yield console


@pytest.mark.parametrize("path", ["/", "/keys", "/keys/new", "/keys/x/revoke"])
def test_who_is_not_signed_in_comes_to_the_login(console: Console, path: str) -> None:
    """No page shows anything before."""
    response = console.client.get(path)
    assert response.url.path == "/login"
    assert "API key with scope review, ops or admin" in response.text


@pytest.mark.parametrize("scopes", [("infer", "feedback"), ("feedback",)])
def test_a_key_without_the_scope_does_not_sign_in(
    console: Console, scopes: tuple[str, ...]
) -> None:
    """Nor does one that does not exist; the answer is the same, and never says the key."""
    wrong = console.sign_in(*scopes)
    unknown = console.send("/login", on="/login", key="rk_nonsense")
    assert wrong.status_code == unknown.status_code == 401
    for response in (wrong, unknown):
        assert "not valid, or does not have the scope" in response.text
        assert "rk_" not in response.text


def test_signing_in_and_out(console: Console) -> None:
    """The cookie is the browser's alone, says nothing, and is gone afterwards."""
    response = console.sign_in("admin")
    assert (response.status_code, response.url.path) == (200, "/overview")
    [cookie] = [c for c in console.client.cookies.jar if c.name.startswith("ratchet-console")]
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert b'"key"' not in b64decode((cookie.value or "") + "===")
    console.send("/logout", on="/keys")
    assert console.client.get("/keys").url.path == "/login"


def test_tries_are_limited(console: Console) -> None:
    """Guessing keys takes longer than anybody has."""
    statuses = [console.send("/login", on="/login", key=f"rk_{n}").status_code for n in range(12)]
    assert statuses[:10] == [401] * 10
    assert statuses[-1] == 429


def test_a_form_from_elsewhere_is_refused(console: Console) -> None:
    """Without the page's token nothing is done, also for who is signed in."""
    console.sign_in("admin")
    before = len(console.rows())
    response = console.client.post("/keys", data={"name": "x", "scope": "admin"})
    assert response.status_code == 403
    assert len(console.rows()) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://testserver.local:3000"},  # another port is the same site
        {"origin": "null"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    ],
)
def test_a_page_of_another_origin_cannot_send_a_form(
    console: Console, headers: dict[str, str]
) -> None:
    """Even with a cookie and a token: another port of the same machine could have set both."""
    console.sign_in("admin")
    before = len(console.rows())
    fields = {"_csrf_token": console.token("/keys/new"), "scope": "admin"}
    refused = console.client.post("/keys", data=fields, headers=headers)
    assert (refused.status_code, len(console.rows())) == (403, before)
    assert "not from the console" in refused.text
    own = {"origin": "http://testserver.local", "sec-fetch-site": "same-origin"}
    assert console.client.post("/keys", data=fields, headers=own).status_code == 200


def test_a_copy_of_the_cookie_ends_with_the_session(console: Console) -> None:
    """Who signs out ends what somebody may have copied before."""
    console.sign_in("admin")
    copied = dict(console.client.cookies)
    console.send("/logout", on="/keys")
    console.client.cookies.update(copied)
    assert console.client.get("/keys").url.path == "/login"


def test_a_session_ends_in_time_however_busy(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page renews the cookie, but never the session's end."""
    console.sign_in("admin")
    now = time.time()
    for hours, where in ((7, "/keys"), (8.5, "/login")):
        monkeypatch.setattr("loop.console.sessions.time.time", lambda at=now + hours * 3600: at)
        assert console.client.get("/keys").url.path == where


@pytest.mark.parametrize(
    "plain", [b"", b"x", b"n" * 40, b"n" * 40 + AAD + b"no json", b"n" * 40 + AAD + b"[1]"]
)
def test_a_cookie_that_was_made_up_is_no_session(console: Console, plain: bytes) -> None:
    """The page is the login, not a fault."""
    console.client.cookies.set("ratchet-console", b64encode(plain).decode())
    response = console.client.get("/keys")
    assert (response.status_code, response.url.path) == (200, "/login")


def test_behind_https_cookies_ask_for_it(tmp_path: Path) -> None:
    """And are bound to this very host; a console on this machine's own address needs none."""
    with opened(tmp_path, https=True) as console:
        cookies = console.client.get("/login").headers.get_list("set-cookie")
        assert cookies
        for cookie in cookies:
            assert cookie.startswith("__Host-")
            for word in ("Secure", "HttpOnly", "SameSite=strict"):
                assert word.lower() in cookie.lower()


async def test_tries_behind_a_trusted_proxy_are_counted_by_person(tmp_path: Path) -> None:
    """One who guesses does not lock the others out."""
    with opened(tmp_path, proxies=("127.0.0.0/8",)) as console:
        transport = httpx.ASGITransport(console.client.app, client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            token = re.findall(r'value="(\w+)"', (await client.get("/login")).text)[0]

            async def tried(address: str) -> int:
                fields = {"_csrf_token": token, "key": "rk_guess"}
                headers = {"x-forwarded-for": address}
                return (await client.post("/login", data=fields, headers=headers)).status_code

            assert [await tried("203.0.113.9") for _ in range(11)][-1] == 429
            assert await tried("203.0.113.10") == 401


def test_what_is_logged_has_ids_and_no_secret(console: Console) -> None:
    """Who did what to which key."""
    with capture_logs() as logs:
        console.sign_in("admin")
        admin = console.rows()[0]
        fresh = secret_on(console.send("/keys", on="/keys/new", scope="infer").text)
        made = console.rows()[-1]
        path = f"/keys/{made.id}/revoke"
        console.send(path, on=path)
        console.send("/login", on="/login", key="rk_wrong")
    told = [entry for entry in logs if entry["event"].startswith(("console_", "key_"))]
    assert [entry["event"] for entry in told] == [
        *("console_login", "key_created", "key_revoked", "console_login_refused")
    ]
    assert (told[1]["key"], told[1]["by"], told[2]["key"]) == (made.id, admin.id, made.id)
    assert fresh not in str(logs)
    assert "rk_wrong" not in str(logs)


def test_every_page_is_kept_to_itself(console: Console) -> None:
    """No frame, no other source, no cache; errors too."""
    console.sign_in("admin")
    for path in ("/keys", "/keys/new", "/nothing", "/keys/x/revoke"):
        headers = console.client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_key_that_is_revoked_elsewhere_is_signed_out(console: Console) -> None:
    """At the next look at the store."""
    console.sign_in("ops")
    with console.store.session() as session:
        row = session.get_one(ApiKey, console.rows()[0].id)
        row.revoked_at = row.created_at
        session.add(row)
        session.commit()
    console.client.app.state.callers.refresh()
    assert console.client.get("/keys").url.path == "/login"
