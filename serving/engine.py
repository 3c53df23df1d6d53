"""SERVE: what `ratchet engine` runs: the launcher and the reconciler side by side.

Settings and the store go in; an engine that is up and has the wanted adapters comes out, until
`stop` is set. One event loop, so one thread. Knows neither how vLLM is started nor how adapters
are loaded.

    ratchet engine
"""

from __future__ import annotations

import asyncio
import threading

from core.settings import Settings
from feedback.store import Store
from serving.engine_client import EngineClient
from serving.hardware import detect
from serving.launcher import Command, Ready, engine_command, supervise, until_set
from serving.reconciler import Reconciler


def serve_engine(
    settings: Settings,
    store: Store,
    stop: threading.Event,
    *,
    command: Command | None = None,
    on_ready: Ready | None = None,
) -> None:
    """Keep the engine and its adapters right until `stop` is set; `command` defaults to vLLM's.

    Raises: SettingsError, EngineUnavailable when the engine cannot be started at all.
    """
    start = command or engine_command(settings.engine, detect())
    asyncio.run(until_set(stop, lambda: _serve(settings, store, start, on_ready)))


async def _serve(
    settings: Settings, store: Store, command: Command, on_ready: Ready | None
) -> None:
    async with EngineClient(settings.engine.url) as client:
        reconciler = Reconciler(store, client)
        tasks = {
            asyncio.create_task(supervise(settings, command, on_ready=on_ready)),
            asyncio.create_task(reconciler.run(settings.engine.reconcile_every_s)),
        }
        try:  # both run for ever: whichever ends has failed, and takes the other with it
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
