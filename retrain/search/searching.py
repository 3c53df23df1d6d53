"""The whole search: trial after trial, until the budget of trials or of seconds is spent.

A plan goes in; a folder with the trials, the report and `best.toml` comes out. After `kill -9` it
goes on: the trial that was broken off is finished from its checkpoint, none is lost or done twice.
One process works on a search at a time. Trials wait for a device as all trainings do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from pydantic import ValidationError

from core.errors import DataError, SettingsError, StateError, TrainingError
from core.settings import Settings
from feedback.store import Store
from retrain.examples import load_split
from retrain.launchers.launcher import Launcher
from retrain.launchers.local import LocalLauncher
from retrain.recipe import Recipe
from retrain.runs.assembly import TrainRequest, find_dataset, job_for
from retrain.runs.attending import attended, is_attended
from retrain.runs.devices import find_devices, held_devices, wanted
from retrain.runs.preflight import check_before_run
from retrain.runs.progress import TrainProgress
from retrain.runs.spec import JobSpec
from retrain.search.plan import TRIALS, SearchPlan, settle
from retrain.search.report import write_results
from retrain.search.space import Number, Space
from retrain.search.study import next_trial, note_end, open_study, space_of, suggest, trials_wanted
from retrain.search.trials import TrialEnd, Watcher, carry_out
from retrain.search.values import trial_recipe
from retrain.watching.health import REINFORCEMENT
from retrain.watching.system import read_use

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

WRITE_EVERY_S = 30.0
MAX_FAILURES = 3  # in a row: then it is not the values. Our choice


@dataclass(frozen=True, slots=True)
class TrialNews:
    """What a search tells: a trial begins, goes on, or has ended."""

    number: int
    wanted: int
    values: dict[str, Number]
    progress: TrainProgress | None = None
    end: TrialEnd | None = None


Listener = Callable[[TrialNews], None]


@dataclass
class Search:
    """One search at work."""

    settings: Settings
    plan: SearchPlan
    folder: Path
    job: JobSpec  # of every trial, but for its recipe
    train_examples: int
    launcher: Launcher
    tell: Listener
    space: Space = field(init=False)
    recipe: Recipe = field(init=False)
    written_s: float = field(default_factory=monotonic)  # when the report was written

    def __post_init__(self) -> None:
        self.space, self.recipe = space_of(self.plan), self.plan.parsed_recipe()

    def run(self) -> None:
        """Carry out trials until the budget is spent, and write the report.

        Raises: TrainingError when several in a row failed: it is not their values then.
        """
        study = open_study(self.folder, self.plan, mend=True)
        failures: list[str] = []
        while self._time_left_s() > 0 and (trial := next_trial(study, self.plan, self.space)):
            end = self._try(trial)
            if end.state == "unfinished":
                break
            pruned = end.state == "pruned"
            note_end(study, trial.number, loss=end.loss, pruned=pruned, why=end.why)
            self._write_now_and_then(study)
            failures = [*failures, str(end.why)] if end.state == "failed" else []
            if len(failures) == MAX_FAILURES:
                write_results(study, self.plan, self.space, self.folder)
                raise TrainingError(
                    f"search {self.plan.name}: {MAX_FAILURES} trials failed in a row, the last "
                    f"with: {failures[-1]}"
                )
        write_results(study, self.plan, self.space, self.folder)

    def _try(self, trial: Trial) -> TrialEnd:
        values = suggest(trial, self.plan, self.space)
        news = TrialNews(trial.number, trials_wanted(self.plan, self.space), values)
        self.tell(news)
        recipe = trial_recipe(self.recipe, self.space, values, self.train_examples)
        folder = self.folder / TRIALS / f"{trial.number:04d}"
        watcher = Watcher(
            trial,
            recipe.eval_every_steps,
            tell=lambda progress: self.tell(replace(news, progress=progress)),
            out_of_time=self._deadline(),
        )
        job = replace(
            self.job,
            run_id=f"{self.plan.name}-{trial.number:04d}",
            recipe=recipe.model_dump(mode="json", exclude={"incremental"}),
        )
        with self._placed() as launcher:
            end = carry_out(job, recipe, folder, launcher, watcher)
        self.tell(replace(news, end=end))
        return end

    def _write_now_and_then(self, study: Study) -> None:
        """Write the report, unless that was just done: its drawings take a second."""
        if monotonic() - self.written_s >= WRITE_EVERY_S:
            write_results(study, self.plan, self.space, self.folder)
            self.written_s = monotonic()

    def _time_left_s(self) -> float:
        """Return how long the machine may still work for this search."""
        if self.plan.seconds is None:
            return float("inf")
        folder = self.folder / TRIALS
        folders = folder.iterdir() if folder.is_dir() else ()
        used = [use.seconds for path in folders if (use := read_use(path)) is not None]
        return self.plan.seconds - sum(used)

    def _deadline(self) -> Callable[[], bool]:
        """Return what tells whether the time is up, counted from now."""
        ends_at = monotonic() + self._time_left_s()
        return lambda: monotonic() > ends_at

    @contextmanager
    def _placed(self) -> Generator[Launcher]:
        """Hold devices of this machine for one trial: other trainings have their turn between."""
        if not isinstance(self.launcher, LocalLauncher):
            yield self.launcher
            return
        devices = find_devices()
        with held_devices(
            self.settings.data_dir,
            devices,
            count=wanted(self.job.parallel.processes, devices),
            my_turn=lambda: True,
            waiting=lambda: None,
        ) as held:
            yield replace(self.launcher, devices=held)


def run_search(
    store: Store, settings: Settings, plan: SearchPlan, launcher: Launcher, *, tell: Listener
) -> Path:
    """Begin a search or go on with the one of that name; return its folder.

    Raises: NotFoundError for an unknown dataset; DataError without a validation split;
    SettingsError when space and recipe do not fit; StateError while another process works on it;
    TrainingError when nothing can be trained.
    """
    plan = settle(plan, settings.folder("searches"))
    folder = settings.folder("searches") / plan.name
    if is_attended(folder):
        raise StateError(f"search {plan.name} is being worked on by another process: wait")
    with attended(folder):
        with store.session() as session:
            dataset = find_dataset(session, plan.dataset_id)
            job = job_for(session, settings, _request(plan), plan.parsed_recipe(), plan.name)
            rows = dataset.train_rows
        search = Search(settings, plan, folder, _for_trials(job), rows, launcher, tell)
        _check(search)
        search.run()
    return folder


def _request(plan: SearchPlan) -> TrainRequest:
    return TrainRequest(
        application=plan.application,
        dataset_id=plan.dataset_id,
        mode="full",
        parent_adapter=None,
        recipe=str(plan.recipe["name"]),
        reason=f"search {plan.name}",
        created_by=plan.created_by,
    )


def _for_trials(job: JobSpec) -> JobSpec:
    """Return the job without what a trial does not need: the gate, and trackers elsewhere."""
    return replace(job, evaluated=False, trackers={})


def _check(search: Search) -> None:
    """Look for what would stop every trial, before the first."""
    recipe = search.recipe
    if recipe.trainer in REINFORCEMENT:
        raise SettingsError(
            f"recipe {recipe.name}: trainer {recipe.trainer} has no validation loss to compare "
            "trials by: search with the recipe of its reward model, or with sft, dpo or kto"
        )
    if not load_split(Path(search.job.dataset), "validation"):
        raise DataError(
            f"dataset {search.plan.dataset_id} has no validation examples, which trials are "
            "compared on: raise curation.validation_share and curate again"
        )
    for name, one in search.space.ranges().items():
        ends = (*one.values, *one.choices)
        if name == "rank" and max(ends) > search.settings.engine.max_lora_rank:
            raise SettingsError(
                f"space {search.space.name}: rank goes up to {max(ends)}, and the engine serves "
                f"at most {search.settings.engine.max_lora_rank}: lower it, or raise "
                "engine.max_lora_rank"
            )
        for value in ends:
            _try_value(search, name, value)
    check_before_run(search.job, recipe, search.settings)


def _try_value(search: Search, name: str, value: Number) -> None:
    """Return if a recipe can have this value.

    Raises: SettingsError.
    """
    try:
        trial_recipe(search.recipe, search.space, {name: value}, search.train_examples)
    except ValidationError as error:
        told = "; ".join(issue["msg"] for issue in error.errors())
        raise SettingsError(
            f"space {search.space.name}: {name} = {value} does not fit recipe "
            f"{search.recipe.name}: {told}"
        ) from error
