"""A window checked on files and the store: what is written, once, and how it is kept true."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from sqlmodel import delete, select

from bench.drift.traffic import HEALTHY
from core.drift_settings import DriftSettings
from core.errors import DataError, NotFoundError
from core.settings import FILE_VARIABLE
from feedback.drift_tables import DriftReport, FeatureWindow, Reference
from feedback.tables import Interaction, Run
from loop.cli import app
from loop.drift_job import check_application, check_drift
from monitoring.drift import evidently_reports
from monitoring.drift.evidently_reports import Side, write_evidently
from monitoring.drift.reading import Texts, read_features
from tests.unit.drift_world import NEW_SUBJECT, DriftWorld, open_world

NEW = replace(HEALTHY, new_topic=0.12)
DOUBLED = replace(HEALTHY, topics=(*HEALTHY.topics[:3], 0.3, *HEALTHY.topics[4:]))
MUCH_NEW = replace(HEALTHY, new_topic=0.3)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DriftWorld]:
    """Give an application with a healthy week."""
    with open_world(tmp_path) as opened:
        opened.reference(HEALTHY)
        yield opened


def reports(world: DriftWorld) -> dict[str, DriftReport]:
    """Return all reports by their window."""
    with world.parts.store.session() as session:
        return {row.id: row for row in session.exec(select(DriftReport)).all()}


def test_drift_goes_from_none_over_watch_to_act(world: DriftWorld) -> None:
    """A known topic that doubles is watched in its first window and acted on in its second."""
    calm, first, second = (world.window(one) for one in (HEALTHY, DOUBLED, DOUBLED))
    assert check_drift(world.parts) == "3 windows checked: 1 act, 1 watch, 1 none"
    made = reports(world)
    assert [made[one].severity for one in (calm, first, second)] == ["none", "watch", "act"]
    assert made[second].reason.startswith("topic from 3: ")
    assert "consecutive windows" in made[second].reason


def test_a_check_that_is_repeated_changes_nothing(world: DriftWorld) -> None:
    """One report a window, whatever happens."""
    world.window(NEW)
    check_drift(world.parts)
    before = reports(world)
    assert check_drift(world.parts) == "0 windows checked"
    assert reports(world) == before


def test_a_gap_between_windows_breaks_persistence(world: DriftWorld) -> None:
    """Windows that are not neighbours are not consecutive."""
    world.window(DOUBLED)
    later = world.window(DOUBLED, hours_later=5)
    check_drift(world.parts)
    assert reports(world)[later].severity == "watch"


def test_after_an_act_drift_is_watched_for_the_cool_down(world: DriftWorld) -> None:
    """One act is one retraining; the next one comes a day later."""
    first, second = world.window(MUCH_NEW), world.window(MUCH_NEW)
    later = world.window(MUCH_NEW, hours_later=30)
    check_drift(world.parts)
    made = reports(world)
    assert [made[one].severity for one in (first, second, later)] == ["act", "watch", "act"]
    assert "cool-down" in made[second].reason


def test_the_report_names_the_new_subject_with_its_prompts(world: DriftWorld) -> None:
    """The page and the numbers have the cluster, its words and prompts as they are stored."""
    window = world.window(MUCH_NEW)
    check_drift(world.parts)
    report = reports(world)[window]
    (cluster,) = report.numbers["clusters"]
    assert NEW_SUBJECT in cluster["words"]
    page = (Path(report.folder) / "report.html").read_text()
    assert f"Please tell me about {NEW_SUBJECT}" in page
    assert "desk has drifted" in page
    assert "No retraining has followed yet" in page
    told = json.loads((Path(report.folder) / "report.json").read_text())
    assert told["severity"] == "act"
    assert NEW_SUBJECT not in json.dumps(told["numbers"]["clusters"][0]["examples"])


def test_prompts_that_were_erased_leave_the_page(world: DriftWorld) -> None:
    """The next check writes the page again without them."""
    window = world.window(MUCH_NEW)
    check_drift(world.parts)
    with world.parts.store.session() as session:
        session.exec(delete(Interaction))
        session.commit()
    assert check_drift(world.parts) == "0 windows checked; 1 pages written again"
    page = (Path(reports(world)[window].folder) / "report.html").read_text()
    assert "Please tell me" not in page
    assert "no longer" in page


def test_the_page_tells_of_the_retraining_that_it_caused(world: DriftWorld) -> None:
    """Once the policy wrote the run into the row, the page links it."""
    window = world.window(MUCH_NEW)
    check_drift(world.parts)
    with world.parts.store.session() as session:
        row = session.get(DriftReport, window)
        assert row is not None
        row.run_id = "run-7"
        run = Run(
            id="run-7",
            application="desk",
            dataset_id="desk--d2",
            recipe="sft-lora",
            mode="incremental",
            reason="drift",
            status="running",
            folder="runs/run-7",
        )
        session.add_all([row, run])
        session.commit()
    check_drift(world.parts)
    page = (Path(reports(world)[window].folder) / "report.html").read_text()
    assert "the retraining run-7 (sft-lora, incremental, running)" in page


def test_before_the_healthy_week_the_training_data_decide(tmp_path: Path) -> None:
    """Only what people ask is compared; with both, the training data stand beside."""
    with open_world(tmp_path) as world:
        world.window(HEALTHY)
        assert check_drift(world.parts) == "0 windows checked"
        world.reference(HEALTHY, kind="training")
        check_drift(world.parts)
        assert reports(world)["window-0"].numbers["reference"] == "training"
        world.reference(HEALTHY)
        world.window(MUCH_NEW)
        check_drift(world.parts)
        numbers = reports(world)["window-1"].numbers
        assert numbers["reference"] == "healthy_week"
        assert [one["drifted"] for one in numbers["others"]["training"]].count(True) >= 1


def test_windows_are_held_against_references_of_their_own_encoder(world: DriftWorld) -> None:
    """After `monitoring.encoder` is set anew there is nothing to compare with, for a while."""
    window = world.window(MUCH_NEW)
    with world.parts.store.session() as session:
        row = session.get_one(FeatureWindow, window)
        row.summary = {"encoder": "sentence-small"}
        session.commit()
    assert check_drift(world.parts) == "0 windows checked"
    with world.parts.store.session() as session:
        reference = session.get_one(Reference, "reference-healthy_week")
        reference.summary = reference.summary | {"encoder": "sentence-small"}
        session.commit()
    assert check_drift(world.parts) == "1 windows checked: 1 act"


def test_windows_of_the_healthy_week_itself_are_not_checked(world: DriftWorld) -> None:
    """A window that the reference is made of would be compared with itself."""
    world.hours = -1
    world.window(MUCH_NEW)
    assert check_drift(world.parts) == "0 windows checked"


def test_a_window_whose_file_is_gone_is_told(world: DriftWorld) -> None:
    """The message names the file and the mend."""
    world.window(HEALTHY)
    (world.folder / "window-0.parquet").unlink()
    with pytest.raises(DataError, match=r"window-0\.parquet.*restore it"):
        check_drift(world.parts)


def test_windows_without_texts_and_embeddings_are_checked_too(world: DriftWorld) -> None:
    """Where an application stores no text, columns are all there is."""
    import pyarrow.parquet as pq

    window = world.window(MUCH_NEW)
    path = world.folder / f"{window}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["embedding"]), path)
    check_drift(world.parts)
    report = reports(world)[window]
    assert report.severity == "act"
    assert report.numbers["clusters"] == []


def test_missing_values_are_read_as_missing(world: DriftWorld) -> None:
    """Ratings that nobody gave are no ratings, and tell how many were given."""
    window = world.window(HEALTHY, rows=300)
    features = read_features(world.folder / f"{window}.parquet")
    flags = features.sample.flags
    assert flags["rated"].mean() == pytest.approx(0.3, abs=0.1)
    assert int((flags["rating"] == flags["rating"]).sum()) == int(flags["rated"].sum())
    assert features.embedded_ids == features.interaction_ids


def test_evidently_writes_one_report_each_of_data_text_and_quality(tmp_path: Path) -> None:
    """The real library, on a drifted window: six files, no text of a person in them."""
    with open_world(tmp_path, evidently="drift") as world:
        world.reference(HEALTHY)
        calm, drifted = world.window(HEALTHY), world.window(MUCH_NEW)
        check_drift(world.parts)
        made = reports(world)
        folder = Path(made[drifted].folder)
        names = {f"evidently_{name}" for name in ("data", "text", "quality")}
        for name in names:
            assert "<html" in (folder / f"{name}.html").read_text()[:2_000].lower()
            assert json.loads((folder / f"{name}.json").read_text())
            assert NEW_SUBJECT not in (folder / f"{name}.html").read_text()
        page = (folder / "report.html").read_text()
        assert all(f'href="{name}.html"' in page for name in names)
        assert not list(Path(made[calm].folder).glob("evidently_*"))
        assert "'drift'" in made[calm].numbers["evidently"]


def test_evidently_leaves_out_what_there_is_nothing_of(tmp_path: Path, world: DriftWorld) -> None:
    """Without texts no report of texts; without columns none at all."""
    window = world.window(HEALTHY, rows=100)
    sample = read_features(world.folder / f"{window}.parquet").sample
    side = Side(replace(sample, flags={}, numbers={}), [])
    assert write_evidently(side, side, tmp_path) == ["evidently_data.html", "evidently_data.json"]
    empty = Side(replace(sample, flags={}, numbers={}, labels={}), [Texts("a b", "")])
    assert write_evidently(empty, Side(empty.sample, []), tmp_path) == []


def test_without_evidently_the_page_says_how_to_get_it(
    world: DriftWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own report is whole without it."""
    monkeypatch.setattr(evidently_reports, "is_installed", lambda: False)
    window = world.window(HEALTHY)
    with world.parts.store.session() as session:
        settings = world.parts.settings
        check_application(session, settings, "desk", evidently=True)
        with pytest.raises(NotFoundError, match="nobody"):
            check_application(session, settings, "nobody")
    page = (Path(reports(world)[window].folder) / "report.html").read_text()
    assert "pip install" in page


def ratchet(*arguments: str) -> str:
    """Return what `ratchet …` prints."""
    told = io.StringIO()
    with redirect_stdout(told):
        app(list(arguments), standalone_mode=False)
    return told.getvalue()


@pytest.fixture
def commands(world: DriftWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriftWorld]:
    """Give a world that the commands find."""
    file = world.folder / "ratchet.toml"
    file.write_text(
        f'data_dir = "{world.parts.settings.data_dir}"\n'
        '[applications.desk]\napi_key = "sk-desk-0123456789"\n[drift]\nevidently = "never"\n'
    )
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    monkeypatch.setenv("COLUMNS", "250")
    logs = structlog.get_config()
    yield world
    structlog.configure(**logs)


def test_the_commands_check_list_and_show(commands: DriftWorld) -> None:
    """For people and for scripts; a second check says that there is nothing new."""
    window = commands.window(MUCH_NEW)
    assert json.loads(ratchet("drift", "check", "desk", "--json"))[0]["severity"] == "act"
    assert "nothing new to check" in ratchet("drift", "check", "desk")
    assert json.loads(ratchet("drift", "list", "--json"))[0]["id"] == window
    assert window in ratchet("drift", "list", "desk")
    shown = ratchet("drift", "show", window)
    assert NEW_SUBJECT in shown
    assert json.loads(ratchet("drift", "show", window, "--json"))["id"] == window
    with pytest.raises(NotFoundError, match="ratchet drift list"):
        ratchet("drift", "show", "no-such")
    commands.window(HEALTHY)
    assert "report.html" in ratchet("drift", "check", "desk")


def test_what_is_said_for_certain_does_not_depend_on_when(world: DriftWorld) -> None:
    """A window checked again from nothing gives the same numbers."""
    window = world.window(NEW)
    check_drift(world.parts)
    before = reports(world)[window]
    with world.parts.store.session() as session:
        session.exec(delete(DriftReport))
        session.commit()
    check_drift(world.parts)
    assert reports(world)[window].numbers == before.numbers


def test_only_windows_of_some_time_back_are_caught_up(world: DriftWorld) -> None:
    """After a long pause the newest eight are checked."""
    for _ in range(10):
        world.window(HEALTHY, rows=60)
    assert check_drift(world.parts).startswith("8 windows checked")
    with world.parts.store.session() as session:
        assert len(session.exec(select(FeatureWindow)).all()) == 10


def test_drift_settings_say_when_evidently_writes() -> None:
    """Only the three words are known."""
    assert DriftSettings(evidently="always").evidently == "always"
