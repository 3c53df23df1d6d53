"""The arithmetic of the training benchmark, its conversations, and what it shows of a result."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.train.children import run
from bench.train.corpus import SYSTEM, write_corpus
from bench.train.figures import (
    OURS,
    PLAIN,
    Training,
    compared,
    goals,
    seconds_to,
    target_loss,
    told_of_kill,
)
from bench.train.report import draw
from retrain.examples import load_split

SLOW = Training(
    seconds=120.0,
    cpu_s=200.0,
    peak_mb=4_000.0,
    tokens_per_s=50.0,
    steps=(4, 8),
    at_s=(60.0, 110.0),
    losses=(2.5, 2.0),
)
QUICK = replace(
    SLOW, seconds=40.0, cpu_s=60.0, peak_mb=3_000.0, tokens_per_s=200.0, at_s=(20.0, 30.0)
)
OTHER = replace(SLOW, peak_mb=9_000.0, at_s=(50.0, 100.0), losses=(2.4, 1.9))
TRAININGS = {OURS: QUICK, PLAIN[0]: SLOW, PLAIN[1]: OTHER}


def test_target_is_a_loss_that_every_plain_run_reached() -> None:
    """Not the best of any: then one of them might have no time to compare with."""
    assert target_loss([SLOW, OTHER]) == 2.0


def test_seconds_lie_on_a_line_between_saved_steps() -> None:
    """Half of the way down takes half of the time; a loss that was not reached has none."""
    assert seconds_to(SLOW, 3.0, 2.75) == pytest.approx(30.0)
    assert seconds_to(SLOW, 3.0, 2.25) == pytest.approx(85.0)
    assert seconds_to(SLOW, 3.0, 2.0) == pytest.approx(110.0)
    assert seconds_to(SLOW, 3.0, 1.9) is None
    assert seconds_to(SLOW, 3.0, 3.5) == 0.0


def test_ours_is_compared_with_the_best_plain_run_in_each_measure() -> None:
    """The quickest in seconds, the leanest in memory, though they are not the same one."""
    told = compared(TRAININGS, 3.0)
    assert told["target_loss"] == 2.0
    assert told["to_quickest"] == pytest.approx(30.0 / 90.0)
    assert told["same_steps_to_quickest"] == pytest.approx(0.3)
    assert told["memory_to_leanest"] == 0.75
    assert told["tokens_per_s_to_quickest"] == 4.0
    assert told["cpu_to_least"] == 0.3


def test_loss_that_ours_did_not_reach_meets_no_goal() -> None:
    """Being quick to a worse loss is nothing."""
    worse = TRAININGS | {OURS: replace(QUICK, losses=(2.6, 2.1))}
    told = compared(worse, 3.0)
    assert told["to_quickest"] is None
    assert not goals({"training": {"compared": told}})[0].met


def test_goals_are_computed_from_one_run() -> None:
    """Seconds below, memory at or below, answers at or above."""
    result: dict[str, Any] = {
        "training": {"compared": {"to_quickest": 0.3, "memory_to_leanest": 1.0}},
        "answers": {"ratio": 0.9},
    }
    measured = [goal.met for goal in goals(result) if goal.measured is not None]
    assert measured == [True, True, False]
    assert all(goal.measured is None and not goal.met for goal in goals({}))


def test_conversations_are_those_of_an_application(tmp_path: Path) -> None:
    """The same bytes each time, one system prompt, and no held-out conversation in training."""
    first = write_corpus(tmp_path / "a", train=60, heldout=20)
    second = write_corpus(tmp_path / "b", train=60, heldout=20)
    for split in ("train", "validation", "test"):
        assert load_split(first, split) == load_split(second, split)
    train, test = load_split(first, "train"), load_split(first, "test")
    assert (len(train), len(test)) == (60, 20)
    assert {example.messages[0]["content"][:20] for example in train} == {SYSTEM[:20]}
    assert len({len(example.messages) for example in train}) > 1
    assert not {example.key for example in train} & {example.key for example in test}


def test_a_result_with_gaps_can_be_drawn() -> None:
    """A part that was not measured is left out."""
    training = {
        "trainings": {name: asdict(one) for name, one in TRAININGS.items()},
        "compared": compared(TRAININGS, 3.0),
    }
    assert len(draw({"training": training}).axes) == 2
    assert len(draw({}).axes) == 2


def test_a_kill_costs_steps_and_loss() -> None:
    """At most one interval is done again, and the loss ends within one part in a hundred."""
    told = told_of_kill({"killed_at": 11, "resumed_from": 8, "interval": 4}, 1.009, 1.0)
    assert told["lost_steps"] == 3
    increment = {"before": 0.5, "after": 0.49}
    by_name = {one.name: one for one in goals({"keeping": {"kill": told, "increment": increment}})}
    assert by_name["steps that a kill costs, in checkpoint intervals"].met
    assert by_name["loss after a kill, apart from undisturbed"].met
    assert by_name["general questions kept by an increment"].met
    worse = told_of_kill({"killed_at": 13, "resumed_from": 8, "interval": 4}, 1.02, 1.0)
    names = {one.name: one for one in goals({"keeping": {"kill": worse, "increment": {}}})}
    assert not any(one.met for one in names.values())


def test_a_script_that_takes_too_long_is_stopped_and_told(tmp_path: Path) -> None:
    """An emulated number format must not keep the benchmark for hours; others are waited for."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "quick.py").write_text("print('done')\n")
    log = tmp_path / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        slow = run("slow", [], log, limit_s=0.5)
        quick = run("quick", [], log, limit_s=60.0)
    assert (slow.stopped, quick.stopped) == (True, False)
    assert slow.seconds < 60.0
    assert log.read_text() == "done\n"
