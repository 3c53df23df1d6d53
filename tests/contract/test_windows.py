"""Windows and references of features, made of real rows: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from sqlalchemy import event, func, text
from sqlmodel import select
from typer.testing import CliRunner

from core.clock import as_utc, utc_now
from core.errors import DataError
from core.ids import new_id
from core.monitoring_settings import MonitoringSettings
from core.settings import ApplicationSettings, EngineSettings, Settings, load_settings
from feedback.drift_tables import DriftReport, FeatureWindow, Reference
from feedback.erasure import Person, open_erasure
from feedback.events import Message
from feedback.tables import Adapter, Application, DatasetVersion, Feedback, Interaction, Rollout
from loop.cli import app
from loop.drift_job import check_drift
from loop.erasing import carry_out
from loop.window_job import collect_windows
from loop.wiring import Parts, open_parts
from monitoring.windows.collecting import Collected, collect
from monitoring.windows.feature_file import COLUMNS, read_features
from tests.ready_store import lay_store
from tests.unit.loop_world import write_settings_file

START = utc_now() - timedelta(hours=20)
KNOWN = ("where is my parcel number", "send the invoice again for order")
FRESH = "quarzglimmer und feldspat im granitgestein bestimmen, probe"
COPIED = ("id", "event_id", "started_at")  # with a number
RULES: dict[str, Any] = {
    "window_interactions": 60,
    "sample_rows": 40,
    "min_rows": 20,
    "healthy_interactions": 60,
    "topics": 4,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """The address of each kind of store, empty; None is a file in the data folder."""
    if request.param == "sqlite":
        return None
    return request.getfixturevalue("ready_postgresql_url")


def settings_in(folder: Path, url: str | None = None, **rules: Any) -> Settings:
    """Return the settings of one application, and lay its store."""
    lay_store(f"sqlite:///{folder / 'data' / 'store.db'}")
    return Settings(
        data_dir=folder / "data",
        store_url=url,
        applications={"desk": ApplicationSettings(api_key=SecretStr("key"))},
        engine=EngineSettings(model=folder / "model"),
        monitoring=MonitoringSettings.model_validate(RULES | rules),
    )


@pytest.fixture
def parts(tmp_path: Path, url: str | None) -> Iterator[Parts]:
    """Give parts on each kind of store."""
    with open_parts(settings_in(tmp_path, url)) as parts:
        yield parts


@pytest.fixture
def here(tmp_path: Path) -> Generator[Parts]:
    """Give parts on SQLite, where the kind of store does not matter."""
    with open_parts(settings_in(tmp_path)) as parts:
        yield parts


def talk(
    parts: Parts, count: int, *, hour: float = 0.0, prompt: str | None = None, **columns: Any
) -> list[str]:
    """Store interactions, a second apart, of which each third is rated good; return their ids."""
    with parts.store.session() as session:
        ids: list[str] = []
        for number in range(count):
            said = f"{prompt or KNOWN[number % 2]} {number}"
            values: dict[str, Any] = {
                "id": new_id(),
                "application": "desk",
                "endpoint": "/v1/chat/completions",
                "requested_model": "desk",
                "messages": msgspec.to_builtins([Message("user", said)]),
                "answer": f"It is in the van with number {number}.",
                "prompt_tokens": 12,
                "completion_tokens": 9,
                "latency_s": 0.5,
                "started_at": START + timedelta(hours=hour, seconds=number),
                "event_id": new_id(),
            }
            row = Interaction(**{**values, **columns})
            ids.append(row.id)
            session.add(row)
            if number % 3 == 0:
                session.add(thumb(row))
        session.commit()
    return ids


def thumb(row: Interaction) -> Feedback:
    """Return a thumbs-up."""
    return Feedback(
        event_id=new_id(),
        client_id=new_id(),
        interaction_id=row.id,
        application="desk",
        kind="thumbs",
        thumbs=True,
        given_at=row.started_at + timedelta(seconds=9),
    )


def train(parts: Parts, folder: Path, *, name: str = "desk--v1", rows: int = 80) -> list[str]:
    """Make an adapter, trained on a dataset of known prompts, live; return its examples' ids."""
    ids = [new_id() for _ in range(rows)]
    messages = [
        [
            {"role": "user", "content": f"{KNOWN[number % 2]} {number}"},
            {"role": "assistant", "content": "It is in the van."},
        ]
        for number in range(rows)
    ]
    folder.mkdir()
    pq.write_table(
        pa.table({"example_id": ids, "interaction_id": ids, "messages": messages}),
        folder / "train.parquet",
    )
    with parts.store.session() as session:
        session.add(
            DatasetVersion(
                id="desk--d1",
                application="desk",
                path=str(folder),
                content_hash="",
                train_rows=rows,
                validation_rows=0,
                test_rows=0,
                new_rows=rows,
            )
        )
        session.add(
            Adapter(
                name=name,
                application="desk",
                base_model="base",
                path=name,
                content_hash="",
                run_id="run",
                dataset_id="desk--d1",
                rank=16,
                created_by="test",
                created_at=START - timedelta(hours=1),
            )
        )
        owner = session.get_one(Application, "desk")
        owner.live_adapter = name
        session.add(owner)
        session.commit()
    return ids


def look(parts: Parts, now: datetime | None = None, *, close_now: bool = False) -> list[Collected]:
    """Collect once, with settled interactions."""
    return collect(parts.store, parts.settings, now or utc_now(), close_now=close_now)


def rows(parts: Parts, table: type[Any]) -> list[Any]:
    """Return all rows of a table."""
    with parts.store.session() as session:
        return list(session.exec(select(table)).all())


def test_a_window_holds_the_features_of_new_interactions(parts: Parts, tmp_path: Path) -> None:
    """Every column of the contract, by what the interactions say; and no text anywhere."""
    examples = train(parts, tmp_path / "dataset")
    ids = talk(parts, 60, adapter="desk--v1")
    [made] = look(parts)
    assert made.window is not None
    assert (made.window.rows, made.window.sampled_rows) == (60, 40)
    assert as_utc(made.window.start) == START
    table = read_features(Path(made.window.path))
    assert table.column_names == [*(name for name, _ in COLUMNS), "embedding"]
    first = table.to_pylist()[0]
    assert first["interaction_id"] in ids
    assert first["prompt_chars"] > 20
    assert (first["prompt_tokens"], first["answer_tokens"]) == (12, 9)
    assert (first["language"], first["refusal"], first["format_valid"]) == ("en", False, None)
    assert len(first["embedding"]) == 256
    assert set(table["topic"].to_pylist()) <= {-1, 0, 1, 2, 3}
    assert max(table["novelty"].to_pylist()) < 0.5
    assert [one.kind for one in made.references] == ["training", "healthy_week"]
    training = read_features(Path(made.references[0].path))
    assert set(training["interaction_id"].to_pylist()) == set(examples)
    summary = json.loads(json.dumps(rows(parts, FeatureWindow)[0].summary))
    assert summary["numbers"]["latency_s"]["mean"] == 0.5
    assert summary["shares"]["error"] == 0.0
    assert summary["response_rate"] == summary["feedback"]["thumbs"] > 0.1
    assert summary["novelty_rate"] < 0.3
    for path in (tmp_path / "data/monitoring").rglob("*.parquet"):
        stored = str(read_features(path).drop_columns(["embedding"]).to_pydict())
        assert "parcel" not in stored


def test_looking_again_without_anything_new_makes_nothing(parts: Parts, tmp_path: Path) -> None:
    """Neither rows nor files; the next window begins where the last one ended."""
    train(parts, tmp_path / "dataset")
    talk(parts, 60, adapter="desk--v1")
    assert "window of 60 interactions, 40 read" in collect_windows(parts)
    files = sorted((tmp_path / "data/monitoring").rglob("*"))
    assert collect_windows(parts) == "nothing new"
    assert sorted((tmp_path / "data/monitoring").rglob("*")) == files
    talk(parts, 60, adapter="desk--v1", hour=1)
    assert collect_windows(parts) == "desk, desk--v1: a window of 60 interactions, 40 read"
    first, second = sorted(rows(parts, FeatureWindow), key=lambda window: window.start)
    assert first.end < second.start
    assert len(rows(parts, Reference)) == 2


def test_a_subject_never_seen_before_is_novel_and_a_new_topic(parts: Parts, tmp_path: Path) -> None:
    """Its interactions have topic -1, and are far from all examples."""
    train(parts, tmp_path / "dataset")
    talk(parts, 60, adapter="desk--v1")
    look(parts)
    fresh = set(talk(parts, 30, adapter="desk--v1", hour=1, prompt=FRESH))
    talk(parts, 30, adapter="desk--v1", hour=2)
    [made] = look(parts)
    assert made.window is not None
    table = read_features(Path(made.window.path)).to_pylist()
    mine = [row for row in table if row["interaction_id"] in fresh]
    assert all(row["topic"] == -1 for row in mine)
    assert min(row["novelty"] for row in mine) > 0.5
    assert made.window.summary["novelty_rate"] == pytest.approx(len(mine) / len(table), abs=0.1)


def test_the_cost_of_a_window_does_not_grow_with_traffic(here: Parts) -> None:
    """Ten times the interactions: texts of no more rows are read, in no more queries."""
    statements: list[str] = []
    queries: list[int] = []

    def count(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(here.store.engine, "before_cursor_execute", count)
    for hour, rows_ in ((0, 60), (1, 60), (2, 600)):
        talk(here, rows_, hour=hour)
        statements.clear()
        [made] = look(here)
        queries.append(len(statements))
        assert made.window is not None
        assert (made.window.rows, made.window.sampled_rows) == (60, 40)
        assert read_features(Path(made.window.path)).num_rows == 40
    assert queries[1] == queries[2]  # the first made a reference, too


def test_the_cost_of_a_window_and_its_check_is_flat_to_a_hundred_thousand(here: Parts) -> None:
    """No more statements, and of no more rows: the newest of them are found by an index."""
    talk(here, 60)
    look(here)  # makes the reference
    told: list[tuple[int, int]] = []
    for hour, times in ((1, 1), (2, 1_667)):
        talk(here, 60, hour=hour)
        multiply(here, START + timedelta(hours=hour), times)
        statements: list[str] = []

        def count(*arguments: Any, seen: list[str] = statements) -> None:
            seen.append(arguments[2])

        event.listen(here.store.engine, "before_cursor_execute", count)
        [made] = look(here)
        collecting = len(statements)
        assert check_drift(here).startswith("1 windows checked")
        event.remove(here.store.engine, "before_cursor_execute", count)
        assert made.window is not None
        assert (made.window.rows, made.window.sampled_rows) == (60, 40)
        told.append((collecting, len(statements) - collecting))
    (collecting, checking), (collecting_many, checking_many) = told
    assert collecting_many == collecting
    assert checking_many <= checking + 6  # which ask for the report of the window before
    with here.store.session() as session:
        assert session.exec(select(func.count()).select_from(Interaction)).one() > 100_000


def multiply(parts: Parts, since: datetime, times: int) -> None:
    """Copy the interactions since then, milliseconds apart, until there are so many times more."""
    columns = [name for name in Interaction.model_fields if name not in COPIED]
    copied = text(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {times}) "
        f"INSERT INTO interaction (id, event_id, started_at, {', '.join(columns)}) "
        "SELECT id || '-' || i, event_id || '-' || i, strftime('%Y-%m-%d %H:%M:%f000', "
        f"started_at, '+' || (i * 0.001) || ' seconds'), {', '.join(columns)} "
        "FROM interaction, n WHERE started_at >= :since"
    )
    with parts.store.engine.begin() as connection:
        connection.execute(copied, {"since": f"{since:%Y-%m-%d %H:%M:%S.%f}"})


def test_a_few_interactions_wait_until_they_are_old(here: Parts) -> None:
    """Or until somebody does not want to; far too few make no window at all."""
    talk(here, 30)
    soon = START + timedelta(hours=1)
    assert look(here, soon)[0].window is None
    [made] = look(here, soon, close_now=True)
    assert made.window is not None
    assert made.window.rows == 30
    talk(here, 10, hour=2)
    assert look(here, close_now=True)[0].window is None
    talk(here, 20, hour=3)
    [made] = look(here, START + timedelta(hours=27))
    assert made.window is not None
    assert made.window.rows == 30


def test_without_text_only_numbers_are_told(here: Parts) -> None:
    """As an application keeps it by `metadata_only`: columns of text are null, the rest is not."""
    nothing = msgspec.to_builtins([Message("user", "")])
    talk(here, 60, messages=nothing, answer="", refused=True)
    [made] = look(here)
    assert made.window is not None
    table = read_features(Path(made.window.path)).to_pylist()
    silent = ("prompt_chars", "answer_chars", "language", "topic", "novelty", "embedding")
    assert all(row[name] is None for row in table for name in silent)
    assert {row["latency_s"] for row in table} == {0.5}
    assert all(row["refusal"] for row in table)


def test_what_nobody_saw_and_embeddings_are_no_traffic(here: Parts) -> None:
    """Nor is another adapter's."""
    talk(here, 60, shadow_of="another")
    talk(here, 60, endpoint="/v1/embeddings")
    talk(here, 60, adapter="desk--v9")
    assert look(here, close_now=True) == [Collected(look(here)[0].scope, None, ())]


def test_what_is_asked_of_a_model_by_its_name_is_no_traffic(here: Parts, tmp_path: Path) -> None:
    """Measurements of an adapter or of the base model close no window; routed answers do."""
    train(here, tmp_path / "dataset")
    talk(here, 60, adapter="desk--v1", requested_model="desk--v1")
    talk(here, 60, adapter=None, requested_model="base")
    assert not any(one.window for one in look(here))
    talk(here, 60, hour=1.0, adapter="desk--v1", requested_model="live")
    (window,) = [one.window for one in look(here) if one.window]
    assert (window.adapter, window.rows) == ("desk--v1", 60)


def test_a_healthy_week_is_the_first_without_errors_and_drift(here: Parts) -> None:
    """Spans with many errors, or whose drift was acted on, are passed over."""
    talk(here, 60, status="error", error="engine", answer="")
    talk(here, 60, hour=1)
    with here.store.session() as session:
        session.add(
            DriftReport(
                id=new_id(),
                application="desk",
                window_start=START + timedelta(minutes=59),
                window_end=START + timedelta(minutes=62),
                reference_id="none",
                severity="act",
                reason="test",
                folder="",
            )
        )
        session.commit()
    assert look(here)[0].references == ()
    healthy = talk(here, 60, hour=2)
    [reference] = look(here)[0].references
    assert reference.kind == "healthy_week"
    assert set(read_features(Path(reference.path))["interaction_id"].to_pylist()) == set(healthy)
    assert datetime.fromisoformat(reference.summary["start"]) == START + timedelta(hours=2)


def test_a_canary_has_windows_but_no_healthy_week_before_it_is_promoted(
    here: Parts, tmp_path: Path
) -> None:
    """Both arms of an active rollout are looked at."""
    train(here, tmp_path / "dataset", name="desk--v2")
    with here.store.session() as session:
        owner = session.get_one(Application, "desk")
        owner.live_adapter = None
        session.add(owner)
        rollout = Rollout(
            id="r", application="desk", canary_adapter="desk--v2", state="canary", salt="s"
        )
        session.add(rollout)
        session.commit()
    talk(here, 60)
    talk(here, 60, adapter="desk--v2")
    told = {one.scope.name: [row.kind for row in one.references] for one in look(here)}
    assert told == {"base": ["healthy_week"], "desk--v2": ["training"]}
    with here.store.session() as session:
        rollout = session.get_one(Rollout, "r")
        rollout.state, rollout.state_since = "watch", START + timedelta(hours=1)
        session.add(rollout)
        session.commit()
    talk(here, 60, adapter="desk--v2", hour=2)
    canary = look(here)[1]
    [reference] = canary.references
    assert datetime.fromisoformat(reference.summary["start"]) == START + timedelta(hours=2)


def test_an_erased_person_leaves_windows_and_references(parts: Parts, tmp_path: Path) -> None:
    """Their rows go; everybody else's stay."""
    train(parts, tmp_path / "dataset")
    talk(parts, 60, adapter="desk--v1")
    look(parts)
    ann = Person("desk", "a" * 32)
    hers = set(talk(parts, 30, adapter="desk--v1", hour=1, prompt=FRESH, subject=ann.subject))
    talk(parts, 30, adapter="desk--v1", hour=2)
    [made] = look(parts)
    assert made.window is not None
    before = read_features(Path(made.window.path))
    own = sum(id_ in hers for id_ in before["interaction_id"].to_pylist())
    with parts.store.session() as session:
        erasure = open_erasure(session, ann, new_id(), "an operator", utc_now())
        session.commit()
    assert carry_out(parts, erasure.id).counts["feature_rows"] == own > 0
    after = read_features(Path(made.window.path))
    assert after.num_rows == before.num_rows - own
    window = next(row for row in rows(parts, FeatureWindow) if row.id == made.window.id)
    assert window.sampled_rows == after.num_rows
    assert window.summary["erased"] == own


def test_old_windows_go_with_their_files(here: Parts) -> None:
    """After `keep_days`; references stay."""
    talk(here, 60)
    look(here)
    [window] = rows(here, FeatureWindow)
    look(here, utc_now() + timedelta(days=91))
    assert rows(here, FeatureWindow) == []
    assert not Path(window.path).exists()
    assert len(rows(here, Reference)) == 1


def test_a_reference_whose_file_is_gone_is_told(here: Parts, tmp_path: Path) -> None:
    """By the file's name, and with what to do."""
    train(here, tmp_path / "dataset")
    talk(here, 60, adapter="desk--v1")
    look(here)
    Path(rows(here, Reference)[0].path).unlink()
    talk(here, 60, adapter="desk--v1", hour=1)
    with pytest.raises(DataError, match=r"features\.parquet cannot be read.*restore it"):
        look(here)


def test_the_same_traffic_gives_the_same_features(tmp_path: Path) -> None:
    """In two stores, with the same ids: sampling, topics and distances have no chance in them."""
    told: list[Any] = []
    for name in ("one", "two"):
        with open_parts(settings_in(tmp_path / name)) as parts:
            talk(parts, 60)
            with parts.store.session() as session:
                for place, row in enumerate(
                    session.exec(select(Interaction).order_by(Interaction.started_at)).all()  # pyright: ignore[reportArgumentType] (a column)
                ):
                    votes = select(Feedback).where(Feedback.interaction_id == row.id)
                    for vote in session.exec(votes).all():
                        vote.interaction_id = f"i{place}"
                    row.id = f"i{place}"
                session.commit()
            [made] = look(parts)
            assert made.window is not None
            told.append(read_features(Path(made.window.path)))
    assert told[0].equals(told[1])


def test_people_collect_by_command(tmp_path: Path) -> None:
    """In words and as JSON; with nothing new it says what to do."""
    file = write_settings_file(tmp_path)
    with open_parts(load_settings(file)) as parts:
        talk(parts, 60)

    def ratchet(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["--settings", str(file), "drift", "windows", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "nothing new" in ratchet()
    [told] = json.loads(ratchet("--now", "--json"))
    assert (told["application"], told["adapter"]) == ("desk", None)
    assert told["window"]["rows"] == 60
    with open_parts(load_settings(file)) as parts:
        talk(parts, 60, hour=1)
    assert ratchet("--now") == "desk, base: a window of 60 interactions, 60 read\n"
