"""The console: who may sign in, what they see, and keys made, rotated and revoked by forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from pydantic import SecretStr

from core.keys import Keys
from core.settings import ApplicationSettings, GatewaySettings, Settings
from feedback.key_store import KeyWish, create_key, list_keys
from feedback.store import Store
from feedback.tables import ApiKey
from loop.console.app import create_console

KEYS = Keys(receipt=(b"r",), subject=b"s")


@dataclass
class Console:
    """The app, a browser without JavaScript, and the store behind it."""

    client: TestClient[Litestar]
    store: Store

    def key(self, *scopes: str, application: str = "desk") -> str:
        """Return a new key's secret that the console knows."""
        with self.store.session() as session:
            row, secret = create_key(session, KeyWish(application, scopes, "by a test"))
            session.commit()
        self.client.app.state.callers.refresh()
        assert row.id
        return secret

    def sign_in(self, *scopes: str, application: str = "desk") -> httpx.Response:
        """Sign in with a new key."""
        return self.send("/login", on="/login", key=self.key(*scopes, application=application))

    def send(self, path: str, /, on: str, **fields: Any) -> httpx.Response:
        """Fill in the form on a page and send it; redirects are followed."""
        token = re.search(r'name="_csrf_token" value="([^"]+)"', self.client.get(on).text)
        assert token is not None, f"{on} has no form"
        return self.client.post(path, data={"_csrf_token": token[1], **fields})

    def rows(self) -> list[ApiKey]:
        """Return all keys."""
        with self.store.session() as session:
            return list_keys(session)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console of two applications."""
    settings = Settings(
        data_dir=tmp_path,
        applications={
            "desk": ApplicationSettings(api_key=SecretStr("desk-key")),
            "shop": ApplicationSettings(api_key=SecretStr("shop-key")),
        },
        gateway=GatewaySettings(route_refresh_s=0.05),
    )
    store = Store(settings.store_address)
    store.create_tables()
    with TestClient(create_console(settings, store=store, keys=KEYS)) as client:
        yield Console(client, store)
    store.close()


def secret_on(page: str) -> str:
    """Return the secret that a page shows."""
    found = re.search(r'id="secret">([^<]+)<', page)
    assert found is not None, page
    return found[1]


@pytest.mark.parametrize("path", ["/", "/keys", "/keys/new", "/keys/x/revoke"])
def test_who_is_not_signed_in_comes_to_the_login(console: Console, path: str) -> None:
    """No page shows anything before."""
    response = console.client.get(path)
    assert response.url.path == "/login"
    assert "API key with scope ops or admin" in response.text


@pytest.mark.parametrize("scopes", [("infer", "feedback"), ("review",)])
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
    assert (response.status_code, response.url.path) == (200, "/keys")
    [cookie] = [c for c in console.client.cookies.jar if c.name.startswith("ratchet-console")]
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert "key" not in (cookie.value or "")
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


def test_every_page_is_kept_to_itself(console: Console) -> None:
    """No frame, no other source, no cache; errors too."""
    console.sign_in("admin")
    for path in ("/keys", "/keys/new", "/nothing", "/keys/x/revoke"):
        headers = console.client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_key_is_made_as_the_form_says(console: Console) -> None:
    """Its secret is on that page alone, and the gateway's own ring knows it."""
    console.sign_in("admin")
    made = console.send(
        "/keys",
        on="/keys/new",
        name="<b>shop</b> & co",
        scope=["infer", "review"],
        expires="90d",
        requests_per_minute="60",
    )
    assert made.status_code == 200
    secret = secret_on(made.text)
    row = console.rows()[-1]
    assert (row.application, row.name, row.scopes) == (
        "desk",
        "<b>shop</b> & co",
        ["infer", "review"],
    )
    assert (row.requests_per_minute, row.tokens_per_minute) == (60, None)
    assert row.expires_at is not None
    listed = console.client.get("/keys").text
    assert secret not in listed
    assert "&lt;b&gt;shop&lt;/b&gt; &amp; co" in listed
    assert "60 requests per minute" in listed


def test_a_wrong_form_comes_back_as_it_was(console: Console) -> None:
    """With what is wrong beside each field, and nothing made."""
    console.sign_in("admin")
    before = len(console.rows())
    response = console.send(
        "/keys", on="/keys/new", name="x" * 101, expires="soon", requests_per_minute="0"
    )
    assert response.status_code == 400
    for told in ("at most 100", "such as 90d", "1 or more", "Choose at least one"):
        assert told in response.text
    assert 'value="soon"' in response.text
    assert len(console.rows()) == before


def test_rotating_makes_another_key_and_ends_the_old_one(console: Console) -> None:
    """After the grace that was asked for; a wrong one is said."""
    console.sign_in("admin")
    old = console.rows()[0]
    path = f"/keys/{old.id}/rotate"
    wrong = console.send(path, on=path, grace="a while")
    assert (wrong.status_code, "such as 90d" in wrong.text) == (400, True)
    made = console.send(path, on=path, grace="1h")
    assert made.status_code == 200
    assert secret_on(made.text)
    first, fresh = console.rows()
    assert first.replaced_by == fresh.id
    assert first.expires_at is not None
    assert fresh.scopes == old.scopes


def test_revoking_asks_first_and_ends_the_key(console: Console) -> None:
    """Whoever revokes the key they are signed in with is out."""
    console.sign_in("admin")
    own = console.rows()[0]
    path = f"/keys/{own.id}/revoke"
    assert "cannot be taken back" in console.client.get(path).text
    assert console.rows()[0].revoked_at is None
    response = console.send(path, on=path)
    assert console.rows()[0].revoked_at is not None
    assert response.url.path == "/login"


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


def test_operators_look_and_administrators_change(console: Console) -> None:
    """With scope ops there are no buttons, and the paths behind them are refused."""
    console.sign_in("ops")
    own = console.rows()[0]
    listed = console.client.get("/keys").text
    assert own.id in listed
    assert "New key" not in listed
    for path in ("/keys/new", f"/keys/{own.id}/revoke", f"/keys/{own.id}/rotate"):
        assert console.client.get(path).status_code == 403


def test_keys_of_another_application_are_not_there(console: Console) -> None:
    """Neither in the list nor by their address."""
    console.key("infer", application="shop")
    console.sign_in("admin")
    foreign = next(row for row in console.rows() if row.application == "shop")
    assert foreign.id not in console.client.get("/keys").text
    assert console.client.get(f"/keys/{foreign.id}/revoke").status_code == 404
    mine = next(row for row in console.rows() if row.application == "desk")
    console.send(f"/keys/{foreign.id}/revoke", on=f"/keys/{mine.id}/revoke")
    assert next(row for row in console.rows() if row.id == foreign.id).revoked_at is None


def test_it_says_that_it_lives(console: Console) -> None:
    """For whoever starts it again, without a login."""
    assert console.client.get("/health/live").json() == {"status": "ok"}
    assert console.client.get("/web/console.css").status_code == 200
    assert console.client.get("/web/nothing").status_code == 404
