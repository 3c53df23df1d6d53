"""Would a run fit into memory, how long would it take, and what would fit if it does not?

A job, its recipe and the room there is go in; what is expected comes out, or an error that names
needed and available bytes by part and each change that would fit. Asked before there is a run, and
again by the job, where it trains, before the model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from core.errors import DataError, TrainingError
from core.settings import Settings
from retrain.estimate import GB, Device, estimate, reached_flops
from retrain.mends import mends
from retrain.model_shape import read_model_type, read_shape
from retrain.recipe import Recipe
from retrain.recipe_plan import Lengths, Place, plan_of, tokens_of
from retrain.runs.devices import find_devices, is_enough_free, wanted
from retrain.runs.lengths import read_lengths
from retrain.runs.memory import Room, gpu_room, machine_room, room_of_job
from retrain.runs.ranks import shared
from retrain.runs.spec import JobSpec
from retrain.speed import cpu_flops

OVERRIDE = "--even-if-it-may-not-fit"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run will take, by device; None where nobody can know it from here."""

    lengths: Lengths
    parts: Mapping[str, float]  # bytes
    seconds: float | None
    available: float | None  # bytes
    where: str = ""  # that is
    mends: tuple[str, ...] = ()  # what would fit; empty when it fits

    @property
    def memory_bytes(self) -> float:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether there is so much, as far as one can know."""
        return self.available is None or self.memory_bytes <= self.available

    def words(self) -> str:
        """Return it as a sentence for people."""
        said = f"expected: {self.memory_bytes / GB:.2f} GB of memory"
        if self.available is not None:
            said += f" of {self.available / GB:.2f} available"
        if self.seconds is not None:
            said += f", {timedelta(seconds=round(self.seconds))} of training"
        return said

    def details(self) -> dict[str, Any]:
        """Return plain values, kept on the run's row."""
        found: dict[str, Any] = {
            "memory_gb": round(self.memory_bytes / GB, 3),
            "parts_gb": {name: round(size / GB, 3) for name, size in self.parts.items()},
            "fits": self.fits,
        }
        if self.available is not None:
            found["available_gb"] = round(self.available / GB, 3)
        if self.seconds is not None:
            found["seconds"] = round(self.seconds, 1)
        return found


def expect(
    spec: JobSpec, recipe: Recipe, settings: Settings, tokens_per_s: float | None = None
) -> Expected | None:
    """Return what the run will take where the settings run it; None for a model of unknown shape.

    `tokens_per_s`: of a run before, which knows the machine better than a look does.

    Raises: DataError for a dataset that cannot be learnt from; TrainingError for processes that
    cannot share its batches.
    """
    lengths = read_lengths(spec, recipe)
    local = settings.retrain.launcher == "local"
    processes = spec.parallel.processes
    room = _room_here(settings, processes) if local else None
    return _expected(spec, shared(recipe, processes), lengths, room, tokens_per_s)


def require_fit(expected: Expected, recipe: Recipe) -> None:
    """Return if the run fits.

    Raises: TrainingError that says how much is missing of what, and what would fit.
    """
    if expected.fits or expected.available is None:
        return
    parts = sorted(expected.parts.items(), key=lambda part: -part[1])
    listed = ", ".join(f"{name} {size / GB:.2f}" for name, size in parts if size >= GB / 100)
    raise TrainingError(
        f"recipe {recipe.name} needs {expected.memory_bytes / GB:.2f} GB of memory and "
        f"{expected.available / GB:.2f} GB are available on {expected.where} (GB by part: "
        f"{listed}). This would fit: {'; or '.join(expected.mends)}. If you know better: {OVERRIDE}"
    )


def require_fit_in_job(spec: JobSpec, recipe: Recipe) -> None:
    """Return if the job fits where it trains, now; `recipe` is this process's. torch is loaded.

    Raises: TrainingError, as `require_fit`.
    """
    if spec.lengths is None or spec.even_if_it_may_not_fit:
        return
    room = room_of_job()
    expected = _expected(spec, recipe, spec.lengths, room, None)
    if expected is not None:
        require_fit(expected, recipe)


def _expected(
    spec: JobSpec,
    recipe: Recipe,
    lengths: Lengths,
    room: Room | None,
    tokens_per_s: float | None,
) -> Expected | None:
    """Return what a process takes that trains by `recipe` in `room`; None: nobody knows where."""
    folder = Path(spec.base_model)
    try:
        shape = read_shape(folder)
    except DataError:  # of another architecture: the trainer may know it all the same
        return None
    cpu = room is not None and room.cpu
    processes, stage = spec.parallel.processes, spec.parallel.stage
    place = Place(cpu, room.bfloat16 if room else True, processes, stage)
    plan = plan_of(recipe, lengths, place, read_model_type(folder))
    available = None if room is None else room.free / (processes if cpu else 1)
    flops = room.flops if room else None
    if tokens_per_s:
        flops = reached_flops(shape, plan, tokens_per_s)
    elif cpu:
        flops = cpu_flops() / processes
    total, watched = tokens_of(recipe, lengths)
    device = Device(available or 0.0, flops or 1.0)
    found = estimate(shape, plan, device, total_tokens=total, watched_tokens=watched)
    if available is None or room is None:
        return Expected(lengths, found.parts, None, None)
    told = () if found.fits else tuple(str(one) for one in mends(shape, plan, available))
    seconds = found.seconds if flops else None
    return Expected(lengths, found.parts, seconds, available, room.what, told)


def _room_here(settings: Settings, processes: int) -> Room:
    """Return the room of this machine; all of it when the run must wait for another one's end."""
    room = gpu_room() or machine_room()
    devices = find_devices()
    if is_enough_free(settings.data_dir, devices, wanted(processes, devices)):
        return room
    return Room(room.whole, room.whole, room.what, room.cpu, room.bfloat16, room.flops)
