"""The engine's adapters follow the tables: over a fake engine and a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from core.clock import utc_now
from core.errors import EngineUnavailable
from core.ids import gate_adapter
from feedback.store import Store
from feedback.tables import Adapter, AdapterReplica, Application, Rollout, Run
from serving.engine_client import EngineClient
from serving.reconciler import MAX_ATTEMPTS, Reconciler, is_due
from tests.fakes.engine import FakeEngine
from tests.ready_store import ready_store


@dataclass
class World:
    """A store, an engine and the reconciler between them."""

    folder: Path
    store: Store
    engine: FakeEngine
    client: EngineClient
    reconciler: Reconciler

    def add_adapter(self, name: str, *, rank: int = 8) -> str:
        """Register an adapter that has files; return its folder."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
        row = Adapter(
            name=name,
            application="shop",
            base_model="base",
            path=str(folder),
            content_hash=name,
            run_id="run",
            dataset_id="dataset",
            rank=rank,
            created_by="test",
        )
        with self.store.session() as session:
            session.add(row)
            session.commit()
        return str(folder)

    def set_live(self, name: str | None) -> None:
        with self.store.session() as session:
            session.merge(Application(name="shop", live_adapter=name))
            session.commit()

    def set_rollout(self, state: str, *, baseline: str | None, canary: str) -> None:
        with self.store.session() as session:
            ended = state in {"live", "rolled_back", "inconclusive"}
            session.merge(
                Rollout(
                    id="r",
                    application="shop",
                    baseline_adapter=baseline,
                    canary_adapter=canary,
                    state=state,
                    salt="s",
                    finished_at=utc_now() if ended else None,
                )
            )
            session.commit()

    def replica(self, name: str) -> AdapterReplica | None:
        with self.store.session() as session:
            return session.get(AdapterReplica, (name, self.engine.url))

    def state(self, name: str) -> str | None:
        row = self.replica(name)
        return row.state if row else None

    def let_pause_pass(self, name: str) -> None:
        """Make the last attempt an old one."""
        with self.store.session() as session:
            row = session.get(AdapterReplica, (name, self.engine.url))
            assert row is not None
            row.checked_at = utc_now() - timedelta(hours=1)
            session.add(row)
            session.commit()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = ready_store(f"sqlite:///{tmp_path / 'store.db'}")
    with FakeEngine() as engine:
        async with EngineClient(engine.url) as client:
            yield World(tmp_path, store, engine, client, Reconciler(store, client))
    store.close()


async def test_a_live_adapter_is_loaded_and_tried(world: World) -> None:
    """It is ready only after it has answered once."""
    folder = world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    await world.reconciler.reconcile_once()
    assert world.engine.adapters == {"shop--v1": folder}
    assert world.state("shop--v1") == "ready"
    assert [body["model"] for body in world.engine.bodies] == ["shop--v1"]


async def test_both_adapters_of_an_active_rollout_are_loaded(world: World) -> None:
    """Already in shadow, so that the canary is ready before it gets traffic."""
    world.add_adapter("shop--v1")
    world.add_adapter("shop--v2")
    world.set_rollout("shadow", baseline="shop--v1", canary="shop--v2")
    await world.reconciler.reconcile_once()
    assert set(world.engine.adapters) == {"shop--v1", "shop--v2"}


async def test_what_no_row_wants_is_unloaded(world: World) -> None:
    """After a rollback the canary goes, from the engine and from the table."""
    world.add_adapter("shop--v1")
    world.add_adapter("shop--v2")
    world.set_live("shop--v1")
    world.set_rollout("canary", baseline="shop--v1", canary="shop--v2")
    await world.reconciler.reconcile_once()
    world.set_rollout("rolled_back", baseline="shop--v1", canary="shop--v2")
    await world.reconciler.reconcile_once()
    assert set(world.engine.adapters) == {"shop--v1"}
    assert world.state("shop--v2") is None
    assert world.state("shop--v1") == "ready"


async def test_an_adapter_that_a_gate_asks_is_the_gates(world: World) -> None:
    """While its run works it stays; of a run that is over, or that nobody knows, it goes."""
    folder = world.add_adapter("shop--v1")
    names = {run: gate_adapter(run, "candidate") for run in ("works", "over", "unknown")}
    for name in names.values():
        await world.client.load(name, folder)
    with world.store.session() as session:
        for run, status in (("works", "running"), ("over", "failed")):
            session.add(
                Run(
                    id=run,
                    application="shop",
                    dataset_id="d",
                    recipe="r",
                    mode="full",
                    reason="by_hand",
                    status=status,
                    folder=str(world.folder / run),
                )
            )
        session.commit()
    await world.reconciler.reconcile_once()
    assert set(world.engine.adapters) == {names["works"]}
    assert world.state(names["works"]) is None  # no gateway hears of it


async def test_an_adapter_drains_before_it_is_unloaded(world: World) -> None:
    """Gateways see that it drains and stop; only after drain_s the engine forgets it."""
    folder = world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    patient = Reconciler(world.store, world.client, drain_s=60.0)
    await patient.reconcile_once()
    world.set_live(None)
    for _ in range(2):
        await patient.reconcile_once()
        assert world.state("shop--v1") == "draining"
        assert world.engine.adapters == {"shop--v1": folder}
    world.let_pause_pass("shop--v1")
    await patient.reconcile_once()
    assert (world.state("shop--v1"), world.engine.adapters) == (None, {})


async def test_a_draining_adapter_that_is_wanted_again_is_tried_and_ready(world: World) -> None:
    """A rollback to it needs no loading."""
    world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    patient = Reconciler(world.store, world.client, drain_s=60.0)
    await patient.reconcile_once()
    world.set_live(None)
    await patient.reconcile_once()
    world.set_live("shop--v1")
    await patient.reconcile_once()
    assert world.state("shop--v1") == "ready"
    assert len(world.engine.bodies) == 2


async def test_a_pinned_adapter_is_wanted(world: World) -> None:
    """Also where no row says that it is live."""
    world.add_adapter("shop--v1")
    await Reconciler(world.store, world.client, pinned=["shop--v1"]).reconcile_once()
    assert world.state("shop--v1") == "ready"


async def test_a_settled_engine_is_left_alone(world: World) -> None:
    """When all is as wanted, no adapter is loaded or tried again."""
    world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    await world.reconciler.reconcile_once()
    await world.reconciler.reconcile_once()
    assert len(world.engine.bodies) == 1


async def test_an_engine_restart_heals_by_itself(world: World) -> None:
    """An engine that forgot its adapters gets them back."""
    folder = world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    await world.reconciler.reconcile_once()
    world.engine.restart()
    await world.reconciler.reconcile_once()
    assert world.engine.adapters == {"shop--v1": folder}
    assert world.state("shop--v1") == "ready"


async def test_a_refused_adapter_says_why(world: World) -> None:
    """A folder without an adapter is refused at once, with the engine's words, and left so."""
    folder = Path(world.add_adapter("shop--v1"))
    (folder / "adapter_config.json").unlink()
    world.set_live("shop--v1")
    await world.reconciler.reconcile_once()
    row = world.replica("shop--v1")
    assert row is not None
    assert row.state == "refused"
    assert "No adapter found" in (row.error or "")
    checked_at = row.checked_at
    await world.reconciler.reconcile_once()
    row = world.replica("shop--v1")
    assert row is not None
    assert row.checked_at == checked_at


async def test_an_adapter_without_a_row_is_refused(world: World) -> None:
    """A live adapter that nobody registered has no files to load."""
    world.set_live("shop--v9")
    await world.reconciler.reconcile_once()
    row = world.replica("shop--v9")
    assert row is not None
    assert (row.state, "not in the registry" in (row.error or "")) == ("refused", True)


async def test_a_failing_load_is_tried_again_after_a_pause(world: World) -> None:
    """A passing fault counts as an attempt; the next one comes only after its pause."""
    world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    world.engine.fail_next(500, path="load_lora_adapter")
    await world.reconciler.reconcile_once()
    row = world.replica("shop--v1")
    assert row is not None
    assert (row.state, row.attempts) == ("failed", 1)
    await world.reconciler.reconcile_once()
    assert world.state("shop--v1") == "failed"
    world.let_pause_pass("shop--v1")
    await world.reconciler.reconcile_once()
    row = world.replica("shop--v1")
    assert row is not None
    assert (row.state, row.attempts) == ("ready", 0)


async def test_an_adapter_that_keeps_failing_is_refused(world: World) -> None:
    """A rank that is too large is a 500 of vLLM's, however often: then it is refused."""
    world.add_adapter("shop--v1", rank=64)
    world.set_live("shop--v1")
    for _ in range(MAX_ATTEMPTS):
        await world.reconciler.reconcile_once()
        world.let_pause_pass("shop--v1")
    row = world.replica("shop--v1")
    assert row is not None
    assert (row.state, row.attempts) == ("refused", MAX_ATTEMPTS)
    assert "rank 64" in (row.error or "")


async def test_an_adapter_that_cannot_answer_is_not_ready(world: World) -> None:
    """Loading went well, the first token did not: failed, and unloaded again."""
    world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    world.engine.fail_next(500, path="completions")
    await world.reconciler.reconcile_once()
    assert world.state("shop--v1") == "failed"
    assert world.engine.adapters == {}


async def test_other_files_under_a_used_name_are_refused(world: World) -> None:
    """The engine has the name from elsewhere: it must not answer for ours."""
    world.add_adapter("shop--v1")
    world.engine.adapters["shop--v1"] = "elsewhere"
    world.set_live("shop--v1")
    await world.reconciler.reconcile_once()
    assert world.state("shop--v1") == "refused"


async def test_an_absent_engine_is_nobodys_attempt(world: World) -> None:
    """While the engine is down nothing is charged to an adapter."""
    world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    world.engine.stop()
    with pytest.raises(EngineUnavailable):
        await world.reconciler.reconcile_once()
    assert world.state("shop--v1") is None


@pytest.mark.parametrize(("attempts", "pause_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (20, 60.0)])
def test_pauses_double_up_to_a_minute(attempts: int, pause_s: float) -> None:
    """Just before the pause ends the adapter is not due, at its end it is."""
    now = utc_now()
    row = AdapterReplica(adapter="a", engine="e", state="failed", attempts=attempts, checked_at=now)
    assert not is_due(row, set[str](), now + timedelta(seconds=pause_s - 0.01))
    assert is_due(row, set[str](), now + timedelta(seconds=pause_s))


async def test_what_an_earlier_engine_refused_is_tried_again(world: World) -> None:
    """A new engine process may have other settings: its reconciler starts without old rows."""
    world.add_adapter("shop--v1")
    world.set_live("shop--v1")
    with world.store.session() as session:
        session.add(AdapterReplica(adapter="shop--v1", engine=world.engine.url, state="refused"))
        session.commit()
    running = asyncio.create_task(world.reconciler.run(0.01))
    async with asyncio.timeout(10):
        while world.state("shop--v1") != "ready":
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
