"""Devices, attendance and cancellation of runs: what holds between processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import StateError, TrainingError
from retrain.runs.attending import attended, is_attended
from retrain.runs.cancelling import (
    Cancellation,
    ask_to_cancel,
    cancellation_of,
    forget_cancellation,
)
from retrain.runs.devices import find_devices, held_devices, visible, wanted


class GaveUpError(Exception):
    """What a waiting run raises."""


def give_up() -> None:
    raise GaveUpError


def test_each_device_is_held_by_one(tmp_path: Path) -> None:
    """A second run takes the second device; a third waits, until one is free."""
    devices = ("gpu-0", "gpu-1")

    def hold():  # type: ignore[no-untyped-def]
        return held_devices(tmp_path, devices, my_turn=lambda: True, waiting=give_up)

    with hold() as first:
        with hold() as second:
            assert {*first, *second} == set(devices)
            with pytest.raises(GaveUpError), hold():
                pass
        with hold() as again:
            assert again == second


def test_a_run_of_several_processes_takes_a_gpu_for_each_or_none(tmp_path: Path) -> None:
    """While one of two is taken it waits, and keeps the free one from nobody."""
    devices = ("gpu-0", "gpu-1", "gpu-2")

    def hold(count: int):  # type: ignore[no-untyped-def]
        return held_devices(tmp_path, devices, count=count, my_turn=lambda: True, waiting=give_up)

    with hold(2) as pair:
        assert pair == ("gpu-0", "gpu-1")
        with pytest.raises(GaveUpError), hold(2):
            pass
        with hold(1) as other:
            assert other == ("gpu-2",)
    with hold(3) as everything:
        assert everything == devices


def test_several_processes_want_as_many_gpus_but_the_cpu_once() -> None:
    """A CPU is one device, however many share it; too few GPUs are told with their number."""
    assert wanted(2, ("cpu",)) == 1
    assert wanted(1, ("gpu-0", "gpu-1")) == 1
    assert wanted(2, ("gpu-0", "gpu-1")) == 2
    with pytest.raises(TrainingError, match=r"3 processes.*this machine has 2 GPUs.*at most 2"):
        wanted(3, ("gpu-0", "gpu-1"))


def test_a_process_sees_the_gpus_that_its_run_holds() -> None:
    """In the order of the driver's list, by which they are named; the CPU needs no such word."""
    assert visible(("gpu-1", "gpu-3")) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "1,3",
    }
    assert visible(("cpu",)) == visible(()) == {}


def test_who_came_later_lets_the_others_first(tmp_path: Path) -> None:
    """A free device is not taken out of turn."""
    with (
        pytest.raises(GaveUpError),
        held_devices(tmp_path, ("cpu",), my_turn=lambda: False, waiting=give_up),
    ):
        pass


def test_a_killed_process_leaves_its_device_and_its_run(tmp_path: Path) -> None:
    """The system drops its locks, however it ends."""
    code = (
        "import sys, time; from pathlib import Path;"
        "from retrain.runs.devices import held_devices;"
        "from retrain.runs.attending import attended;"
        "folder = Path(sys.argv[1]); wait = lambda: None; turn = lambda: True\n"
        "with attended(folder), held_devices(folder, ('cpu',), my_turn=turn, waiting=wait):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=root
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_attended(tmp_path)
        with pytest.raises(StateError, match="worked on by another process"), attended(tmp_path):
            pass
        process.kill()
        process.wait()
    assert not is_attended(tmp_path)
    with held_devices(tmp_path, ("cpu",), my_turn=lambda: True, waiting=give_up) as held:
        assert held == ("cpu",)


def test_devices_are_what_the_driver_names(tmp_path: Path) -> None:
    """Without a driver it is the CPU."""
    assert find_devices(tmp_path / "none") == ("cpu",)
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:02:00.0").mkdir()
    assert find_devices(tmp_path) == ("gpu-0", "gpu-1")


def test_a_cancellation_says_who_and_why(tmp_path: Path) -> None:
    """Until it is forgotten, when the run is resumed."""
    assert cancellation_of(tmp_path) is None
    ask_to_cancel(tmp_path, Cancellation("ann", "wrong data"))
    assert str(cancellation_of(tmp_path)) == "cancelled by ann: wrong data"
    forget_cancellation(tmp_path)
    forget_cancellation(tmp_path)
    assert cancellation_of(tmp_path) is None
    assert str(Cancellation("ann")) == "cancelled by ann"
