"""`ratchet db`, `dead-letter` and `subject`: what operators and scripts get from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from core.clock import utc_now
from core.ids import new_id
from core.settings import FILE_VARIABLE, load_settings
from feedback import schema
from feedback.events import FEEDBACK_TOPIC, INTERACTIONS_TOPIC, InteractionFinished, Message, encode
from feedback.log.protocol import NewRecord
from loop.wiring import Parts, open_parts
from tests.unit.loop_world import write_settings_file
from tests.unit.test_cli import ratchet


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """The parts of a gateway that runs while commands are called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FILE_VARIABLE, "set, so that it is restored")
    monkeypatch.delenv(FILE_VARIABLE)
    logs = structlog.get_config()
    with open_parts(load_settings(write_settings_file(tmp_path)), "gateway") as opened:
        yield opened
    structlog.configure(**logs)


def answer(parts: Parts, subject: str, *, days_ago: float = 0) -> str:
    """Log an interaction of a person."""
    event = InteractionFinished(
        event_id=new_id(),
        interaction_id=new_id(),
        application="desk",
        subject=subject,
        endpoint="/v1/chat/completions",
        requested_model="desk",
        messages=[Message("user", "hello")],
        answer="hi",
        latency_s=0.1,
        started_at=utc_now() - timedelta(days=days_ago),
    )
    parts.log.append([NewRecord(INTERACTIONS_TOPIC, event.interaction_id, encode(event))])
    return event.interaction_id


def test_the_schema_is_checked_upgraded_and_taken_back(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 while something is wrong; twice is once."""
    done = ratchet(monkeypatch, "db", "check", "--json")
    assert (done.code, done.json) == (0, {"ok": True, "revision": schema.HEAD, "problems": []})
    done = ratchet(monkeypatch, "db", "downgrade", "base", "--yes", "--json")
    assert done.json == {"before": schema.HEAD, "now": None}
    done = ratchet(monkeypatch, "db", "check")
    assert done.code == 1
    assert "ratchet db upgrade" in done.out
    assert ratchet(monkeypatch, "db", "upgrade", "--json").json["before"] is None
    assert f"at {schema.HEAD} already" in ratchet(monkeypatch, "db", "upgrade").out
    assert ratchet(monkeypatch, "db", "check").code == 0
    wrong = ratchet(monkeypatch, "db", "downgrade", "7777", "--yes")
    assert (wrong.code, "no revision '7777'" in wrong.err) == (1, True)


def test_retention_counts_before_it_deletes(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the applications that have a time; without one everything is kept."""
    answer(parts, "a" * 32, days_ago=10)
    answer(parts, "a" * 32)
    parts.ingest().drain()
    assert "everything is kept" in ratchet(monkeypatch, "db", "retention").out
    monkeypatch.setenv("RATCHET_APPLICATIONS__DESK__KEEP_DAYS", "5")
    counted = ratchet(monkeypatch, "db", "retention", "--dry-run", "--json").json
    assert (counted["interactions"], counted["deleted"]) == (1, False)
    assert ratchet(monkeypatch, "db", "retention", "--json").json["interactions"] == 1
    assert ratchet(monkeypatch, "db", "retention", "--json").json["interactions"] == 0


def test_dead_letters_are_listed_shown_and_replayed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter that fails again is a new one; one that is unknown is named."""
    parts.log.append([NewRecord(FEEDBACK_TOPIC, "i1", b"nonsense \xff")])
    parts.ingest().drain()
    [letter] = ratchet(monkeypatch, "dead-letter", "list", "--json").json
    assert (letter["topic"], letter["key"]) == (FEEDBACK_TOPIC, "i1")
    assert "i1" in ratchet(monkeypatch, "dead-letter", "list").out
    shown = ratchet(monkeypatch, "dead-letter", "show", letter["id"]).json
    assert shown["value"] == "nonsense \\xff"
    replayed = ratchet(monkeypatch, "dead-letter", "replay", "--all", "--json").json
    assert replayed == {"replayed": [letter["id"]]}
    parts.ingest().drain()
    [again] = ratchet(monkeypatch, "dead-letter", "list", "--json").json
    assert again["id"] != letter["id"]
    assert len(ratchet(monkeypatch, "dead-letter", "list", "--replayed", "--json").json) == 2
    for arguments in (["replay"], ["replay", "x", "--all"], ["show", "x"], ["replay", "x"]):
        wrong = ratchet(monkeypatch, "dead-letter", *arguments)
        assert (wrong.code, wrong.err.startswith("error: ")) == (1, True), arguments


def test_a_person_is_exported_and_erased(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is still in the log belongs to it; afterwards nothing is held, and it is on record."""
    subject = "a" * 32
    ids = {answer(parts, subject) for _ in range(2)}
    answer(parts, "b" * 32)
    held = ratchet(monkeypatch, "subject", "export", "desk", subject, "--hashed").json
    assert {row["id"] for row in held["interactions"]} == ids
    file = tmp_path / "held.json"
    ratchet(monkeypatch, "subject", "export", "desk", subject, "--hashed", "--out", str(file))
    assert len(json.loads(file.read_text())["interactions"]) == 2
    arguments = ["subject", "erase", "desk", subject, "--hashed", "--by", "olga"]
    done = ratchet(monkeypatch, *arguments, "--yes", "--json").json
    assert (done["state"], done["counts"]["interactions"]) == ("done", 2)
    assert "erased" in ratchet(monkeypatch, *arguments, "--yes").out
    held = ratchet(monkeypatch, "subject", "export", "desk", subject, "--hashed").json
    assert held["interactions"] == []
    listed = ratchet(monkeypatch, "subject", "erasures", "--json").json
    assert [row["requested_by"] for row in listed] == ["olga", "olga"]
    assert done["id"] in ratchet(monkeypatch, "subject", "erasures").out
    unknown = ratchet(monkeypatch, "subject", "export", "nobody", "x")
    assert "no application 'nobody'" in unknown.err
    wrong = ratchet(monkeypatch, "subject", "export", "desk", "ann", "--hashed")
    assert "no hash of 32" in wrong.err
