"""`ratchet augment` and `ratchet judge`: another model writes and judges, and people decide."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import structlog
import typer
from sqlmodel import select

from core.errors import ConflictError, DataError, NotFoundError, SettingsError
from core.settings import FILE_VARIABLE, Settings, load_settings
from curation.pipeline import build_dataset
from curation.review.desk import ReviewDesk
from curation.review.failures import question_key
from feedback.console_tables import AuditEntry
from feedback.tables import Adapter, DatasetVersion, ReviewItem
from loop.augment_cli import augment, judge
from loop.wiring import open_parts
from tests.fakes.writer import ANEW, FakeWriter
from tests.unit import curation_world
from tests.unit.curation_world import write_tokenizer
from tests.unit.loop_world import write_settings_file

app = typer.Typer()
for command in (augment, judge):
    app.command()(command)


@dataclass
class World:
    """A settings file, people who rate answers, and a model that writes."""

    file: Path
    people: curation_world.World
    server: FakeWriter
    patch: pytest.MonkeyPatch

    @property
    def settings(self) -> Settings:
        """The settings as a command reads them."""
        return load_settings(self.file)

    def rule(self, **values: object) -> None:
        """Change settings of augmentation."""
        for name, value in values.items():
            self.patch.setenv(f"RATCHET_AUGMENTATION__{name.upper()}", str(value))

    def run(self, *arguments: str) -> str:
        """Return what a command prints."""
        shown = io.StringIO()
        with redirect_stdout(shown), redirect_stderr(io.StringIO()):
            app(arguments, obj=self.file, standalone_mode=False)
        return shown.getvalue()

    def json(self, *arguments: str) -> Any:
        """Return what a command prints for scripts."""
        return json.loads(self.run(*arguments, "--json"))

    def build(self) -> DatasetVersion:
        """Build the next version."""
        return build_dataset(self.people.store, self.people.settings, "desk")

    def acts(self) -> list[str]:
        """Return what the audit log has."""
        with self.people.store.session() as session:
            return [entry.action for entry in session.exec(select(AuditEntry))]

    def items(self) -> list[ReviewItem]:
        """Return what waits for people."""
        return ReviewDesk(self.people.store, self.settings).items("desk")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Twelve people with two approved answers each; augmentation is on."""
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    file = write_settings_file(tmp_path)
    write_tokenizer(tmp_path / "model")
    logs = structlog.get_config()
    with FakeWriter() as server, open_parts(load_settings(file)) as parts:
        people = curation_world.World(parts.store, parts.settings)
        people.crowd(12)
        world = World(file, people, server, monkeypatch)
        world.rule(enabled="true", base_url=f"{server.url}/v1", max_share=0.2)
        yield world
    structlog.configure(**logs)


def texts(version: DatasetVersion, split: str) -> set[str]:
    """Return what a split asks."""
    rows = pq.read_table(Path(version.path) / f"{split}.parquet")["messages"].to_pylist()
    return {messages[0]["content"] for messages in rows}


def test_what_the_model_writes_waits_for_people(world: World) -> None:
    """Marked, with its seeds, of train alone, no more than the share; twice adds nothing."""
    version = world.build()
    done = world.json("augment", "desk")
    train = texts(version, "train")
    assert done["real_rows"] == len(train) == 20
    assert (done["room"], done["made"], done["added"], done["warning"]) == (5, 5, 5, "")
    assert [stage["name"] for stage in done["stages"]][:2] == ["encoding", "structure"]
    for item in world.items():
        assert item.sampled_because == ["augmented"]
        assert item.seeds == [item.interaction_id]
        assert item.messages[0]["content"].removeprefix(ANEW) in train
    again = world.json("augment", "desk")
    assert (again["room"], again["added"]) == (0, 0)
    assert "leaves no room" in again["warning"]


def test_what_it_writes_passes_the_row_stages(world: World) -> None:
    """The limit of tokens holds for products, too."""
    world.build()
    world.patch.setenv("RATCHET_CURATION__MAX_TOKENS", "24")
    done = world.json("augment", "desk")
    assert (done["made"], done["added"]) == (5, 0)
    told = world.run("augment", "desk")
    assert "5 tokens" in told
    assert "paraphrase" in told


def test_a_rejected_product_makes_room_and_is_not_written_again(world: World) -> None:
    """Another seed has its turn."""
    world.build()
    world.json("augment", "desk")
    [first, *_] = world.items()
    with world.people.store.session() as session:
        item = session.get_one(ReviewItem, first.id)
        item.state, item.verdict = "done", "rejected"
        session.add(item)
        session.commit()
    world.rule(max_share=0.25)
    assert world.json("augment", "desk")["added"] == 1
    seeds = [seed for item in world.items() for seed in item.seeds]
    assert len(seeds) == len(set(seeds)) == 6


def test_a_dry_run_asks_nothing(world: World) -> None:
    """It says how much there is to write from and how much may be written."""
    version = world.build()
    planned = world.json("augment", "desk", "--dry-run")
    assert planned == {
        "version": version.id,
        "methods": ["paraphrase"],
        "seeds": 20,
        "written_before": 0,
        "like_failed": None,
        "room": 5,
        "queue_room": 500,
    }
    assert "like failed" in world.run("augment", "desk", "--dry-run")
    assert world.server.bodies == []


def test_failures_are_written_after_what_is_like_them(world: World) -> None:
    """The seeds are of train; what the gate asked is shown to nobody."""
    world.rule(methods='["failures"]')
    version = world.build()
    done = world.json("augment", "desk")
    assert done["methods"] == []
    assert "names no failed question" in done["warning"]
    test = pq.read_table(Path(version.path) / "test.parquet")["messages"].to_pylist()
    with world.people.store.session() as session:
        gate = {"decision": "fail", "failed": [question_key(question) for question in test]}
        session.add(
            Adapter(
                name="desk--v1", application="desk", base_model="base", path="v1",
                content_hash="", run_id="run", dataset_id=version.id, rank=16, gate=gate,
                created_by="test",
            )
        )  # fmt: skip
        session.commit()
    world.json("augment", "desk")
    asked = json.dumps(world.server.bodies)
    assert world.server.bodies
    assert not any(question[0]["content"] in asked for question in test)
    assert {seed for item in world.items() for seed in item.seeds} <= interactions(version, "train")


def interactions(version: DatasetVersion, split: str) -> set[str]:
    """Return the interactions of a split."""
    return set(pq.read_table(Path(version.path) / f"{split}.parquet")["interaction_id"].to_pylist())


def test_what_cannot_be_is_told(world: World) -> None:
    """Without a version, without room, and where it is off: for both commands."""
    with pytest.raises(NotFoundError, match="ratchet curate"):
        world.run("augment", "desk")
    world.build()
    world.patch.setenv("RATCHET_REVIEW__MAX_OPEN", "1")
    world.run("augment", "desk")
    with pytest.raises(ConflictError, match=r"review\.max_open"):
        world.run("augment", "desk")
    with pytest.raises(DataError, match="has no pairs"):
        world.run("judge", "desk")
    world.rule(enabled="false")
    for command in ("augment", "judge"):
        with pytest.raises(SettingsError, match=r"augmentation\.enabled is false"):
            world.run(command, "desk")
        assert len(world.items()) == 1


def test_a_judge_is_held_against_people(world: World) -> None:
    """It agrees where the longer answer was chosen; people's pairs stay people's."""
    for number in range(8):  # one of so few pairs is no loud person's
        name = curation_world.name(number + 100)
        edited = f"{name} gets it on Monday, at the door of {name}."
        answer = "Soon." if number else f"{edited} And much more besides."
        world.people.say(f"When does {name} get it?", answer, subject=name, correction=edited)
    version = world.build()
    done = world.json("judge", "desk")
    assert (done["people_pairs"], done["new_pairs"], done["compared"]) == (8, 0, 8)
    assert (done["share"], done["position_bias"]) == (0.875, 0.0)
    assert done["usage"]["requests"] == 16
    assert "0.875" in world.run("judge", "desk", "--limit", "9")
    assert world.acts() == ["pairs_judged"] * 2
    assert world.items() == []
    assert world.build().id == version.id
