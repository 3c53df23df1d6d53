"""SERVE: keeps the adapters of all engines right: a reconciler for each, side by side.

The list of engines and the store go in; as long as it runs, each engine has the wanted adapters,
also one that came later or restarted, and rows of engines that are gone are dropped. One engine
that is slow or away holds up no other. There is one fleet to a store.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.settings import Settings
from feedback.store import Store
from serving.engine_client import EngineClient
from serving.engine_list import EngineList
from serving.hardware import BASE_MODEL_NAME
from serving.reconciler import Reconciler, forget_other_engines

_log = structlog.get_logger(__name__)


async def reconcile_fleet(settings: Settings, store: Store, engines: EngineList) -> None:
    """Keep one reconciler for each engine of the list until cancelled."""
    tasks: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            await engines.refresh()
            gone = [url for url in tasks if url not in engines.urls]
            await _end([tasks.pop(url) for url in gone])
            _forget(store, engines.urls)
            for url in engines.urls:
                if url not in tasks:
                    tasks[url] = asyncio.create_task(_keep(settings, store, url))
            await _watch(list(tasks.values()), settings.engine.discover_every_s)
    finally:
        await _end(list(tasks.values()))


def pinned_adapters(settings: Settings) -> frozenset[str]:
    """Return the adapters that the settings pin applications to."""
    pins = {application.adapter for application in settings.applications.values()}
    return frozenset(pin for pin in pins if pin is not None and pin != BASE_MODEL_NAME)


async def _keep(settings: Settings, store: Store, url: str) -> None:
    async with EngineClient(url) as client:
        reconciler = Reconciler(
            store, client, pinned=pinned_adapters(settings), drain_s=settings.engine.drain_s
        )
        await reconciler.run(
            settings.engine.reconcile_every_s, keeps_ready=settings.engine.is_external
        )


async def _watch(tasks: list[asyncio.Task[None]], pause_s: float) -> None:
    """Wait for the pause; a reconciler that ends before has failed, and its fault is raised."""
    if not tasks:
        await asyncio.sleep(pause_s)
        return
    ended, _ = await asyncio.wait(tasks, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _forget(store: Store, engines: tuple[str, ...]) -> None:
    try:
        with store.session() as session:
            forget_other_engines(session, engines)
            session.commit()
    except SQLAlchemyError as error:
        _log.error("reconcile_store_failed", error=str(error))
