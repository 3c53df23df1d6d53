"""One run's subprocess: trains, evaluates against the live adapter, writes `result.json`.

    python -m retrain.runs.job RUN_FOLDER

`job.json` in the folder says what to do. JSON lines of progress go to standard output,
everything else to standard error. Started again after a crash it goes on from the newest
whole checkpoint, or from the evaluation. Knows nothing of the store.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from io import TextIOBase
from pathlib import Path
from typing import cast

import msgspec

from core.errors import RatchetError, TrainingError
from core.files import write_atomic
from core.loading import nothing_is_garbage
from retrain.runs.fitting import require_fit_in_job
from retrain.runs.full_disk import full_disk_words, is_full_disk, make_room
from retrain.runs.orphans import die_with_parent
from retrain.runs.progress import Reporter, SilentReporter, TrainProgress
from retrain.runs.ranks import Ranks, leave_words, read_ranks, shared
from retrain.runs.spec import Examined, JobResult, JobSpec, TrainOutcome, trained_folder
from retrain.watching.tracking import tracked

LOCK_FILE = "job.lock"
OUTCOME_FILE = "outcome.json"
ALONE = Ranks()
EXIT_TOLD = 2  # the last line on standard error says what is wrong, for people
EXIT_FULL = 3  # the disk is full: there may have been no room to say so


def run_job(reporter: Reporter, ranks: Ranks = ALONE) -> JobResult | None:
    """Train and evaluate what `job.json` asks for, skipping what is done already.

    Of several processes the first alone evaluates and writes; the others return None.

    Raises: TrainingError, DataError.
    """
    run_folder = reporter.folder
    spec = JobSpec.read(run_folder)
    spec = replace(spec, parallel=replace(spec.parallel, processes=ranks.processes))
    recipe = spec.parsed_recipe()
    with reporter.phase("import"), nothing_is_garbage():
        import torch  # heavy, and only needed from here on
        from transformers.utils.logging import disable_progress_bar

        from retrain.gate import evaluation
        from retrain.training.sharding import joined

        trainer = import_module(f"retrain.training.{recipe.trainer}")
    if _finished_training(run_folder) is None:
        require_fit_in_job(spec, shared(recipe, ranks.processes))
    disable_progress_bar()
    torch.set_num_threads(max(1, spec.threads // ranks.processes))
    outcome = _finished_training(run_folder)
    if outcome is None:
        with joined(spec.parallel, ranks):
            outcome = trainer.train(spec, shared(recipe, ranks.processes), reporter)
        if ranks.first:
            write_atomic(run_folder / OUTCOME_FILE, msgspec.json.encode(outcome))
    if not ranks.first:
        return None
    judge = trainer if recipe.trainer == "reward" else evaluation
    found = judge.evaluate(spec, recipe, reporter) if spec.evaluated else Examined({})
    result = JobResult(
        outcome,
        found.evaluations,
        reporter.seconds,
        suites=found.suites,
        answering=found.answering,
        answered_by=found.answered_by,
    )
    result.write(run_folder)
    reporter.tell(TrainProgress("done"))
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the job of the folder named in `arguments`; return the exit code."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m retrain.runs.job RUN_FOLDER (an existing folder)", file=sys.stderr)
        return EXIT_TOLD
    folder = Path(arguments[0]).resolve()
    # Local files only: training must not depend on, or tell, any hub.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # A thread that waits must not spin: with one core busy a step took 47 s, and 4 s so (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    ranks = read_ranks()
    if ranks.started:
        die_with_parent()  # torch's launcher ends us when one of us dies, but who ends us for it?
    try:
        with _speaking(folder, ranks) as reporter:
            run_job(reporter, ranks)
    except RatchetError as error:
        leave_words(folder, f"{error.code}: {error}", ranks)
        print(f"{error.code}: {error}", file=sys.stderr, flush=True)
        return EXIT_TOLD
    except Exception as error:
        if is_full_disk(error):
            return _end_for_want_of_room(folder, ranks, error)
        leave_words(folder, f"{type(error).__name__}: {error}", ranks)
        raise
    return 0


def _end_for_want_of_room(folder: Path, ranks: Ranks, error: Exception) -> int:
    """Say what could not be written, after making the room to say it; return the exit code."""
    words = f"{TrainingError.code}: {full_disk_words(folder, error)}"
    make_room(folder)
    leave_words(folder, words, ranks)
    print(words, file=sys.stderr, flush=True)
    return EXIT_FULL


def is_running(run_folder: Path) -> bool:
    """Return whether a process works on this run now."""
    path = run_folder / LOCK_FILE
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _finished_training(run_folder: Path) -> TrainOutcome | None:
    path = run_folder / OUTCOME_FILE
    if not path.is_file() or not trained_folder(run_folder).is_dir():
        return None
    return msgspec.json.decode(path.read_bytes(), type=TrainOutcome)


@contextmanager
def _speaking(folder: Path, ranks: Ranks) -> Generator[Reporter]:
    """Give the first process the run's lock, output and trackers, and the others a silent one."""
    with _own_output() as output:
        if not ranks.first:
            yield SilentReporter(output, folder)
            return
        with _sole_owner(folder), tracked(Reporter(output, folder)) as reporter:
            yield reporter


@contextmanager
def _sole_owner(folder: Path) -> Generator[None]:
    """Hold the run's lock; the system drops it when this process ends, however it ends."""
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"run {folder.name} is being worked on by another process: wait for its end"
            ) from None
        yield


@contextmanager
def _own_output() -> Generator[TextIOBase]:
    """Keep standard output for progress alone; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        yield cast(TextIOBase, output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
