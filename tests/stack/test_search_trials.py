"""A search by real trainings of a tiny model, killed with its process and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from retrain.launchers.local import LocalLauncher
from retrain.recipe import load_recipe
from retrain.runs.checkpoints import newest_complete
from retrain.runs.progress import read_all
from retrain.runs.spec import CHECKPOINT_FOLDER
from retrain.search.plan import BEST_FILE, TRIALS, read_plan
from retrain.search.report import describe
from retrain.search.searching import TrialNews, run_search
from retrain.watching.curve import points_of
from tests.fakes.surface import promises
from tests.training_world import Workshop, tiny_workshop

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]

SPACE = """
[learning_rate]
low = 2e-3
high = 2e-2
log = true
[effective_batch]
choices = [8, 4]
"""


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model, a dataset, and its settings as a file."""
    folder = tmp_path_factory.mktemp("workshop")
    with tiny_workshop(base_model, folder) as opened:
        (folder / "space.toml").write_text(SPACE)
        settings = opened.settings
        (folder / "ratchet.toml").write_text(
            f'data_dir = "{settings.data_dir}"\nengine.model = "{settings.engine.model}"\n'
        )
        yield opened


def test_a_killed_search_goes_on_from_its_trials_checkpoint(workshop: Workshop) -> None:
    """`kill -9` in the second trial: it is finished, not begun anew; none is lost or doubled."""
    recipe = workshop.recipe("short", rank=4, epochs=4)
    folder = workshop.settings.folder("searches") / "s"
    second = folder / TRIALS / "0001"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "loop.cli"),
            *("--settings", str(workshop.folder / "ratchet.toml"), "search", "run", "desk"),
            *("--name", "s", "--recipe", recipe, "--space", str(workshop.folder / "space.toml")),
            *("--trials", "2", "--pruning", "none", "--json"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: newest_complete(second / CHECKPOINT_FOLDER) is not None, process)
        jobs = [child.pid for child in psutil.Process(process.pid).children()]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    trained_before = read_all(folder / TRIALS / "0000")
    told: list[TrialNews] = []
    plan = read_plan(folder)
    run_search(workshop.store, workshop.settings, plan, LocalLauncher(), tell=told.append)
    facts = describe(folder, plan)
    assert [(one.number, one.state) for one in facts.trials] == [(0, "complete"), (1, "complete")]
    assert read_all(folder / TRIALS / "0000") == trained_before
    assert {news.number for news in told} == {1}
    resumed = [one.resumed_from for one in read_all(second) if one.resumed_from]
    assert len(resumed) == 1
    steps = [point.step for point in points_of(read_all(second))]
    assert steps == list(range(1, steps[-1] + 1))
    for trial in ("0000", "0001"):
        promises(folder / TRIALS / trial)
        assert not (folder / TRIALS / trial / CHECKPOINT_FOLDER).exists()
    assert facts.best is not None
    assert load_recipe(folder / BEST_FILE).learning_rate == facts.best.values["learning_rate"]
    assert "2 of 2 trials: 2 complete" in (folder / "search.md").read_text()
    assert not any(psutil.pid_exists(pid) and is_job(pid) for pid in jobs)
    grown = replace(plan, trials=2, seconds=1.0)
    run_search(workshop.store, workshop.settings, grown, LocalLauncher(), tell=told.append)
    assert len(describe(folder, grown).trials) == 2


def is_job(pid: int) -> bool:
    """Return whether the process is a training that still lives."""
    process = psutil.Process(pid)
    return process.status() != psutil.STATUS_ZOMBIE and "retrain.runs.job" in process.cmdline()


def wait_until(done: object, process: subprocess.Popen[str], timeout_s: float = 300.0) -> None:
    """Wait until `done` says so, as long as the process lives."""
    deadline = time.monotonic() + timeout_s
    while not done():  # type: ignore[operator]
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.communicate()[1]}")
        assert time.monotonic() < deadline
        time.sleep(0.05)
