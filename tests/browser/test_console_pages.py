"""The console in a real browser: keys made, rotated and revoked by the keyboard alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from core.settings import ConsoleSettings
from feedback.api_keys import SCOPES, KeyLimits
from feedback.key_store import KeyWish, create_key
from loop.console.server import run_console
from loop.wiring import Parts
from tests.fakes.memory_log import MemorySource
from tests.ports import free_port
from tests.unit.gateway_world import APPLICATION, KEYS, World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A running gateway."""
    with open_world(tmp_path) as world:
        yield world


@pytest.fixture
def console(world: World) -> Iterator[str]:
    """The address of a console beside it."""
    settings = world.settings.model_copy(update={"console": ConsoleSettings(port=free_port())})
    stop = threading.Event()
    parts = Parts(settings, world.store, world.log, MemorySource(world.log), KEYS)
    thread = threading.Thread(target=run_console, args=(parts, stop))
    thread.start()

    def lives() -> bool:
        try:
            return httpx.get(f"{settings.console.url}/health/live").status_code == 200
        except httpx.ConnectError:
            return False

    world.engine.wait_until(lives)
    yield settings.console.url
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def secret_of(world: World, *scopes: str) -> str:
    """Return the secret of a new key."""
    with world.store.session() as session:
        _, secret = create_key(session, KeyWish(APPLICATION, scopes, "the operator's"))
        session.commit()
    return secret


def sign_in(page: Page, console: str, secret: str) -> None:
    """Sign in by the keyboard."""
    page.goto(console)
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"The loop of {APPLICATION}")
    page.goto(f"{console}/keys")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"API keys of {APPLICATION}")


def press(page: Page, name: str) -> None:
    """Walk to a link or button of that name with Tab, and press it."""
    for _ in range(60):
        page.keyboard.press("Tab")
        words = page.evaluate("document.activeElement.textContent.trim().replace(/\\s+/g, ' ')")
        if words.startswith(name):
            with page.expect_navigation():
                page.keyboard.press("Enter")
            return
    raise AssertionError(f"{name} is not reached by Tab")


def status_with(world: World, secret: str) -> int:
    """Ask the gateway with a key; return the status."""
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.get(f"{world.url}/v1/models", headers=headers).status_code


def test_keys_are_made_rotated_and_revoked_by_keyboard(
    page: Page, world: World, console: str
) -> None:
    """What the page says is true at the gateway within a moment."""
    sign_in(page, console, secret_of(world, "admin"))
    press(page, "New key")
    page.get_by_label("Name, for people").focus()
    page.keyboard.type("web shop")
    press(page, "Make the key")
    secret = page.locator("#secret").inner_text()
    world.engine.wait_until(lambda: status_with(world, secret) == 200)
    press(page, "Back to the keys")
    row = page.get_by_role("row", name="web shop")
    expect(row).to_contain_text("valid")

    row.get_by_role("link", name="Rotate").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Grace").fill("0s")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    fresh = page.locator("#secret").inner_text()
    world.engine.wait_until(lambda: status_with(world, secret) == 401)
    world.engine.wait_until(lambda: status_with(world, fresh) == 200)
    press(page, "Back to the keys")

    valid = page.get_by_role("row", name="web shop").filter(has_text="valid")
    valid.get_by_role("link", name="Revoke").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    press(page, "Revoke")
    expect(page.get_by_role("row", name="web shop").filter(has_text="revoked")).to_be_visible()
    world.engine.wait_until(lambda: status_with(world, fresh) == 401)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(page: Page, world: World, console: str, scheme: str) -> None:
    """No rule of axe-core is broken, in light and dark."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(f"{console}/login")
    found = {"/login": Axe().run(page).response["violations"]}
    sign_in(page, console, secret_of(world, "admin"))
    for path in ("/keys", "/keys/new", "/nothing"):
        page.goto(f"{console}{path}")
        found[path] = Axe().run(page).response["violations"]
    page.goto(f"{console}/keys")
    page.get_by_role("link", name="Revoke").first.click()
    found["revoke"] = Axe().run(page).response["violations"]
    broken = {path: [fault["id"] for fault in faults] for path, faults in found.items()}
    assert broken == {path: [] for path in found}


def test_a_secret_is_copied_by_one_press(page: Page, world: World, console: str) -> None:
    """With JavaScript; without, it can be selected."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, console, secret_of(world, "admin"))
    page.get_by_role("link", name="New key").click()
    page.get_by_role("button", name="Make the key").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("status")).to_have_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#secret").inner_text()


def test_a_narrow_window_shows_each_key_as_a_card(page: Page, world: World, console: str) -> None:
    """Nothing scrolls sideways; to a screen reader it is still a table."""
    page.set_viewport_size({"width": 360, "height": 640})
    sign_in(page, console, secret_of(world, "admin"))
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    card = page.get_by_role("table").get_by_role("row", name="the operator's")
    expect(card.get_by_role("link", name="Revoke")).to_be_in_viewport()


def test_a_desk_window_shows_what_can_be_done(page: Page, world: World, console: str) -> None:
    """The links at the end of a row are in view, however many limits it has."""
    limits = KeyLimits(600_000, 200_000_000, 3_200)
    with world.store.session() as session:
        create_key(session, KeyWish(APPLICATION, SCOPES, "web shop, production", limits))
        session.commit()
    page.set_viewport_size({"width": 1200, "height": 800})
    sign_in(page, console, secret_of(world, "admin"))
    table = page.get_by_role("region", name="API keys")
    assert table.evaluate("box => box.scrollWidth <= box.clientWidth")
