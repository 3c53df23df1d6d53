"""Everything that people do by the console is in the audit log: every route is walked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from litestar.routes import HTTPRoute
from sqlmodel import select

from feedback.alert_tables import Silence
from loop.console.pages.rollouts import ACTS
from tests.unit.console_story import ROLLOUT, tell
from tests.unit.console_world import PASSWORD, Console, opened
from tests.unit.review_items import desk_of, proposal

SAFE = {"GET", "HEAD", "OPTIONS"}
DECIDES_NOTHING = {  # route: why the audit log does not have it
    "/application": "it changes what somebody looks at",
    "/review/take": "it lends an item",
    "/review/items/{token:str}/changes": "it shows what a correction would change",
    "/review/items/{token:str}/release": "it gives an item back undecided",
    "/api/review/next": "it lends an item",
    "/api/review/release": "it gives an item back undecided",
}
KEY, USER = "/keys/{key_id:str}", "/users/{name:str}"
INCIDENT, MOVE = "/incidents/{incident_id:str}/{act:str}", "/rollouts/{rollout_id:str}/{act:str}"
NEW_PASSWORD = "a longer horse battery"

Done = tuple[str, str, httpx.Response]  # the route, what the audit log calls it, the answer


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A console whose shop has turned the loop, has items to review, and Ann, who is admin."""
    monkeypatch.setattr("loop.console.passwords.LOG2_COST", 12)
    with opened(tmp_path) as console:
        tell(console.store, tmp_path / "runs")
        desk_of(console.store, "shop").fill("shop", [proposal(n) for n in (1, 2, 3)])
        console.user("ann", "admin")
        yield console


def walk(console: Console) -> Iterator[Done]:
    """Do everything that can be done, one act after the other."""
    send = console.send
    refused = send("/login", on="/login", name="ann", password="guessed wrongly")
    yield "/login", "sign_in_refused", refused
    yield "/login", "signed_in", send("/login", on="/login", name="ann", password=PASSWORD)
    send("/application", on="/overview", application="shop")
    yield from walk_rollouts_and_incidents(console)
    yield from walk_keys_and_users(console)
    yield from walk_reviews(console)
    both = {"old": PASSWORD, "new": NEW_PASSWORD}
    yield "/account", "user_password_changed", send("/account", on="/account", **both)
    yield "/logout", "signed_out", send("/logout", on="/overview")
    yield "/login", "sign_in_refused", send("/login", on="/login", key="no key")


def walk_rollouts_and_incidents(console: Console) -> Iterator[Done]:
    """Decide by hand."""
    place = f"/rollouts/{ROLLOUT}"
    for act, action in (
        ("pause", "rollout_paused"),
        ("resume", "rollout_resumed"),
        ("promote", "rollout_promoted"),
        ("pause", "rollout_paused"),
        ("resume", "rollout_resumed"),
        ("roll_back", "rollout_rolled_back"),
    ):
        yield MOVE, action, console.send(f"{place}/{act}", on=place, reason="for good reasons")
    place = "/incidents/incident-1"
    for act, action in (
        ("note", "incident_noted"),
        ("silence", "alerts_silenced"),
        ("resolve", "incident_resolved"),
    ):
        sent = {"text": "the disk was full", "for": "2h"}
        yield INCIDENT, action, console.send(f"{place}/{act}", on=place, **sent)
    with console.store.session() as session:
        silence = session.exec(select(Silence)).one().id
    ended = console.send(f"/silences/{silence}/end", on="/incidents")
    yield "/silences/{silence_id:str}/end", "silence_ended", ended


def walk_keys_and_users(console: Console) -> Iterator[Done]:
    """Make, change and end what others sign in by."""
    yield "/keys", "key_created", console.send("/keys", on="/keys/new", scope="infer", name="x")
    own = max(console.rows(), key=lambda row: row.created_at).id
    rotated = console.send(f"/keys/{own}/rotate", on=f"/keys/{own}/rotate", grace="1h")
    yield f"{KEY}/rotate", "key_rotated", rotated
    revoked = console.send(f"/keys/{own}/revoke", on=f"/keys/{own}/revoke")
    yield f"{KEY}/revoke", "key_revoked", revoked
    place, why = "/users/bob", {"reason": "he has left"}
    added = console.send("/users", on="/users/new", name="bob", role="viewer")
    yield "/users", "user_added", added
    yield f"{USER}/password", "user_password_changed", console.send(f"{place}/password", on=place)
    for act, action, sent in (
        ("role", "user_role_changed", {"role": "operator"}),
        ("disable", "user_disabled", why),
        ("enable", "user_enabled", why),
        ("remove", "user_removed", why),
    ):
        done = console.send(f"{place}/{act}", on=place, **sent)
        yield f"{USER}/{{act:str}}", action, done


def walk_reviews(console: Console) -> Iterator[Done]:
    """Decide on an item by the page, and on another by the API."""
    place = console.send("/review/take", on="/review").url.path
    decided = console.send(place, on=place, choice="approve")
    yield "/review/items/{token:str}", "review_approved", decided
    bearer = {"authorization": f"Bearer {console.key('review', application='shop')}"}
    got = console.client.post("/api/review/next", json={}, headers=bearer).json()["assignment"]
    body = {"token": got["token"], "decision": "reject", "reason": "it is wrong"}
    done = console.client.post("/api/review/decide", json=body, headers=bearer)
    yield "/api/review/decide", "review_rejected", done


def unsafe_routes(console: Console) -> set[str]:
    """Return the paths of the app by which something may change."""
    return {
        route.path
        for route in console.client.app.routes
        if isinstance(route, HTTPRoute) and set(route.methods) - SAFE
    }


def test_every_act_is_in_the_audit_log(console: Console) -> None:
    """One entry each, with who and what; a new route is walked here, or decides nothing."""
    walked: set[str] = set()
    before = len(console.acts())
    for route, action, response in walk(console):
        assert response.status_code < 400 or action == "sign_in_refused", (action, response.text)
        acts = console.acts()[before:]
        assert [act.action for act in acts] == [action], f"{route} is not in the audit log"
        expected = "somebody" if action == "sign_in_refused" else "ann"
        assert acts[0].actor == expected or route.startswith("/api/"), route
        walked.add(route)
        before = len(console.acts())
    assert unsafe_routes(console) == walked | DECIDES_NOTHING.keys()
    assert set(ACTS) == {"promote", "pause", "resume", "roll_back"}, "walk the new one, too"
    told = str([act.model_dump() for act in console.acts()])
    assert PASSWORD not in told
    assert NEW_PASSWORD not in told
    assert "guessed wrongly" not in told


def test_a_refused_name_is_kept_only_if_there_is_one(console: Console) -> None:
    """What somebody types there by mistake may be their password."""
    console.send("/login", on="/login", name="correct-horse", password="x")
    console.send("/login", on="/login", name="ann", password="x")
    assert [act.subject for act in console.acts()[-2:]] == ["unknown", "ann"]
