"""`ratchet policy` and `ratchet retrain --explain` as people and scripts call them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlmodel import select

from core.clock import utc_now
from core.errors import RatchetError
from core.settings import FILE_VARIABLE, load_settings
from feedback.tables import DatasetVersion, Run
from loop.cli import app
from loop.wiring import Parts, open_parts
from tests.unit.loop_world import write_settings_file
from tests.unit.policy_world import add_adapter, add_dataset, answer, say


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """A store with 80 examples that the live adapter learnt, and 20 more."""
    file = write_settings_file(tmp_path)
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    monkeypatch.setenv("COLUMNS", "200")
    logs = structlog.get_config()
    with open_parts(load_settings(file)) as opened:
        with opened.store.session() as session:
            add_dataset(session, "desk--d1", range(80))
            add_dataset(session, "desk--d2", range(100))
            model = str(opened.settings.engine.model)
            add_adapter(session, "desk--v1", "desk--d1", base_model=model)
        yield opened
    structlog.configure(**logs)


def ratchet(*arguments: str) -> tuple[str, str]:
    """Run a command in this process; return what it printed, and its error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            app([*arguments], standalone_mode=False)
        except RatchetError as error:
            print(error.message, file=sys.stderr)
    return out.getvalue(), err.getvalue()


def outlook(*arguments: str) -> Any:
    """Return what a command prints for scripts."""
    return json.loads(ratchet(*arguments, "--json")[0])


def test_each_trigger_is_shown_with_its_numbers(parts: Parts) -> None:
    """Value, threshold, verdict, cool-down, bounds and what is next; for people as well."""
    told = outlook("policy", "desk")
    assert (told["dataset"], told["waiting"]) == ("desk--d2", 0)
    plan = told["plan"]
    assert (plan["train"], plan["mode"], plan["trigger"]) == (True, "incremental", "growth")
    growth = next(one for one in plan["considered"] if one["trigger"] == "growth")
    assert (growth["verdict"], growth["value"], growth["threshold"]) == ("fires", 0.2, 0.2)
    assert len(plan["considered"]) == 9
    assert {bound["name"]: bound["holds"] for bound in plan["bounds"]}["share"] is True
    text, _ = ratchet("policy", "desk")
    for part in ("desk on desk--d2", "train now, incremental", "20.0%", "is not set", "next: "):
        assert part in text


def test_looking_changes_nothing(parts: Parts) -> None:
    """Asking again says the same, and neither a run nor a dataset version came of it."""
    first = ratchet("policy", "desk")
    ratchet("retrain", "desk", "--explain")
    assert ratchet("policy", "desk") == first
    with parts.store.session() as session:
        assert session.exec(select(Run)).all() == []
        assert len(session.exec(select(DatasetVersion)).all()) == 2


def test_a_trigger_that_rests_says_until_when(parts: Parts) -> None:
    """A run that growth has started keeps it quiet for its cool-down."""
    with parts.store.session() as session:
        session.add(
            Run(
                id="r",
                application="desk",
                dataset_id="desk--d1",
                recipe="sft-lora",
                mode="full",
                reason="growth: x",
                status="finished",
                folder="/runs/r",
                started_at=utc_now() - timedelta(minutes=10),
            )
        )
        session.commit()
    plan = outlook("policy", "desk")["plan"]
    assert not plan["train"]
    growth = next(one for one in plan["considered"] if one["trigger"] == "growth")
    assert growth["verdict"] == "waits"
    assert growth["cools_until"] > utc_now().isoformat()
    text, _ = ratchet("policy", "desk")
    assert "no training now" in text
    assert "of its cool-down are left" in text


def test_retrain_explains_what_a_wish_would_do(parts: Parts) -> None:
    """As the policy, but with the person's wish."""
    told = outlook("retrain", "desk", "--by", "ann", "--explain")["plan"]
    assert (told["trigger"], told["mode"]) == ("by_hand", "incremental")
    assert "asked for by ann" in ratchet("retrain", "desk", "--by", "ann", "--explain")[0]


def test_what_waits_for_curation_is_told(parts: Parts) -> None:
    """Answers that were approved or corrected since the newest version, each once."""
    now = utc_now()
    with parts.store.session() as session:
        liked = answer(session, now, good=True)
        say(session, liked, now, kind="correction", text="better")
        answer(session, now, good=False)
        say(session, answer(session, now), now, kind="rating", rating=5)
        answer(session, now - timedelta(days=9_000), good=True)
        session.commit()
    assert outlook("policy", "desk")["waiting"] == 2
    assert "2 answers wait for `ratchet curate desk`" in ratchet("policy", "desk")[0]


@pytest.mark.parametrize("command", [["policy"], ["retrain", "--explain"]])
def test_an_unknown_application_is_named(parts: Parts, command: list[str]) -> None:
    """The error lists those that there are."""
    name, *options = command
    out, err = ratchet(name, "nobody", *options)
    assert out == ""
    assert "no application 'nobody'; the settings name: desk" in err
