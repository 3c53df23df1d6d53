"""People who sign in to the console: passwords, roles, and what ends their sessions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConflictError, NotFoundError, PermissionDeniedError, RequestError
from loop.console.passwords import hash_password, is_right
from loop.console.users import (
    check_password,
    disable_user,
    enter_by_oidc,
    remove_user,
    set_password,
    set_role,
)
from loop.console.visitors import RIGHTS_OF_ROLE, ROLES, visitor_of_user
from tests.unit.console_world import PASSWORD, Console, opened, secret_on


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A console on this machine's own address, with passwords that cost little."""
    monkeypatch.setattr("loop.console.passwords.LOG2_COST", 12)
    with opened(tmp_path) as console:
        yield console


def test_a_password_is_kept_as_salt_and_hash() -> None:
    """Two of the same differ, neither shows it, and only the right one fits."""
    one, other = hash_password(PASSWORD), hash_password(PASSWORD)
    assert one != other
    assert PASSWORD not in one
    assert is_right(PASSWORD, one)
    assert not is_right(PASSWORD + "x", one)
    assert not is_right(PASSWORD, None)


@pytest.mark.parametrize("password", ["short", "x" * 300])
def test_a_password_that_cannot_be_is_refused(password: str) -> None:
    """With the lengths that can."""
    with pytest.raises(RequestError, match="12 to 256"):
        hash_password(password)


def test_each_role_may_what_the_one_before_it_may() -> None:
    """And something more."""
    rights = [RIGHTS_OF_ROLE[role] for role in ROLES]
    assert all(less < more for less, more in itertools.pairwise(rights))


def test_a_person_signs_in_and_changes_the_application(console: Console) -> None:
    """They look after all of them; a key's holder only after its own."""
    assert console.enter("ann", "admin").status_code == 200
    assert "API keys of desk" in console.client.get("/keys").text
    console.send("/application", on="/keys", application="shop")
    assert "API keys of shop" in console.client.get("/keys").text
    assert console.send("/application", on="/keys", application="other").status_code == 403
    console.send("/logout", on="/keys")
    console.sign_in("admin")
    assert console.send("/application", on="/keys", application="shop").status_code == 403


@pytest.mark.parametrize("name", ["ann", "nobody", "no such name!"])
def test_a_wrong_password_does_not_tell_what_is_wrong(console: Console, name: str) -> None:
    """The page is the same for a name that there is not."""
    console.user("ann", "admin")
    refused = console.send("/login", on="/login", name=name, password="something else")
    assert refused.status_code == 401
    assert "do not belong together" in refused.text
    assert console.client.get("/keys").url.path == "/login"


def test_guessing_one_persons_password_is_limited(console: Console) -> None:
    """Ten times a minute, then nobody may try that name, from wherever."""
    console.user("ann", "admin")
    token = console.token("/login")
    form = {"_csrf_token": token, "name": "ann", "password": "x"}
    statuses = [console.client.post("/login", data=form).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]


def test_a_new_password_and_removal_end_the_sessions(console: Console) -> None:
    """At the next look at the store; a new role does not."""
    console.enter("ann", "admin")
    with console.store.session() as session:
        set_role(session, "ann", "operator", by="a test")
        session.commit()
    console.client.app.state.users.refresh()
    assert console.client.get("/keys").status_code == 200
    assert console.client.get("/keys/new").status_code == 403
    with console.store.session() as session:
        set_password(session, "ann", "another good one", by="a test")
        session.commit()
    console.client.app.state.users.refresh()
    assert console.client.get("/keys").url.path == "/login"
    console.send("/login", on="/login", name="ann", password="another good one")
    assert console.client.get("/keys").url.path == "/keys"
    with console.store.session() as session:
        remove_user(session, "ann", by="a test")
        session.commit()
    console.client.app.state.users.refresh()
    assert console.client.get("/keys").url.path == "/login"


@pytest.mark.parametrize(
    ("role", "reached"),
    [
        ("viewer", {"/review": 403, "/keys": 403, "/keys/new": 403}),
        ("reviewer", {"/review": 200, "/keys": 403, "/keys/new": 403}),
        ("operator", {"/review": 200, "/keys": 200, "/keys/new": 403}),
        ("admin", {"/review": 200, "/keys": 200, "/keys/new": 200}),
    ],
)
def test_pages_are_for_roles(console: Console, role: str, reached: dict[str, int]) -> None:
    """One guard says so for every route."""
    console.enter("ann", role)
    assert {path: console.client.get(path).status_code for path in reached} == reached


@pytest.mark.parametrize("name", ["", "a b", "0123456789ab", "x" * 101, "-a"])
def test_a_name_that_cannot_be_is_refused(console: Console, name: str) -> None:
    """Also one that looks like a key's id."""
    with pytest.raises(RequestError, match="cannot be a user's name"):
        console.user(name, "viewer")


def test_wrong_users_are_refused_with_the_mend(console: Console) -> None:
    """A name twice, a role that is none, a user that is none."""
    console.user("ann", "viewer")
    with pytest.raises(ConflictError, match="already"):
        console.user("ann", "admin")
    with pytest.raises(RequestError, match="viewer, reviewer, operator, admin"):
        console.user("bob", "boss")
    with console.store.session() as session, pytest.raises(NotFoundError, match="user list"):
        set_role(session, "bob", "viewer", by="a test")


def test_nobody_takes_a_name_by_a_provider(console: Console) -> None:
    """Who a provider vouches for is the same person next time, and never a user with a password."""
    console.user("ann", "admin")
    with console.store.session() as session:
        with pytest.raises(PermissionDeniedError, match="somebody else's"):
            enter_by_oidc(session, "ann", "issuer 7", "viewer")
        enter_by_oidc(session, "eve", "issuer 8", "viewer")
        session.commit()
        again = enter_by_oidc(session, "eve", "issuer 8", "operator")
        assert (again.name, again.role) == ("eve", "operator")
        with pytest.raises(RequestError, match="no password here"):
            set_password(session, "eve", PASSWORD, by="a test")


def test_what_people_do_is_kept(console: Console) -> None:
    """Who, what, to whom, when; the password is nowhere."""
    console.enter("ann", "admin")
    console.send("/keys", on="/keys/new", scope="infer", name="shop")
    made = console.rows()[-1]
    console.send(f"/keys/{made.id}/revoke", on=f"/keys/{made.id}/revoke")
    told = [(act.actor, act.action, act.kind, act.subject) for act in console.acts()]
    assert told == [
        ("a test", "user_added", "user", "ann"),
        ("ann", "signed_in", "user", "ann"),
        ("ann", "key_created", "key", made.id),
        ("ann", "key_revoked", "key", made.id),
    ]
    assert PASSWORD not in str([act.model_dump() for act in console.acts()])


def test_a_person_without_applications_sees_none() -> None:
    """An installation may have none yet."""
    assert visitor_of_user("ann", "viewer", (), None).application == ""


def test_only_people_who_are_admins_see_users(console: Console) -> None:
    """A key is of one application, and a user of all: its holder may make none."""
    console.enter("olga", "operator")
    assert console.client.get("/users").status_code == 403
    assert 'href="/users"' not in console.client.get("/overview").text
    console.send("/logout", on="/overview")
    console.sign_in("admin")
    for path in ("/users", "/users/new", "/users/olga"):
        assert console.client.get(path).status_code == 403
    made = console.send("/users", on="/keys/new", name="mine", role="admin")
    assert (made.status_code, "sign in as a person" in made.text) == (403, True)


def test_an_admin_adds_resets_and_disables(console: Console) -> None:
    """The password that is shown is the one that works, until the next; disabled, none does."""
    console.enter("ann", "admin")
    first = secret_on(console.send("/users", on="/users/new", name="bob", role="viewer").text)
    second = secret_on(console.send("/users/bob/password", on="/users/bob").text)
    twice = console.send("/users", on="/users/new", name="bob", role="viewer")
    assert (twice.status_code, "already" in twice.text) == (400, True)
    assert console.send("/users/bob/disable", on="/users/bob", reason=" ").status_code == 400
    with console.store.session() as session:
        assert check_password(session, "bob", first) is None
        assert check_password(session, "bob", second) is not None
    console.send("/users/bob/disable", on="/users/bob", reason="has left")
    with console.store.session() as session:
        assert check_password(session, "bob", second) is None
    assert console.send("/users/bob/explode", on="/users/bob", reason="why").status_code == 404
    assert console.send("/users/bob/disable", on="/users/bob", reason="again").status_code == 409


def test_an_admin_cannot_lock_out_themselves(console: Console) -> None:
    """So that one admin is always left."""
    console.enter("ann", "admin")
    for act in ("role", "disable", "remove"):
        refused = console.send(f"/users/ann/{act}", on="/users/new", role="viewer", reason="tired")
        assert (refused.status_code, "another admin" in refused.text) == (403, True)


def test_a_person_changes_their_own_password(console: Console) -> None:
    """By the one as it is now; they stay signed in, and others of their sessions end."""
    console.enter("ann", "viewer")
    new = "a longer horse battery"
    wrong = console.send("/account", on="/account", old="guessed wrongly", new=new)
    assert (wrong.status_code, "not your password" in wrong.text) == (400, True)
    assert console.send("/account", on="/account", old=PASSWORD, new="short").status_code == 400
    copied = dict(console.client.cookies)
    assert console.send("/account", on="/account", old=PASSWORD, new=new).status_code == 200
    assert console.client.get("/overview").url.path == "/overview"
    console.client.cookies.clear()
    console.client.cookies.update(copied)
    assert console.client.get("/overview").url.path == "/login"


def test_who_is_disabled_does_not_come_in_by_a_provider(console: Console) -> None:
    """Nor does the console change a role that a provider says."""
    with console.store.session() as session:
        enter_by_oidc(session, "eve", "issuer 8", "operator")
        with pytest.raises(RequestError, match="at each sign-in"):
            set_role(session, "eve", "admin", by="a test")
        disable_user(session, "eve", "has left", by="a test")
        with pytest.raises(PermissionDeniedError, match="disabled"):
            enter_by_oidc(session, "eve", "issuer 8", "operator")
