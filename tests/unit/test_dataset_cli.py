"""`ratchet dataset`: what operators and scripts get from it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import structlog
import typer

from core.clock import utc_now
from core.errors import RatchetError
from core.settings import FILE_VARIABLE, load_settings
from curation.erasure import Unwanted, erase_examples
from curation.stages.coverage import coverage_report, tally
from curation.table import with_column
from feedback.tables import Erasure, Run
from loop import cli
from loop.dataset_cli import dataset_app
from loop.wiring import open_parts
from tests.fakes.hub import WRITER, running_hub
from tests.unit.candidate_tables import keyed, row
from tests.unit.dataset_world import QUESTIONS, SPLITS, Shelf, some_rows, spoil
from tests.unit.loop_world import add_adapters, write_settings_file

app = typer.Typer(pretty_exceptions_enable=False)
app.callback()(cli.start)
app.add_typer(dataset_app, name="dataset")


@dataclass
class Done:
    """What a command left."""

    code: object
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Give the store and folder of the settings that commands find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    logs = structlog.get_config()
    settings = load_settings(write_settings_file(tmp_path))
    with open_parts(settings) as parts:
        yield Shelf(parts.store, settings.folder("datasets"))
    structlog.configure(**logs)


def dataset(*arguments: str) -> Done:
    """Run `ratchet dataset …` in this process; errors end as the console script ends them."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = app(["dataset", *arguments], standalone_mode=False) or 0
        except RatchetError as error:
            print(f"error: {error.message}", file=sys.stderr)
            code = 1
    return Done(code, out.getvalue(), err.getvalue())


def test_versions_are_listed_in_their_order(shelf: Shelf) -> None:
    """By application and number; an application without versions has none, an unknown is told."""
    for id_ in ("desk--d10", "desk--d9", "attic--d1"):
        shelf.put(id_)
    done = dataset("list", "--json")
    assert [version["id"] for version in done.json] == ["attic--d1", "desk--d9", "desk--d10"]
    assert done.json[0]["kinds"]["demonstration"] == {"train": 4, "validation": 1, "test": 1}
    assert [one["id"] for one in dataset("list", "attic", "--json").json] == ["attic--d1"]
    text = dataset("list", "desk").out
    assert "desk--d10" in text
    assert "attic" not in text
    done = dataset("list", "cellar")
    assert (done.code, done.err) == (
        1, "error: no application 'cellar'; the settings name: desk\n",
    )  # fmt: skip


def test_a_version_is_shown_with_what_came_of_it(shelf: Shelf) -> None:
    """Splits, stages with reasons, coverage, runs, adapters, children and erasures."""
    table = keyed(row("How?", "So.", subject="ann"))
    for name in ("topic", "tokens"):
        table = with_column(table, name, [0], pa.int32())
    shelf.put(coverage=coverage_report(tally(table), ["[parcel]"]))
    shelf.put("desk--d2", parent="desk--d1")
    add_adapters(shelf.store)
    with shelf.store.session() as session:
        session.add(
            Run(
                id="run-1", application="desk", dataset_id="desk--d1", recipe="sft", mode="full",
                reason="by hand", status="finished", folder="f",
            )
        )  # fmt: skip
        session.add(
            Erasure(
                id="erasure-1", application="desk", subject_digest="d", requested_by="ops",
                requested_at=utc_now(), state="done",
            )
        )  # fmt: skip
        session.commit()
    erase_examples(shelf.store, "desk--d1", Unwanted("erasure-1", "subject 1", frozenset({"i1"})))
    facts = dataset("show", "desk--d1", "--json").json
    assert facts["kinds"]["pair"] == {"train": 0, "validation": 0, "test": 0}
    assert facts["stages"][0]["dropped"] == {"flagged": 3}
    assert facts["coverage"]["topics"]["count"] == 1
    assert facts["children"] == ["desk--d2"]
    assert facts["runs"] == [{"id": "run-1", "status": "finished", "mode": "full"}]
    assert [adapter["name"] for adapter in facts["adapters"]] == ["desk--v1", "desk--v2"]
    (erasure,) = facts["erasures"]
    assert (erasure["erasure"], erasure["examples"], erasure["state"]) == ("erasure-1", 2, "done")
    assert "examples" not in facts
    text = dataset("show", "desk--d1").out
    for part in (
        "3 flagged", "run-1 (full, finished)", "desk--v1 (candidate)", "versions made of it: desk",
        "erasure-1 (2 examples, ", "| [parcel] | 1 | 100.0% |", "4 thumbs_up, 2 correction",
    ):  # fmt: skip
        assert part in text


def test_examples_are_shown_when_asked_for(shelf: Shelf) -> None:
    """Of a split and kind, with all their texts; safety tests only where they are named."""
    shelf.put()
    shown = dataset("show", "desk--d1", "--examples", "9", "--split", "test", "--json").json
    (one,) = shown["examples"]
    assert one["messages"][0]["content"] == QUESTIONS[5]
    text = dataset("show", "desk--d1", "--examples", "1", "--kind", "pair").out
    assert "rejected: Nowhere." in text
    assert "chosen: Here it is." in text
    text = dataset("show", "desk--d1", "--examples", "1", "--kind", "safety").out
    assert "category: abuse" in text
    done = dataset("show", "desk--d1", "--examples", "1", "--kind", "poem")
    assert done.code == 1
    assert "dataset desk--d1 has no poem in any split: it has demonstration train" in done.err


def test_an_unknown_version_is_named(shelf: Shelf) -> None:
    """By every command, with what shows those that there are."""
    shelf.put()
    for command in (
        ["show", "desk--d7"],
        ["diff", "desk--d1", "desk--d7"],
        ["export", "desk--d7", "out"],
        ["verify", "desk--d7"],
        ["push", "desk--d7", "acme/desk", "--allow-upload"],
    ):
        done = dataset(*command)
        assert (done.code, done.out) == (1, "")
        assert done.err == "error: no dataset 'desk--d7': `ratchet dataset list` shows them\n"


def test_two_versions_are_compared(shelf: Shelf) -> None:
    """Exit code 1 only if something moved."""
    shelf.put()
    more = [*some_rows(), row("How long is it?", "A metre.", subject="n", id_="i7")]
    rules = {"curation": {"near_duplicate_similarity": 0.95, "max_tokens": 2048}}
    shelf.put("desk--d2", more, parent="desk--d1", settings=rules)
    shelf.put("desk--d3", more, {**SPLITS, "i4": "train"}, parent="desk--d2")
    done = dataset("diff", "desk--d1", "desk--d2", "--json")
    assert (done.code, done.json["added"]["examples"], done.json["common"]) == (0, 1, 9)
    text = dataset("diff", "desk--d1", "desk--d2").out
    assert "added: 1 examples (1 thumbs_up; 1 demonstration; 1 train)" in text
    assert "moved to another split: none, as it must be" in text
    assert "curation.max_tokens" in text
    done = dataset("diff", "desk--d2", "desk--d3")
    assert done.code == 1
    assert "moved to another split: 1 examples, 1 interactions, 1 subjects" in done.out


def test_a_version_is_exported(shelf: Shelf, tmp_path: Path) -> None:
    """With a bar on standard error, and what was left out; JSON stands alone."""
    shelf.put()
    done = dataset("export", "desk--d1", str(tmp_path / "one"), "--format", "messages")
    assert "7 examples in 4 files" in done.out
    assert "left out: 1 label: no place in this format" in done.out
    assert "9/9" in done.err
    done = dataset("export", "desk--d1", str(tmp_path / "two"), "--format", "trl", "--json")
    assert done.json["files"]["sft/train.jsonl"] == 4
    assert done.json["content_hash"] == dataset("show", "desk--d1", "--json").json["content_hash"]
    done = dataset("export", "desk--d1", str(tmp_path / "two"))
    assert (done.code, "two is not empty" in done.err) == (1, True)
    done = dataset("export", "desk--d1", str(tmp_path / "three"), "--format", "xml")
    assert (done.code, "no format 'xml'" in done.err) == (1, True)


def test_whole_versions_pass_and_others_are_told(shelf: Shelf) -> None:
    """Exit code 1 with every fault: hash, counts, manifest, lines, leaks."""
    shelf.put()
    leaky = [row(text, "Yes.", subject="ann", id_=f"l{n}") for n, text in enumerate(QUESTIONS)]
    shelf.put("desk--d2", leaky, {"l1": "test", "l2": "validation"})
    changed = Path(shelf.put("desk--d3").path)
    done = dataset("verify", "desk--d1")
    assert (done.code, done.out) == (
        0, "desk--d1 is whole: hash, counts and splits are as they should be\n",
    )  # fmt: skip
    lines = changed / "messages" / "train.jsonl"
    lines.chmod(0o644)
    lines.write_text(lines.read_text().replace("Here it is.", "Gone.", 1))
    manifest = changed / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text().replace('"new_rows": 6', '"new_rows": 5'))
    done = dataset("verify", "--all", "--json")
    assert done.code == 1
    found = {one["id"]: (one["ok"], " ".join(one["problems"])) for one in done.json}
    assert found["desk--d1"] == (True, "")
    assert "the same subject in two splits, 1 times" in found["desk--d2"][1]
    for part in ("was changed", "differs from the store; in new_rows", "other conversations"):
        assert part in found["desk--d3"][1]


def test_broken_and_missing_files_are_faults_of_a_version(shelf: Shelf) -> None:
    """Each is named, also where nothing more can be looked into."""
    path = Path(shelf.put().path)
    spoil(path / "manifest.json")
    (path / "labels" / "test.parquet").unlink()
    (path / "README.md").unlink()
    done = dataset("verify", "desk--d1")
    assert done.code == 1
    assert "desk--d1 lacks labels/test.parquet" in done.out
    assert "test.parquet is missing; restore the folder" in done.out
    assert "lacks" in done.out
    assert "README.md" in done.out


def test_verify_wants_one_version_or_all(shelf: Shelf) -> None:
    """Neither both nor none."""
    for arguments in ([], ["desk--d1", "--all"]):
        done = dataset("verify", *arguments)
        assert (done.code, done.err) == (
            1, "error: name one dataset, or say --all: one of them\n",
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_version_is_pushed_and_pulled(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when it may leave the machine; a pull mends what is broken here."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    version = shelf.put()
    with running_hub() as hub:
        done = dataset("push", "desk--d1", "acme/desk", "--endpoint", hub.address)
        assert (done.code, hub.asked) == (1, [])
        assert "say --allow-upload if they may leave this machine" in done.err
        to = ["acme/desk", "--endpoint", hub.address]
        done = dataset("push", "desk--d1", *to, "--allow-upload", "--json")
        assert done.json["private"] is True
        assert done.json["commit"] == hub.repositories["acme/desk"].head
        spoil(Path(version.path) / "train.parquet")
        assert dataset("pull", *to, "--json").json == {
            "id": "desk--d1", "how": "restored", "path": version.path,
        }  # fmt: skip
        assert "desk--d1 was here already" in dataset("pull", *to).out
        done = dataset("push", "desk--d1", *to, "--allow-upload")
        assert "`ratchet subject erase` does not reach it" in done.out
    assert dataset("verify", "desk--d1").code == 0
