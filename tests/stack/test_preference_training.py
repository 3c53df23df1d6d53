"""Learning from pairs, labels and rewards, with the real trainers on a tiny model.

What is to be learnt is simple, so that the tiny model learns it within seconds.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import load_file

from core.errors import DataError
from core.settings import EngineSettings
from retrain.preference_examples import load_pairs
from retrain.registry.record import run_metrics
from retrain.registry.servable import WEIGHTS_FILE, check_servable
from retrain.runs.checkpoints import newest_complete
from retrain.runs.job import run_job
from retrain.runs.progress import read_all
from retrain.runs.spec import ADAPTER_FOLDER, CHECKPOINT_FOLDER, JobResult
from retrain.tokens import IGNORED, encode
from retrain.training.preferences import conversation
from tests.preference_world import job, make_dataset, quick_recipe, quiet
from tests.training_world import make_tiny_model

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the tiny model."""
    return make_tiny_model(base_model, tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a version with demonstrations, pairs and labels."""
    return make_dataset(tmp_path_factory.mktemp("data") / "desk--d1")


def train(
    model: Path, dataset: Path, folder: Path, name: str, table: Any = None, **values: Any
) -> JobResult:
    """Run the job of a shipped recipe in this process and return what it came to."""
    recipe = quick_recipe(name, values, table)
    reporter = quiet(folder)
    job(model, dataset, recipe).write(folder)
    result = run_job(reporter)
    assert result is not None  # of the only process, which is the first
    return result


@pytest.mark.parametrize("name", ["dpo-lora", "kto-lora"])
def test_preferences_raise_the_margin_of_good_answers(
    model: Path, dataset: Path, tmp_path: Path, name: str
) -> None:
    """What was wanted gains on what was not, and the adapter can be served."""
    result = train(model, dataset, tmp_path, name, epochs=4)
    measures = result.outcome.measures
    assert measures["rewards/margins"] > measures["rewards/margins_start"] + 0.1
    assert run_metrics(result)["rewards/margins"] == measures["rewards/margins"]
    engine = EngineSettings(model=model)
    assert check_servable(tmp_path / ADAPTER_FOLDER, engine).rank == 4


def test_gains_too_small_to_count_end_a_training(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    """At a rate of almost nothing the loss falls by less than the guide's 0.001 an evaluation."""
    slow: dict[str, Any] = {"learning_rate": 1e-6, "epochs": 4, "early_stopping_patience": 2}
    outcome = train(model, dataset, tmp_path, "dpo-lora", **slow).outcome
    assert outcome.stopped_early
    assert outcome.steps == 12  # 24 in all: an evaluation each 4, the first and two without a gain
    losses = [one.validation_loss for one in read_all(tmp_path) if one.validation_loss is not None]
    assert losses[0] - losses[-1] < 0.003  # three evaluations, none of which gained 0.001


def test_a_reward_model_prefers_what_people_preferred(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    """On pairs that it has not seen, far more often than a coin; RLOO is then paid by it."""
    reward = tmp_path / "reward"
    result = train(model, dataset, reward, "reward-lora", epochs=4)
    assert result.evaluations["test"].candidate.task_score > 0.9
    assert result.evaluations["test"].live.task_score == 0.5


# Random weights say any of 49,152 tokens: at this temperature few enough to be tried again
PAID_FOR_BREVITY: dict[str, Any] = {
    "length_chars": (1, 12),
    "length_weight": 1.0,
    "beta": 0.001,
    "generations": 8,
    "max_new_tokens": 4,
    "mask_truncated": False,
    "temperature": 0.2,
}
TINY: dict[str, Any] = {
    "batch_size": 32,
    "max_length": 96,
    "learning_rate": 0.03,
    "epochs": 1.5,
    "save_every_steps": 20,
    "eval_every_steps": 20,
}


@pytest.mark.parametrize("name", ["grpo-lora", "rloo-lora"])
def test_reinforcement_raises_the_reward(
    model: Path, dataset: Path, tmp_path: Path, name: str
) -> None:
    """Answers become as short as they are paid for, and what comes out can be served."""
    result = train(model, dataset, tmp_path, name, PAID_FOR_BREVITY, **TINY)
    measures = result.outcome.measures
    assert measures["reward_start"] + 0.2 < measures["reward"] <= 1.0
    assert check_servable(tmp_path / ADAPTER_FOLDER, EngineSettings(model=model)).rank == 4


def test_killed_training_ends_with_the_same_weights(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    """Killed by SIGKILL after step 10, it goes on from step 8 or later as if nothing had been."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    recipe = quick_recipe("kto-lora", {"epochs": 4})
    for folder in (whole, killed):
        folder.mkdir()
        job(model, dataset, recipe, evaluated=False).write(folder)
    kill_at_step(10, killed)
    assert not (killed / ADAPTER_FOLDER).exists()
    newest = newest_complete(killed / CHECKPOINT_FOLDER)
    assert newest is not None
    for folder in (killed, whole):
        run_job(quiet(folder))
    assert [one.resumed_from for one in read_all(killed) if one.resumed_from] == [newest[1]]
    found, wanted = (load_file(at / ADAPTER_FOLDER / WEIGHTS_FILE) for at in (killed, whole))
    assert found.keys() == wanted.keys()
    for weight, values in wanted.items():
        numpy.testing.assert_allclose(found[weight], values, rtol=1e-4, atol=1e-6)


def kill_at_step(step: int, folder: Path) -> None:
    """Run a job in a process of its own, and kill that when it tells of this step."""
    command = [sys.executable, "-m", "retrain.runs.job", str(folder)]
    with (folder / "job.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if json.loads(line)["step"] >= step:
                process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL, (folder / "job.log").read_text()


def never(_: object) -> bool:
    """Return that Triton is not there, as TRL finds on CPU."""
    return False


def test_labelled_positions_alone_give_the_same_log_probabilities(
    model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TRL's own way, and as a softmax over all logits, with the same gradient."""
    import torch
    from transformers import AutoTokenizer
    from trl.trainer import utils as trl_utils

    from retrain.training.methods import load_base
    from retrain.training.trl_run import score_labels_only

    tokenizer = AutoTokenizer.from_pretrained(model)
    encoded = [
        encode(tokenizer, conversation(pair.prompt, answer))
        for pair in load_pairs(dataset, "validation")
        for answer in (pair.chosen, pair.rejected)
    ]
    longest = max(len(one.input_ids) for one in encoded)
    rows = [(one, longest - len(one.input_ids)) for one in encoded]
    ids_B_T = torch.tensor([one.input_ids + [0] * pad for one, pad in rows])
    labels_B_T = torch.tensor([one.labels + [IGNORED] * pad for one, pad in rows])
    mask_B_T = torch.tensor([[1] * (longest - pad) + [0] * pad for _, pad in rows])

    causal = load_base(str(model), torch.float32)
    logits_B_T_V = causal(input_ids=ids_B_T, attention_mask=mask_B_T).logits[:, :-1]
    chosen_B_T = labels_B_T[:, 1:].clamp(min=0)
    plain_B_T = logits_B_T_V.log_softmax(-1).gather(-1, chosen_B_T[..., None])[..., 0]
    wanted_B = (plain_B_T * (labels_B_T[:, 1:] != IGNORED)).sum(-1)
    gradient_of = causal.model.embed_tokens.weight
    (wanted_gradient,) = torch.autograd.grad(wanted_B.sum(), gradient_of)

    trl_utils.add_fused_lm_head(causal)
    monkeypatch.setattr(trl_utils, "_use_triton", never)
    for short_cut in (False, True):
        if short_cut:
            score_labels_only()
        output = causal(
            input_ids=ids_B_T, attention_mask=mask_B_T, labels=labels_B_T, fused_lm_head=True
        )
        found_B = output.log_probs.sum(-1)
        torch.testing.assert_close(found_B, wanted_B, rtol=1e-5, atol=1e-4)
        (gradient,) = torch.autograd.grad(found_B.sum(), gradient_of)
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("dpo-lora", "pairs"), ("kto-lora", "labels")])
def test_a_version_without_such_data_is_told_before_any_compute(
    model: Path, tmp_path: Path, name: str, kind: str
) -> None:
    """By the file that is missing."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=kind):
        train(model, tmp_path / "empty", tmp_path / "run", name)
