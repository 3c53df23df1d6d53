"""<ratchet-thumbs> on a page of another origin under a strict policy: what is done and logged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from core.clock import utc_now
from core.ids import new_id
from feedback.receipts import Receipt, sign
from tests.browser.web_world import (
    ANSWER,
    Site,
    answered,
    effective,
    given,
    open_web_world,
    other_site,
    violations,
    wait_for,
)
from tests.unit.gateway_world import APPLICATION, KEYS, World

PAGE = """<!doctype html>
<html lang="en"><meta name="color-scheme" content="light dark"><title>Shop</title>
<main><h1>Shop</h1><p>{answer}</p>
<ratchet-thumbs receipt="{receipt}" text="{answer}" {attributes}></ratchet-thumbs></main>
<script type="module" src="{gateway}/v1/feedback/thumbs.js"></script></html>"""


@dataclass
class Embedded:
    """The component on its page, and the answer that it stands under."""

    page: Page
    world: World
    interaction: str

    def button(self, name: str) -> Locator:
        """Return a button by the name that a screen reader reads."""
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def status(self) -> Locator:
        """What the component says about the outcome."""
        return self.page.get_by_role("status")


@pytest.fixture
def site() -> Iterator[Site]:
    with other_site() as opened:
        yield opened


@pytest.fixture
def world(site: Site, tmp_path: Path) -> Iterator[World]:
    with open_web_world(tmp_path, origin=site.url) as opened:
        yield opened


@pytest.fixture
def embedded(page: Page, site: Site, world: World) -> Embedded:
    """The component under an answer, on a page that may load and call the gateway alone."""
    stamp = answered(world)
    show(page, site, world, stamp["receipt"])
    return Embedded(page, world, stamp["interaction"])


def show(page: Page, site: Site, world: World, receipt: str, attributes: str = "") -> None:
    """Load the site's page with the component on it."""
    site.policy = f"default-src 'none'; script-src {world.url}; connect-src {world.url}"
    site.policy += "; require-trusted-types-for 'script'; trusted-types 'none'"
    site.page = PAGE.format(
        answer=ANSWER, receipt=receipt, gateway=world.url, attributes=attributes
    )
    page.goto(site.url)
    expect(page.get_by_role("group")).to_be_visible()


def test_a_click_is_a_vote_on_that_answer(embedded: Embedded) -> None:
    """The gateway logs who was asked about what; the page shows and says that it counted."""
    embedded.button("Good answer").click()
    expect(embedded.status).to_have_text("Thank you, noted.")
    expect(embedded.button("Good answer")).to_have_attribute("aria-pressed", "true")
    expect(embedded.button("Bad answer")).to_have_attribute("aria-pressed", "false")
    (vote,) = given(embedded.world)
    assert (vote.kind, vote.thumbs, vote.application) == ("thumbs", True, APPLICATION)
    assert vote.interaction_id == embedded.interaction
    assert vote.subject is not None


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_alone_is_enough(embedded: Embedded, key: Literal["Enter", "Space"]) -> None:
    """Tab leads to the thumbs in the order they stand, and shows where it is."""
    embedded.page.keyboard.press("Tab")
    expect(embedded.button("Good answer")).to_be_focused()
    embedded.page.keyboard.press("Tab")
    expect(embedded.button("Bad answer")).to_be_focused()
    assert outline_px(embedded.button("Bad answer")) >= 2
    embedded.page.keyboard.press(key)
    (vote,) = wait_for(embedded.world, 1)
    assert vote.thumbs is False


def test_a_double_click_is_one_vote(embedded: Embedded) -> None:
    """Who clicks twice means it once."""
    embedded.button("Good answer").dblclick()
    expect(embedded.status).to_have_text("Thank you, noted.")
    assert len(given(embedded.world)) == 1
    assert [row.thumbs for row in effective(embedded.world)] == [True]


@pytest.mark.parametrize("key", [None, "Enter"])
def test_the_same_thumb_again_takes_it_back(embedded: Embedded, key: str | None) -> None:
    """By mouse or keyboard: nothing is pressed any more, it is said, and nothing counts."""
    button = embedded.button("Bad answer")
    for pressed, said in (("true", "Thank you, noted."), ("false", "Taken back.")):
        button.click() if key is None else button.press(key)
        expect(embedded.status).to_have_text(said)
        expect(button).to_have_attribute("aria-pressed", pressed)
    first, second = wait_for(embedded.world, 2)
    assert (first.thumbs, second.thumbs, second.retracted) == (False, None, True)
    assert effective(embedded.world) == []
    button.click() if key is None else button.press(key)
    expect(button).to_have_attribute("aria-pressed", "true")
    wait_for(embedded.world, 3)
    assert [row.thumbs for row in effective(embedded.world)] == [False]


def test_the_last_vote_counts(embedded: Embedded) -> None:
    """Up, down, up again, as fast as fingers go: three facts, one of them effective."""
    for name in ("Good answer", "Bad answer", "Good answer"):
        embedded.button(name).click()
    votes = wait_for(embedded.world, 3)
    assert [vote.thumbs for vote in votes] == [True, False, True]
    assert len({vote.client_id for vote in votes}) == 3
    assert [row.event_id for row in effective(embedded.world)] == [votes[2].event_id]
    expect(embedded.button("Good answer")).to_have_attribute("aria-pressed", "true")


def test_a_vote_waits_for_the_one_before_it(embedded: Embedded) -> None:
    """On a slow network, too, the last vote arrives last: the gateway's clock decides."""
    held: list[Route] = []
    embedded.page.route("**/v1/feedback", lambda route: held.append(route), times=1)
    embedded.button("Good answer").click()
    embedded.button("Bad answer").click()
    embedded.page.wait_for_timeout(200)
    assert given(embedded.world) == []
    held[0].continue_()
    expect(embedded.status).to_have_text("Thank you, noted.")
    assert [vote.thumbs for vote in wait_for(embedded.world, 2)] == [True, False]


def test_a_comment_is_sent_and_focus_returns(embedded: Embedded) -> None:
    """The keyboard's user stands where they stood before the form opened."""
    embedded.button("Comment").press("Enter")
    expect(embedded.page.get_by_label("Your comment")).to_be_focused()
    embedded.page.keyboard.type("Quick and to the point.")
    embedded.page.keyboard.press("Tab")
    embedded.page.keyboard.press("Enter")
    expect(embedded.button("Comment")).to_be_focused()
    expect(embedded.status).to_have_text("Thank you, noted.")
    (comment,) = given(embedded.world)
    assert (comment.kind, comment.text) == ("comment", "Quick and to the point.")


def test_a_correction_begins_with_the_answer(embedded: Embedded) -> None:
    """People change what was said instead of writing it anew; sent unchanged it is nothing."""
    embedded.button("Correct").click()
    field = embedded.page.get_by_label("The answer as it should be")
    expect(field).to_have_value(ANSWER)
    embedded.button("Send").click()
    embedded.button("Correct").click()
    field.fill("The parcel is in Basel.")
    field.press("Control+Enter")
    (correction,) = wait_for(embedded.world, 1)
    assert (correction.kind, correction.text) == ("correction", "The parcel is in Basel.")


def test_escape_closes_the_form_and_keeps_the_draft(embedded: Embedded) -> None:
    """Nothing that somebody wrote is lost by a key."""
    embedded.button("Comment").click()
    embedded.page.get_by_label("Your comment").fill("half a thought")
    embedded.page.keyboard.press("Escape")
    expect(embedded.page.get_by_label("Your comment")).to_be_hidden()
    expect(embedded.button("Comment")).to_be_focused()
    embedded.button("Comment").click()
    expect(embedded.page.get_by_label("Your comment")).to_have_value("half a thought")


def test_a_refused_vote_is_taken_back_and_can_be_sent_again(embedded: Embedded) -> None:
    """While the log is full nothing counts, and the page does not pretend; later it does."""
    log = embedded.world.log
    log.max_bytes, room = 0, log.max_bytes
    embedded.button("Good answer").click()
    expect(embedded.status).to_have_text("The service is busy.")
    expect(embedded.button("Good answer")).to_have_attribute("aria-pressed", "false")
    log.max_bytes = room
    embedded.button("Try again").click()
    expect(embedded.status).to_have_text("Thank you, noted.")
    expect(embedded.button("Good answer")).to_be_focused()
    expect(embedded.button("Try again")).to_be_hidden()
    assert [vote.thumbs for vote in given(embedded.world)] == [True]


def test_a_lost_reply_does_not_make_two_votes(embedded: Embedded) -> None:
    """The gateway took the vote and the network lost its answer: trying again is the same vote."""

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    embedded.page.route("**/v1/feedback", lose, times=1)
    embedded.button("Bad answer").click()
    expect(embedded.status).to_have_text("The service cannot be reached.")
    embedded.button("Try again").click()
    expect(embedded.status).to_have_text("Thank you, noted.")
    assert len({vote.client_id for vote in given(embedded.world)}) == 1
    assert [row.thumbs for row in effective(embedded.world)] == [False]


def test_an_expired_receipt_is_said_and_not_tried_again(
    page: Page, site: Site, world: World
) -> None:
    """No retry helps an answer of long ago."""
    now = int(utc_now().timestamp())
    old = Receipt(
        interaction_id=new_id(), application=APPLICATION, issued_at=now - 20, expires_at=now - 10
    )
    show(page, site, world, sign(old, KEYS.receipt))
    page.get_by_role("button", name="Good answer").click()
    expect(page.get_by_role("status")).to_have_text("This answer can no longer be rated.")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_a_page_that_is_not_allowed_gives_no_feedback(
    page: Page, site: Site, tmp_path: Path
) -> None:
    """Any page may load the script; whether it may post, the gateway's settings say."""
    with open_web_world(tmp_path) as world:
        show(page, site, world, answered(world)["receipt"])
        page.get_by_role("button", name="Good answer").click()
        expect(page.get_by_role("status")).to_have_text("The service cannot be reached.")
        assert given(world) == []


def test_the_page_around_it_learns_what_was_given(embedded: Embedded) -> None:
    """`ratchet-feedback` bubbles out of the component, once for each outcome."""
    embedded.page.evaluate(
        "() => { window.heard = [];"
        " addEventListener('ratchet-feedback', (event) => heard.push(event.detail)) }"
    )
    embedded.button("Bad answer").click()
    expect(embedded.status).to_have_text("Thank you, noted.")
    heard = embedded.page.evaluate("() => heard")
    assert heard == [{"kind": "thumbs", "value": False, "ok": True, "error": None}]


def test_words_can_be_replaced_and_an_earlier_vote_shown(
    page: Page, site: Site, world: World
) -> None:
    """Other languages, and a page that is loaded again, need no code."""
    words = 'label-up="Gute Antwort" label-comment="Kommentar" vote="down"'
    show(page, site, world, answered(world)["receipt"], words)
    expect(page.get_by_role("button", name="Gute Antwort")).to_be_visible()
    expect(page.get_by_role("button", name="Kommentar")).to_be_visible()
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")


def test_another_receipt_is_another_answer(embedded: Embedded) -> None:
    """A component that a framework uses again forgets the vote and the drafts."""
    embedded.button("Good answer").click()
    wait_for(embedded.world, 1)
    expect(embedded.button("Good answer")).to_have_attribute("aria-pressed", "true")
    second = answered(embedded.world)
    embedded.page.locator("ratchet-thumbs").evaluate(
        "(node, receipt) => node.setAttribute('receipt', receipt)", second["receipt"]
    )
    expect(embedded.button("Good answer")).to_have_attribute("aria-pressed", "false")
    embedded.button("Good answer").click()
    assert wait_for(embedded.world, 2)[1].interaction_id == second["interaction"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_in_every_state(
    embedded: Embedded, scheme: Literal["light", "dark"]
) -> None:
    """axe-core finds nothing to complain of: at rest, voted, with its form open, with an error."""
    embedded.page.emulate_media(color_scheme=scheme)
    assert violations(embedded.page) == []
    embedded.button("Good answer").click()
    expect(embedded.status).to_have_text("Thank you, noted.")
    embedded.button("Correct").click()
    assert violations(embedded.page) == []
    embedded.world.log.max_bytes = 0
    embedded.button("Bad answer").click()
    expect(embedded.button("Try again")).to_be_visible()
    assert violations(embedded.page) == []


def test_a_screen_reader_meets_a_named_group(embedded: Embedded) -> None:
    """Roles, names and states, as the browser hands them on."""
    expect(embedded.page.get_by_role("group")).to_match_aria_snapshot(
        """
        - group "Rate this answer":
          - button "Good answer"
          - button "Bad answer"
          - button "Comment"
          - button "Correct"
          - status
        """
    )


def outline_px(element: Locator) -> float:
    """Return how wide the mark of the focus is."""
    style = element.evaluate("(node) => getComputedStyle(node).outlineWidth")
    return float(style.removesuffix("px"))
