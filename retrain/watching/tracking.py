"""A job's progress → its trackers; and the machine is looked at meanwhile.

A reporter goes in that has no listeners yet; inside the block the trackers hear of every step. A
tracker that fails is told of once, as a finding, and hears no more: the training goes on. Knows
nothing of trainers.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from core.files import write_atomic
from core.tracking_settings import TrackersSettings
from retrain.runs.progress import FILE, Reporter, TrainProgress
from retrain.runs.spec import JOB_FILE, JobResult, JobSpec
from retrain.watching.health import Finding
from retrain.watching.system import Sampler, sampled
from retrain.watching.trackers.mlflow import MlflowTracker
from retrain.watching.trackers.tensorboard import TensorBoardTracker
from retrain.watching.trackers.tracker import Subject, Tracker
from retrain.watching.trackers.wandb import WandbTracker

ENVIRONMENT_FILE = "environment.json"
PACKAGES = (
    *("ratchet-llm", "torch", "transformers", "trl", "peft", "accelerate", "datasets"),
    *("bitsandbytes", "deepspeed", "numpy", "safetensors", "tokenizers"),
)
MESSAGE_CHARS = 300  # of what a tracker says went wrong

Opener = Callable[[Subject], Tracker]


@dataclass
class Tracking:
    """The trackers that still work, and the reporter that hears of those that do not."""

    reporter: Reporter
    trackers: list[Tracker] = field(default_factory=list[Tracker])
    sampler: Sampler | None = None
    step: int = 0
    known_at_s: float = 0.0  # of the last sample that was handed on

    def open(self, openers: Mapping[str, Opener], subject: Subject) -> None:
        """Open each tracker; one that cannot be opened is told of."""
        for name, opener in openers.items():
            try:
                self.trackers.append(opener(subject))
            except Exception as error:  # whatever a tracker's client raises
                self._tell_trouble(name, error)

    def hear(self, progress: TrainProgress) -> None:
        """Hand the numbers of a step on."""
        if progress.phase != "train" or progress.finding is not None:
            return
        self.step = max(self.step, progress.step)
        values = numbers_of(progress) | self._new_sample()
        if values:
            self._each(lambda tracker: tracker.log(values, progress.step))

    def finish(self, folder: Path, *, ok: bool) -> None:
        """Hand on what the gate measured, and close the trackers."""
        result = JobResult.read(folder) if ok else None
        values = flat_numbers("gate", msgspec.to_builtins(result.evaluations)) if result else {}
        if values:
            self._each(lambda tracker: tracker.log(values, self.step))
        self._each(lambda tracker: tracker.finish(ok=ok))

    def _new_sample(self) -> dict[str, float]:
        sample = self.sampler.last if self.sampler else None
        if sample is None or sample.at_s == self.known_at_s:
            return {}
        self.known_at_s = sample.at_s
        return sample.numbers()

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                act(tracker)
            except Exception as error:  # whatever a tracker's client raises
                self.trackers.remove(tracker)
                self._tell_trouble(tracker.name, error)

    def _tell_trouble(self, name: str, error: Exception) -> None:
        what = f"{name} keeps nothing of this run: {type(error).__name__}: {error}"
        self.reporter.tell(
            TrainProgress(
                "train",
                step=self.step,
                finding=Finding(
                    kind="tracker",
                    severity="warning",
                    at_step=self.step,
                    what=what[:MESSAGE_CHARS],
                    mend="the training is not touched; see retrain.trackers in the settings",
                    source=f"retrain.trackers.{name}",
                ),
            )
        )


@contextmanager
def tracked(reporter: Reporter, openers: Mapping[str, Opener] | None = None) -> Generator[Reporter]:
    """Let the trackers of the job's settings hear what `reporter` tells inside the block."""
    folder = reporter.folder
    if not (folder / JOB_FILE).is_file():
        yield reporter  # the job itself will say so
        return
    spec = JobSpec.read(folder)
    environment = describe_environment()
    write_atomic(folder / ENVIRONMENT_FILE, msgspec.json.format(msgspec.json.encode(environment)))
    tracking = Tracking(reporter)
    subject = Subject(spec.run_id, folder, _settings(spec, environment), (folder / FILE).is_file())
    chosen = openers_for(TrackersSettings.model_validate(spec.trackers))
    tracking.open(chosen if openers is None else openers, subject)
    reporter.listeners.append(tracking.hear)
    ok = False
    try:
        with _ended_as_exit(), sampled(folder) as tracking.sampler:
            yield reporter
        ok = True
    finally:
        reporter.listeners.remove(tracking.hear)
        tracking.finish(folder, ok=ok)


@contextmanager
def _ended_as_exit() -> Generator[None]:
    """Let a cancelled job (SIGTERM) leave by its `finally`s, so that its trackers are closed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return

    def leave(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def openers_for(settings: TrackersSettings) -> dict[str, Opener]:
    """Return who is to be told, by name: TensorBoard always."""
    openers: dict[str, Opener] = {"tensorboard": TensorBoardTracker}
    if settings.mlflow_uri is not None:
        openers["mlflow"] = lambda subject: MlflowTracker(subject, settings)
    if settings.wandb != "off":
        openers["wandb"] = lambda subject: WandbTracker(subject, settings)
    return openers


def numbers_of(progress: TrainProgress) -> dict[str, float]:
    """Return the finite numbers of a step, by the names that trackers know."""
    new_validation = progress.loss is None
    values = {
        "train/loss": progress.loss,
        "validation/loss": progress.validation_loss if new_validation else None,
        "train/learning_rate": progress.learning_rate,
        "train/grad_norm": progress.grad_norm,
        "train/tokens_per_s": progress.tokens_per_s,
    }
    named = {
        name.replace("eval_", "validation/", 1)
        if name.startswith("eval_")
        else f"train/{name}": one
        for name, one in (progress.more or {}).items()
    }
    return {
        name: value
        for name, value in (values | named).items()
        if value is not None and math.isfinite(value)
    }


def flat_numbers(prefix: str, value: Any) -> dict[str, float]:
    """Return all numbers in nested tables, by their path: `gate/test/candidate/loss`."""
    if isinstance(value, bool):
        return {prefix: float(value)}
    if isinstance(value, int | float):
        return {prefix: float(value)} if math.isfinite(value) else {}
    if not isinstance(value, dict):
        return {}
    found: dict[str, float] = {}
    for name, inner in value.items():
        found |= flat_numbers(f"{prefix}/{name}", inner)
    return found


def describe_environment() -> dict[str, Any]:
    """Return the versions and the machine that a training runs with."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # not every training needs every package
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "versions": versions,
    }


def _settings(spec: JobSpec, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat settings that trackers show: the recipe, the data, the versions."""
    data = {
        "mode": spec.mode,
        "base_model": spec.base_model_name,
        "dataset": Path(spec.dataset).name,
        "threads": spec.threads,
    }
    recipe = _flat(spec.recipe)
    return data | recipe | {f"version/{k}": v for k, v in environment["versions"].items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}/")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found
