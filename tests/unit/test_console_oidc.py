"""Signing in by OpenID Connect, against a provider on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from core.console_settings import OidcSettings
from tests.fakes.issuer import Issuer, open_issuer
from tests.unit.console_world import Console, opened

Spoil = Callable[[dict[str, Any]], None]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """A provider that vouches for Ann, of the group ops."""
    groups = ["all", "ops"]
    with open_issuer(sub="7", email="ann@x.org", email_verified=True, groups=groups) as issuer:
        yield issuer


@pytest.fixture
def console(tmp_path: Path, issuer: Issuer) -> Iterator[Console]:
    """A console that lets in who the provider says is of a group."""
    oidc = OidcSettings(issuer=issuer.url, roles={"ops": "operator", "all": "viewer"})
    with opened(tmp_path, oidc=oidc) as console:
        yield console


def away(console: Console) -> str:
    """Return where the browser is sent."""
    left = console.client.get("/login/oidc", follow_redirects=False)
    assert left.status_code == 303
    return left.headers["location"]


def back(console: Console, address: str) -> httpx.Response:
    """Go to the provider, and come back as it says."""
    asked = httpx.get(address, follow_redirects=False)
    return console.client.get(path_of(asked.headers["location"]))


def path_of(address: str) -> str:
    """Return an address without its host: the test's client knows only one."""
    return urlsplit(address)._replace(scheme="", netloc="").geturl()


def test_who_the_provider_vouches_for_comes_in(console: Console, issuer: Issuer) -> None:
    """With the highest role of their groups, by the same name next time; it is kept."""
    assert "Sign in with your organisation" in console.client.get("/login").text
    response = back(console, away(console))
    assert (response.status_code, "You are signed in" in response.text) == (200, True)
    assert console.client.get("/audit").status_code == 200
    assert console.client.get("/keys/new").status_code == 403
    issuer.claims["groups"] = ["all"]
    back(console, away(console))
    assert console.client.get("/audit").status_code == 403
    assert [act.action for act in console.acts()] == [
        *("user_entered", "signed_in", "user_role_changed", "signed_in")
    ]


def test_the_browser_proves_itself_by_pkce(console: Console) -> None:
    """The provider gets a challenge, a state and a nonce; a code works once."""
    address = away(console)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert len({asked["code_challenge"], asked["state"], asked["nonce"]}) == 3
    went = httpx.get(address, follow_redirects=False).headers["location"]
    path = path_of(went)
    assert console.client.get(path).status_code == 200
    assert console.client.get(path).status_code == 401


def spoilt(**changes: Any) -> Spoil:
    """Return what changes a token's claims so."""
    return lambda claims: claims.update(changes)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoilt(iss="http://other.example"), "another issuer"),
        (spoilt(aud="another"), "not valid"),
        (spoilt(nonce="old"), "another attempt"),
        (spoilt(exp=int(time.time()) - 3_600), "not valid"),
        (spoilt(azp="another"), "another client"),
        (spoilt(sub=None), "not valid"),
    ],
)
def test_a_token_that_is_not_for_this_attempt_is_refused(
    console: Console, issuer: Issuer, spoil: Spoil, told: str
) -> None:
    """Whoever signed it."""
    issuer.spoil = spoil
    response = back(console, away(console))
    assert (response.status_code, told in response.text) == (401, True), response.text
    assert console.client.get("/overview").url.path == "/login"


def test_a_token_that_another_key_signed_is_refused(console: Console, issuer: Issuer) -> None:
    """Though it names the provider's key."""
    issuer.signing_key = Issuer().key
    assert back(console, away(console)).status_code == 401


def test_an_answer_to_somebody_elses_attempt_is_refused(console: Console, issuer: Issuer) -> None:
    """A link with a foreign code signs nobody in: the state must be this browser's own."""
    address = away(console)
    foreign = issuer.authorize(
        {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        | {"state": "foreign"}
    )
    path = path_of(foreign)
    assert console.client.get(path).status_code == 401
    console.client.cookies.clear()
    assert console.client.get(path).status_code == 401


def test_who_has_no_role_or_no_verified_address_stays_out(console: Console, issuer: Issuer) -> None:
    """And is told why; nor does anybody take the name of a user with a password."""
    issuer.claims["groups"] = "visitors"
    refused = back(console, away(console))
    assert (refused.status_code, "no role here" in refused.text) == (403, True)
    issuer.claims |= {"groups": "ops", "email_verified": False}
    assert "not verified" in back(console, away(console)).text
    issuer.claims |= {"email_verified": True, "sub": "8"}
    console.user("ann@x.org", "admin")
    refused = back(console, away(console))
    assert (refused.status_code, "somebody else" in refused.text) == (403, True)


def test_a_provider_that_is_away_is_said(console: Console, issuer: Issuer, tmp_path: Path) -> None:
    """In words, with other ways to sign in left as they are."""
    away(console)
    issuer.codes.clear()
    oidc = OidcSettings(issuer="http://127.0.0.1:9", timeout_s=1.0)
    with opened(tmp_path / "other", oidc=oidc) as lonely:
        refused = lonely.client.get("/login/oidc")
        assert (refused.status_code, "does not answer" in refused.text) == (401, True)
        assert lonely.sign_in("ops").status_code == 200
