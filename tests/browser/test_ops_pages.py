"""The pages that ops read, in a real browser: accessible, on a phone too, live, by keyboard."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from core.settings import ApplicationSettings, ConsoleSettings, GatewaySettings, Settings
from feedback.store import Store
from feedback.tables import Rollout
from loop.console.server import run_console
from loop.console.users import add_user, remove_user
from loop.wiring import Parts
from tests.browser.web_world import violations
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.ports import free_port
from tests.ready_store import ready_store
from tests.unit.console_story import ROLLOUT, RUN, tell
from tests.unit.console_world import KEYS, PASSWORD

PATHS = (
    *("/overview", "/metrics", "/metrics?range=month", "/rollouts", f"/rollouts/{ROLLOUT}"),
    *("/adapters", "/adapters/shop--v3", "/runs", f"/runs/{RUN}", "/datasets"),
    *("/datasets/shop--d3", "/drift", "/drift/drift-1", "/incidents", "/incidents/incident-1"),
    *("/jobs", "/audit", "/review", "/keys", "/keys/new", "/account", "/nothing"),
    *("/users", "/users/new", "/users/bob", "/users/ann"),
)
PATIENCE_S = 20.0


@dataclass
class World:
    """A console with a story, and the store behind it."""

    url: str
    store: Store


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A console whose shop has turned the loop for a week, and Ann, who is an admin."""
    folder = tmp_path_factory.mktemp("console")
    settings = Settings(
        data_dir=folder,
        applications={
            name: ApplicationSettings(api_key=SecretStr(f"{name}-key")) for name in ("shop", "desk")
        },
        gateway=GatewaySettings(route_refresh_s=0.1),
        console=ConsoleSettings(port=free_port(), live_every_s=0.1),
    )
    store = ready_store(settings.store_address)
    tell(store, folder / "runs")
    with store.session() as session:
        add_user(session, "ann", "admin", PASSWORD, by="a test")
        add_user(session, "bob", "operator", PASSWORD, by="a test")
        session.commit()
    log, stop = MemoryLog(), threading.Event()
    parts = Parts(settings, store, log, MemorySource(log), KEYS)
    thread = threading.Thread(target=run_console, args=(parts, stop))
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not lives(settings.console.url):
        assert time.monotonic() < deadline, "the console does not start"
        time.sleep(0.02)
    yield World(settings.console.url, store)
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    store.close()


def lives(url: str) -> bool:
    """Say whether a console answers."""
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.ConnectError:
        return False


@pytest.fixture
def ops(page: Page, world: World) -> Page:
    """A page on which Ann is signed in, by the keyboard alone."""
    page.goto(world.url)
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("ann")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("The loop of shop")
    return page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_every_page_is_accessible_and_fits(
    ops: Page, world: World, scheme: str, width: int
) -> None:
    """No rule of axe-core is broken, and nothing makes the page scroll sideways."""
    ops.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    ops.set_viewport_size({"width": width, "height": 850})
    found: dict[str, list[str]] = {}
    wide: list[str] = []
    for path in PATHS:
        ops.goto(f"{world.url}{path}")
        found[path] = violations(ops)
        if ops.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(path)
    assert found == {path: [] for path in PATHS}
    assert wide == []


def test_a_page_follows_what_happens(ops: Page, world: World) -> None:
    """Without a reload; what somebody types stays."""
    ops.goto(f"{world.url}/rollouts/{ROLLOUT}")
    expect(ops.locator("#live")).to_have_text("live")
    ops.get_by_label("Reason").fill("half a sentence")
    with world.store.session() as session:
        row = session.get_one(Rollout, ROLLOUT)
        row.reason, row.step_since = "the share grows to a half", row.step_since.replace(year=2027)
        session.commit()
    expect(ops.locator("#verdict")).to_contain_text("the share grows to a half")
    expect(ops.get_by_label("Reason")).to_have_value("half a sentence")


def test_a_rollout_is_rolled_back_by_keyboard(ops: Page, world: World) -> None:
    """A reason must be there; the browser says so before the console does."""
    ops.goto(f"{world.url}/rollouts/{ROLLOUT}")
    ops.get_by_role("button", name="Roll back").focus()
    ops.keyboard.press("Enter")
    expect(ops.get_by_label("Reason")).to_be_focused()
    ops.keyboard.type("users complain")
    ops.get_by_role("button", name="Roll back").focus()
    with ops.expect_navigation():
        ops.keyboard.press("Enter")
    expect(ops.locator("#verdict")).to_contain_text("rolled back")
    expect(ops.get_by_role("list").filter(has_text="began in shadow")).to_contain_text("ann")
    ops.get_by_role("link", name="Audit log").click()
    expect(ops.get_by_role("row", name="users complain")).to_contain_text("ann")


def test_an_incident_is_silenced_and_resolved_by_keyboard(ops: Page, world: World) -> None:
    """From the overview, which says that it needs somebody; what was done is in its timeline."""
    call = ops.get_by_role("link", name="p95 latency over 2 s")
    call.focus()
    ops.keyboard.press("Enter")
    for button, told in (("Silence its rule", "nobody is told until"), ("Resolve", "the disk")):
        ops.get_by_label("Words").fill("the disk was full")
        ops.get_by_role("button", name=button).focus()
        with ops.expect_navigation():
            ops.keyboard.press("Enter")
        expect(ops.locator("#timeline")).to_contain_text(told)
    expect(ops.locator("#state")).to_contain_text("by ann")
    assert violations(ops) == []
    ops.get_by_role("link", name="Overview").click()
    expect(ops.locator("#calls")).not_to_contain_text("p95")


def test_a_user_is_added_and_disabled(ops: Page, world: World) -> None:
    """The password stands on the page that answers; who is disabled does not come in by it."""
    ops.goto(f"{world.url}/users/new")
    ops.get_by_label("Name").fill("eve")
    ops.get_by_role("button", name="Add the user").click()
    password = ops.locator("#secret").inner_text()
    assert len(password) == 20
    assert violations(ops) == []
    ops.goto(f"{world.url}/users/eve")
    ops.get_by_label("Reason").fill("was never here")
    ops.get_by_role("button", name="Disable").click()
    expect(ops.get_by_role("button", name="Enable")).to_be_visible()
    ops.get_by_role("button", name="Sign out").click()
    ops.get_by_label("Name").fill("eve")
    ops.get_by_label("Password").fill(password)
    ops.keyboard.press("Enter")
    expect(ops.get_by_role("alert")).to_contain_text("do not belong together")


def test_a_stream_ends_with_the_session(page: Page, world: World) -> None:
    """Who is removed is at the sign-in within a moment, whatever page was open."""
    with world.store.session() as session:
        add_user(session, "kim", "viewer", PASSWORD, by="a test")
        session.commit()
    page.goto(f"{world.url}/login")
    page.get_by_label("Name").fill("kim")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_have_text("live")
    with world.store.session() as session:
        remove_user(session, "kim", by="a test")
        session.commit()
    page.wait_for_url(f"{world.url}/login")
