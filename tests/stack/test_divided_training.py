"""Two processes that divide model, gradients and states end with the weights of one, killed or not.

The real launcher and DeepSpeed, on CPU by gloo, with the tiny model. No GPU was there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from core.errors import TrainingError
from core.launcher_settings import LaunchersSettings, LocalSettings, Strategy
from retrain.launchers.local import LocalLauncher
from retrain.parallel.plan import ALONE, Parallel
from retrain.parallel.value import table
from retrain.parallel.zero import deepspeed_values
from retrain.recipe import load_recipe
from retrain.registry.servable import WEIGHTS_FILE
from retrain.runs.checkpoints import newest_complete
from retrain.runs.progress import TrainProgress
from retrain.runs.ranks import Ranks
from retrain.runs.runner import resume_run, train_adapter
from retrain.runs.spec import (
    ADAPTER_FOLDER,
    CHECKPOINT_FOLDER,
    JobResult,
    trained_folder,
)
from retrain.training.sharding import joined
from tests.training_world import (
    Workshop,
    assert_same,
    plain,
    tensors,
    tiny_workshop,
    weights,
)

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]

Divided = Literal["lora", "full"]

STEPS = 8
MODEL_FILE = "model.safetensors"
END_S = 20.0  # for the kernel to end what is left
KILLED = "torch.distributed.run"


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a dataset."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("workshop"), 32) as opened:
        yield opened


@pytest.fixture(scope="module")
def alone(workshop: Workshop) -> Path:
    """Give the folder of a run of one process, with a LoRA."""
    return train(workshop, "alone", ALONE)


def recipe_of(workshop: Workshop, method: Divided = "lora") -> str:
    """Write a recipe of so many steps that saves and validates at every second; return its path."""
    own = {"lora": {"rank": 4, "learning_rate": 0.01}, "full": {"learning_rate": 0.001}}
    return workshop.recipe(
        f"{method}-{STEPS}",
        like=f"sft-{method}",
        epochs=2,
        batch_size=4,
        gradient_accumulation=2,
        save_every_steps=2,
        eval_every_steps=2,
        **own[method],
    )


def train(workshop: Workshop, name: str, plan: Parallel, method: Divided = "lora") -> Path:
    """Train in a folder of that name, without an evaluation, and return the folder."""
    folder = workshop.settings.folder("runs") / name
    folder.mkdir()
    recipe = load_recipe(recipe_of(workshop, method)).for_mode("full")
    workshop.job(
        run_id=name, recipe=plain(recipe), threads=2, parallel=plan, evaluated=False
    ).write(folder)
    LocalLauncher().run(folder, nobody, never)
    assert JobResult.read(folder) is not None
    return folder


@pytest.mark.parametrize("strategy", ["zero2", "fsdp"])
def test_a_run_whose_launcher_is_killed_fails_whole_and_goes_on(
    workshop: Workshop, alone: Path, strategy: Strategy
) -> None:
    """kill -9 of torch's launcher: its processes die with it, and resume ends as one does."""
    divided = at(workshop, strategy)
    before, left = divided.runs(), list[psutil.Process]()

    def kill_launcher(told: TrainProgress) -> None:
        if told.step == 3 and not left:
            (launcher,) = [one for one in children() if KILLED in " ".join(one.cmdline())]
            left.extend(launcher.children())
            launcher.send_signal(signal.SIGKILL)

    request = divided.request(recipe=recipe_of(workshop))
    with pytest.raises(TrainingError, match=r"killed by signal 9.*ratchet resume"):
        train_adapter(divided.store, divided.settings, request, progress=kill_launcher)
    assert len(left) == 2
    assert_gone(left)
    (run_id,) = divided.runs() - before
    assert divided.run(run_id).status == "failed"
    whole = newest_complete(Path(divided.run(run_id).folder) / CHECKPOINT_FOLDER)
    assert whole is not None
    told: list[TrainProgress] = []
    adapter = resume_run(divided.store, divided.settings, run_id, progress=told.append)
    assert [one.resumed_from for one in told if one.resumed_from] == [whole[1]]
    assert weights(adapter) == pytest.approx(flat(alone), abs=2e-3)


@pytest.mark.parametrize(
    "plan",
    [
        Parallel(2, "zero1"),
        Parallel(2, "zero3"),
        Parallel(2, "zero3", offload=True),
        Parallel(2, "fsdp"),
    ],
    ids=("zero1", "zero3", "zero3 offloaded", "fsdp"),
)
def test_a_divided_training_ends_with_the_weights_of_one(
    workshop: Workshop, alone: Path, plan: Parallel
) -> None:
    """Whatever is divided; what the library was told lies in the folder, with sources."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = train(workshop, f"{plan.strategy}-{plan.offload}", plan)
    adapter = trained_folder(folder)
    assert_same(adapter / WEIGHTS_FILE, trained_folder(alone) / WEIGHTS_FILE)
    assert '"sources"' in (folder / "parallel.json").read_text()
    base = AutoModelForCausalLM.from_pretrained(workshop.settings.engine.model)
    loaded: Any = PeftModel.from_pretrained(base, str(adapter))
    assert loaded.peft_config["default"].r == 4


def test_all_weights_are_trained_divided_as_in_one_process(workshop: Workshop) -> None:
    """What ZeRO is for: the first process has the model whole only when it is saved."""
    one = train(workshop, "all-alone", ALONE, "full")
    two = train(workshop, "all-divided", Parallel(2, "zero3"), "full")
    assert_same(trained_folder(two) / MODEL_FILE, trained_folder(one) / MODEL_FILE)


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
@pytest.mark.parametrize("offload", [False, True])
def test_deepspeed_takes_its_configuration(strategy: Strategy, offload: bool) -> None:
    """Its own class reads it, offline: an unknown key in the stage's table is an error there."""
    from deepspeed.runtime.config import DeepSpeedConfig

    plan = Parallel(1, strategy, offload=offload)
    recipe = load_recipe("sft-lora").for_mode("full")
    found = DeepSpeedConfig(table(deepspeed_values(plan, recipe, hidden=64, bfloat16=True)))
    assert found.zero_optimization_stage == plan.stage
    assert found.train_micro_batch_size_per_gpu == recipe.batch_size
    assert found.gradient_clipping == recipe.max_grad_norm
    assert (found.zero_config.offload_optimizer is not None) is offload


def test_who_divides_nothing_does_not_load_deepspeed() -> None:
    """Which accelerate asks whether a model is one of its; afterwards it may be asked again."""
    from accelerate.utils import other

    with joined(ALONE, Ranks()):
        assert not other.is_deepspeed_available()
    assert other.is_deepspeed_available()


def at(workshop: Workshop, strategy: Strategy) -> Workshop:
    """Return the workshop, where two processes train by that strategy."""
    places = LaunchersSettings(local=LocalSettings(processes=2), strategy=strategy)
    return replace(workshop, settings=workshop.settings.model_copy(update={"launchers": places}))


def children() -> list[psutil.Process]:
    """Return the processes below this one."""
    return psutil.Process(os.getpid()).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    """None of them runs any more; one that nobody has waited for does not either."""
    _, alive = psutil.wait_procs(processes, timeout=END_S)
    assert [one.pid for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


def flat(folder: Path) -> list[float]:
    """Return all numbers of a run's adapter, as `weights` does of a registered one's."""
    found = tensors(folder / ADAPTER_FOLDER / WEIGHTS_FILE)
    return [number for name in sorted(found) for number in found[name].ravel().tolist()]


def nobody(_: TrainProgress) -> None:
    pass


def never() -> bool:
    return False
