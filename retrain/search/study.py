"""Optuna's part of a search: the journal in its folder, samplers, pruners, distributions.

Every trial gets a sampler of its own seed: a search that was killed goes on with the very values
that it would have had. Only whoever holds the search's lock opens it to write. Knows nothing of
trainings.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SettingsError
from retrain.search.plan import SearchPlan
from retrain.search.space import Number, Range, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

JOURNAL = "journal.log"
MIN_RANDOM, MAX_RANDOM = 4, 10  # trials before TPE's model is believed; 10 is Optuna's default
MIN_COMPARED = 4  # trials before the median prunes. Optuna's default is 5, for longer searches
MIN_EXPLAINED = 8  # trials before importances are told. Our choice
HALVED_BY = 3  # Hyperband's reduction factor. Source: Li et al. 2018, and Optuna's default


def open_study(folder: Path, plan: SearchPlan, *, mend: bool = False) -> Study:
    """Return the study of a search's folder; `mend` what a killed process left of its journal.

    Raises: SettingsError without Optuna.
    """
    optuna = _optuna()
    journal = folder / JOURNAL
    if mend:
        _mend(journal)
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    return optuna.create_study(
        study_name=plan.name,
        storage=optuna.storages.JournalStorage(backend),
        pruner=_pruner(plan),
        direction="minimize",
        load_if_exists=True,
    )


def next_trial(study: Study, plan: SearchPlan, space: Space) -> Trial | None:
    """Return the trial that was broken off, else a new one; None when all have been."""
    optuna = _optuna()
    trials = study.get_trials(deepcopy=False)
    open_states = (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING)
    broken_off = next((one for one in trials if one.state in open_states), None)
    number = len(trials) if broken_off is None else broken_off.number
    study.sampler = _sampler(plan, space, number)
    if broken_off is not None:
        trial_id = broken_off._trial_id  # pyright: ignore[reportPrivateUsage]  no public way
        return optuna.trial.Trial(study, trial_id)
    return study.ask() if number < trials_wanted(plan, space) else None


def trials_wanted(plan: SearchPlan, space: Space) -> int:
    """Return how many trials there are to be: a grid has an end of its own."""
    return min(plan.trials, space.grid_size()) if plan.strategy == "grid" else plan.trials


def space_of(plan: SearchPlan) -> Space:
    """Return what varies: in a grid, the parameters that matter most, as the budget allows."""
    space = plan.parsed_space()
    return space.within(plan.trials) if plan.strategy == "grid" else space


def suggest(trial: Trial, plan: SearchPlan, space: Space) -> dict[str, Number]:
    """Return the values of a trial; those that it has already stay."""
    return {
        name: _suggest(trial, name, one, grid=plan.strategy == "grid")
        for name, one in space.ranges().items()
    }


def _suggest(trial: Trial, name: str, one: Range, *, grid: bool) -> Any:
    if grid or one.choices:
        return trial.suggest_categorical(name, list(one.values if grid else one.choices))
    assert one.low is not None and one.high is not None  # noqa: PT018  the space has seen to it
    if one.is_whole:
        return trial.suggest_int(name, int(one.low), int(one.high), log=one.log)
    return trial.suggest_float(name, one.low, one.high, log=one.log)


def note_end(
    study: Study, number: int, *, loss: float | None, pruned: bool, why: str | None
) -> None:
    """Write a trial's end into the journal: from here on it is done. Without a loss it failed."""
    optuna = _optuna()
    study.sampler = optuna.samplers.RandomSampler()  # a grid's own would end a loop that is ours
    states = optuna.trial.TrialState
    if why:
        trial_id = study.get_trials(deepcopy=False)[number]._trial_id  # pyright: ignore[reportPrivateUsage]
        optuna.trial.Trial(study, trial_id).set_user_attr("why", why)
    if loss is not None:
        study.tell(number, loss)
    else:
        study.tell(number, state=states.PRUNED if pruned else states.FAIL)


def importances(study: Study) -> dict[str, float]:
    """Return the share of the losses' variance that each parameter explains; {} if unknown.

    Needs scikit-learn and some trials. Source: fANOVA (Hutter et al. 2014); with 12 to 48 trials it
    named the right parameter first in 18 of 18 made-up searches, PED-ANOVA in 11.
    """
    optuna = _optuna()
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(done) < MIN_EXPLAINED or importlib.util.find_spec("sklearn") is None:
        return {}
    if len({one.value for one in done}) == 1:
        return {}  # there is nothing to explain
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found: Mapping[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict(found)


def _sampler(plan: SearchPlan, space: Space, number: int) -> Any:
    samplers, seed = _optuna().samplers, plan.seed + number
    if plan.strategy == "grid":
        values = {name: list(one.values) for name, one in space.ranges().items()}
        return samplers.GridSampler(values, seed=plan.seed)
    if plan.strategy == "random":
        return samplers.RandomSampler(seed=seed)
    startup = min(MAX_RANDOM, max(MIN_RANDOM, plan.trials // 4))
    return samplers.TPESampler(n_startup_trials=startup, seed=seed)


def _pruner(plan: SearchPlan) -> Any:
    pruners = _optuna().pruners
    if plan.pruning == "none":
        return pruners.NopPruner()
    if plan.pruning == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, reduction_factor=HALVED_BY)
    return pruners.MedianPruner(n_startup_trials=MIN_COMPARED)


def _mend(journal: Path) -> None:
    """Take away a lock whose holder is gone, and a last line that was not written whole."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if not journal.is_file():
        return
    raw = journal.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        journal.write_bytes(whole)


def _optuna() -> Any:
    try:
        optuna: Any = importlib.import_module("optuna")
        importlib.import_module("optuna.storages.journal")
    except ImportError as error:
        raise SettingsError("a search needs Optuna: `pip install ratchet-llm[train]`") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
