"""The pages that ops read: what each tells, to whom, and what a person may do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import pytest

from feedback.audit import HumanAct, record
from feedback.tables import Rollout
from tests.ready_store import ready_store
from tests.unit.console_story import ROLLOUT, RUN, tell
from tests.unit.console_world import Console, opened

PAGES = {  # path: words that must be there
    "/overview": (
        "shop--v2 answers; 1 of 1 engines are up",
        "shop--v3 is canary at 25%",
        "hold: ",
        "says act",
    ),
    "/metrics": ("Latency p95", "Thumbs up", "Spent today", "Prompts by length", "6.3 %"),
    "/metrics?range=week": ("7 days", "Novel prompts, by adapter"),
    "/metrics?range=month": ("30 days", "Spent, each day"),
    "/rollouts": ("shop--v3", "rolled back"),
    f"/rollouts/{ROLLOUT}": (
        "140 more ratings",
        "Evidence from ratings",
        "Guardrails",
        "0.90 %",
        "began in shadow",
    ),
    "/adapters": ("shop--v1", "Lineage"),
    "/adapters/shop--v3": ("120", "shop--d3", "above the live adapter"),
    "/runs": ("growth: 13 %", "sft-lora"),
    f"/runs/{RUN}": ("Loss", "Gradient norm", "812345", "learning_rate"),
    "/datasets": ("shop--d2", "720"),
    "/datasets/shop--d3": ("720", "dedupe", "36 near duplicate", "93 end users"),
    "/drift": ("topic drifted", "run-3", "drone"),
    "/drift/drift-1": ("New topic: drone", "return a drone", "parcels 30 %", "made", "shop--v3"),
    "/incidents": ("p95 latency over 2 s",),
    "/incidents/incident-1": ("Timeline", "fired"),
    "/jobs": ("1 hour made anew", "no reference yet"),
    "/audit": ("rollout promoted", "plainly better"),
}


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose shop has turned the loop for a week; each test gets a copy."""
    folder = tmp_path_factory.mktemp("week")
    store = ready_store(f"sqlite:///{folder / 'store.db'}")
    tell(store, folder / "runs")
    store.compact()
    store.close()
    return folder / "store.db"


@pytest.fixture
def console(tmp_path: Path, week: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A console of that shop."""
    monkeypatch.setattr("loop.console.passwords.LOG2_COST", 12)
    copyfile(week, tmp_path / "store.db")
    with opened(tmp_path) as console:
        yield console


@pytest.fixture
def ops(console: Console) -> Console:
    """The same, with an operator's key signed in."""
    console.sign_in("ops", application="shop")
    return console


@pytest.mark.parametrize("path", PAGES)
def test_every_page_tells_what_it_is_for(ops: Console, path: str) -> None:
    """Whole, and as the part that a script asks for."""
    response = ops.client.get(path)
    assert response.status_code == 200
    for words in PAGES[path]:
        assert words in response.text, words
    part = ops.client.get(path, headers={"hx-request": "true"})
    assert (part.status_code, "<header" in part.text) == (200, False)
    assert "style=" not in response.text, "the policy forbids styles in the page"


def test_an_application_without_anything_has_all_pages(console: Console) -> None:
    """They say that there is nothing yet, and what makes it."""
    console.sign_in("ops", application="desk")
    for path in ("/overview", "/metrics", "/rollouts", "/adapters", "/runs", "/datasets", "/audit"):
        response = console.client.get(path)
        assert response.status_code == 200
        assert "shop--" not in response.text, path


@pytest.mark.parametrize(
    "path", [f"/rollouts/{ROLLOUT}", "/adapters/shop--v3", f"/runs/{RUN}", "/datasets/shop--d3"]
)
def test_what_is_another_applications_is_not_there(console: Console, path: str) -> None:
    """A key's holder cannot look at it by its name."""
    console.sign_in("admin", application="desk")
    assert console.client.get(path).status_code == 404
    if path.startswith("/rollouts"):
        refused = console.send(f"{path}/roll_back", on="/keys", reason="mine now")
        assert refused.status_code == 404


def test_a_person_rolls_back_with_a_reason(ops: Console) -> None:
    """The row and the audit log say who and why; without a reason nothing is done."""
    path = f"/rollouts/{ROLLOUT}"
    refused = ops.send(f"{path}/roll_back", on=path, reason=" ")
    assert (refused.status_code, "say why" in refused.text) == (400, True)
    done = ops.send(f"{path}/roll_back", on=path, reason="users complain")
    assert (done.status_code, done.url.path) == (200, path)
    with ops.store.session() as session:
        row = session.get_one(Rollout, ROLLOUT)
    assert (row.state, row.reason) == ("rolled_back", "users complain")
    assert row.decided_by.startswith("key ")
    act = ops.acts()[-1]
    assert (act.actor, act.action) == (row.decided_by, "rollout_rolled_back")
    assert (act.subject, act.reason) == (ROLLOUT, "users complain")
    again = ops.send(f"{path}/roll_back", on="/keys", reason="once more")
    assert (again.status_code, "is rolled_back" in again.text) == (409, True)


def test_a_person_promotes(ops: Console) -> None:
    """The watch follows, as after the conductor's own promotion."""
    path = f"/rollouts/{ROLLOUT}"
    assert ops.send(f"{path}/promote", on=path, reason="it is plainly better").status_code == 200
    with ops.store.session() as session:
        assert session.get_one(Rollout, ROLLOUT).state == "watch"
    assert ops.acts()[-1].action == "rollout_promoted"
    assert ops.send(f"{path}/explode", on="/keys", reason="why not").status_code == 404


def test_a_reports_own_page_is_in_a_sandbox(ops: Console) -> None:
    """It brings styles and scripts; nothing else of its folder is served."""
    response = ops.client.get("/drift/drift-1/files/report.html")
    assert (response.status_code, response.text) == (200, "<h1>drift</h1>")
    assert response.headers["content-security-policy"].startswith("sandbox")
    for name in ("secret.html", "..%2Frun-3%2Fprogress.jsonl", "report.json"):
        assert ops.client.get(f"/drift/drift-1/files/{name}").status_code == 404


def test_a_person_notes_what_they_know_of_an_incident(ops: Console) -> None:
    """It is in the timeline and in the audit log; an empty one is refused."""
    path = "/incidents/incident-1"
    assert ops.send(f"{path}/note", on=path, text="the engine was updated").status_code == 200
    assert "the engine was updated" in ops.client.get(path).text
    assert ops.acts()[-1].action == "incident_noted"
    assert ops.send(f"{path}/note", on=path, text=" ").status_code == 400


def test_who_only_looks_has_no_buttons(console: Console) -> None:
    """And cannot send the form either."""
    console.enter("vera", "viewer")
    console.send("/application", on="/overview", application="shop")
    page = console.client.get(f"/rollouts/{ROLLOUT}")
    assert (page.status_code, "Decide by hand" in page.text) == (200, False)
    token = console.token("/overview")
    form = {"_csrf_token": token, "reason": "I may not"}
    refused = console.client.post(f"/rollouts/{ROLLOUT}/roll_back", data=form)
    assert refused.status_code == 403
    assert console.client.get("/audit").status_code == 403


def test_the_audit_log_is_read_by_pages_and_by_person(console: Console) -> None:
    """Older entries follow; a key's holder sees its application's alone."""
    console.enter("ann", "admin")
    console.send("/application", on="/overview", application="shop")
    with console.store.session() as session:
        for number in range(60):
            record(session, HumanAct("root", "user_added", "user", f"user{number}"))
        session.commit()
    first = console.client.get("/audit").text
    assert ("user59" in first, "user2<" in first, "Older" in first) == (True, False, True)
    own = console.client.get("/audit?actor=ann").text
    assert ("signed in" in own or "rollout promoted" in own, "user59" in own) == (True, False)
    console.send("/logout", on="/overview")
    console.sign_in("ops", application="shop")
    assert "user59" not in console.client.get("/audit").text
