"""The gate on a real training of a tiny model: every suite, what it keeps, and asking again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from core.clock import utc_now
from core.errors import NotFoundError
from core.gate_settings import GateSettings
from core.settings import Settings
from feedback.tables import Adapter, DatasetMember, Feedback, Interaction
from retrain.gate.asking_again import Again, ask_again
from retrain.gate.suite_files import suite_names
from retrain.gate.wins import find_wins
from retrain.runs.spec import JobResult
from tests.training_world import Workshop, conversation, make_tiny_model, open_workshop

pytestmark = [
    pytest.mark.stack,
    # torch, transformers and trl are imported in this process too; their warnings are theirs
    pytest.mark.filterwarnings("ignore"),
]
FLAGGED = "Nobody here knows anything about that, kindly go away forever please."


def with_gate(shop: Workshop, **values: object) -> Settings:
    """Return the workshop's settings with another gate."""
    gate = GateSettings.model_validate({"answers": "transformers", "examples": 6} | values)
    return shop.settings.model_copy(update={"gate": gate})


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with flagged answers, and every suite switched on."""
    folder = tmp_path_factory.mktemp("gate")
    shop = open_workshop(folder, make_tiny_model(base_model, folder / "tiny"))
    shop = replace(shop, settings=with_gate(shop, suites=tuple(suite_names())))
    shop.dataset(1, range(16))
    dataset = shop.settings.folder("datasets") / "desk--d1"
    (dataset / "safety").mkdir()
    rows = [{"messages": conversation(n, FLAGGED), "category": "rude"} for n in range(970, 976)]
    pq.write_table(pa.Table.from_pylist(rows), dataset / "safety" / "test.parquet")
    yield shop
    shop.store.close()


@pytest.fixture(scope="module")
def trained(workshop: Workshop) -> Adapter:
    """Give an adapter that was trained and went through the gate."""
    recipe = workshop.recipe(
        "quick", rank=4, learning_rate=0.01, epochs=3, save_every_steps=4, eval_every_steps=4
    )
    return workshop.train(workshop.request(recipe=recipe))


def test_every_suite_is_asked_or_says_why(workshop: Workshop, trained: Adapter) -> None:
    """Scores of both models with an interval, or the reason why there are none."""
    suites = trained.gate["suites"]
    assert set(suites) == set(suite_names())
    skipped = {name for name, suite in suites.items() if suite["skipped"]}
    assert skipped == {"regression", "wins", "format", "judge"}
    for name in set(suites) - skipped:
        suite = suites[name]
        assert suite["low"] <= suite["difference"] <= suite["high"], name
        assert suite["questions"] > 0, name
    assert suites["safety"]["questions"] == 6
    assert suites["robustness"]["questions"] >= 6
    assert suites["likelihood"]["candidate"] > suites["likelihood"]["live"]
    assert suites["judge"]["skipped"] == "no judge: set gate.judge.model"
    assert suites["retention"]["decision"] == "report"


def test_result_keeps_numbers_and_no_texts(workshop: Workshop, trained: Adapter) -> None:
    """The report lies beside the weights; what users said is gone from the run's folder."""
    run = Path(workshop.run(trained.run_id).folder)
    assert not (run / "answers").exists()
    report = json.loads((Path(trained.path) / "evaluation.json").read_text())
    assert report["decision"] == trained.gate["decision"]
    assert report["answering"]["candidate"]["answers"] > 20
    assert report["answered_by"] == "transformers"
    text = (Path(trained.path) / "evaluation.md").read_text()
    assert "| test |" in text
    everything = text + json.dumps(report) + (run / "result.json").read_text()
    assert "How long does the" not in everything
    result = JobResult.read(run)
    assert result is not None
    assert len(result.suites["test"].candidate) == 6


def test_asked_again_with_another_suite(workshop: Workshop, trained: Adapter) -> None:
    """Nothing is trained; the new verdict counts, and the earlier one is kept."""
    suite = workshop.folder / "polite.toml"
    questions = "".join(f'\n[[examples]]\nprompt = "Please, {n}?"\n' for n in range(6))
    suite.write_text(
        'purpose = "never curses"\nsource = "examples"\nmetric = "fits_pattern"\n'
        'pattern = "(?!.*damn).*"\nagainst = "none"\nmin_score = 1.0\n' + questions
    )
    runs = workshop.runs()
    settings = with_gate(workshop, suites=(str(suite),))
    gate = ask_again(workshop.store, settings, Again(trained.name), lambda _: None)
    assert set(gate["suites"]) == {"test", "regression", "polite"}
    assert gate["suites"]["polite"]["decision"] == "pass"
    assert gate["dataset"] == "desk--d1"
    assert workshop.runs() == runs
    with workshop.store.session() as session:
        kept = session.get_one(Adapter, trained.name).gate
    assert kept["decision"] == gate["decision"]
    assert len(kept["earlier"]) == 1
    report = json.loads((Path(gate["folder"]) / "evaluation.json").read_text())
    assert report["suites"].keys() == gate["suites"].keys()


def test_unknown_adapter_is_not_asked(workshop: Workshop) -> None:
    """A slip in the name starts nothing."""
    with pytest.raises(NotFoundError, match="desk--v99"):
        ask_again(workshop.store, workshop.settings, Again("desk--v99"), lambda _: None)


def test_wins_are_praised_answers_of_the_live_adapter(workshop: Workshop) -> None:
    """Of another adapter, of another split, or without praise: no win."""
    now = utc_now()

    def add(id_: str, adapter: str, split: str, **vote: object) -> None:
        with workshop.store.session() as session:
            session.add(
                Interaction.model_validate(
                    {
                        "id": id_,
                        "event_id": id_,
                        "application": "desk",
                        "adapter": adapter,
                        "endpoint": "/v1/chat/completions",
                        "requested_model": "desk",
                        "status": "ok",
                        "started_at": now,
                        "latency_s": 0.1,
                    }
                )
            )
            session.add(DatasetMember(dataset_id="desk--d1", interaction_id=id_, split=split))
            if vote:
                values = {"event_id": f"f-{id_}", "client_id": id_, "interaction_id": id_}
                more = {"application": "desk", "given_at": now}
                session.add(Feedback.model_validate(values | more | vote))
            session.commit()

    add("praised", "desk--v1", "test", kind="thumbs", thumbs=True)
    add("stars", "desk--v1", "test", kind="rating", rating=5)
    add("blamed", "desk--v1", "test", kind="thumbs", thumbs=False)
    add("silent", "desk--v1", "test")
    add("learnt", "desk--v1", "train", kind="thumbs", thumbs=True)
    add("another", "desk--v2", "test", kind="thumbs", thumbs=True)
    add("taken-back", "desk--v1", "test", kind="thumbs", thumbs=True, effective=False)
    with workshop.store.session() as session:
        assert find_wins(session, ["desk--d1"], "desk--v1") == ("praised", "stars")


def test_wrong_settings_are_told() -> None:
    """A slip in the section's names does not switch the gate's rules off."""
    with pytest.raises(ValidationError):
        GateSettings.model_validate({"max_drops": 1})
