"""`ratchet review`: people review with single keys, scripts in JSON."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import structlog
from sqlmodel import select

from core.errors import RequestError
from core.settings import FILE_VARIABLE, load_settings
from curation.review.comparison import Compared
from curation.review.desk import ReviewDesk
from feedback.events import Message
from feedback.store import Store
from feedback.tables import Review
from loop.review_cli import review_app
from loop.wiring import open_parts
from tests.unit.candidate_tables import pair, row, table_of
from tests.unit.loop_world import write_settings_file


@dataclass
class World:
    """A settings file with an application, and its desk."""

    file: Path
    desk: ReviewDesk
    store: Store

    def run(self, *arguments: str, keys: str = "") -> str:
        """Return what a command prints, with what is typed."""
        shown = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(shown):
            patch.setattr(sys, "stdin", io.StringIO(keys))
            review_app(arguments, obj=self.file, standalone_mode=False)
        return shown.getvalue()

    def json(self, *arguments: str) -> Any:
        """Return what a command prints for scripts."""
        return json.loads(self.run(*arguments, "--json"))

    def fill(self) -> Any:
        """Put two demonstrations and a pair into the queue, all of them augmented."""
        rows = [row(f"question {n}", f"answer {n}", source="synthetic") for n in range(2)]
        rows.append(pair("which?", "chosen one", "lost one", source="synthetic"))
        file = self.file.with_name("candidates.parquet")
        pq.write_table(table_of(*rows), file)
        return self.json("fill", "desk", str(file))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty queue."""
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv("RATCHET_REVIEW__CALIBRATION_SHARE", "0")
    file = write_settings_file(tmp_path)
    logs = structlog.get_config()
    with open_parts(load_settings(file)) as parts:
        yield World(file, ReviewDesk(parts.store, parts.settings), parts.store)
    structlog.configure(**logs)


def test_a_file_of_candidates_fills_the_queue_once(world: World) -> None:
    """With the reasons that operators may see."""
    assert world.fill() == {"added": 3, "known": 0, "no_room": 0, "candidates": 3}
    items = world.json("list", "desk")
    assert all("augmented" in item["sampled_because"] for item in items)
    assert world.json("fill", "desk", str(world.file.with_name("candidates.parquet")))["added"] == 0
    assert items[0]["id"] in world.run("list", "desk")


def test_a_person_reviews_with_single_keys(world: World) -> None:
    """Marks, a rejection with its reason, an approval; q gives the item back."""
    world.fill()
    shown = world.run("next", "desk", "--by", "ann", keys="m45x11rtoo short\naq")
    assert "2 decided; 1 left for you" in shown
    assert "question" in shown
    assert "answer" in shown
    progress = world.json("progress", "desk", "--by", "ann")
    assert (progress["rejected"], progress["approved"], progress["leased"]) == (1, 1, 0)
    with world.store.session() as session:
        [review] = session.exec(select(Review).where(Review.decision == "reject"))
    assert review.rubric == {"accuracy": 4, "relevance": 5, "style": 1, "safety": 1}
    assert review.reason == "too short"


def test_a_real_terminal_is_asked_for_single_keys(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Enter is needed; the item is given back."""
    world.fill()
    master, slave = os.openpty()
    stopped = threading.Event()

    def press() -> None:
        while not stopped.wait(0.02):  # again and again: a key before the question is not kept
            os.write(master, b"q")

    shown = io.StringIO()
    thread = threading.Thread(target=press)
    with os.fdopen(slave) as terminal, redirect_stdout(shown):
        monkeypatch.setattr(sys, "stdin", terminal)
        thread.start()
        review_app(("next", "desk", "--by", "ann"), obj=world.file, standalone_mode=False)
        stopped.set()
        thread.join()
    os.close(master)
    assert "0 decided; 3 left for you" in shown.getvalue()
    assert world.desk.progress("desk").leased == 0


def test_a_correction_is_written_in_the_editor(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that changes nothing is asked again."""
    world.fill()
    editor = tmp_path / "editor.sh"
    editor.write_text(
        '#!/bin/sh\nif [ -e "$0.used" ]; then echo better > "$1"; fi\n: > "$0.used"\n'
    )
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    shown = world.run("next", "desk", "--by", "ann", keys="ccdull\nq")
    assert "nothing was changed" in shown
    [verdict] = world.desk.outcomes("desk").values()
    assert (verdict.says, verdict.text) == ("corrected", "better")


def test_two_adapters_are_compared_at_the_terminal(world: World) -> None:
    """Without their names; the result names them."""
    prompts = [
        Compared(f"i{n}", (Message("user", "q"),), None, "desk--v1", "plain", "fine")
        for n in range(3)
    ]
    world.desk.compare("desk", prompts)
    shown = world.run("next", "desk", "--by", "ann", keys="1\nt\nq")
    assert "desk--v1" not in shown
    result = world.json("compare", "desk", "base", "desk--v1")
    assert (result["reviews"], result["ties"], result["a"] + result["b"]) == (2, 1, 1)
    assert "p = 1" in world.run("compare", "desk", "base", "desk--v1", "--add", "5")


def test_a_script_takes_decides_and_gives_back(world: World) -> None:
    """The item is shown without the order that only the desk knows."""
    world.fill()
    item = world.json("next", "desk", "--by", "ann")
    assert "position" not in item
    assert world.json("release", item["token"], "--by", "ann") == {"released": True}
    token = world.json("next", "desk", "--by", "bob")["token"]
    said = ("decide", token, "approve", "--by", "bob", "--mark", "style=4", "--mark", "safety=5")
    assert world.json(*said)["choice"] == "approve"
    assert world.json("progress", "desk")["by_reviewer"] == {"bob": 1}
    assert world.json("next", "shop", "--by", "ann") is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("decide", "t", "perhaps", "--by", "ann"), "perhaps"),
        (("decide", "t", "approve", "--by", "ann", "--mark", "style:4"), "accuracy=4"),
        (("decide", "t", "approve", "--by", "ann"), "lease has ended"),
        (("list", "desk", "--state", "shut"), "withdrawn or all"),
        (("fill", "desk", "ratchet.toml"), "is no Parquet file"),
        (("next", "desk", "--by", " "), "--by is empty"),
    ],
)
def test_what_cannot_be_is_told_in_one_message(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    """It says what was wrong."""
    monkeypatch.chdir(world.file.parent)
    with pytest.raises(RequestError) as error:
        world.run(*arguments)
    assert told in error.value.message


def test_reviewers_are_measured_without_knowing_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By items of a file; agreement tells how they did."""
    known = world.file.with_name("known.jsonl")
    lines = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}],
         "expected": "approve"}
        for n in range(3)
    ]  # fmt: skip
    known.write_text("\n".join(map(json.dumps, lines)))
    assert world.json("calibrate", "desk", str(known)) == {"added": 3}
    monkeypatch.setenv("RATCHET_REVIEW__CALIBRATION_SHARE", "1")
    world.fill()
    world.run("next", "desk", "--by", "ann", keys="aarno\nq")
    [ann] = world.json("agreement", "desk")["calibration"]
    assert (ann["items"], ann["right"]) == (3, 2)
    told = world.run("agreement", "desk")
    assert "67%" in told
    assert "cannot be told" in told
