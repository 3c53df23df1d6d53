"""The route table: what the rows say, and nothing of what has ended or is not ready."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.clock import utc_now
from core.settings import ApplicationSettings
from feedback.store import Store
from feedback.tables import AdapterReplica, Application, Rollout
from serving.route_table import RouteTable, Snapshot
from serving.routing import Pin, Route
from tests.ready_store import ready_store
from tests.unit.gateway_world import registered

ENGINE = "http://127.0.0.1:1"
OTHER = "http://127.0.0.1:2"
ENGINES = (ENGINE, OTHER)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def add(store: Store, *rows: object) -> None:
    with store.session() as session:
        session.add_all(rows)
        session.commit()


def rollout(name: str, state: str, *, age_s: float = 0.0, ended: bool = False) -> Rollout:
    now = utc_now()
    return Rollout(
        id=name,
        application="shop",
        baseline_adapter="shop--v1",
        canary_adapter="shop--v2",
        state=state,
        step=1,
        share=0.05,
        salt="s",
        created_at=now - timedelta(seconds=age_s),
        finished_at=now if ended else None,
    )


def snapshot(store: Store, **overrides: ApplicationSettings) -> Snapshot:
    table = RouteTable(store, lambda: ENGINES, overrides)
    table.refresh()
    assert table.current is not None
    return table.current


def test_a_route_holds_live_adapter_rollout_and_ready(store: Store) -> None:
    """Everything that `assign` needs comes from the rows."""
    add(
        store,
        Application(name="shop", live_adapter="shop--v1"),
        rollout("r1", "canary"),
        AdapterReplica(adapter="shop--v1", engine=ENGINE, state="ready"),
        AdapterReplica(adapter="shop--v2", engine=ENGINE, state="loading"),
        AdapterReplica(adapter="shop--v3", engine="http://elsewhere", state="ready"),
    )
    route = snapshot(store).route("shop")
    assert (route.live_adapter, route.ready) == ("shop--v1", {"shop--v1"})
    assert route.rollout is not None
    assert (route.rollout.id, route.rollout.step, route.rollout.share) == ("r1", 1, 0.05)


@pytest.mark.parametrize("state", ["live", "rolled_back", "inconclusive"])
def test_an_ended_rollout_routes_nobody(store: Store, state: str) -> None:
    """Its state says so, and so does its end."""
    add(store, Application(name="shop"), rollout("r1", state, ended=True))
    assert snapshot(store).route("shop").rollout is None


def test_a_finished_rollout_routes_nobody_whatever_its_state(store: Store) -> None:
    """A row with an end has ended."""
    add(store, Application(name="shop"), rollout("r1", "canary", ended=True))
    assert snapshot(store).route("shop").rollout is None


def test_of_two_active_rollouts_the_newest_routes(store: Store) -> None:
    """There should never be two; if there are, traffic is at least not split at random."""
    add(store, Application(name="shop"), rollout("old", "canary", age_s=60))
    add(store, rollout("new", "canary"))
    found = snapshot(store).route("shop").rollout
    assert found is not None
    assert found.id == "new"


def test_an_application_without_a_row_gets_the_base_model(store: Store) -> None:
    """It is in the settings, but nobody has made its row yet."""
    assert snapshot(store).route("new") == Route("new", None, None, frozenset())


def test_only_own_and_ready_adapters_can_be_asked_for(store: Store) -> None:
    """By name: registered for this application, and ready on this engine."""
    add(
        store,
        registered("shop--v1", "shop"),
        registered("shop--v2", "shop"),
        registered("bank--v1", "bank"),
        AdapterReplica(adapter="shop--v1", engine=ENGINE, state="ready"),
        AdapterReplica(adapter="bank--v1", engine=ENGINE, state="ready"),
    )
    found = snapshot(store)
    assert found.ready_adapters("shop") == {"shop--v1"}
    assert found.ready_adapters("bank") == {"bank--v1"}
    assert found.ready_adapters("nobody") == frozenset()


def test_without_a_store_there_are_no_routes_yet(tmp_path: Path) -> None:
    """A store without tables gives no snapshot, and no exception either."""
    store = Store(f"sqlite:///{tmp_path / 'empty.db'}")
    table = RouteTable(store, lambda: ENGINES)
    table.refresh()
    assert table.current is None
    store.close()


def test_the_snapshot_knows_which_engines_have_an_adapter(store: Store) -> None:
    """Only where it is ready; an engine that drains it gets no more requests for it."""
    add(
        store,
        Application(name="shop"),
        AdapterReplica(adapter="shop--v1", engine=ENGINE, state="ready"),
        AdapterReplica(adapter="shop--v1", engine=OTHER, state="ready"),
        AdapterReplica(adapter="shop--v2", engine=ENGINE, state="draining"),
        AdapterReplica(adapter="shop--v2", engine=OTHER, state="ready"),
        AdapterReplica(adapter="shop--v3", engine=ENGINE, state="draining"),
    )
    found = snapshot(store)
    assert found.having("shop--v1") == {ENGINE, OTHER}
    assert found.having("shop--v2") == {OTHER}
    assert found.having("shop--v3") == frozenset()
    assert found.having(None) is None
    assert found.route("shop").ready == {"shop--v1", "shop--v2"}


def test_the_settings_override_routes(store: Store) -> None:
    """A pin, `base` as a pin, and no canaries; also for an application without a row."""
    add(store, Application(name="shop", live_adapter="shop--v1"))
    key = SecretStr("key")
    found = snapshot(
        store,
        shop=ApplicationSettings(api_key=key, adapter="shop--v0"),
        bank=ApplicationSettings(api_key=key, adapter="base", canary=False),
    )
    shop, bank = found.route("shop"), found.route("bank")
    assert (shop.live_adapter, shop.pin, shop.takes_canary) == ("shop--v1", Pin("shop--v0"), True)
    assert (bank.live_adapter, bank.pin, bank.takes_canary) == (None, Pin(None), False)
