"""An adapter's metadata in the guide's shape, and the card that people read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.gate_settings import GateSettings
from feedback.tables import Adapter, DatasetVersion, Run
from retrain.gate.verdict import Evaluated, Evaluation, decide
from retrain.recipe import load_recipe
from retrain.registry.card import render_card
from retrain.registry.record import FinishedRun, adapter_row
from retrain.runs.spec import Comparison, JobResult, TrainOutcome

OUTCOME = TrainOutcome(
    steps=40,
    epochs=5.0,
    train_loss=0.9,
    best_validation_loss=0.7,
    stopped_early=False,
    train_examples=64,
    new_examples=64,
    skipped_too_long=1,
    tokens_per_s=350.0,
    trainable_parameters=4_884_480,
)


def finished(
    candidate: Evaluation, *, mode: str = "full", parent: str | None = None
) -> FinishedRun:
    """Return a run that ended with `candidate` on ten held-out examples."""
    live = Evaluation(loss=1.0, task_score=0.5, examples=10)
    result = JobResult(OUTCOME, {"test": Comparison(candidate, live)}, {"train": 60.0})
    return FinishedRun(
        run=Run(
            id="run-1",
            application="desk",
            dataset_id="desk--d1",
            recipe="sft-lora",
            mode=mode,
            parent_adapter=parent,
            reason="growth: 12% new",
            status="running",
            folder="/runs/run-1",
            hyperparameters=load_recipe("sft-lora").hyperparameters(),
        ),
        dataset=DatasetVersion(
            id="desk--d1",
            application="desk",
            path="/datasets/desk--d1",
            content_hash="abc",
            train_rows=64,
            validation_rows=8,
            test_rows=10,
            new_rows=64,
        ),
        result=result,
        verdict=decide(Evaluated({"test": (candidate, live)}), GateSettings()),
        rank=16,
        base_model="models/base",
        created_by="ann",
    )


def test_a_card_tells_who_decided_the_pairs_and_whose_were_learnt(folder: Path) -> None:
    """A run of DPO on a version with an AI judge's pairs; one of demonstrations tells nothing."""
    run = finished(Evaluation(0.4, 0.9, 10, 0.6))
    run.dataset.manifest = {
        "lineage": {"preferences": {"people": 30, "judge": 12, "judges": [{"judge": "big-70b"}]}}
    }
    assert "pairs" not in adapter_row(folder, run).model_metadata["training_data"]
    run.run.hyperparameters = load_recipe("dpo-lora").hyperparameters()
    adapter = adapter_row(folder, run)
    assert adapter.model_metadata["training_data"]["pairs"] == {
        "people": 30, "judge": 12, "judges": ["big-70b"], "ai_pairs": "also",
    }  # fmt: skip
    words = "30 decided by people, 12 by an AI judge (big-70b); both learnt"
    assert f"- Pairs of that version: {words}" in adapter_card(adapter)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the files of an adapter."""
    path = tmp_path / "desk--v3"
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    return path


def adapter_card(adapter: Adapter) -> str:
    """Return the card that the registry writes for a row."""
    return render_card(adapter.model_metadata, adapter.gate, adapter.content_hash)


def good(folder: Path) -> Adapter:
    """Return the row of an adapter that passed."""
    return adapter_row(folder, finished(Evaluation(0.4, 0.9, 10, 0.6)))


def test_metadata_has_the_shape_of_the_guide(folder: Path) -> None:
    """Every field that the guide's registry asks for is there, and is plain JSON."""
    metadata = json.loads(json.dumps(good(folder).model_metadata))
    assert metadata["model_id"] == "desk--v3"
    assert metadata["base_model"] == "models/base"
    assert metadata["training_data"] == {"version": "desk--d1", "size": 64, "hash": "sha256:abc"}
    assert metadata["hyperparameters"]["rank"] == 16
    assert metadata["metrics"]["test_task_score"] == 0.9
    assert metadata["metrics"]["validation_loss"] == 0.7
    assert metadata["created_at"].endswith("+00:00")
    assert metadata["trained_by"] == "ann"
    assert metadata["production_status"] == "gated"


def test_status_follows_the_gate(folder: Path) -> None:
    """What passed is gated; what failed stays a candidate, with the reasons on its row."""
    assert good(folder).status == "gated"
    worse = adapter_row(folder, finished(Evaluation(2.0, 0.1, 10)))
    assert worse.status == "candidate"
    assert worse.gate["decision"] == "fail"
    assert len(worse.gate["reasons"]) == 2


def test_what_was_answered_worse_is_named_by_hashes(folder: Path) -> None:
    """Of all held-out sets, each once; curation looks for what is like it."""
    run = finished(Evaluation(0.4, 0.9, 10))
    pair = run.result.evaluations["test"]
    sets = {
        "test": replace(pair, failed=("b" * 64, "a" * 64)),
        "regression": replace(pair, failed=("a" * 64,)),
    }
    adapter = adapter_row(folder, replace(run, result=replace(run.result, evaluations=sets)))
    assert adapter.gate["failed"] == ["a" * 64, "b" * 64]
    assert good(folder).gate["failed"] == []


def test_parent_is_what_the_weights_grew_from(folder: Path) -> None:
    """A full training has no parent, though the gate compared it with the live adapter."""
    better = Evaluation(0.4, 0.9, 10)
    full = adapter_row(folder, finished(better, parent="desk--v2"))
    assert full.parent_adapter is None
    assert full.gate["compared_with"] == "desk--v2"
    grown = adapter_row(folder, finished(better, mode="incremental", parent="desk--v2"))
    assert grown.parent_adapter == "desk--v2"
    assert good(folder).gate["compared_with"] == "the base model"


def test_card_has_the_sections_of_the_guide(folder: Path) -> None:
    """A reader finds details, use, performance, evaluation, limits and the recipe."""
    adapter = good(folder)
    card = adapter_card(adapter)
    for heading in (
        "# desk--v3",
        "## Model details",
        "## Intended use",
        "## Performance",
        "## Evaluation",
        "## Limitations",
        "## Ethical considerations",
        "## Training recipe",
    ):
        assert f"\n{heading}\n" in card
    assert adapter.content_hash in card
    assert "| task_score | 0.9 | 0.5 |" in card
    assert "Gate: **pass**, compared with the base model." in card
    learning_rate = adapter.model_metadata["hyperparameters"]["learning_rate"]
    assert f"| learning_rate | {learning_rate} |" in card
    assert "Gate override" not in card


def test_card_of_an_override_says_so_at_once(folder: Path) -> None:
    """Who let it past the gate, when and why, stands before what it is for."""
    adapter = good(folder)
    override = {"by": "ann", "reason": "the old one is worse", "at": "2026-11-26"}
    card = render_card(adapter.model_metadata | {"gate_override": override}, adapter.gate, "hash")
    assert "ann let it past on 2026-11-26: the old one is worse" in card
    assert card.index("## Gate override") < card.index("## Intended use")


def test_card_of_an_unevaluated_adapter_says_so(folder: Path) -> None:
    """Without a test split the card tells of a failed gate, and does not break."""
    run = finished(Evaluation(0.4, 0.9, 10))
    bare = FinishedRun(
        run.run,
        run.dataset,
        JobResult(OUTCOME, {}, {}),
        decide(Evaluated({}), GateSettings()),
        16,
        "models/base",
        "ann",
    )
    card = adapter_card(adapter_row(folder, bare))
    assert "nothing was evaluated" in card
    assert "on 0 held-out examples" in card
