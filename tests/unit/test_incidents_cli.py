"""People look at incidents, note what they find, resolve and silence them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.clock import utc_now
from core.errors import RatchetError
from core.settings import load_settings
from feedback.store import Store
from loop.cli import app
from loop.jobs import jobs_of
from loop.wiring import open_parts
from tests.fakes.post_box import PostBox
from tests.unit.curation_world import World
from tests.unit.loop_world import write_settings_file

BY = ("--by", "kim")


@dataclass
class Ops:
    """Somebody at the command line of a service that has an incident."""

    file: Path

    def run(self, *arguments: str) -> str:
        """Return what a command prints."""
        done = CliRunner().invoke(app, ["--settings", str(self.file), *arguments])
        assert done.exit_code == 0, done.exception
        return done.stdout

    def read(self, *arguments: str) -> Any:
        return json.loads(self.run("incidents", *arguments, "--json"))

    def refused(self, *arguments: str) -> str:
        """Return why a command is refused."""
        done = CliRunner().invoke(app, ["--settings", str(self.file), "incidents", *arguments])
        assert isinstance(done.exception, RatchetError)
        return done.exception.message


@pytest.fixture
def ops(tmp_path: Path) -> Iterator[Ops]:
    """Half of the answers failed three minutes long; a webhook is told."""
    file = write_settings_file(tmp_path)
    rules = tmp_path / "alerts.toml"
    rules.write_text(
        '[[rules]]\nname = "error_rate"\nmetric = "error_rate"\ncomparison = ">"\n'
        'threshold = 0.05\nseverity = "critical"\nlabels = { team = "search" }\n'
    )
    with PostBox() as box:
        text = file.read_text() + f'[alerts]\nrules = "{rules}"\n'
        file.write_text(text + f'[alerts.webhooks.ops]\nurl = "{box.url}"\n')
        with open_parts(load_settings(file)) as parts:
            fill(parts.store, parts.settings)
            told = {
                job.name: job.run(parts) for job in jobs_of(parts.settings) if "alerts" in job.name
            }
        assert told["deliver_alerts"] == "1 told, 0 failed, 0 given up"
        assert told["check_alerts"].endswith("1 opened, 0 resolved")
        yield Ops(file)


def fill(store: Store, settings: Any) -> None:
    people = World(store, settings)
    for number in range(4):
        fields: dict[str, Any] = {
            "status": ("ok", "error")[number % 2],
            "started_at": utc_now() - timedelta(minutes=number),
        }
        people.say("?", **fields)


def test_an_incident_is_listed_and_shown_with_its_timeline(ops: Ops) -> None:
    """As a table, and as JSON for scripts."""
    [row] = ops.read("list")
    assert (row["rule"], row["application"], row["state"]) == ("error_rate", "desk", "firing")
    shown = ops.read("show", row["id"])
    assert [note["kind"] for note in shown["timeline"]] == ["fired", "told"]
    assert shown["timeline"][1]["text"] == "webhook/ops was told: firing"
    words = ops.run("incidents", "show", row["id"])
    assert "critical error_rate of desk: firing" in words
    assert "team: search" in words
    assert f"/incidents/{row['id']}" in words
    assert row["id"] in ops.run("incidents", "list", "--application", "desk")
    assert ops.read("list", "--application", "shop") == []
    assert "no incident 'i0'" in ops.refused("show", "i0")


def test_people_note_what_they_find(ops: Ops) -> None:
    """With a link; a note without words is refused."""
    [row] = ops.read("list")
    ops.run("incidents", "note", row["id"], "the engine is full", *BY, "--link", "https://wiki/7")
    noted = ops.read("note", row["id"], "restarted", *BY)
    assert (noted["author"], noted["text"]) == ("kim", "restarted")
    third = ops.read("show", row["id"])["timeline"][2]
    assert (third["text"], third["link"]) == ("the engine is full", "https://wiki/7")
    assert "--text is empty" in ops.refused("note", row["id"], " ", *BY)
    assert "--link is 'wiki/7'" in ops.refused("note", row["id"], "see", *BY, "--link", "wiki/7")
    assert "no incident 'i0'" in ops.refused("note", "i0", "see", *BY)


def test_a_resolved_incident_is_listed_only_with_all(ops: Ops) -> None:
    """Who did it and why is in its timeline; twice is refused."""
    [row] = ops.read("list")
    arguments = ("resolve", row["id"], *BY, "--reason", "the engine is up again")
    assert "is resolved" in ops.run("incidents", *arguments)
    assert ops.read("list") == []
    [resolved] = ops.read("list", "--all")
    assert (resolved["state"], resolved["resolved_by"]) == ("resolved", "kim")
    last = ops.read("show", row["id"])["timeline"][-1]
    assert (last["kind"], last["author"], last["text"]) == (
        *("resolved", "kim", "the engine is up again"),
    )
    assert "was resolved by kim already" in ops.refused(*arguments)


def test_silences_are_made_listed_and_ended(ops: Ops) -> None:
    """Of an incident, or by rule and application; what nobody knows is refused."""
    [row] = ops.read("list")
    why = (*BY, "--reason", "planned work", "--for", "2h")
    made = ops.read("silence", row["id"], *why)
    assert (made["rule"], made["application"]) == ("error_rate", "desk")
    assert "every rule of desk until" in ops.run(
        "incidents", "silence", "--application", "desk", *why
    )
    ops.read("silence", "--rule", "drift", *why)
    assert len(ops.read("silences")) == 3
    assert "planned work" in ops.run("incidents", "silences")
    ops.run("incidents", "unsilence", made["id"])
    assert len(ops.read("silences")) == 2
    assert "has ended already" in ops.refused("unsilence", made["id"])
    assert "no silence 's0'" in ops.refused("unsilence", "s0")
    assert "name an incident, or --rule" in ops.refused("silence", *why)
    assert "no rule 'speed'" in ops.refused("silence", "--rule", "speed", *why)
    assert "no application 'shop'" in ops.refused("silence", "--application", "shop", *why)
    assert "no length" in ops.refused("silence", row["id"], *BY, "--reason", "none", "--for", "0s")


def test_rules_are_listed_with_how_they_stand(ops: Ops) -> None:
    """And the metrics that they may name."""
    rules = {rule["name"]: rule for rule in ops.read("rules")}
    [state] = rules["error_rate"]["states"]
    assert (state["application"], state["state"]) == ("desk", "firing")
    assert rules["latency_p95"]["states"][0]["state"] == "no_data"
    assert "error_rate" in ops.run("incidents", "rules")
    assert json.loads(ops.run("incidents", "metrics", "--json"))["latency_p95_ms"]
    assert "latency_p95_ms" in ops.run("incidents", "metrics")
