"""The console's review pages, without JavaScript: who sees them, what they tell and do."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlmodel import select

from curation.review.desk import ReviewDesk
from curation.review.words import RUBRIC, Decision
from feedback.events import Message
from feedback.tables import Review, ReviewItem
from tests.unit.console_world import Console, opened
from tests.unit.review_items import ANSWER, compared, correction, desk_of, known, proposal

BUTTONS = re.compile(r'name="choice" value="(\w+)" data-key="(\w)"')


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console with nothing to review."""
    with opened(tmp_path) as console:
        yield console


@pytest.fixture
def desk(console: Console) -> ReviewDesk:
    """The desk behind it."""
    return desk_of(console.store, "desk")


def begin(console: Console) -> httpx.Response:
    """Take the next item as somebody who only reviews; return its page."""
    console.sign_in("review")
    return console.send("/review/take", on="/review")


def decide(console: Console, page: httpx.Response, **fields: str) -> httpx.Response:
    """Send the form of an item."""
    return console.send(page.url.path, on=page.url.path, **fields)


def reviews(console: Console) -> list[Review]:
    """Return what was said."""
    with console.store.session() as session:
        return list(session.exec(select(Review).order_by("given_at")))


def test_who_may_only_review_sees_only_that(console: Console) -> None:
    """They arrive there; the pages on keys are refused, and no link leads to them."""
    response = console.sign_in("review")
    assert (response.status_code, response.url.path) == (200, "/review")
    assert console.client.get("/").url.path == "/review"
    assert 'href="/keys"' not in response.text
    for path in ("/keys", "/keys/new", "/keys/x/revoke"):
        refused = console.client.get(path)
        assert refused.status_code == 403
        assert "keys: scope ops" in refused.text
    token = console.token("/review")
    made = console.client.post("/keys", data={"_csrf_token": token, "scope": "admin"})
    assert made.status_code == 403


@pytest.mark.parametrize("scope", ["ops", "admin"])
def test_operators_see_everything(console: Console, scope: str) -> None:
    """Their first page is the loop."""
    assert console.sign_in(scope).url.path == "/overview"
    page = console.client.get("/review")
    assert page.status_code == 200
    assert 'href="/keys"' in page.text


@pytest.mark.parametrize("path", ["/review", "/review/items/x"])
def test_nobody_reviews_without_signing_in(console: Console, path: str) -> None:
    """Neither the queue nor an item is shown."""
    assert console.client.get(path).url.path == "/login"
    token = console.token("/login")
    sent = console.client.post("/review/take", data={"_csrf_token": token})
    assert sent.url.path == "/login"


def test_a_form_without_the_token_decides_nothing(console: Console, desk: ReviewDesk) -> None:
    """As on every page of the console."""
    desk.fill("desk", [proposal(1)])
    page = begin(console)
    sent = console.client.post(page.url.path, data={"choice": "approve"})
    assert sent.status_code == 403
    assert reviews(console) == []


def test_an_answer_is_approved_and_the_next_one_comes(console: Console, desk: ReviewDesk) -> None:
    """With the marks and the reason; at the end it is said that nothing is left."""
    desk.fill("desk", [proposal(1), proposal(2)])
    first = begin(console)
    assert "1: Where is my parcel?" in first.text
    assert ANSWER in first.text
    marks = {"accuracy": "5", "safety": "4"}
    second = decide(console, first, choice="approve", reason=" fine\r\nso ", **marks)
    assert "2: Where is my parcel?" in second.text
    assert "Approved." in second.text
    end = decide(console, second, choice="skip")
    assert end.url.path == "/review"
    assert "Nothing is left for you" in end.text
    given, skipped = reviews(console)
    assert (given.decision, given.reason) == ("approve", "fine\nso")
    assert given.rubric == {"accuracy": 5, "safety": 4}
    assert skipped.decision == "skip"


def test_every_decision_has_its_key_on_its_button(console: Console, desk: ReviewDesk) -> None:
    """And all marks of the rubric are asked, from 1 to 5."""
    desk.fill("desk", [proposal(1)])
    page = begin(console).text
    assert BUTTONS.findall(page) == [
        ("approve", "a"),
        ("reject", "r"),
        ("correct", "c"),
        ("skip", "s"),
    ]
    for name in RUBRIC:
        asked = re.findall(rf'type="radio" name="{name}" value="(\d)"', page)
        assert asked == ["1", "2", "3", "4", "5"]


def test_a_page_does_not_say_why_an_item_is_there(console: Console, desk: ReviewDesk) -> None:
    """Nor which adapter answered, nor whether the answer is known."""
    desk.compare("desk", [compared(1)])
    desk.fill("desk", [proposal(2, because=("failed_gate",))])
    desk.calibrate("desk", [known(3)])
    page = begin(console)
    seen = page.text
    for _ in range(2):
        page = decide(console, page, choice="skip")
        seen += page.text if page.url.path != "/review" else ""
    for secret in ("shop--", "failed_gate", "Failed at the gate", "calibration", "expected"):
        assert secret not in seen


def test_a_correction_is_shown_word_by_word(console: Console, desk: ReviewDesk) -> None:
    """What went and what came, and whose words stand where people cannot see colours."""
    desk.fill("desk", [correction(1)])
    page = begin(console).text
    assert " <del>Basel</del><ins>Bern</ins>" in page
    assert "<ins> before noon</ins>" in page
    assert "Instead of" not in page


def test_two_answers_with_nothing_in_common_stand_one_after_the_other(
    console: Console, desk: ReviewDesk
) -> None:
    """A difference of every word helps nobody."""
    desk.fill("desk", [correction(1, original="No idea, sorry!")])
    page = begin(console).text
    assert "<del>" not in page
    assert "No idea, sorry!" in page


def test_texts_of_people_are_text(console: Console, desk: ReviewDesk) -> None:
    """Not markup of the page; a text area keeps its first empty line."""
    odd = "\n<script>alert(1)</script>\n</textarea>"
    desk.fill("desk", [proposal(1, messages=(Message("user", odd), Message("assistant", odd)))])
    page = begin(console).text
    assert "<script>alert" not in page
    shown = re.search(r'<textarea id="text".*?>(.*?)</textarea>', page, re.DOTALL)
    assert shown is not None
    assert html.unescape(shown[1]) == f"\n{odd}"


def test_a_correction_is_looked_at_and_sent(console: Console, desk: ReviewDesk) -> None:
    """First what changes is shown, and what was filled in stays; then it is what a model learns."""
    desk.fill("desk", [proposal(1)])
    page = begin(console)
    better = ANSWER.replace("Wednesday", "Thursday")
    path = page.url.path
    looked = console.send(f"{path}/changes", on=path, text=better, reason="late", style="2")
    assert looked.status_code == 200
    assert " <del>Wednesday</del><ins>Thursday</ins>" in looked.text
    assert re.search(r'name="style" value="2" checked', looked.text)
    assert "late</textarea>" in looked.text
    assert reviews(console) == []
    decide(console, page, choice="correct", text=better.replace(". ", ".\r\n"), style="2")
    [given] = reviews(console)
    assert (given.decision, given.text) == ("correct", better.replace(". ", ".\n"))


def test_a_correction_that_is_none_is_said(console: Console, desk: ReviewDesk) -> None:
    """The same words, or none: the form comes back, open at its text."""
    desk.fill("desk", [proposal(1)])
    page = begin(console)
    for text, told in ((ANSWER, "Change the answer first"), (" ", "text is empty")):
        wrong = decide(console, page, choice="correct", text=text, reason="kept")
        assert wrong.status_code == 400
        assert told in wrong.text
        assert "kept</textarea>" in wrong.text
        assert re.search(r'<details class="correction"[^>]* open>', wrong.text)
    assert reviews(console) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"choice": "maybe"}, "does not fit"),
        ({}, "does not fit"),
        ({"choice": "first"}, "does not fit"),
        ({"choice": "approve", "style": "9"}, "give 1 (worst) to 5"),
        ({"choice": "approve", "style": "x"}, "give 1 (worst) to 5"),
        ({"choice": "approve", "style": "12"}, "give 1 (worst) to 5"),
        ({"choice": "approve", "reason": "x" * 2001}, "shorten it to 2,000"),
        ({"choice": "approve", "reason": "a\0b"}, "holds a NUL"),
    ],
)
def test_what_no_button_sends_is_refused(
    console: Console, desk: ReviewDesk, fields: dict[str, str], told: str
) -> None:
    """With the field, and nothing is written."""
    desk.fill("desk", [proposal(1)])
    wrong = decide(console, begin(console), **fields)
    assert wrong.status_code == 400
    assert told in wrong.text
    assert reviews(console) == []


def test_a_long_correction_is_taken(console: Console, desk: ReviewDesk) -> None:
    """Although forms of other pages may have 64 KB only."""
    desk.fill("desk", [proposal(1)])
    text = "Grüße aus Bern. " * 6_000
    decide(console, begin(console), choice="correct", text=text)
    [given] = reviews(console)
    assert given.text == text


def test_sending_twice_is_deciding_once(console: Console, desk: ReviewDesk) -> None:
    """The second press leads on as the first did."""
    desk.fill("desk", [proposal(1), proposal(2)])
    page = begin(console)
    token = console.token(page.url.path)
    for _ in range(2):
        fields = {"_csrf_token": token, "choice": "reject", "reason": "no"}
        after = console.client.post(page.url.path, data=fields)
        assert "2: Where is my parcel?" in after.text
    assert len(reviews(console)) == 1


def test_an_item_that_is_not_held_any_more_is_said(console: Console, desk: ReviewDesk) -> None:
    """With a way on; an address that was never theirs says no more than that."""
    desk.fill("desk", [proposal(1), proposal(2)])
    page = begin(console)
    assert desk.release(reviewer_of(console), page.url.path.rsplit("/", 1)[1])
    for path in (page.url.path, "/review/items/made-up"):
        gone = console.client.get(path)
        assert gone.status_code == 409
        assert "not yours any more" in gone.text
        token = console.token("/review")
        late = console.client.post(path, data={"_csrf_token": token, "choice": "approve"})
        assert late.status_code == 409
    assert reviews(console) == []


def reviewer_of(console: Console) -> str:
    """Return the id of the newest key."""
    return console.rows()[-1].id


def test_giving_back_leads_to_the_queue(console: Console, desk: ReviewDesk) -> None:
    """And the item is free for somebody else at once."""
    desk.fill("desk", [proposal(1)])
    page = begin(console)
    back = console.send(f"{page.url.path}/release", on=page.url.path)
    assert back.url.path == "/review"
    assert desk.take("desk", "somebody else") is not None


def test_two_reviewers_get_different_items(console: Console, desk: ReviewDesk) -> None:
    """And neither sees the other's by its address."""
    desk.fill("desk", [proposal(1), proposal(2)])
    first = begin(console)
    console.send("/logout", on="/review")
    second = begin(console)
    assert "1: Where" in first.text
    assert "2: Where" in second.text
    assert console.client.get(first.url.path).status_code == 409


def test_items_of_another_application_are_not_there(console: Console) -> None:
    """A key reviews for its own application."""
    desk_of(console.store, "shop").fill("shop", [proposal(1)])
    assert begin(console).url.path == "/review"


@pytest.mark.parametrize("choice", ["first", "second", "tie"])
def test_two_answers_are_compared_blind(console: Console, desk: ReviewDesk, choice: str) -> None:
    """By their place on the page; the desk knows whose place that was."""
    desk.compare("desk", [compared(1)])
    page = begin(console)
    buttons = [("first", "a"), ("second", "b"), ("tie", "t"), ("skip", "s")]
    assert BUTTONS.findall(page.text) == buttons
    shown = re.findall(r"From the (old|new)", page.text)
    assert sorted(shown) == ["new", "old"]
    decide(console, page, choice=choice, reason="friendlier")
    [given] = reviews(console)
    better = {"first": shown[0], "second": shown[1], "tie": "tie"}[choice]
    assert given.preferred == {"old": "a", "new": "b", "tie": "tie"}[better]
    assert given.reason == "friendlier"


def test_the_queue_tells_how_far_it_is(console: Console, desk: ReviewDesk) -> None:
    """What is open and done, why items were sampled, and whether people agree."""
    two = desk_of(console.store, "desk", reviewers=2)
    two.fill("desk", [proposal(n) for n in range(3)] + [correction(4)])
    for reviewer in ("kim", "lou"):
        for choice in ("approve", "reject", "approve"):
            item = two.take("desk", reviewer)
            assert item is not None
            marks: dict[str, int] = dict.fromkeys(RUBRIC, 5 if choice == "approve" else 1)
            two.decide(reviewer, item.token, Decision(choice, rubric=marks))
    console.sign_in("ops")
    page = re.sub(r"\s+", " ", console.client.get("/review").text)
    assert "3 of 4 items are done" in page
    assert (
        '<th scope="row">Accuracy</th><td class="number">1.00</td><td class="number">3</td>' in page
    )
    assert "reliable" in page
    assert "Votes disagree" in page
    assert "Random audit" in page
    assert "<code>kim</code>" in page


def test_an_empty_queue_says_how_it_is_filled(console: Console) -> None:
    """And offers nothing to begin with."""
    page = console.sign_in("review").text
    assert "Nothing waits for review" in page
    assert re.search(r"<button[^>]*disabled[^>]*><kbd>n</kbd>", page)


def test_reviewers_see_their_own_calibration_afterwards(console: Console, desk: ReviewDesk) -> None:
    """Not others'; operators see all."""
    console.sign_in("review")
    strict = desk_of(console.store, "desk", calibration_share=1.0, reviewers=3)
    strict.fill("desk", [proposal(1)])
    strict.calibrate("desk", [known(1), known(2)])
    says = {reviewer_of(console): Decision("reject"), "lou": Decision("approve")}
    for reviewer, decision in says.items():
        for _ in range(2):
            item = strict.take("desk", reviewer)
            assert item is not None
            strict.decide(reviewer, item.token, decision)
    page = console.client.get("/review").text
    assert "Your calibration" in page
    assert "2 of 2 right" in page
    assert "0 of 2 right" not in page
    assert "lou" not in page
    console.send("/logout", on="/review")
    console.sign_in("admin")
    page = console.client.get("/review").text
    assert "2 of 2 right" in page
    assert "0 of 2 right" in page


def test_a_script_gets_the_part_that_it_asks_for(console: Console, desk: ReviewDesk) -> None:
    """The same content without the page around it; caches keep the two apart."""
    desk.fill("desk", [proposal(1)])
    page = begin(console)
    part = console.client.get(page.url.path, headers={"hx-request": "true"})
    assert part.headers["vary"] == "hx-request"
    assert "<html" not in part.text
    assert "<header>" not in part.text
    assert '<main id="main"' in part.text
    assert ANSWER in part.text
    assert "content-security-policy" in part.headers


def test_the_console_answers_programs_too(console: Console, desk: ReviewDesk) -> None:
    """With the same key as a bearer, and without a form's token."""
    desk.fill("desk", [proposal(1)])
    headers = {"authorization": f"Bearer {console.key('review')}"}
    got = console.client.post("/api/review/next", json={}, headers=headers)
    assert got.status_code == 200
    assert got.json()["assignment"]["messages"][-1]["content"] == ANSWER
    assert console.client.post("/api/review/next", json={}).status_code == 401


def test_only_open_items_count(console: Console, desk: ReviewDesk) -> None:
    """What was withdrawn leaves the page of the queue."""
    desk.fill("desk", [proposal(1), proposal(2)])
    desk.withdraw_absent("desk", {"c1"})
    with console.store.session() as session:
        states = {row.candidate_id: row.state for row in session.exec(select(ReviewItem))}
    assert states == {"c1": "open", "c2": "withdrawn"}
    assert "0 of 1 items are done" in console.sign_in("review").text
