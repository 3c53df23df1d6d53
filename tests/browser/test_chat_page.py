"""/chat in a real browser: a person connects, asks, stops, rates, and is told what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from feedback.api_keys import KeyLimits
from feedback.key_store import KeyWish, create_key
from tests.browser.web_world import (
    ANSWER,
    LONG_ANSWER,
    answer_slowly,
    open_web_world,
    violations,
    wait_for,
)
from tests.unit.gateway_world import API_KEY, APPLICATION, LIVE, World

HOSTILE = (
    "<img src=x onerror=\"document.title='taken'\"> **bold** <script>1</script> [a](javascript:1)"
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_web_world(tmp_path) as opened:
        opened.add_live_adapter()
        opened.wait_until_routed("live", served_by=LIVE)
        yield opened


@pytest.fixture
def chat(page: Page, world: World) -> Page:
    """The page, connected."""
    page.goto(f"{world.url}/chat")
    connect(page, API_KEY)
    expect(question(page)).to_be_focused()
    return page


def connect(page: Page, api_key: str) -> None:
    page.get_by_label("API key").fill(api_key)
    page.get_by_label("Your name").fill("ann")
    page.get_by_role("button", name="Connect", exact=True).click()


def question(page: Page) -> Locator:
    return page.get_by_label("Your question")


def ask(page: Page, text: str = "Where is my parcel?") -> None:
    question(page).fill(text)
    question(page).press("Enter")


def answers(page: Page) -> Locator:
    return page.locator("li.theirs")


def test_an_answer_streams_in_and_says_who_gave_it(chat: Page, world: World) -> None:
    """The words come one by one; the model is the key's own application."""
    answer_slowly(world)
    ask(chat)
    expect(answers(chat)).to_contain_text("The parcel")
    assert world.engine.running == 1, "shown before it was finished"
    world.engine.word_pause_s = 0
    expect(answers(chat)).to_contain_text(f"Answered by {LIVE}")
    expect(answers(chat).locator(".text")).to_have_text(LONG_ANSWER)
    event = world.wait_for_event()
    assert (event.status, event.requested_model, event.stream) == ("ok", "shop", True)
    assert event.subject is not None


def test_the_conversation_goes_along(chat: Page, world: World) -> None:
    """The second question is asked with the first one and its answer; a new chat forgets them."""
    for text in ("First?", "Second?"):
        ask(chat, text)
        expect(answers(chat).last).to_contain_text("Answered by")
    turns = [turn["content"] for turn in world.engine.bodies[-1]["messages"]]
    assert turns == ["First?", ANSWER, "Second?"]
    chat.get_by_role("button", name="New chat").click()
    expect(answers(chat)).to_have_count(0)
    ask(chat, "Third?")
    expect(answers(chat)).to_contain_text("Answered by")
    assert len(world.engine.bodies[-1]["messages"]) == 1


def test_each_answer_can_be_rated(chat: Page, world: World) -> None:
    """The thumbs under an answer hold its receipt, and its text for a correction."""
    ask(chat)
    chat.get_by_role("button", name="Good answer").click()
    (vote,) = wait_for(world, 1)
    assert vote.interaction_id == world.wait_for_event().interaction_id
    chat.get_by_role("button", name="Correct").click()
    expect(chat.get_by_label("The answer as it should be")).to_have_value(ANSWER)


def test_markup_in_an_answer_stays_text(chat: Page, world: World) -> None:
    """Whatever a model was talked into saying, the browser runs none of it."""
    world.engine.reply = lambda model, prompt: HOSTILE
    ask(chat, HOSTILE)
    expect(answers(chat).locator(".text")).to_have_text(HOSTILE)
    expect(chat.locator("li.mine .text")).to_have_text(HOSTILE)
    assert chat.locator("main img, main script, main a, main strong").count() == 0
    assert chat.title() == "Ratchet chat"


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_an_answer_can_be_stopped(chat: Page, world: World, way: str) -> None:
    """The engine stops; what was shown stays, is logged as disconnected, and can be rated."""
    answer_slowly(world)
    ask(chat)
    expect(answers(chat)).to_contain_text("The parcel")
    if way == "button":
        chat.get_by_role("button", name="Stop").click()
    else:
        chat.keyboard.press("Escape")
    expect(answers(chat)).to_contain_text("Stopped.")
    event = world.wait_for_event()
    assert event.status == "disconnected"
    assert LONG_ANSWER.startswith(event.answer)
    assert 0 < len(event.answer) < len(LONG_ANSWER)
    world.engine.wait_until(lambda: world.engine.aborted == 1)
    chat.get_by_role("button", name="Bad answer").click()
    (vote,) = wait_for(world, 1)
    assert vote.interaction_id == event.interaction_id
    expect(chat.get_by_role("button", name="Send")).to_be_visible()


def test_escape_in_a_comment_closes_only_the_comment(chat: Page, world: World) -> None:
    """While the next answer streams, one may comment on the last one and think better of it."""
    ask(chat)
    expect(answers(chat)).to_contain_text("Answered by")
    answer_slowly(world)
    ask(chat)
    chat.get_by_role("button", name="Comment").click()
    chat.keyboard.press("Escape")
    expect(chat.get_by_label("Your comment")).to_be_hidden()
    world.engine.word_pause_s = 0
    expect(answers(chat).last).to_contain_text("Answered by")
    assert [event.status for event in world.events()] == ["ok", "ok"]


def test_shift_enter_is_a_new_line(chat: Page, world: World) -> None:
    """A question may have several lines."""
    question(chat).press_sequentially("one")
    question(chat).press("Shift+Enter")
    question(chat).press_sequentially("two")
    question(chat).press("Enter")
    expect(answers(chat)).to_contain_text("Answered by")
    assert world.engine.bodies[-1]["messages"][0]["content"] == "one\ntwo"


def test_a_wrong_key_is_said_at_the_key(page: Page, world: World) -> None:
    """The form stays open, with the focus where the mistake is."""
    page.goto(f"{world.url}/chat")
    connect(page, "a wrong one")
    expect(page.get_by_role("alert")).to_have_text(
        "This API key is not valid here. It may have been changed or revoked."
    )
    expect(page.get_by_label("API key")).to_be_focused()


def test_a_key_that_is_no_longer_valid_is_asked_for_again(chat: Page, world: World) -> None:
    """It may be revoked in mid-conversation: the form opens, the question is not lost."""
    chat.get_by_role("button", name="Connection").click()
    chat.get_by_label("API key").fill("revoked")
    chat.get_by_role("button", name="Connection").click()
    ask(chat)
    expect(chat.get_by_label("API key")).to_be_focused()
    expect(answers(chat)).to_contain_text("This API key is not valid here.")
    expect(question(chat)).to_have_value("Where is my parcel?")


def test_a_key_is_kept_for_this_tab_only(chat: Page, world: World) -> None:
    """A reload finds it; nothing outlives the tab."""
    chat.reload()
    expect(question(chat)).to_be_focused()
    assert chat.evaluate("() => localStorage.length") == 0
    ask(chat)
    expect(answers(chat)).to_contain_text(f"Answered by {LIVE}")


def test_an_engine_that_is_away_is_said_in_words(chat: Page, world: World) -> None:
    """The question comes back into the field, to be sent again once the engine is there."""
    world.engine.stop()
    ask(chat)
    expect(answers(chat)).to_contain_text("The service cannot answer at the moment.")
    expect(question(chat)).to_have_value("Where is my parcel?")
    world.engine.restart()
    question(chat).press("Enter")
    expect(answers(chat).last).to_contain_text("Answered by")
    assert len(world.engine.bodies[-1]["messages"]) == 1


def test_a_limit_is_said_with_the_time_to_wait(chat: Page, world: World) -> None:
    """A 429 in the gateway's own shape; the page reads Retry-After."""
    chat.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            status=429,
            headers={"retry-after": "7"},
            json={"error": {"message": "slow down", "type": "rate_limit_error"}},
        ),
    )
    ask(chat)
    expect(answers(chat)).to_contain_text("Too many requests for this API key. Try again in 7 s.")


def test_the_gateways_own_limit_reaches_the_page(page: Page, world: World) -> None:
    """A key of one request a minute: the second is refused, and waits in the field."""
    with world.store.session() as session:
        wish = KeyWish(APPLICATION, ("infer",), limits=KeyLimits(requests_per_minute=1))
        _, secret = create_key(session, wish)
        session.commit()
    world.engine.wait_until(lambda: _knows(world, secret))
    page.goto(f"{world.url}/chat")
    connect(page, secret)
    ask(page)
    expect(answers(page)).to_contain_text("Answered by")
    ask(page, "And now?")
    told = re.compile(r"Too many requests for this API key\. Try again in (5\d|60) s\.")
    expect(answers(page).last).to_contain_text(told)
    expect(question(page)).to_have_value("And now?")


def _knows(world: World, api_key: str) -> bool:
    headers = {"authorization": f"Bearer {api_key}"}
    return httpx.get(f"{world.url}/v1/models", headers=headers).status_code == 200


def test_a_lost_network_is_said_in_words(chat: Page) -> None:
    """No answer at all is not the same as a refusal."""
    chat.context.set_offline(True)
    ask(chat)
    expect(answers(chat)).to_contain_text("The service cannot be reached.")


def test_a_stream_that_breaks_off_keeps_what_came(chat: Page, world: World) -> None:
    """The words before the fault stay, and the fault stands below them."""
    world.engine.stream_fault = "out of memory"
    ask(chat)
    expect(answers(chat)).to_contain_text("The answer broke off: the engine failed: out of memory")
    expect(answers(chat).locator(".text")).to_have_text(ANSWER)


def test_a_request_that_is_wrong_shows_what_the_gateway_says(chat: Page) -> None:
    """An unknown model is named, with those that there are."""
    chat.get_by_role("button", name="Connection").click()
    chat.get_by_label("Model or application").fill("nobody")
    chat.get_by_role("button", name="Connection").click()
    ask(chat)
    expect(answers(chat)).to_contain_text("nobody")


def test_the_finished_answer_is_spoken_once(chat: Page, world: World) -> None:
    """A screen reader hears that work has begun, then the whole answer, not each word."""
    world.engine.word_pause_s = 0.1
    chat.evaluate(
        "() => { window.heard = []; const node = document.getElementById('spoken');"
        " new MutationObserver(() => heard.push(node.textContent))"
        ".observe(node, {childList: true}) }"
    )
    ask(chat)
    expect(answers(chat)).to_contain_text("Answered by")
    assert chat.evaluate("() => heard") == ["Answering.", ANSWER]


def test_the_page_is_walked_by_tab_in_reading_order(chat: Page) -> None:
    """Header, conversation with its thumbs, field, button."""
    ask(chat)
    expect(answers(chat)).to_contain_text("Answered by")
    chat.evaluate("() => document.activeElement.blur()")
    chat.get_by_role("button", name="New chat").focus()
    wanted = ["Connection", "Conversation", "Good answer", "Bad answer", "Comment", "Correct"]
    for name in wanted:
        chat.keyboard.press("Tab")
        found = chat.get_by_label(name, exact=True).or_(chat.get_by_role("button", name=name))
        expect(found.first).to_be_focused()
    chat.keyboard.press("Tab")
    expect(question(chat)).to_be_focused()
    chat.keyboard.press("Tab")
    expect(chat.get_by_role("button", name="Send")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_accessible_and_fits(
    page: Page, world: World, scheme: Literal["light", "dark"], width: int
) -> None:
    """axe-core finds nothing: form, answer, error; and nothing is wider than the window."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(f"{world.url}/chat")
    assert violations(page) == []
    connect(page, API_KEY)
    ask(page, "x" * 200)
    expect(answers(page)).to_contain_text("Answered by")
    page.get_by_role("button", name="Correct").click()
    world.engine.fail_next(500)
    ask(page)
    expect(answers(page).last.get_by_role("alert")).not_to_be_empty()
    assert violations(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_the_page_may_call_nothing_but_its_gateway(chat: Page, world: World) -> None:
    """Its policy holds for scripts, styles and calls alike, and nobody may put it in a frame."""
    policy = httpx.get(f"{world.url}/chat").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    hosts = chat.evaluate(
        "() => performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
    )
    assert set(hosts) == {world.url}
