"""How the processes of a run share its work: the settings go in, a `Parallel` comes out. Pure.

It is written into the run's `job.json`, so that a run that is resumed, or packed for another
machine, goes on as it began. Knows nothing of recipes or torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.launcher_settings import Starter, Strategy
from core.settings import Settings

# Which stage of ZeRO each is. Source: Rajbhandari et al. 2020, arXiv 1910.02054.
STAGES: dict[Strategy, int] = {"ddp": 0, "zero1": 1, "zero2": 2, "zero3": 3, "fsdp": 3}


@dataclass(frozen=True, slots=True)
class Parallel:
    """The processes of one training.

    ddp copies everything to each; zero1 divides the optimiser's states, zero2 gradients too, zero3
    weights too (all three by DeepSpeed); fsdp divides the frozen base's weights (by PyTorch).
    """

    processes: int = 1
    strategy: Strategy = "ddp"
    offload: bool = False  # to the host's memory, what is divided
    starter: Starter = "torchrun"

    @property
    def by_deepspeed(self) -> bool:
        """Whether DeepSpeed divides."""
        return self.strategy in {"zero1", "zero2", "zero3"}

    @property
    def stage(self) -> int:
        """Return what is divided, as ZeRO counts: 1 states, 2 and gradients, 3 and weights."""
        return STAGES[self.strategy]

    @property
    def weights_divided(self) -> bool:
        """Whether no process holds the whole model."""
        return self.stage == 3

    @property
    def started(self) -> bool:
        """Whether a starter is needed: for several, and for one that offloads by DeepSpeed."""
        return self.processes > 1 or self.strategy != "ddp"


ALONE = Parallel()


def planned(settings: Settings) -> Parallel:
    """Return how runs share their work at the place that `retrain.launcher` names."""
    places = settings.launchers
    processes = {
        "local": places.local.processes,
        "kubernetes": max(1, places.kubernetes.gpus),
        "slurm": places.slurm.processes,
        "ray": max(1, int(places.ray.gpus)),
    }
    return Parallel(
        processes[settings.retrain.launcher], places.strategy, places.offload, places.starter
    )
