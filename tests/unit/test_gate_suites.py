"""Suites as files: the shipped ones hold, and each fault is told with the file and the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import SettingsError
from core.gate_settings import GateSettings
from retrain.gate.suite import Suite
from retrain.gate.suite_files import ALWAYS, load_suite, load_suites, suite_names

GOOD = """
purpose = "colours"
source = "examples"
metric = "contains"
[[examples]]
prompt = "What colour is grass?"
answer = "green"
"""


def write(folder: Path, text: str, name: str = "colours") -> str:
    """Write a suite's file and return its path."""
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_shipped_suites_load() -> None:
    """Each says what for, and has a limit where it compares."""
    for name in suite_names():
        suite = load_suite(name, GateSettings())
        assert suite.name == name
        assert suite.purpose
        assert suite.max_drop is not None or suite.min_kept is not None


def test_obligatory_suites_cannot_be_left_out() -> None:
    """A gate without its test set would be none."""
    assert [suite.name for suite in load_suites(GateSettings(suites=()))] == list(ALWAYS)
    twice = load_suites(GateSettings(suites=("test", "wins", "wins")))
    assert [suite.name for suite in twice] == [*ALWAYS, "wins"]


def test_limits_come_from_the_settings_unless_the_file_has_them(tmp_path: Path) -> None:
    """One number in the settings moves all suites that do not set it."""
    rules = GateSettings(max_drop=0.3, max_doubt=0.4, examples=7)
    suite = load_suite(write(tmp_path, GOOD), rules)
    assert (suite.max_drop, suite.max_doubt, suite.limit) == (0.3, 0.4, 7)
    own = load_suite(write(tmp_path, "max_drop = 0.1\nlimit = 3\n" + GOOD.lstrip()), rules)
    assert (own.max_drop, own.limit) == (0.1, 3)
    base = load_suite(write(tmp_path, 'against = "base"\n' + GOOD.lstrip()), rules)
    assert (base.max_drop, base.min_kept) == (None, rules.min_retention)
    alone = 'against = "none"\nmin_score = 0.5\n' + GOOD.lstrip()
    assert load_suite(write(tmp_path, alone), rules).max_drop is None


def test_questions_in_a_file_beside(tmp_path: Path) -> None:
    """Many questions fit better into JSON Lines."""
    (tmp_path / "more.jsonl").write_text('{"prompt": "2+2?", "answer": "4"}\n\n')
    text = 'purpose = "sums"\nsource = "examples"\nmetric = "contains"\nfile = "more.jsonl"\n'
    assert load_suite(write(tmp_path, text), GateSettings()).examples[0].answer == "4"
    (tmp_path / "more.jsonl").write_text('{"prompt": "2+2?", "answers": "4"}\n')
    with pytest.raises(SettingsError, match=r"more.jsonl, line 1: .*answers"):
        load_suite(write(tmp_path, text), GateSettings())
    (tmp_path / "more.jsonl").unlink()
    with pytest.raises(SettingsError, match="is not beside it"):
        load_suite(write(tmp_path, text), GateSettings())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('metric = "contains"', 'metric = "charm"'), "metric is 'charm', not one of"),
        (('source = "examples"', 'source = "test"'), "has [[examples]], but asks those of"),
        (('source = "examples"', 'source = "tests"'), "Invalid enum value 'tests'"),
        (('purpose = "colours"', 'purpose = "colours"\nlimits = 3'), "limits"),
        (("purpose", 'perturb = ["shouts"]\npurpose'), "perturb has 'shouts'"),
        (("purpose", 'against = "none"\npurpose'), "nothing could fail"),
        (('metric = "contains"', 'metric = "accuracy"'), "accuracy needs labels"),
        (('metric = "contains"', 'metric = "fits_pattern"'), "needs a pattern"),
        (('metric = "contains"', 'metric = "fits_schema"'), "example 1: the metric fits_schema"),
        (('answer = "green"', ""), "example 1: the metric contains needs an answer"),
        (('prompt = "What colour is grass?"', ""), "example 1: give a prompt, or messages"),
        (
            ('prompt = "What colour is grass?"', 'messages = [{role = "user", text = "hi"}]'),
            "a message has role and content",
        ),
        (("[[examples]]", "[[examples"), "colours.toml: "),
    ],
)
def test_faults_are_told(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    """The file and the value that is wrong are named before anything is asked."""
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(SettingsError) as failure:
        load_suite(path, GateSettings())
    assert told in str(failure.value)
    assert "colours.toml" in str(failure.value)


def test_suite_without_examples_is_told(tmp_path: Path) -> None:
    """A suite of its own questions needs some."""
    text = 'purpose = "none"\nsource = "examples"\nmetric = "sound"\n'
    with pytest.raises(SettingsError, match="there are none"):
        load_suite(write(tmp_path, text), GateSettings())


def test_unknown_suite_names_those_that_there_are() -> None:
    """A slip in the settings is told with what may be meant."""
    with pytest.raises(SettingsError, match=r"no suite 'savety'.*safety"):
        load_suites(GateSettings(suites=("savety",)))


def test_two_suites_of_one_name_are_told(tmp_path: Path) -> None:
    """Reports know suites by their names."""
    path = write(tmp_path, GOOD, "wins")
    with pytest.raises(SettingsError, match="both called 'wins'"):
        load_suites(GateSettings(suites=("wins", path)))


def test_suites_are_values() -> None:
    """Two readings of a file are equal: the job's and the verdict's."""
    first, second = (load_suite("safety", GateSettings()) for _ in range(2))
    assert isinstance(first, Suite)
    assert first == second
