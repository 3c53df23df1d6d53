"""API keys: which application calls, what its key allows, and what is said when none does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from core.clock import utc_now
from core.errors import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    StateError,
)
from core.settings import ApplicationSettings, Settings
from feedback.api_keys import KeyLimits, new_key
from feedback.key_ring import KeyRing
from feedback.key_store import KeyWish, create_key, list_keys, revoke_key, rotate_key
from feedback.store import Store
from tests.ready_store import ready_store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two applications with keys, and one whose key is empty by mistake."""
    keys = {"desk": "key-of-desk", "shop": "kéy-of-shop", "open": ""}
    return Settings(
        data_dir=tmp_path,
        applications={
            name: ApplicationSettings(api_key=SecretStr(key), requests_per_minute=60)
            for name, key in keys.items()
        },
    )


@pytest.fixture
def store(settings: Settings) -> Store:
    """A store without keys."""
    store = ready_store(settings.store_address)
    return store


def made(store: Store, *scopes: str, **wish: object) -> tuple[str, str]:
    """Make a key for `desk`; return its id and its secret."""
    with store.session() as session:
        row, secret = create_key(session, KeyWish("desk", scopes or ("infer",), **wish))  # pyright: ignore[reportArgumentType]
        session.commit()
        return row.id, secret


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("headers", "application"),
    [
        ({"authorization": "Bearer key-of-desk"}, "desk"),
        ({"authorization": "bearer  key-of-desk "}, "desk"),
        ({"authorization": "Bearer kéy-of-shop"}, "shop"),
        ({"x-api-key": "key-of-desk"}, "desk"),
    ],
)
def test_a_key_of_the_settings_names_its_application(
    settings: Settings, headers: dict[str, str], application: str
) -> None:
    """The scheme's case and spaces around the key do not matter; it may ask and rate."""
    caller = KeyRing(settings).authenticate(headers)
    assert (caller.application, caller.scopes) == (application, {"infer", "feedback"})
    assert caller.limits == KeyLimits(requests_per_minute=60)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic a2V5", "key-of-desk"])
def test_without_a_key_the_error_says_how_to_send_one(
    settings: Settings, header: str | None
) -> None:
    """An empty key never matches, not even an application whose key is empty."""
    headers = {} if header is None else {"authorization": header}
    with pytest.raises(AuthenticationError, match="Authorization: Bearer <key>"):
        KeyRing(settings).authenticate(headers)


@pytest.mark.parametrize("key", ["key-of-des", "key-of-desk2", "KEY-OF-DESK", "\udcff"])
def test_an_unknown_key_is_refused_and_not_repeated(settings: Settings, key: str) -> None:
    """The message does not hold what was sent."""
    with pytest.raises(AuthenticationError, match="unknown API key") as caught:
        KeyRing(settings).authenticate(bearer(key))
    assert key not in caught.value.message


def test_a_made_key_is_known_after_the_next_refresh(settings: Settings, store: Store) -> None:
    """Its own limits beat the application's, and what it does not set is the application's."""
    id_, secret = made(store, "ops", "infer", limits=KeyLimits(tokens_per_minute=500))
    ring = KeyRing(settings, store)
    with pytest.raises(AuthenticationError):
        ring.authenticate(bearer(secret))
    ring.refresh()
    caller = ring.authenticate(bearer(secret))
    assert (caller.key_id, caller.application) == (id_, "desk")
    assert caller.scopes == {"infer", "ops"}
    assert caller.limits == KeyLimits(requests_per_minute=60, tokens_per_minute=500)


def test_the_secret_is_nowhere_in_the_store(settings: Settings, store: Store) -> None:
    """Whoever reads the table cannot call."""
    _, secret = made(store)
    with store.session() as session:
        row = session.exec(text("select * from apikey")).one()  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert secret not in str(row)
    assert secret.rpartition("_")[2] not in str(row)


def test_keys_are_long_and_never_alike() -> None:
    """256 random bits each."""
    keys = {new_key().secret for _ in range(100)}
    assert len(keys) == 100
    assert min(map(len, keys)) > 50


def test_a_revoked_key_ends_with_the_next_refresh(settings: Settings, store: Store) -> None:
    """Revoking twice changes nothing more."""
    id_, secret = made(store)
    ring = KeyRing(settings, store)
    ring.refresh()
    ring.authenticate(bearer(secret))
    with store.session() as session:
        first = revoke_key(session, id_).revoked_at
        assert revoke_key(session, id_).revoked_at == first
        session.commit()
    ring.refresh()
    with pytest.raises(AuthenticationError):
        ring.authenticate(bearer(secret))


def test_an_expired_key_ends_without_a_refresh(settings: Settings, store: Store) -> None:
    """The ring knows when a key ends."""
    _, secret = made(store, expires_at=utc_now() - timedelta(seconds=1))
    ring = KeyRing(settings, store)
    ring.refresh()
    with pytest.raises(AuthenticationError):
        ring.authenticate(bearer(secret))


def test_a_rotated_key_does_the_same_and_the_old_one_has_its_grace(
    settings: Settings, store: Store
) -> None:
    """Both work now; the old one has an end, and names its successor."""
    old_id, old = made(store, "feedback", limits=KeyLimits(concurrent=3), name="browser")
    with store.session() as session:
        row, fresh = rotate_key(session, old_id, timedelta(hours=1))
        session.commit()
        fresh_id = row.id
    ring = KeyRing(settings, store)
    ring.refresh()
    before, after = ring.authenticate(bearer(old)), ring.authenticate(bearer(fresh))
    assert (before.scopes, before.limits) == (after.scopes, after.limits)
    assert before.expires_at is not None
    assert before.expires_at < utc_now() + timedelta(hours=1, minutes=1)
    assert after.expires_at is None
    with store.session() as session:
        assert [row.replaced_by for row in list_keys(session, "desk")] == [fresh_id, None]


def test_a_key_that_ended_cannot_be_rotated(store: Store) -> None:
    """The error says what to do."""
    id_, _ = made(store)
    with store.session() as session:
        revoke_key(session, id_)
        with pytest.raises(StateError, match="ratchet key create"):
            rotate_key(session, id_, timedelta(0))
        with pytest.raises(NotFoundError, match="'none'"):
            rotate_key(session, "none", timedelta(0))


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        (KeyWish("desk", ()), "without a scope"),
        (KeyWish("desk", ("infer", "root")), "'root'"),
        (KeyWish("desk", ("infer",), limits=KeyLimits(concurrent=0)), "limit of 0"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(store: Store, wish: KeyWish, named: str) -> None:
    """The error names the value."""
    with store.session() as session, pytest.raises(RequestError, match=named):
        create_key(session, wish)


def test_a_missing_scope_is_named_with_the_mend(settings: Settings) -> None:
    """`admin` has every scope."""
    caller = KeyRing(settings).authenticate(bearer("key-of-desk"))
    caller.require("infer")
    with pytest.raises(PermissionDeniedError, match=r"no scope 'ops'.*--scope ops"):
        caller.require("ops")


def test_a_store_that_fails_leaves_the_last_good_keys(settings: Settings, store: Store) -> None:
    """Answers go on while the database is away."""
    _, secret = made(store, "admin")
    ring = KeyRing(settings, store)
    ring.refresh()
    with store.session() as session:
        session.exec(text("drop table apikey"))  # pyright: ignore[reportCallIssue, reportArgumentType]
        session.commit()
    ring.refresh()
    ring.authenticate(bearer(secret)).require("review")


def test_a_key_of_an_application_that_is_gone_is_unknown(settings: Settings, store: Store) -> None:
    """The settings say whom the gateway serves."""
    with store.session() as session:
        _, secret = create_key(session, KeyWish("gone", ("infer",)))
        session.commit()
    ring = KeyRing(settings, store)
    ring.refresh()
    with pytest.raises(AuthenticationError):
        ring.authenticate(bearer(secret))
