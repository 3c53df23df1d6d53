"""REINFORCE leave-one-out with TRL: the `train` phase of a job.

Prompts and a reward model go in; `adapter/` in the run's folder and a `TrainOutcome` come out. An
answer counts by how much better it was rewarded than the others to its prompt.
Source: the fine-tuning guide, "RLHF", phase 3; Ahmadian et al. 2024, arXiv 2402.14740.
"""

from __future__ import annotations

from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from retrain.recipe import Recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, TrainOutcome
from retrain.training.reinforce import Reinforced, train_with


class RlooTuner(Reinforced, RLOOTrainer):
    """TRL's trainer, with checkpoints as ours are."""


def train(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> TrainOutcome:
    """Train (or go on training) and leave the adapter in the run's folder, the reporter's.

    Raises: DataError, TrainingError: see `reinforce.train_with`.
    """
    return train_with(RlooTuner, RLOOConfig, spec, recipe, reporter)
