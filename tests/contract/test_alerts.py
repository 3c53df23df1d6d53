"""Alerts on SQLite and on a real PostgreSQL: incidents, silences, the outbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from core.alert_settings import AlertSettings
from core.clock import utc_now
from core.errors import StateError
from core.ids import new_id
from feedback.alert_tables import AlertDelivery, AlertState, Silence
from feedback.store import Store
from monitoring.alerts.channels.directory import open_channels
from monitoring.alerts.channels.protocol import NotToldError
from monitoring.alerts.incidents import (
    active_silences,
    add_silence,
    end_silence,
    resolve_by_hand,
    timeline,
)
from monitoring.alerts.news import News
from monitoring.alerts.outbox import Told, deliver, retry_delay_s
from tests.fakes.post_box import PostBox
from tests.unit.alert_world import APPLICATIONS, NOW, Watch, watch_of
from tests.unit.review_world import review_store

__all__ = ["review_store"]  # fixture


@pytest.fixture
def watch(store: Store, tmp_path: Path) -> Watch:
    """One rule, nobody to tell."""
    return watch_of(store, tmp_path)


@pytest.fixture
def box() -> Iterator[PostBox]:
    """A program that takes webhooks."""
    with PostBox() as box:
        yield box


@pytest.fixture
def told_watch(store: Store, tmp_path: Path, box: PostBox) -> Watch:
    """One rule, one webhook."""
    return watch_of(store, tmp_path, webhooks={"ops": {"url": box.url}})


def test_every_rule_that_comes_with_ratchet_is_looked_at(watch: Watch) -> None:
    """For each application, or for the service; what has no data says so."""
    watch.settings = watch.settings.model_copy(update={"alerts": AlertSettings()})
    watch.look()
    with watch.store.session() as session:
        states = {state.fingerprint: state for state in session.exec(select(AlertState))}
    assert states["error_rate/desk"].state == states["error_rate/shop"].state == "no_data"
    assert states["error_rate/desk"].reason == "no data: nothing in the window"
    assert states["job_failing/"].state == "ok"
    assert states["rollout_rolled_back/desk"].state == "ok"


def test_an_incident_is_opened_once_and_resolved(watch: Watch) -> None:
    """However often the rule is looked at; its worst value and its course are kept."""
    watch.served("...x")
    assert str(watch.look()) == "1 no_data, 1 pending"
    assert watch.incidents() == []
    assert str(watch.look(after_s=120)) == "1 firing, 1 no_data; 1 opened, 0 resolved"
    watch.served("xxxx")
    watch.look(after_s=30)
    watch.served("." * 12)
    watch.look(after_s=30)
    [incident] = watch.incidents()
    assert (incident.state, incident.severity, incident.application) == (
        *("firing", "critical", "desk"),
    )
    assert (incident.value, incident.worst) == (0.25, pytest.approx(5 / 8))
    assert incident.summary == "error_rate is 0.25 (> 0.05): 1 of 4 answers"
    assert incident.links == {"incident": f"http://127.0.0.1:8001/incidents/{incident.id}"}
    watch.served("." * 100)
    assert watch.look(after_s=30).ended == 1
    [incident] = watch.incidents()
    assert (incident.state, incident.resolved_by) == ("resolved", "rules")
    assert watch.kinds(incident) == ["fired", "not_told", "resolved"]
    watch.look(after_s=30)
    assert len(watch.incidents()) == 1


def test_an_incident_whose_data_end_goes_on_and_says_so(watch: Watch) -> None:
    """Nobody knows whether it is over; it is noted once, and again when data come and end."""
    watch.served("xxxx")
    watch.look()
    watch.look(after_s=120)
    for _ in range(3):
        watch.look(after_s=1_000)
    [incident] = watch.incidents()
    assert (incident.state, incident.value, incident.worst) == ("firing", None, 1.0)
    assert watch.kinds(incident) == ["fired", "not_told", "no_data"]


def test_what_no_rule_speaks_of_any_more_is_resolved(watch: Watch) -> None:
    """An application, or a rule, that was taken out of the settings."""
    watch.served("xxxx")
    watch.look()
    watch.look(after_s=120)
    only_shop = {"shop": APPLICATIONS["shop"]}
    watch.settings = watch.settings.model_copy(update={"applications": only_shop})
    assert watch.look(after_s=30).ended == 1
    assert watch.incidents()[0].state == "resolved"
    with watch.store.session() as session:
        assert [row.fingerprint for row in session.exec(select(AlertState))] == ["error_rate/shop"]


def test_a_person_resolves_an_incident_and_the_rule_begins_anew(told_watch: Watch) -> None:
    """What still holds is a new incident after its time; those who were told are told."""
    told_watch.served("xxxx")
    told_watch.look()
    told_watch.look(after_s=120)
    [first] = told_watch.incidents()
    with told_watch.store.session() as session:
        resolve_by_hand(session, first.id, by="kim", reason="known", now=told_watch.now)
        session.commit()
        with pytest.raises(StateError, match="was resolved by kim already"):
            resolve_by_hand(session, first.id, by="kim", reason="", now=told_watch.now)
    assert told_watch.look(after_s=30).levels["pending"] == 1
    assert told_watch.look(after_s=120).opened == 1
    assert len(told_watch.incidents()) == 2
    assert [row.event for row in told_watch.deliveries()] == ["firing", "resolved", "firing"]


def test_news_are_told_once_in_order(told_watch: Watch, box: PostBox) -> None:
    """When it fires and when it is over, and the timeline says so."""
    told_watch.served("xxxx")
    told_watch.look()
    told_watch.look(after_s=120)
    told_watch.look(after_s=30)
    assert str(told_watch.tell()) == "1 told, 0 failed, 0 given up"
    assert str(told_watch.tell()) == "nothing to tell"
    told_watch.served("." * 90)
    told_watch.look(after_s=30)
    told_watch.tell()
    assert [post.json["event"] for post in box.posts] == ["firing", "resolved"]
    assert len({post.headers["x-ratchet-delivery"] for post in box.posts}) == 2
    [incident] = told_watch.incidents()
    assert sorted(told_watch.kinds(incident)) == ["fired", "resolved", "told", "told"]


def test_what_was_not_taken_is_told_again_later(told_watch: Watch, box: PostBox) -> None:
    """By back-off, from the table: it outlives the process. The end waits for the beginning."""
    box.answers = [(500, {}), (503, {"retry-after": "60"})]
    told_watch.served("xxxx")
    told_watch.look()
    told_watch.look(after_s=120)
    assert told_watch.tell().failed == 1
    told_watch.served("." * 90)
    told_watch.look(after_s=30)
    assert told_watch.tell() == Told()
    assert told_watch.tell(after_s=11).failed == 1
    assert told_watch.tell(after_s=50) == Told()
    assert told_watch.tell(after_s=61).told == 2
    assert [post.json["event"] for post in box.posts] == ["firing"] * 3 + ["resolved"]
    assert len({post.headers["x-ratchet-delivery"] for post in box.posts[:3]}) == 1
    [incident] = told_watch.incidents()
    assert told_watch.kinds(incident).count("not_told") == 2
    with told_watch.store.session() as session:
        words = [note.text for note in timeline(session, incident.id)]
    assert any("(firing, try 1): 127.0.0.1 answered HTTP 500; again in 10 s" in w for w in words)
    assert any("try 2): 127.0.0.1 answered HTTP 503; again in 60 s" in w for w in words)


def test_news_are_given_up_after_so_many_tries(store: Store, tmp_path: Path, box: PostBox) -> None:
    """And the incident says so; a channel that is no longer set counts as one that fails."""
    watch = watch_of(store, tmp_path, attempts=2, webhooks={"ops": {"url": box.url}})
    box.answers = [(500, {})]
    watch.served("xxxx")
    watch.look()
    watch.look(after_s=120)
    watch.tell()
    deliver(store, {}, watch.settings.alerts, utc_now() + timedelta(seconds=60))
    [row] = watch.deliveries()
    assert (row.state, row.attempts) == ("given_up", 2)
    assert row.error == "the settings no longer name this channel"
    assert watch.tell(after_s=3_600) == Told()


class Deaf:
    """A channel that takes nothing, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def send(self, news: News, delivery_id: str) -> None:
        self.asked += 1
        raise NotToldError("gone")


def test_a_channel_that_fails_holds_up_no_other(told_watch: Watch) -> None:
    """It is asked once in each look, however much waits for it."""
    told_watch.served("xxxx")
    told_watch.look()
    told_watch.look(after_s=120)
    [row] = told_watch.deliveries()
    fields: dict[str, Any] = {"channel": "deaf", "event": "firing", "created_at": NOW}
    for number in range(3):
        others = AlertDelivery(id=f"d{number}", incident_id=f"i{number}", news=row.news, **fields)
        told_watch.add(others)
    deaf, rules = Deaf(), told_watch.settings.alerts
    told = deliver(told_watch.store, {**open_channels(rules), "deaf": deaf}, rules, utc_now())
    assert (told.told, told.failed, deaf.asked) == (1, 1, 1)


def test_a_delay_doubles_up_to_a_limit() -> None:
    """And is at least what the other side asks for, within the same limit."""
    rules = AlertSettings(first_retry_s=10, longest_retry_s=600)
    assert [retry_delay_s(n, rules) for n in (1, 2, 3, 7, 1_000)] == [10, 20, 40, 600, 600]
    assert retry_delay_s(1, rules, 90.0) == 90.0
    assert retry_delay_s(1, rules, 9_000.0) == 600.0


def silence(watch: Watch, **columns: Any) -> str:
    row = Silence(
        id=new_id(),
        reason="known",
        created_by="kim",
        created_at=watch.now,
        ends_at=watch.now + timedelta(hours=1),
        **columns,
    )
    with watch.store.session() as session:
        add_silence(session, row)
        session.commit()
    return row.id


def test_what_is_silenced_is_kept_and_told_when_the_silence_ends(
    told_watch: Watch,
) -> None:
    """If it still fires then."""
    silence(told_watch, rule="error_rate")
    told_watch.served("xxxx")
    told_watch.look()
    told_watch.look(after_s=120)
    told_watch.look(after_s=30)
    [incident] = told_watch.incidents()
    assert told_watch.kinds(incident) == ["fired", "silenced"]
    assert told_watch.deliveries() == []
    told_watch.look(after_s=3_600)
    assert [row.event for row in told_watch.deliveries()] == ["firing"]


def test_what_begins_and_ends_in_a_silence_is_never_told(told_watch: Watch) -> None:
    """A silence of another application changes nothing, and one may be ended early."""
    silence(told_watch, application="shop")
    id_ = silence(told_watch, application="desk")
    told_watch.served("xxxx")
    told_watch.look()
    told_watch.look(after_s=120)
    told_watch.served("." * 90)
    told_watch.look(after_s=30)
    assert told_watch.incidents()[0].state == "resolved"
    assert told_watch.deliveries() == []
    with told_watch.store.session() as session:
        assert len(active_silences(session, told_watch.now)) == 2
        end_silence(session, id_, told_watch.now)
        with pytest.raises(StateError, match="has ended already"):
            end_silence(session, id_, told_watch.now)
        session.commit()
        assert len(active_silences(session, told_watch.now)) == 1
