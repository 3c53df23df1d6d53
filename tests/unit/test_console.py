"""The console: what operators see, and keys made, rotated and revoked by forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.unit.console_world import Console, opened, secret_on


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console on this machine's own address."""
    with opened(tmp_path) as console:
        yield console


def test_a_database_that_is_away_is_said(console: Console) -> None:
    """503 in words, for pages and forms; the sign-in lasts."""
    console.sign_in("admin")
    token = console.token("/keys/new")
    with console.store.engine.begin() as connection:
        connection.execute(text("alter table apikey rename to elsewhere"))
    form = {"_csrf_token": token, "scope": "infer"}
    for response in (console.client.get("/keys"), console.client.post("/keys", data=form)):
        assert (response.status_code, "database" in response.text) == (503, True)
    with console.store.engine.begin() as connection:
        connection.execute(text("alter table elsewhere rename to apikey"))
    assert console.client.get("/keys").status_code == 200


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
    limits = {"requests_per_minute": "0", "tokens_per_minute": "9" * 5000, "concurrent": "²"}
    response = console.send("/keys", on="/keys/new", name="x" * 101, expires="soon", **limits)
    assert response.status_code == 400
    for told in ("at most 100", "such as 90d", "1 or more", "Choose at least one"):
        assert told in response.text
    assert 'value="soon"' in response.text
    assert response.text.count("1 or more") == 3
    unseen = console.send("/keys", on="/keys/new", name="a\x00b", scope="infer")
    assert (unseen.status_code, "can be seen" in unseen.text) == (400, True)
    assert len(console.rows()) == before


def test_rotating_makes_another_key_and_ends_the_old_one(console: Console) -> None:
    """After the grace that was asked for; a wrong one is said."""
    console.sign_in("admin")
    old = console.rows()[0]
    path = f"/keys/{old.id}/rotate"
    wrong = console.send(path, on=path, grace="a while")
    assert (wrong.status_code, "such as 24h" in wrong.text) == (400, True)
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
