"""A search from its first trial to its recipe, on trainings that are formulas."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.errors import (
    DataError,
    NotFoundError,
    RequestError,
    SettingsError,
    StateError,
    TrainingError,
)
from feedback.tables import DatasetVersion
from loop import cli
from retrain.recipe import load_recipe
from retrain.runs.attending import attended
from retrain.runs.progress import read_all
from retrain.search.plan import BEST_FILE, TRIALS, read_plan
from retrain.search.report import SearchFacts, describe
from retrain.search.searching import TrialNews, run_search
from retrain.search.space import load_space
from retrain.search.study import JOURNAL
from retrain.watching.system import FILE as SYSTEM_FILE
from tests.fakes.surface import BEST_RATE, SurfaceLauncher, promises
from tests.training_world import Workshop, open_workshop
from tests.unit.test_search_space import PLAN

optuna = pytest.importorskip("optuna")


class KilledError(Exception):
    """What stands for the end of the process, in the midst of a trial."""


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """Give a workshop with a dataset, and a model's configuration in place of a model."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"hidden_size": 32, "num_hidden_layers": 2}))
    opened = open_workshop(tmp_path, model)
    opened.dataset(1, range(64))
    yield opened
    opened.store.close()


def search(
    workshop: Workshop,
    launcher: SurfaceLauncher,
    told: list[TrialNews] | None = None,
    **changes: object,
) -> SearchFacts:
    """Search as the plan says, but for `changes`; return how it stands then."""
    plan = replace(PLAN, **changes)  # type: ignore[arg-type]
    hear = (told if told is not None else []).append
    folder = run_search(workshop.store, workshop.settings, plan, launcher, tell=hear)
    return describe(folder, read_plan(folder))


def test_a_search_finds_good_values_and_writes_them_as_a_recipe(workshop: Workshop) -> None:
    """Twelve trials by TPE: the report, its drawings, and a recipe that can be trained with."""
    told: list[TrialNews] = []
    facts = search(workshop, SurfaceLauncher(), told, trials=12, pruning="none")
    assert len(facts.trials) == 12
    assert facts.best is not None
    assert facts.best.loss is not None
    assert facts.best.loss < 1.3
    folder = Path(facts.folder)
    recipe = load_recipe(folder / BEST_FILE)
    assert recipe.learning_rate == facts.best.values["learning_rate"]
    assert recipe.alpha == 2 * (recipe.rank or 0)
    assert recipe.batch_size * recipe.gradient_accumulation == facts.best.values["effective_batch"]
    assert recipe.incremental["epochs"] == 1
    page = (folder / "search.html").read_text()
    assert page.count("<svg") == 4
    assert "12 of 12 trials" in (folder / "search.md").read_text()
    assert max(facts.importances, key=lambda name: facts.importances[name]) == "learning_rate"
    assert [news.number for news in told if news.end] == list(range(12))


def test_the_stand_in_keeps_a_launchers_promises(workshop: Workshop) -> None:
    """The same that are asked of the real one."""
    told: list[TrialNews] = []
    facts = search(workshop, SurfaceLauncher(), told, trials=1)
    folder = Path(facts.folder) / TRIALS / "0000"
    promises(folder)
    assert [news.progress for news in told if news.progress] == read_all(folder)


def test_a_killed_search_goes_on_without_losing_or_doubling_a_trial(workshop: Workshop) -> None:
    """Killed in its third trial, it ends with the very values of one that nothing disturbed."""
    undisturbed = search(workshop, SurfaceLauncher(), trials=5, name="calm", pruning="none")

    def kill(folder: str, step: int) -> None:
        if (folder, step) == ("0002", 2):
            raise KilledError

    with pytest.raises(KilledError):
        search(workshop, SurfaceLauncher(before_step=kill), trials=5, pruning="none")
    folder = workshop.settings.folder("searches") / PLAN.name
    with (folder / JOURNAL).open("a") as journal:
        journal.write('{"op_code":')  # as a killed process leaves it
    (folder / f"{JOURNAL}.lock").symlink_to("whoever")
    second = SurfaceLauncher()
    facts = search(workshop, second, trials=5, pruning="none")
    assert [name for name, _ in second.trained] == ["0002", "0003", "0004"]
    assert [one.state for one in facts.trials] == ["complete"] * 5
    assert [one.values for one in facts.trials] == [one.values for one in undisturbed.trials]
    assert [one.loss for one in facts.trials] == [one.loss for one in undisturbed.trials]
    third = SurfaceLauncher()
    assert len(search(workshop, third, trials=5, pruning="none").trials) == 5
    assert third.trained == []


def test_a_trial_whose_end_was_not_noted_is_not_trained_again(workshop: Workshop) -> None:
    """Its result lies in its folder."""

    def kill_at_end(news: TrialNews) -> None:
        if news.end is not None:
            raise KilledError

    with pytest.raises(KilledError):
        run_search(workshop.store, workshop.settings, PLAN, SurfaceLauncher(), tell=kill_at_end)
    again = SurfaceLauncher()
    facts = search(workshop, again, trials=1)
    assert again.trained == []
    assert [one.state for one in facts.trials] == ["complete"]


def test_a_grid_tries_every_point_of_what_matters_most(workshop: Workshop) -> None:
    """Nine trials hold the grid of the first two parameters, each point once."""
    facts = search(workshop, SurfaceLauncher(), strategy="grid", trials=10, pruning="none")
    points = {(t.values["learning_rate"], t.values["effective_batch"]) for t in facts.trials}
    assert (len(facts.trials), len(points), facts.wanted) == (9, 9, 9)
    assert set(facts.trials[0].values) == {"learning_rate", "effective_batch"}
    assert facts.best is not None
    assert facts.best.values["learning_rate"] == BEST_RATE


def test_random_search_draws_anew_for_each_trial(workshop: Workshop) -> None:
    """No two trials alike; the same seed draws the same."""
    one = search(workshop, SurfaceLauncher(), strategy="random", trials=4, name="one")
    other = search(workshop, SurfaceLauncher(), strategy="random", trials=4, name="other")
    rates = [trial.values["learning_rate"] for trial in one.trials]
    assert len(set(rates)) == 4
    assert rates == [trial.values["learning_rate"] for trial in other.trials]


@pytest.mark.parametrize("pruning", ["median", "hyperband"])
def test_a_trial_that_is_worse_on_the_way_is_pruned(workshop: Workshop, pruning: str) -> None:
    """It is ended before its last step, and says so; the best is never a pruned one."""
    launcher = SurfaceLauncher()
    facts = search(workshop, launcher, strategy="random", trials=16, pruning=pruning)
    pruned = [one for one in facts.trials if one.state == "pruned"]
    assert pruned
    assert all("worse than others at evaluation" in (one.why or "") for one in pruned)
    assert facts.best is not None
    assert facts.best.state == "complete"


def test_a_trial_that_diverges_is_no_failure(workshop: Workshop, tmp_path: Path) -> None:
    """The search goes on, and the trial says what was seen."""
    path = tmp_path / "wild.toml"
    path.write_text("[learning_rate]\nlow = 1e-3\nhigh = 0.5\nlog = true\n")
    space = load_space(path).model_dump(mode="json", exclude_none=True)
    facts = search(workshop, SurfaceLauncher(), space=space, trials=6, strategy="random")
    lost = [one for one in facts.trials if one.why == "loss is 9.0"]
    assert lost
    assert {one.state for one in lost} == {"pruned"}


def test_a_search_whose_trials_all_fail_ends(workshop: Workshop) -> None:
    """Three in a row: the error is not the values', and the report names it."""

    def fail(folder: str, step: int) -> None:
        raise TrainingError("out of memory")

    with pytest.raises(TrainingError, match="3 trials failed in a row, the last with: out of m"):
        search(workshop, SurfaceLauncher(before_step=fail))
    folder = workshop.settings.folder("searches") / PLAN.name
    assert "No trial was trained to its end yet." in (folder / "search.md").read_text()
    assert [one.state for one in describe(folder, PLAN).trials] == ["failed"] * 3


def test_a_budget_of_seconds_ends_it_and_a_larger_one_goes_on(workshop: Workshop) -> None:
    """The trial at which the time was up is finished later."""

    def spend(folder: str, step: int) -> None:
        lines = [
            f'{{"at_s":{at},"cpu_share":1,"rss_bytes":1,"peak_rss_bytes":1,"memory_share":0.1}}'
            for at in (0.0, 40.0)
        ]
        path = workshop.settings.folder("searches") / PLAN.name / TRIALS / folder / SYSTEM_FILE
        path.write_text("\n".join(lines) + "\n")

    facts = search(workshop, SurfaceLauncher(before_step=spend), seconds=100.0, trials=9)
    assert [one.state for one in facts.trials] == ["complete"] * 3
    facts = search(workshop, SurfaceLauncher(before_step=spend), seconds=130.0, trials=9)
    assert [one.state for one in facts.trials] == ["complete"] * 4


def test_the_time_can_run_out_within_a_trial(workshop: Workshop) -> None:
    """It stays open, and is the first of the next time."""

    def dawdle(folder: str, step: int) -> None:
        time.sleep(0.2)

    facts = search(workshop, SurfaceLauncher(before_step=dawdle), seconds=0.3, trials=2)
    assert [one.state for one in facts.trials] == ["running"]
    again = SurfaceLauncher()
    facts = search(workshop, again, seconds=None, trials=2)
    assert [name for name, _ in again.trained] == ["0000", "0001"]
    assert [one.state for one in facts.trials] == ["complete"] * 2


def test_what_would_stop_every_trial_is_told_before_the_first(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Values that do not fit, ranks above the engine's, no validation, another process."""
    launcher = SurfaceLauncher()
    path = tmp_path / "own.toml"

    def space(text: str) -> dict[str, object]:
        path.write_text(text)
        return load_space(path).model_dump(mode="json", exclude_none=True)

    with pytest.raises(SettingsError, match="rank goes up to 512, and the engine serves at most"):
        search(workshop, launcher, space=space("[rank]\nchoices = [8, 512]"), name="a")
    with pytest.raises(SettingsError, match=r"learning_rate = 1\.0 does not fit recipe sft-lora"):
        search(workshop, launcher, space=space("[learning_rate]\nlow = 1.0\nhigh = 2.0"), name="b")
    search(workshop, SurfaceLauncher(), name="c", trials=1)
    busy = attended(workshop.settings.folder("searches") / "c")
    with busy, pytest.raises(StateError, match="search c is being worked on"):
        search(workshop, launcher, name="c")
    empty = workshop.settings.folder("datasets") / "desk--d2"
    empty.mkdir()
    train = workshop.settings.folder("datasets") / "desk--d1" / "train.parquet"
    (empty / "train.parquet").write_bytes(train.read_bytes())
    none = pq.read_table(train).slice(0, 0)
    pq.write_table(none, empty / "validation.parquet")
    with workshop.store.session() as session:
        session.add(
            DatasetVersion(
                id="desk--d2",
                application="desk",
                path=str(empty),
                content_hash="h2",
                train_rows=64,
                validation_rows=0,
                test_rows=0,
                new_rows=64,
            )
        )
        session.commit()
    with pytest.raises(DataError, match="has no validation examples"):
        search(workshop, launcher, dataset_id="desk--d2", name="d")
    assert launcher.trained == []


def test_searches_are_shown_on_the_command_line(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`list` and `show`, for people and for scripts; an unknown one is told."""
    search(workshop, SurfaceLauncher(), trials=2)
    settings = tmp_path / "ratchet.toml"
    settings.write_text(f'data_dir = "{workshop.settings.data_dir}"\n')

    def ratchet(*words: str) -> str:
        arguments = ["--settings", str(settings), "search", *words]
        cli.app(arguments, standalone_mode=False)
        return capsys.readouterr().out

    assert "desk--s1" in ratchet("list")
    assert json.loads(ratchet("list", "--json"))[0]["wanted"] == 2
    shown = ratchet("show", "desk--s1")
    assert "best: trial" in shown
    assert "ratchet retrain desk --recipe" in shown
    assert len(json.loads(ratchet("show", "desk--s1", "--json"))["trials"]) == 2
    with pytest.raises(NotFoundError, match="no search 'desk--s9'"):
        ratchet("show", "desk--s9")
    with pytest.raises(RequestError, match="use one of tpe, random, grid"):
        ratchet("run", "desk", "--strategy", "guess")
    with pytest.raises(NotFoundError, match="nobody has no dataset version"):
        ratchet("run", "nobody")
