"""SERVE: what `ratchet engine` runs: the launcher and the reconcilers side by side.

Settings and the store go in; engines that have the wanted adapters come out, until `stop` is set:
the one that is started here or, where the settings name others, those. One event loop, so one
thread. Knows neither how vLLM is started nor how adapters are loaded.

    ratchet engine
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from core.settings import Settings
from feedback.store import Store
from serving.engine_list import EngineList
from serving.fleet import reconcile_fleet
from serving.hardware import detect
from serving.launcher import Command, Ready, engine_command, supervise, until_set


def serve_engine(
    settings: Settings,
    store: Store,
    stop: threading.Event,
    *,
    command: Command | None = None,
    on_ready: Ready | None = None,
) -> None:
    """Keep the engines and their adapters right until `stop` is set; `command` is vLLM's.

    Starts nothing where others run the engines (engine.replicas, engine.kubernetes_service).

    Raises: SettingsError, EngineUnavailable when the engine cannot be started at all.
    """
    start = None
    if not settings.engine.is_external:
        start = command or engine_command(settings.engine, detect())
    asyncio.run(until_set(stop, lambda: _serve(settings, store, start, on_ready)))


async def _serve(
    settings: Settings, store: Store, command: Command | None, on_ready: Ready | None
) -> None:
    works: list[Coroutine[Any, Any, None]] = [
        reconcile_fleet(settings, store, EngineList(settings.engine))
    ]
    if command is not None:
        works.append(supervise(settings, command, on_ready=on_ready))
    tasks = {asyncio.create_task(work) for work in works}
    try:  # all run for ever: whichever ends has failed, and takes the others with it
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
