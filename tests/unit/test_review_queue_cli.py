"""`ratchet review fill|export|import`: the queue from the store, and to other tools and back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import structlog

from core.errors import DataError, RequestError
from core.settings import FILE_VARIABLE, load_settings
from curation.review.desk import ReviewDesk
from loop.review_cli import review_app
from loop.wiring import open_parts
from tests.unit import curation_world
from tests.unit.curation_world import write_tokenizer
from tests.unit.loop_world import write_settings_file


@dataclass
class World:
    """A settings file, the desk, and people who rate answers."""

    file: Path
    desk: ReviewDesk
    people: curation_world.World

    def run(self, *arguments: str) -> str:
        """Return what a command prints."""
        shown = io.StringIO()
        with redirect_stdout(shown), redirect_stderr(io.StringIO()):
            review_app(arguments, obj=self.file, standalone_mode=False)
        return shown.getvalue()

    def json(self, *arguments: str) -> Any:
        """Return what a command prints for scripts."""
        return json.loads(self.run(*arguments, "--json"))

    def path(self, name: str) -> str:
        """Return the path of a file beside the settings."""
        return str(self.file.with_name(name))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two people with two approved answers each, and an empty queue."""
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv("RATCHET_REVIEW__CALIBRATION_SHARE", "0")
    monkeypatch.setenv("RATCHET_REVIEW__RANDOM_SHARE", "1")
    monkeypatch.setenv("RATCHET_CURATION__MAX_SHARE_PER_SUBJECT", "1")
    file = write_settings_file(tmp_path)
    write_tokenizer(tmp_path / "model")
    logs = structlog.get_config()
    with open_parts(load_settings(file)) as parts:
        people = curation_world.World(parts.store, parts.settings)
        people.crowd(2)
        yield World(file, ReviewDesk(parts.store, parts.settings), people)
    structlog.configure(**logs)


def test_the_queue_is_filled_from_the_store(world: World) -> None:
    """What came of it is counted; that no engine answers is one line, not an error."""
    done = world.json("fill", "desk")
    assert (done["candidates"], done["filled"]["added"], done["scored"]) == (4, 4, 0)
    assert "does not answer" in done["warning"]
    told = world.run("fill", "desk")
    assert "0 of 4 candidates wait now that did not" in told
    assert "warning" not in told  # none was asked for: all are known


@pytest.mark.parametrize(
    ("tool", "project"), [("label-studio", "labels.xml"), ("argilla", "dataset.json")]
)
def test_decisions_travel_by_files_of_other_tools(world: World, tool: str, project: str) -> None:
    """Out with what was said here, and back once however often."""
    world.run("fill", "desk")
    token = world.json("next", "desk", "--by", "ann")["token"]
    world.run("decide", token, "approve", "--by", "ann", "--mark", "style=4")
    files = (world.path("items.json"), "--format", tool)
    ids = ("--user", "ann=11111111-1111-1111-1111-111111111111") if tool == "argilla" else ()
    handed = world.json("export", "desk", *files, "--project", world.path(project), *ids)
    assert handed == {"items": 4}
    made = Path(world.path(project)).read_text()
    assert Xml.fromstring(made).tag == "View" if tool == "label-studio" else json.loads(made)
    assert world.json("import", "desk", *files, *ids) == {"entered": 0, "known": 1, "refused": []}
    items = json.loads(Path(world.path("items.json")).read_text())
    said = json.dumps(items).replace('"ann"', '"bob"').replace("11111111-", "22222222-")
    Path(world.path("items.json")).write_text(said)
    others = ("--user", "bob=22222222-1111-1111-1111-111111111111") if tool == "argilla" else ()
    [refused] = world.json("import", "desk", *files, *others)["refused"]  # one reviewer was enough
    assert "has its 1 reviewers" in refused[1]
    assert refused[0] in world.run("import", "desk", *files, *others)


def test_a_file_that_is_wrong_is_told_by_its_record(world: World) -> None:
    """Or that it is no JSON, or whose id is meant."""
    file = Path(world.path("items.json"))
    file.write_text('[{"data": {"candidate_id": "c", "x": 1}, "annotations": [7]}]')
    with pytest.raises(DataError, match="record c, annotations"):
        world.run("import", "desk", str(file), "--format", "label-studio")
    file.write_text("nonsense")
    with pytest.raises(DataError, match=r"items\.json is no JSON"):
        world.run("import", "desk", str(file), "--format", "argilla")
    with pytest.raises(RequestError, match="ann=UUID"):
        world.run("export", "desk", str(file), "--format", "argilla", "--user", "ann")
