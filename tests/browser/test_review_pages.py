"""Review in a real browser: by the keyboard alone, side by side, narrow, and without a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr
from sqlmodel import col, select

from core.curation_settings import ReviewSettings
from core.settings import ApplicationSettings, ConsoleSettings, GatewaySettings, Settings
from curation.review.desk import ReviewDesk
from feedback.key_store import KeyWish, create_key
from feedback.store import Store
from feedback.tables import Review
from loop.console.server import run_console
from loop.wiring import Parts
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.ports import free_port
from tests.ready_store import ready_store
from tests.unit.console_world import KEYS
from tests.unit.review_items import ANSWER, compared, correction, proposal

PATIENCE_S = 20.0
COOKIE = "ratchet-console"


@dataclass
class World:
    """A running console, its store, and the desk behind its pages."""

    url: str
    store: Store
    desk: ReviewDesk

    def secret(self, *scopes: str) -> str:
        """Return the secret of a new key."""
        with self.store.session() as session:
            _, secret = create_key(session, KeyWish("shop", scopes, "of a reviewer"))
            session.commit()
        return secret

    def reviews(self) -> list[Review]:
        """Return what was said, in order."""
        with self.store.session() as session:
            return list(session.exec(select(Review).order_by(col(Review.given_at))))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A console with nothing to review."""
    settings = Settings(
        data_dir=tmp_path,
        applications={"shop": ApplicationSettings(api_key=SecretStr("shop-key"))},
        gateway=GatewaySettings(route_refresh_s=0.05),
        console=ConsoleSettings(port=free_port()),
        review=ReviewSettings(calibration_share=0.0),
    )
    store = ready_store(settings.store_address)
    stop = threading.Event()
    log = MemoryLog()
    parts = Parts(settings, store, log, MemorySource(log), KEYS)
    thread = threading.Thread(target=run_console, args=(parts, stop))
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not lives(settings.console.url):
        assert time.monotonic() < deadline, "the console does not start"
        time.sleep(0.02)
    yield World(settings.console.url, store, ReviewDesk(store, settings))
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


def sign_in(page: Page, world: World, *scopes: str) -> None:
    """Sign in by the keyboard with a new key, and come to the queue."""
    secret = world.secret(*(scopes or ("review",)))
    page.goto(world.url)
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(secret)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(f"{world.url}/review")
    expect(page.get_by_role("heading", level=1)).to_have_text("Review of shop")


def begin(page: Page, world: World, *scopes: str) -> None:
    """Sign in and take the first item, by the keyboard."""
    sign_in(page, world, *scopes)
    page.keyboard.press("n")
    expect(page.get_by_role("group", name="Decide")).to_be_visible()


def forget(page: Page) -> None:
    """Take the session's cookie away, again if an answer that was under way brought it back."""
    gone = 0
    while gone < 5:
        gone += 1
        if any(cookie.get("name") == COOKIE for cookie in page.context.cookies()):
            page.context.clear_cookies(name=COOKIE)
            gone = 0
        page.wait_for_timeout(100)


def tab_to(page: Page, name: str) -> None:
    """Walk to what has this text with Tab."""
    for _ in range(60):
        page.keyboard.press("Tab")
        words = page.evaluate("document.activeElement.textContent.trim().replace(/\\s+/g, ' ')")
        if words == name:
            return
    raise AssertionError(f"{name} is not reached by Tab")


def test_a_person_reviews_by_the_keyboard_alone(page: Page, world: World) -> None:
    """From signing in: marks, a reason, a decision, and the next item without a new page."""
    world.desk.fill("shop", [proposal(1), proposal(2), proposal(3)])
    begin(page, world)
    expect(page.get_by_text("1: Where is my parcel?")).to_be_visible()
    page.evaluate("window.stays = true")
    for key in "54321":
        page.keyboard.press(key)
    expect(page.get_by_role("radio", name="1").last).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("rather bad")  # letters in a text field decide nothing
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.get_by_role("status")).to_have_text("Rejected.")
    expect(page.get_by_text("2: Where is my parcel?")).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("s")
    expect(page.get_by_text("3: Where is my parcel?")).to_be_visible()
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("Nothing is left for you")
    assert page.evaluate("window.stays")
    assert page.url.startswith(f"{world.url}/review?")
    first, *others = world.reviews()
    assert (first.decision, first.reason) == ("reject", "rather bad")
    assert list(first.rubric.values()) == [5, 4, 3, 2, 1]
    assert [each.decision for each in others] == ["skip", "approve"]


def test_every_control_is_reached_by_tab(page: Page, world: World) -> None:
    """Also for who has no use for single keys, and turns them off."""
    world.desk.fill("shop", [proposal(1)])
    begin(page, world)
    page.keyboard.press("?")
    box = page.get_by_label("Single keys work on this page")
    expect(box).to_be_visible()
    box.focus()
    page.keyboard.press("Space")
    page.reload()
    page.keyboard.press("a")
    tab_to(page, "Edit the answer")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="2").first).to_be_checked()
    page.keyboard.press("Enter")  # in a field: decides nothing
    tab_to(page, "a Approve")
    assert world.reviews() == []
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Nothing is left")
    [given] = world.reviews()
    assert (given.decision, given.rubric) == ("approve", {"accuracy": 2})


def test_an_answer_is_corrected_and_what_changes_is_seen(page: Page, world: World) -> None:
    """While it is typed; c opens the editor, Ctrl and Enter send it."""
    world.desk.fill("shop", [proposal(1)])
    begin(page, world)
    page.keyboard.press("c")
    editor = page.get_by_label("The answer as it should be")
    expect(editor).to_be_focused()
    expect(editor).to_have_value(ANSWER)
    page.keyboard.press("Control+End")
    for _ in range(len("noon.")):
        page.keyboard.press("Backspace")
    page.keyboard.type("one o'clock.")
    expect(page.locator("#edits del")).to_have_text("noon")
    expect(page.locator("#edits ins")).to_have_text("one o'clock")
    expect(editor).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text("Nothing is left")
    [given] = world.reviews()
    assert (given.decision, given.text) == ("correct", ANSWER.replace("noon", "one o'clock"))


def test_a_wrong_form_comes_back_as_it_was(page: Page, world: World) -> None:
    """The fault is said and has the focus, without a new page."""
    world.desk.fill("shop", [proposal(1)])
    begin(page, world)
    page.keyboard.press("4")
    page.keyboard.press("c")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("text is empty")
    expect(page.get_by_label("The answer as it should be")).to_be_focused()
    expect(page.get_by_role("radio", name="4").first).to_be_checked()


def test_a_change_is_shown_word_by_word(page: Page, world: World) -> None:
    """What went is struck through, what came is underlined: not by colour alone."""
    world.desk.fill("shop", [correction(1)])
    begin(page, world)
    gone, came = page.locator("del").first, page.locator("ins").first
    expect(gone).to_have_text("Basel")
    expect(came).to_have_text("Bern")
    expect(gone).to_have_css("text-decoration-line", "line-through")
    expect(came).to_have_css("text-decoration-line", "underline")


def test_two_answers_side_by_side(page: Page, world: World) -> None:
    """Blind, by one key; on a wide window beside each other."""
    world.desk.compare("shop", [compared(1)])
    begin(page, world)
    first = page.get_by_role("region", name="Answer A")
    second = page.get_by_role("region", name="Answer B")
    left, right = first.bounding_box(), second.bounding_box()
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    better = "a" if "the old" in second.inner_text() else "b"
    page.keyboard.press("b")
    expect(page.get_by_role("status")).to_contain_text("Nothing is left")
    [given] = world.reviews()
    assert (given.decision, given.preferred) == ("prefer", better)


def test_two_reviewers_get_different_items(page: Page, browser: Browser, world: World) -> None:
    """At the same time, in two browsers."""
    world.desk.fill("shop", [proposal(1), proposal(2)])
    begin(page, world)
    with browser.new_context() as other:
        second = other.new_page()
        begin(second, world)
        expect(second.get_by_text("2: Where is my parcel?")).to_be_visible()
    expect(page.get_by_text("1: Where is my parcel?")).to_be_visible()


def test_it_works_without_a_script(browser: Browser, world: World) -> None:
    """Plain forms: what changes is looked at first, then it is sent."""
    world.desk.fill("shop", [proposal(1), proposal(2)])
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{world.url}/login")
        page.get_by_label("API key").fill(world.secret("review"))
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Begin").click()
        page.get_by_role("button", name="Correct").click()  # nothing was edited yet
        expect(page.get_by_role("alert")).to_contain_text("Change the answer first")
        page.get_by_label("The answer as it should be").fill(ANSWER.replace("Bern", "Basel"))
        page.get_by_role("button", name="Show what changes").click()
        expect(page.locator("#edits ins")).to_have_text("Basel")
        page.get_by_role("button", name="Correct").click()
        expect(page.get_by_role("status")).to_have_text("Corrected.")
        page.get_by_role("button", name="Give it back").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Review of shop")
    [given] = world.reviews()
    assert (given.decision, given.text) == ("correct", ANSWER.replace("Bern", "Basel"))


def test_who_is_signed_out_comes_to_the_login(page: Page, world: World) -> None:
    """Also when a script sends the form; the page is then a whole one."""
    world.desk.fill("shop", [proposal(1)])
    begin(page, world)
    forget(page)
    page.keyboard.press("a")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_role("navigation")).to_have_count(0)
    assert world.reviews() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(page: Page, world: World, scheme: str) -> None:
    """No rule of axe-core is broken, with everything open, in light and dark."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found[name] = [fault["id"] for fault in Axe().run(page).response["violations"]]

    sign_in(page, world, "admin")
    look("empty queue")
    world.desk.fill("shop", [correction(1), proposal(2)])
    world.desk.compare("shop", [compared(3)])
    page.reload()
    look("queue")
    page.keyboard.press("n")
    for number in ("1:", "2:", "3:"):
        expect(page.get_by_text(f"{number} Where is my parcel?")).to_be_visible()
        look(number)
        page.keyboard.press("s")
    page.goto(f"{world.url}/review/items/gone")
    look("gone")
    assert found == {name: [] for name in found}
    assert len(found) == 6


@pytest.mark.parametrize("kind", ["queue", "change", "comparison"])
def test_a_narrow_window_scrolls_only_down(page: Page, world: World, kind: str) -> None:
    """Every button is reached, whatever a long word does."""
    page.set_viewport_size({"width": 360, "height": 640})
    world.desk.fill("shop", [correction(1, original=ANSWER + " " + "x" * 300)])
    if kind == "comparison":
        world.desk.withdraw_absent("shop", set())
        world.desk.compare("shop", [compared(1)])
    (sign_in if kind == "queue" else begin)(page, world, "admin")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if kind != "queue":
        page.get_by_role("button", name="Skip").scroll_into_view_if_needed()
        expect(page.get_by_role("button", name="Skip")).to_be_in_viewport()
