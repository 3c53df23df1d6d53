"""A gateway for browsers: allows a page of another origin, and shows what was given and asked."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from sqlmodel import select

from core.settings import Settings
from feedback.events import FEEDBACK_TOPIC, FeedbackGiven, decode
from feedback.ingest import Ingest
from feedback.tables import Feedback
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.unit.gateway_world import APPLICATION, World, open_world

ANSWER = "The parcel is in Bern."
LONG_ANSWER = " ".join([ANSWER] * 50)  # 250 words: the fake engine's limit is 256
PAUSE_S = 0.1  # between its words: 25 s in all, so that a test is never too late for it


@contextmanager
def open_web_world(
    folder: Path, *, origin: str | None = None, log: MemoryLog | None = None, **gateway: Any
) -> Generator[World]:
    """Give a world whose gateway answers pages of `origin`, with more of its settings changed."""

    def prepare(world: World) -> None:
        changes: dict[str, Any] = {"request_timeout_s": 60.0, **gateway}
        if origin is not None:
            changes["allowed_origins"] = (origin,)
        world.settings = with_gateway(world.settings, **changes)
        world.engine.reply = lambda model, prompt: ANSWER

    with open_world(folder, log=log, prepare=prepare) as world:
        yield world


def with_gateway(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with some of the gateway's changed."""
    gateway = settings.gateway.model_copy(update=changes)
    return settings.model_copy(update={"gateway": gateway})


def answer_slowly(world: World) -> None:
    """Let the engine take its time from now on; `world.engine.word_pause_s = 0` ends that."""
    world.engine.reply = lambda model, prompt: LONG_ANSWER
    world.engine.word_pause_s = PAUSE_S


def answered(world: World) -> dict[str, str]:
    """Return what came under `ratchet` with an answer that was just given to Ann."""
    body = {
        "model": APPLICATION,
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
        "user": "ann",
    }
    response = world.post("/v1/chat/completions", body)
    assert response.status_code == httpx.codes.OK, response.text
    return response.json()["ratchet"]


def given(world: World) -> list[FeedbackGiven]:
    """Return the feedback in the log, in order."""
    records = world.log.read(FEEDBACK_TOPIC, after=0, limit=1000)
    events = [decode(record.topic, record.value) for record in records]
    return [event for event in events if isinstance(event, FeedbackGiven)]


def wait_for(world: World, count: int) -> list[FeedbackGiven]:
    """Return the feedback once there are `count`."""
    world.engine.wait_until(lambda: len(given(world)) >= count)
    return given(world)


def effective(world: World) -> list[Feedback]:
    """Return the feedback that counts, as ingest decides it."""
    Ingest(MemorySource(world.log), world.store, letters=world.log, batch=1000).drain()
    with world.store.session() as session:
        return [row for row in session.exec(select(Feedback)).all() if row.effective]


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong with the page as it is now."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@contextmanager
def other_site() -> Generator[Site]:
    """Give a web site on another port, that is another origin, with one page."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_PageHandler, site))
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Site:
    """A page, and the policy that it comes with."""

    url: str = ""
    page: str = ""
    policy: str | None = None


class _PageHandler(BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: Any) -> None:
        self._site = site
        super().__init__(*args)

    def do_GET(self) -> None:
        is_page = self.path == "/"
        self.send_response(200 if is_page else 404)
        self.send_header("content-type", "text/html; charset=utf-8")
        if self._site.policy:
            self.send_header("content-security-policy", self._site.policy)
        self.end_headers()
        self.wfile.write(self._site.page.encode() if is_page else b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass
