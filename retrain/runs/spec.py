"""What the runner asks of the job: `job.json` in the run's folder, and where results lie.

Written by the runner, read by the subprocess; a run can be resumed from its folder alone.
Knows nothing of tables or of torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from core.errors import TrainingError
from core.files import write_atomic
from retrain.gate.suite import Suite, SuiteScores
from retrain.gate.verdict import Answering, Evaluation
from retrain.parallel.plan import ALONE, Parallel
from retrain.policy import Mode
from retrain.recipe import Recipe
from retrain.recipe_plan import Lengths

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
LOG_FILE = "job.log"
ADAPTER_FOLDER = "adapter"
MODEL_FOLDER = "model"  # instead of an adapter's, of full fine-tuning
CHECKPOINT_FOLDER = "checkpoints"
# The fields of a job that are folders.
FOLDERS = ("base_model", "dataset", "seen_dataset", "live_adapter", "reward_model")


def trained_folder(run_folder: Path) -> Path:
    """Return where a run's result lies: an adapter, or a model of its own."""
    model = run_folder / MODEL_FOLDER
    return model if model.is_dir() else run_folder / ADAPTER_FOLDER


@dataclass(frozen=True, slots=True)
class GateSpec:
    """What the gate asks, and whom."""

    suites: tuple[Suite, ...] = ()  # none: those that are always asked
    answers: Literal["auto", "engine", "transformers"] = "transformers"
    engine: str | None = None  # its URL
    concurrent: int = 8
    max_tokens: int = 128
    wins: tuple[str, ...] = ()  # ids of interactions that the live adapter answered well
    encoder: str | None = None  # folder; None: the base model
    usd_per_hour: float | None = None  # of the machine that answers


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One training and its evaluation; None where there is nothing.

    Paths are absolute, or below the run's folder in one that was packed for another machine.
    """

    run_id: str
    mode: Mode
    base_model: str  # folder of the base model
    base_model_name: str  # as the adapter's configuration names it
    dataset: str  # folder of the dataset version
    seen_dataset: str | None  # what the live adapter learnt from: tells new examples from old
    live_adapter: str | None  # folder; continued in mode incremental, compared with in both
    recipe: dict[str, Any]
    threads: int
    gate_examples: int  # of each suite at most, where `gate` names no suites; 0: no questions
    reward_model: str | None = None  # folder; what RLOO and GRPO are paid by
    live_trainer: str | None = None  # of the live adapter's run: what of `seen_dataset` it learnt
    trackers: dict[str, Any] = field(default_factory=dict[str, Any])  # of the settings
    gate: GateSpec = GateSpec()
    parallel: Parallel = ALONE  # how its processes share the work
    evaluated: bool = True  # False: only trained, as the trials of a search are
    lengths: Lengths | None = None  # of what is learnt; None: memory is not looked at before
    even_if_it_may_not_fit: bool = False  # somebody knows better than the estimate

    def write(self, run_folder: Path) -> None:
        """Store the job in its run's folder."""
        write_atomic(run_folder / JOB_FILE, msgspec.json.format(msgspec.json.encode(self)))

    @staticmethod
    def read(run_folder: Path) -> JobSpec:
        """Return the job of a run's folder.

        Raises: TrainingError if the folder holds none.
        """
        path = run_folder / JOB_FILE
        try:
            return _settled(msgspec.json.decode(path.read_bytes(), type=JobSpec), run_folder)
        except (OSError, msgspec.DecodeError) as error:
            raise TrainingError(f"{path} is not a job: {error}; start a new run") from error

    def parsed_recipe(self) -> Recipe:
        """Return the recipe with its types."""
        return Recipe.model_validate(self.recipe)


def parallel_of(run_folder: Path) -> Parallel:
    """Return how a run's processes share its work.

    A folder without a job gets one process, which says what is missing.
    """
    return JobSpec.read(run_folder).parallel if (run_folder / JOB_FILE).is_file() else ALONE


def _settled(spec: JobSpec, run_folder: Path) -> JobSpec:
    """Return the job with all its paths absolute."""
    paths = {name: value for name in FOLDERS if (value := getattr(spec, name)) is not None}
    return replace(spec, **{name: str(run_folder / value) for name, value in paths.items()})


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """How the training itself went."""

    steps: int
    epochs: float
    train_loss: float
    best_validation_loss: float | None
    stopped_early: bool
    train_examples: int
    new_examples: int
    skipped_too_long: int
    tokens_per_s: float | None
    trainable_parameters: int
    measures: dict[str, float] = field(default_factory=dict[str, float])  # of preferences, rewards
    peak_bytes: int | None = None  # of the memory that is short: the GPU's, else the process's


@dataclass(frozen=True, slots=True)
class Comparison:
    """The candidate and the live model on the same held-out examples."""

    candidate: Evaluation
    live: Evaluation
    failed: tuple[str, ...] = ()  # keys of the examples at which the candidate's answer was worse


@dataclass(frozen=True, slots=True)
class Examined:
    """What the `evaluate` phase of a job found; see `JobResult`."""

    evaluations: dict[str, Comparison]
    suites: dict[str, SuiteScores] = field(default_factory=dict[str, SuiteScores])
    answering: dict[str, Answering] = field(default_factory=dict[str, Answering])
    answered_by: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """All that a finished job hands back; `evaluations` by set: test, regression."""

    outcome: TrainOutcome
    evaluations: dict[str, Comparison]
    seconds: dict[str, float]
    suites: dict[str, SuiteScores] = field(default_factory=dict[str, SuiteScores])
    answering: dict[str, Answering] = field(default_factory=dict[str, Answering])
    answered_by: str = ""  # and why not by the engine

    def write(self, run_folder: Path) -> None:
        """Store the result: its presence means that the job is finished."""
        write_atomic(run_folder / RESULT_FILE, msgspec.json.format(msgspec.json.encode(self)))

    @staticmethod
    def read(run_folder: Path) -> JobResult | None:
        """Return the result, or None while the job is not finished."""
        path = run_folder / RESULT_FILE
        if not path.is_file():
            return None
        return msgspec.json.decode(path.read_bytes(), type=JobResult)
