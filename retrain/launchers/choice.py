"""Which launcher the settings ask for, built from its part of them."""

from __future__ import annotations

from core.settings import Settings
from retrain.launchers.kubernetes import KubernetesLauncher
from retrain.launchers.launcher import Launcher
from retrain.launchers.local import LocalLauncher
from retrain.launchers.ray import RayLauncher
from retrain.launchers.slurm import SlurmLauncher


def launcher_for(settings: Settings) -> Launcher:
    """Return the launcher that `retrain.launcher` names."""
    places = settings.launchers
    match settings.retrain.launcher:
        case "local":
            return LocalLauncher()
        case "kubernetes":
            return KubernetesLauncher(
                places.kubernetes, settings.data_dir.resolve(), poll_s=places.poll_s
            )
        case "slurm":
            return SlurmLauncher(places.slurm, poll_s=places.poll_s)
        case "ray":
            return RayLauncher(places.ray, poll_s=places.poll_s)
