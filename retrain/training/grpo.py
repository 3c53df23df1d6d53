"""Group relative policy optimisation with TRL: the `train` phase of a job.

Prompts and a reward model go in; `adapter/` in the run's folder and a `TrainOutcome` come out. An
answer counts by its reward against the mean of its group, in the group's standard deviations.
Source: the fine-tuning guide, "RLHF", phase 3; Shao et al. 2024, arXiv 2402.03300.
"""

from __future__ import annotations

from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from retrain.recipe import Recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, TrainOutcome
from retrain.training.reinforce import Reinforced, train_with


class GrpoTuner(Reinforced, GRPOTrainer):
    """TRL's trainer, with checkpoints as ours are."""


def train(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> TrainOutcome:
    """Train (or go on training) and leave the adapter in the run's folder, the reporter's.

    Raises: DataError, TrainingError: see `reinforce.train_with`.
    """
    return train_with(GrpoTuner, GRPOConfig, spec, recipe, reporter)
